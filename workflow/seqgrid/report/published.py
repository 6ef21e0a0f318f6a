"""The section of a report on published numbers."""

from seqgrid.analysis.published import RULE
from seqgrid.report.content import Content
from seqgrid.report.markdown import DAGGER, blocks, item, number, table, text


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
            number(row["ours"]) + (DAGGER if row["final"] < row["asked"] else ""),
            f"{row['final']}/{row['asked']}",
            _ends(row["low"], row["high"]).strip() or "-",
            row["outcome"],
        ]
        for place, row in enumerate(rows, 1)
    ]
    header = ["", "model", "where", "metric", "published", "runs", "ours", "n", "range", "outcome"]
    return blocks(
        text(RULE, "Ours is the median over final values."),
        table(header, body, left=4, words=1),
        "\n".join(_details(place, row) for place, row in enumerate(rows, 1)),
    )


def _details(place: int, row: dict) -> str:
    """Where a number comes from, and what became of each setting."""
    listed = [
        f"{name}: {'; '.join(row[column])}."
        for name, column in (
            ("The same", "same"),
            ("Different", "different"),
            ("Cannot be held together", "unknown"),
        )
        if row[column]
    ]
    return item(f"**{place}**, {row['source']}: {row['statement']}.", *listed)


def _where(row: dict) -> str:
    at, trained = row["evaluated_seqlen_tokens"], row["seqlen_tokens"]
    beyond = "" if at == trained else f", tested at {at}"
    other = f", {row['test_set']}" if row["test_set"] else ""
    return f"{row['task']} {trained}{beyond}{other}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None and high is None else f" [{number(low)}, {number(high)}]"
