"""What a study run elsewhere reports without saying which seeds are behind it."""

import json
from collections import defaultdict
from collections.abc import Iterator

from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, free, number, table, text
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, more

NOTE = text(
    "These values stand in the study's own report; the runs behind them are not known one by one. "
    "They enter no median and no interval over seeds. The standard error is over test examples and "
    "says nothing about other seeds. Verdicts hold them against the levels, and nothing else. "
    f"{marks.CHECKPOINT} here: of at least one run behind the value no test is known, only a "
    "checkpoint or its validation."
)
PLACE = ("model", "task", "variant", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set")
# A place may have several values; the evidence of a verdict says which it is about.
VALUE = ("metric", "statistic", "source")


def means(content: Content) -> str:
    """A table for each task and metric; empty where nothing is reported so."""
    if not content.reported:
        return ""
    rank = {model: i for i, model in enumerate(content.models)}
    found: dict[tuple[str, str, str], list[dict]] = defaultdict(list)
    for row in content.reported:
        found[row["task"], row["test_set"] or "", row["metric"]].append(row)
    shown = []
    for (task, test_set, metric), rows in found.items():
        rows.sort(key=lambda r: (r["seqlen_tokens"], rank[r["model"]]))
        where = f", test set {test_set}" if test_set else ""
        shown.append(f"**{task}{where}: {metric}, as reported**")
        shown += [_levels(content, rows), _table(content, rows)]
    return blocks("### Reported without seeds", NOTE, *shown)


def _levels(content: Content, rows: list[dict]) -> str:
    """The levels at each evaluated length."""
    lengths = sorted({row["evaluated_seqlen_tokens"] for row in rows})[:MOST_COLUMNS]
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        for level in content.levels_at(row):
            found[level["level"]][row["evaluated_seqlen_tokens"]] = number(level["value"])
    body = [[f"({n})", *(at.get(length, "") for length in lengths)] for n, at in found.items()]
    return table(["level at", *map(str, lengths)], body) if body else ""


def _table(content: Content, rows: list[dict]) -> str:
    verdicts: dict[tuple, list[str]] = defaultdict(list)
    for value, verdict in judged(content):
        verdicts[value].append(verdict["label"])
    body = []
    for row in rows[:MOST_ROWS]:
        mark = marks.of(True, origin=row["origin"])
        error = "" if row["standard_error"] is None else f" ± {number(row['standard_error'])}"
        body.append(
            [
                f"{row['model']} {row['variant'] or ''}".strip(),
                str(row["seqlen_tokens"]),
                str(row["evaluated_seqlen_tokens"]),
                f"{number(row['value'])}{mark}{error}",
                number(row["model_ceiling"]),
                f"{_known(row['seeds'])} of {_known(row['asked'])}",
                row["statistic"] or "-",
                ", ".join(dict.fromkeys(verdicts[value_of(row)])) or "-",
                free(row["source"] or "-"),
            ]
        )
    header = ["model", "trained at", "evaluated at", "value", "its ceiling", "runs"]
    header += ["statistic", "verdict", "source"]
    return blocks(table(header, body, words=3), more(rows, "reported.parquet"))


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def judged(content: Content) -> Iterator[tuple[tuple, dict]]:
    """The verdicts on reported values, each with the value it is about."""
    for verdict in content.verdicts:
        if verdict["scope"] == "reported":
            yield value_of(verdict | json.loads(verdict["evidence"])), verdict


def value_of(row: dict) -> tuple:
    """What tells a reported value from all others: its place, then what it is of."""
    return tuple(row[name] or "" for name in (*PLACE, *VALUE))
