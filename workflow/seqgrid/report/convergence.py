"""The section of a report on convergence: when tasks were solved, and how curves end."""

from collections import defaultdict

from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, table, text
from seqgrid.report.sections import MOST_ROWS, figure, more

CELL_RULES = ("IMPROVING", "PLATEAU", "COLLAPSED")


def convergence(content: Content) -> str:
    """When tasks were solved, and what the ends of the learning curves say."""
    body = []
    rows = [r for task in content.tasks for r in content.rows(task) if r["final"]]
    for row in rows[:MOST_ROWS]:
        seeds = defaultdict(list)
        for verdict in content.verdicts_of(row):
            seeds[verdict["verdict"]].append(str(verdict["seed"]))
        label = f"{row['model']} {row['variant']}".strip()
        solved = "-" if row["successes"] is None else f"{row['successes']}/{row['final']}"
        steps = count(row["solved_step_steps"])
        ends = [", ".join(seeds[rule]) or "-" for rule in CELL_RULES]
        body.append([label, row["task"], str(row["seqlen_tokens"]), solved, steps, *ends])
    header = ["model", "task", "length", "solved", "steps", *(r.lower() for r in CELL_RULES)]
    note = text(
        "Solved: of the final seeds; steps: median first validation at the solved level, of the "
        "seeds that solved it. The other columns name seeds: improving when the budget ended, on a "
        "plateau, collapsed from a better validation."
    )
    shown = blocks(note, table(header, body, left=2), more(rows)) if body else ""
    return blocks(
        shown or "No cell has finished.",
        *(figure(content, n) for n in ("curves", "survival", "steps")),
    )
