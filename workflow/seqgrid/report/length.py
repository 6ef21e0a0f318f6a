"""The section of a report on length: medians with the levels that move along."""

from collections import defaultdict

from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, number, table, text
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, figure, marked, more


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
