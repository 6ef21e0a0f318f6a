"""The section of a report on claims."""

from collections import Counter

from seqgrid.report.content import Content
from seqgrid.report.markdown import (
    STALE,
    blocks,
    code,
    free,
    interval,
    item,
    listing,
    number,
    plural,
    table,
    text,
)
from seqgrid.thresholds import of

EXAMPLE = (
    "claims:",
    "  - statement: the LSTM remembers less than the GRU",
    "    compare: lstm_or_gru",
    "    is: B BETTER",
    "  - statement: the GRU solves recall of four pairs",
    "    place: {model: gru, task: mqar, seqlen: 64}",
    "    is: SOLVED",
    "    expected: [0.95, 1.0]",
)
MOST_CELLS = 4  # missing ones that are named


def claims(content: Content) -> str:
    """The claims matrix, then what was expected in numbers against what was observed."""
    rows = content.claims
    if not rows:
        return blocks(
            "The study declares no claim. One is declared in the study's file, such as",
            code(*EXAMPLE),
        )
    counts = Counter(row["status"] for row in rows)
    said = ", ".join(
        f"{counts[status]} {status}" for status in ("supported", "refuted", "not testable yet")
    )
    header = ["#", "claim", "rests on", "needed", "observed", "status"]
    body = [
        [
            str(row["number"]),
            free(row["statement"]),
            row["about"],
            row["needed"],
            row["observed"] or "-",
            (row["status"] if row["status"] != "refuted" else "REFUTED")
            + (STALE if row["stale"] else ""),
        ]
        for row in rows
    ]
    return blocks(
        text(
            f"{plural(len(rows), 'claim')}: {said}.",
            "A claim is supported or refuted only by what a rule has",
            "said; a difference that is not shown does neither.",
            _uncorrected(rows, of(content.about).confidence),
        ),
        table(header, body, left=6),
        "\n".join(_because(row) for row in rows),
        _numbers([row for row in rows if row["found"] is not None]),
    )


def _uncorrected(rows: list[dict], confidence: float) -> str:
    """How many answers stand each for itself, so that their errors add up."""
    known = [row for row in rows if row["status"] != "not testable yet"]
    alone = [row for row in known if not row["about"].startswith("comparison ")]
    if not alone:
        return ""
    one = len(alone) == 1
    return (
        f"Declared comparisons are corrected together. Of the answers here {len(alone)} "
        f"{'rests' if one else 'rest'} on a place or a course, whose intervals hold with "
        f"{100 * confidence:g} % each: with many of them some will be wrong by chance."
    )


def _because(row: dict) -> str:
    missing = row["missing"] or []
    shown = listing(missing, MOST_CELLS)
    waits = f"Cells to come, {len(missing)}: {shown}." if missing else ""
    known = f"Reason given: {free(row['why'])}." if row["why"] else ""
    reason = f"{row['reason'].rstrip('.')}." if row["reason"] else ""
    return item(f"{row['number']}, {row['status']}:", reason, waits, known)


def _numbers(rows: list[dict]) -> str:
    """Expected against observed."""
    if not rows:
        return ""
    header = ["#", "claim", "expected", "observed", "interval", "verdict"]
    body = [
        [
            str(row["number"]),
            free(row["statement"]),
            _range(row["expected_low"], row["expected_high"]),
            number(row["value"]),
            _interval(row),
            row["found"].upper() if row["found"] == "outside" else row["found"],
        ]
        for row in rows
    ]
    return blocks(
        "Numbers that were expected. The whole interval must lie inside, or outside, of what was:",
        table(header, body, left=2, words=1),
    )


def _range(low: float, high: float) -> str:
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _interval(row: dict) -> str:
    covered = f" ({row['coverage']:.1%})" if row["coverage"] else ""
    ends = interval(row["value_low"], row["value_high"])
    return ends if ends == "-" else f"{ends}{covered}"
