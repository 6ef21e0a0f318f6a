"""The section of a report on seeds: every one of them, never a bare mean."""

from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, number, table
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, more


def seeds(content: Content) -> str:
    """Every seed's value, task by task."""
    found = []
    for task in content.tasks:
        if shown := _seeds_table(content.rows(task)):
            found.append(blocks(f"**{task}**", shown))
    return blocks(*found) or "No cell is evaluated."


def _seeds_table(rows: list[dict]) -> str:
    """Every seed's value, in the same columns for all models."""
    rows = [r for r in rows if any(v is not None for v in r["values"])]
    if not rows:
        return ""
    swept = any(r["variant"] for r in rows)
    seeds = sorted({s for r in rows for s in r["seeds"]})
    body = []
    for row in rows[:MOST_ROWS]:
        values = dict(zip(row["seeds"], _seed_values(row), strict=True))
        body.append(
            [
                row["model"],
                *([row["variant"]] if swept else []),
                str(row["seqlen_tokens"]),
                marks.added(number(row["minimum"]), marks.behind([row])),
                marks.added(number(row["maximum"]), marks.behind([row])),
                *(values.get(s, "") for s in seeds[:MOST_COLUMNS]),
            ]
        )
    header = ["model", *(["variant"] if swept else []), "length", "min", "max"]
    header += [f"seed {s}" for s in seeds[:MOST_COLUMNS]]
    hidden = seeds[MOST_COLUMNS:]
    note = f"{len(hidden)} more seeds stand in `summary.parquet`." if hidden else ""
    return blocks(table(header, body, left=2 if swept else 1), note, more(rows))


def _seed_values(row: dict) -> list[str]:
    """Each seed's value with its marks, an error rate with its counts; else the outcome."""
    found = []
    columns = ("values", "outcomes", "scored", "correct")
    for mark, value, outcome, scored, correct in zip(
        marks.of_seeds(row), *(row[c] for c in columns), strict=True
    ):
        if value is None:
            found.append(outcome)
            continue
        counts = ""
        if row["metric"] == "error_rate" and correct is not None:
            counts = f" ({scored - correct:,} of {scored:,})"
        found.append(f"{number(value)}{mark}{counts}")
    return found
