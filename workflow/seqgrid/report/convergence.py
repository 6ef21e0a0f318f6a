"""The section of a report on convergence: when tasks were solved, and how curves end."""

from collections import defaultdict

from seqgrid.analysis.convergence import followed
from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, table, text, without_empty
from seqgrid.report.sections import MOST_ROWS, figure, more

CELL_RULES = ("IMPROVING", "PLATEAU", "COLLAPSED")
NOTE = (
    "Solved: of the seeds followed, those that reached the solved level on the test split; at: the "
    "first validation at that level of each, or `by` its last step where only its test score "
    "reached it. Censored: seeds that ended, were cut short or failed without having solved it; a "
    "diverged seed counts as unsolved up to its budget. Median: Kaplan-Meier, the steps after "
    "which half of the seeds have solved it, or the steps that were not enough; its interval "
    "covers less than 95% below six seeds, and is open where too few have solved it. Mean: of the "
    "steps to solve, cut at a horizon that all models of the place share. Nothing is tested here: "
    "models are compared where the study declares it, in the section Comparisons.",
)

NOT_KNOWN = "not known"
UNTIMED = (
    "Not known: no history has validations of these seeds up to their end, so that a solved one "
    "solved the task some time before its last step, and there is no curve and no median."
)
ENDS = (
    "The last columns name seeds, by their validation history alone: improving when the budget "
    "ended, on a plateau, collapsed from a better validation; a column is left out where it is "
    "empty."
)


def convergence(content: Content) -> str:
    """When tasks were solved, and what the ends of the learning curves say."""
    times = {
        (r["model"], r["task"], r["variant"], r["seqlen_tokens"]): r for r in content.convergence
    }
    rows = [
        r
        for task in content.tasks
        for r in content.rows(task)
        if r["final"] or (r["selected"] and _key(r) in times)
    ]
    body = []
    for row in rows[:MOST_ROWS]:
        seeds = defaultdict(list)
        for verdict in content.verdicts_of(row):
            seeds[verdict["verdict"]].append(str(verdict["seed"]))
        label = f"{row['model']} {row['variant']}".strip()
        ends = [", ".join(seeds[rule]) or "-" for rule in CELL_RULES]
        found = times.get(_key(row)) if row["selected"] else None
        solving = _solving(found, row, [c for c in content.cells if _key(c) == _key(row)])
        body.append([label, row["task"], str(row["seqlen_tokens"]), *solving, *ends])
    header = ["model", "task", "length", "solved", "at", "censored", "median", "interval"]
    rules = [rule.lower() for rule in CELL_RULES]
    header, body = without_empty([*header, "mean", *rules], body, rules)
    more_said = [UNTIMED] if any(NOT_KNOWN in row for row in body) else []
    more_said += [ENDS] if set(rules) & set(header) else []
    shown = blocks(text(*NOTE, *more_said), table(header, body, left=2), more(rows)) if body else ""
    return blocks(
        shown or "No cell has finished.",
        *(figure(content, n) for n in ("curves", "survival", "steps")),
    )


def _solving(row: dict | None, summary: dict, cells: list[dict]) -> list[str]:
    """Solved, at, censored, median, its interval and the mean up to the horizon.

    cells: those of the row of `summary`.
    """
    if row is None:
        if not (summary["selected"] and summary["successes"]):
            return ["-"] * 6
        asked = summary["asked"] - summary["skipped"]
        return [f"{summary['successes']}/{asked}", NOT_KNOWN, *["-"] * 4]
    ends, mark = row["times_steps"], marks.of_cells(cells)
    reached = {c["solved_step_steps"] for c in cells}
    absent = summary["asked"] - summary["skipped"] - row["seeds"]
    solved = [f"{'' if t in reached else 'by '}{count(t)}" for t in ends if t > 0]
    last = max(map(abs, ends))
    if not solved:
        median = f"not within {followed(row)} steps (0/{row['seeds']})"
    elif row["median_steps"] is None:
        median = f"> {count(last)}"
    else:
        median = count(row["median_steps"])
    return [
        f"{row['solved']}/{row['seeds']}{mark}" + (f", {absent} absent" if absent > 0 else ""),
        ", ".join(solved[:3]) + (f" and {len(solved) - 3} more" if solved[3:] else "") or "-",
        ", ".join(_censored(ends)) or "-",
        median + mark,
        _interval(row) if solved else "-",
        f"{count(row['restricted_mean_steps'])}{mark} (cut at {count(row['horizon_steps'])})",
    ]


def _censored(ends: list[int]) -> list[str]:
    """`2 at 2,000`: how many seeds were last seen unsolved where."""
    found: dict[int, int] = defaultdict(int)
    for step in ends:
        if step < 0:
            found[-step] += 1
    shown = [f"{n} at {count(step)}" for step, n in sorted(found.items())]
    return shown if len(shown) <= 2 else [*shown[:1], f"{sum(found.values())} in all"]


def _interval(row: dict) -> str:
    if not row["coverage"]:
        return row["interval"]
    low, high = ("open" if row[end] is None else count(row[end]) for end in ("low", "high"))
    return f"[{low}, {high}] {100 * row['coverage']:.4g}%"


def _key(row: dict) -> tuple:
    return row["model"], row["task"], row["variant"], row["seqlen_tokens"]
