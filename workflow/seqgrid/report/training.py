"""The sections of a report on length, learning curves and peaks against final values."""

from collections import defaultdict

from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, item, number, table, text
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, figure, marked, more

CELL_RULES = ("IMPROVING", "PLATEAU", "COLLAPSED")


def length(content: Content) -> str:
    """Medians against training length, and beyond it, with the levels that move along."""
    found = [
        text(
            "Medians over final seeds, with the levels at the same lengths: where a value goes "
            "along with a level, it is the level that moves, and no change of the model follows."
        )
    ]
    for task in content.tasks:
        found.append(_by_length(content, task))
        found.append(_beyond(content, task))
    return blocks(*found, figure(content, "length"), figure(content, "beyond"))


def _by_length(content: Content, task: str) -> str:
    rows = [r for r in content.rows(task) if r["selected"]]
    lengths = content.lengths(task)[:MOST_COLUMNS]
    if len(lengths) < 2 or not rows:
        return ""
    medians = {(r["model"], r["seqlen_tokens"]): marked(r) for r in rows}
    body = _level_rows(content, rows, lengths)
    body += [[m, *(medians.get((m, at), "") for at in lengths)] for m in content.models]
    title = f"**{task}**: {rows[0]['metric']} by training length (tokens), evaluated there"
    return blocks(title, table(["", *map(str, lengths)], body))


def _beyond(content: Content, task: str) -> str:
    elsewhere = [r for r in content.rows(task, beyond=True) if r["selected"]]
    if not elsewhere:
        return ""
    rows = [r for r in content.rows(task) if r["selected"]] + elsewhere
    lengths = sorted({r["evaluated_seqlen_tokens"] for r in rows})[:MOST_COLUMNS]
    medians = defaultdict(dict)
    for row in rows:
        medians[row["model"], row["seqlen_tokens"]][row["evaluated_seqlen_tokens"]] = marked(row)
    body = _level_rows(content, rows, lengths)
    body += [
        [f"{model}, trained at {seqlen}", *(values.get(at, "") for at in lengths)]
        for (model, seqlen), values in medians.items()
        if len(values) > 1
    ]
    title = f"**{task}**: {rows[0]['metric']} by evaluated length (tokens)"
    return blocks(title, table(["", *map(str, lengths)], body[:MOST_ROWS]), more(body))


def _level_rows(content: Content, rows: list[dict], lengths: list[int]) -> list[list[str]]:
    named: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        for level in content.levels_at(row):
            at = row["evaluated_seqlen_tokens"]
            named[f"({level['level']})"][at] = number(level["value"])
    return [[name, *(values.get(at, "") for at in lengths)] for name, values in named.items()]


def curves(content: Content) -> str:
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
    return blocks(shown or "No cell has finished.", figure(content, "curves"))


def peaks(content: Content) -> str:
    """Weights best on validation against the last weights, on the test split."""
    last = {_place(r): r for r in content.summary if r["weights"] == "last" and r["primary"]}
    body = []
    rows = [r for task in content.tasks for r in content.rows(task) if _place(r) in last]
    for row in rows[:MOST_ROWS]:
        label = f"{row['model']} {row['variant']}".strip()
        medians = [marked(row), marked(last[_place(row)])]
        body.append([label, row["task"], str(row["seqlen_tokens"]), *medians])
    collapsed = [
        item(
            f"**COLLAPSED** {v['model']} on {v['task']} at {v['seqlen_tokens']}, {v['statement']}."
        )
        for v in content.verdicts
        if v["verdict"] == "COLLAPSED"
    ]
    note = text(
        "Test split, medians over final seeds. The best weights are chosen on validation; where "
        "best and last differ, the choice matters and both are a result."
    )
    shown = blocks(note, table(["model", "task", "length", "best", "last"], body, left=2))
    return blocks(
        shown if body else "No cell is evaluated with both.",
        more(rows) if body else "",
        "\n".join(collapsed[:MOST_ROWS]) or "No seed has collapsed.",
        figure(content, "peaks"),
    )


def _place(row: dict) -> tuple:
    names = ("model", "task", "variant", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set",
             "slice")  # fmt: skip
    return tuple(row[name] for name in names)
