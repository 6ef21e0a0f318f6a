"""The part of a report on swept settings: what was tried, what was chosen, what it mattered."""

from collections import defaultdict
from math import isnan

from seqgrid.analysis import selection
from seqgrid.analysis.groups import short
from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, table, text
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, figure

FIRST = "learning_rate"  # the setting in the columns, where it is among several
MOST_SEEDS = 8  # beside each other; of more the range


def sensitivity(content: Content) -> str:
    """Per task: the metric of every seed over the grid of each model and length."""
    found = []
    for task in content.tasks:
        by_key: dict[str, list[dict]] = defaultdict(list)
        rows = content.rows(task)
        keys = main_keys(rows)
        for row in rows:
            if key := keys.get((row["model"], row["seqlen_tokens"])):
                by_key[key].append(row)
        found += [_table(content, task, key, rows) for key, rows in by_key.items()]
    if not found:
        unknown = any(v["verdict"] == "LR UNKNOWN" for v in content.verdicts)
        return (
            "No table names more than one value of a setting; which learning rates were tried is "
            "not known of every model."
            if unknown
            else "Nothing is swept: every model was trained at one learning rate."
        )
    note = text(
        "The test metric of every seed at each value that was tried. A star marks the value with "
        "the best median validation over seeds, which all other sections go by; the test split has "
        "no say. A star at the edge of a grid leaves open whether a better "
        "value lies beyond; a row without differences shows that the value did not matter."
    )
    return blocks(note, *found, figure(content, "sensitivity"))


def main_keys(rows: list[dict]) -> dict[tuple[str, int], str]:
    """Model and length -> the setting whose values stand in columns, where any varies.

    rows: of one task, with all variants.
    """
    variants: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in rows:
        variants[row["model"], row["seqlen_tokens"]].append(row["variant"])
    found = {place: selection.tried(names) for place, names in variants.items()}
    return {place: FIRST if FIRST in k else next(iter(k)) for place, k in found.items() if k}


def _table(content: Content, task: str, key: str, rows: list[dict]) -> str:
    values = selection.tried([r["variant"] for r in rows])[key][:MOST_COLUMNS]
    lines: dict[tuple[str, int, str], dict[str, dict]] = defaultdict(dict)
    for row in rows:
        chosen = selection.settings(row["variant"])
        value = chosen.pop(key)
        others = ", ".join(f"{k}={v}" for k, v in chosen.items())
        lines[row["model"], row["seqlen_tokens"], others][value] = row
    others = any(rest for _, _, rest in lines)
    body = []
    for (model, seqlen, rest), at in list(lines.items())[:MOST_ROWS]:
        label = [model, rest] if others else [model]
        cells = [_cell(at[v]) if v in at else "" for v in values]
        body.append([*label, str(seqlen), *cells, _note(content, at)])
    header = ["model", *(["and"] if others else []), "length", *values, "chosen"]
    title = f"**{task}**: {rows[0]['metric']} by {key}"
    left = f"{len(lines) - MOST_ROWS} more rows stand in `summary.parquet`."
    return blocks(
        title,
        table(header, body, left=2 if others else 1, words=1),
        left if len(lines) > MOST_ROWS else "",
    )


def _cell(row: dict) -> str:
    """Every seed's value, starred where the variant is the selected one."""
    star = "* " if row["selected"] else ""
    values = list(zip(row["values"], row["finals"], strict=True))
    if len(values) > MOST_SEEDS:
        known = [value for value, _ in values if value is not None]
        numbers = sorted(value for value in known if not isnan(value))
        ends = " to ".join(dict.fromkeys(map(short, (*numbers[:1], *numbers[-1:])))) or "-"
        none = f", {len(known) - len(numbers)} of them nan" if len(numbers) < len(known) else ""
        mark = "".join(m for m in marks.MEANINGS if any(m in own for own in marks.of_seeds(row)))
        return f"{star}{ends}{mark} ({len(known)} seeds{none})"
    every = zip(values, marks.of_seeds(row), strict=True)
    shown = ["-" if v is None else short(v) + mark for (v, _), mark in every]
    return f"{star}{' '.join(shown)}"


def _note(content: Content, at: dict[str, dict]) -> str:
    """What was chosen on a line of the table, and what weakens the choice."""
    chosen = next((row for row in at.values() if row["selected"]), None)
    if chosen is None:
        return selection.NO_SELECTION
    words = [chosen["variant"]]
    for verdict in content.verdicts_of(chosen):
        if verdict["verdict"] == "AT GRID EDGE":
            words.append("at the edge of its grid")
        if verdict["verdict"] == "PRELIMINARY SELECTION":
            words.append(f"preliminary: {verdict['statement']}")
    return "; ".join(words)
