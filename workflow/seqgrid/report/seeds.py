"""The section of a report on seeds: every one of them, never a bare mean."""

from math import isfinite

from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, number, span, table, text, without_empty
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, more

NOTE = text(
    "± is the farther end of a value's 95 % interval over test examples, and says nothing of other "
    "seeds; of a value without it none is known. Verdicts on levels widen these intervals, so that "
    "those of all seeds of a row hold at once."
)
EXAMPLES = "test examples"
NAMES = ("model", "variant", "task", "seqlen_tokens", "metric")


def seeds(content: Content) -> str:
    """Every seed's value with its interval over test examples, task by task."""
    found, tested = [], _tested(content)
    for task in content.tasks:
        if shown := _seeds_table(content.rows(task), tested):
            found.append(blocks(f"**{task}**", shown))
    return blocks(NOTE, *found) if found else "No cell is evaluated."


def _tested(content: Content) -> dict[tuple, dict]:
    """The rows of `evaluations` that are tested as trained, by group, metric and seed."""
    return {
        (*(row[name] for name in NAMES), row["seed"]): row
        for row in content.evaluations
        if row["weights"] == "best"
        and not (row["test_set"] or row["slice"])
        and row["evaluated_seqlen_tokens"] == row["seqlen_tokens"]
    }


def _seeds_table(rows: list[dict], tested: dict[tuple, dict]) -> str:
    """Every seed's value, in the same columns for all models."""
    rows = [r for r in rows if any(v is not None for v in r["values"])]
    if not rows:
        return ""
    swept = any(r["variant"] for r in rows)
    seeds = sorted({s for r in rows for s in r["seeds"]})
    body = []
    for row in rows[:MOST_ROWS]:
        who = tuple(row[name] for name in NAMES)
        of = [tested.get((*who, seed), {}) for seed in row["seeds"]]
        values = dict(zip(row["seeds"], _seed_values(row, of), strict=True))
        body.append(
            [
                row["model"],
                *([row["variant"]] if swept else []),
                str(row["seqlen_tokens"]),
                marks.added(number(row["minimum"]), marks.behind([row])),
                marks.added(number(row["maximum"]), marks.behind([row])),
                span([one.get("examples") for one in of]),
                *(values.get(s, "") for s in seeds[:MOST_COLUMNS]),
            ]
        )
    header = ["model", *(["variant"] if swept else []), "length", "min", "max", EXAMPLES]
    header += [f"seed {s}" for s in seeds[:MOST_COLUMNS]]
    hidden = seeds[MOST_COLUMNS:]
    note = f"{len(hidden)} more seeds stand in `summary.parquet`." if hidden else ""
    header, body = without_empty(header, body, (EXAMPLES,))
    return blocks(table(header, body, left=2 if swept else 1), note, more(rows))


def _seed_values(row: dict, tested: list[dict]) -> list[str]:
    """Each seed's value with marks and interval, an error rate with its counts; or the outcome."""
    found = []
    columns = ("values", "outcomes", "scored", "correct")
    for mark, one, value, outcome, scored, correct in zip(
        marks.of_seeds(row), tested, *(row[c] for c in columns), strict=True
    ):
        if value is None:
            found.append(outcome)
            continue
        counts = ""
        if row["metric"] == "error_rate" and correct is not None:
            counts = f" ({scored - correct:,} of {scored:,})"
        found.append(f"{number(value)}{mark}{_half(value, one)}{counts}")
    return found


def _half(value: float, tested: dict) -> str:
    """The farther end of the interval over test examples; '' where none is known."""
    low, high = tested.get("low"), tested.get("high")
    if low is None or high is None or not isfinite(value + low + high):
        return ""
    return f" ± {max(value - low, high - value, 0.0):.2g}"
