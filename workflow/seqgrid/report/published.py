"""The section of a report on published numbers."""

from collections import defaultdict

from seqgrid.analysis.published import RULE
from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, free, interval, item, number, table, text

SETTINGS = {"same": "The same", "different": "Different", "unknown": "Cannot be told"}


def published(content: Content) -> str:
    """Every number from elsewhere beside ours, and which settings are known to differ."""
    rows = content.published
    if not rows:
        return "The study names no published number."
    body = [
        [
            str(place),
            row["model"],
            _where(row),
            row["metric"] or "-",
            f"{number(row['published'])}{_ends(row['published_low'], row['published_high'])}",
            "?" if row["published_seeds"] is None else str(row["published_seeds"]),
            _ours(content, row),
            f"{row['final']}/{row['asked']}",
            _ends(row["low"], row["high"]).strip() or "-",
            row["outcome"],
        ]
        for place, row in enumerate(rows, 1)
    ]
    header = ["", "model", "where", "metric", "published", "runs", "ours", "n", "range", "outcome"]
    return blocks(
        text(RULE, "Ours is the median over final values, the range that of a mean."),
        table(header, body, left=4, words=1),
        _details(rows),
    )


def _details(rows: list[dict]) -> str:
    """Where each number comes from, what is said of it, and what became of each setting."""
    alike: dict[tuple, list[tuple[int, dict]]] = defaultdict(list)
    for place, row in enumerate(rows, 1):
        alike[row["source"], *(tuple(row[column]) for column in SETTINGS)].append((place, row))
    return "\n".join(_detail(found) for found in alike.values())


def _detail(found: list[tuple[int, dict]]) -> str:
    """Numbers of one source that were made alike."""
    first = found[0][1]
    said: dict[str, list[str]] = defaultdict(list)
    for place, row in found:
        said[row["statement"]].append(str(place))
    single = len(said) == 1
    words = [f"{'' if single else ', '.join(at) + ': '}{text_}" for text_, at in said.items()]
    # What the statements name already is not listed again.
    listed = [
        f"{name}: {'; '.join(first[c])}."
        for c, name in SETTINGS.items()
        if first[c] and not all(line in statement for line in first[c] for statement in said)
    ]
    places = ", ".join(str(place) for place, _ in found)
    return item(f"**{places}**, {free(first['source'])}. {'; '.join(words)}.", *listed)


def _ours(content: Content, row: dict) -> str:
    found = content.row_at(row)
    return marks.added(number(row["ours"]), marks.behind([found]) if found else "")


def _where(row: dict) -> str:
    at, trained = row["evaluated_seqlen_tokens"], row["seqlen_tokens"]
    beyond = "" if at == trained else f", tested at {at}"
    other = f", {row['test_set']}" if row["test_set"] else ""
    return f"{row['task']} {trained}{beyond}{other}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None and high is None else f" {interval(low, high)}"
