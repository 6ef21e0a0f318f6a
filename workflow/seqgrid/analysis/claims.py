"""The table `claims`: which of the study's claims hold.

A claim is supported or refuted only by what a rule has said; everything else, a difference that is
not shown included, is not testable yet. What contradicts a claim refutes it: the other side being
better, equivalence, another verdict of all ended seeds, or an interval beyond what was expected.
"""

import json

import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis.evidence import Evidence
from seqgrid.analysis.groups import short
from seqgrid.analysis.observed import OPEN, REFUTED, SUPPORTED, Number, Observed, together
from seqgrid.analysis.summary import meta
from seqgrid.statements import Claim


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `claims` of a study from comparisons, scaling, verdicts, summary and cells."""
    about = meta(read["cells"])
    declared = (about.get("config") or {}).get("claims") or []
    limits = thresholds.of(about)
    evidence = Evidence(read, built, limits)
    rows = [
        _row(number, Claim.model_validate(_alias(entry)), evidence, limits.confidence)
        for number, entry in enumerate(declared, 1)
    ]
    return tables.from_rows("claims", rows, {"seqgrid.study": json.dumps(about)})


def inside(number: Number, low: float, high: float, confidence: float) -> tuple[str, str]:
    """Whether a value with its interval lies in an expected range; and why.

    The whole interval must lie inside, or outside; an interval short of the confidence says
    nothing. A single expected number is a range without width, which only its own value is inside.
    """
    if number.low is None or number.high is None or number.coverage is None:
        return "cannot be told", "there is no interval"
    ends = f"the interval {short(number.low)} to {short(number.high)}"
    if number.coverage < confidence:
        words = f"{ends} holds the value with {number.coverage:.1%} only: too few seeds"
        return "cannot be told", words
    if low <= number.low and number.high <= high:
        return "inside", f"{ends} lies inside what was expected"
    if number.high < low or number.low > high:
        return "outside", f"{ends} lies outside what was expected"
    return "cannot be told", f"{ends} holds values inside and outside of what was expected"


def _row(number: int, claim: Claim, evidence: Evidence, confidence: float) -> dict:
    """One row of `claims`."""
    seen = evidence.of(claim)
    low, high = _range(claim)
    found, why = _found(seen, low, high, confidence)
    statuses = [seen.status] if claim.verdict is not None else []
    if found is not None:
        statuses.append({"inside": SUPPORTED, "outside": REFUTED}.get(found, OPEN))
    status = together(statuses)
    stale = seen.stale and status != OPEN
    since = "sources of its values have changed since" if stale else ""
    one = seen.numbers[0] if len(seen.numbers) == 1 else Number(None, None, None, None)
    return {
        "number": number,
        "statement": claim.statement,
        "about": _where(claim),
        "needed": _needed(claim, low, high),
        "observed": seen.words,
        "expected_low": low,
        "expected_high": high,
        "value": one.value,
        "value_low": one.low,
        "value_high": one.high,
        "coverage": one.coverage,
        "found": found,
        "status": status,
        "stale": stale,
        "reason": "; ".join(filter(None, (seen.reason, why, since))),
        "missing": list(dict.fromkeys(seen.missing)),
        "why": claim.why,
    }


def _found(
    seen: Observed, low: float | None, high: float | None, confidence: float
) -> tuple[str | None, str]:
    """What became of an expected number: of all its places together."""
    if low is None or high is None:
        return None, ""
    if seen.barred:
        return "cannot be told", "" if seen.barred in seen.reason else seen.barred
    if not seen.numbers:
        return "cannot be told", "there is no value"
    each = [inside(n, low, high, confidence) for n in seen.numbers]
    words = [found for found, _ in each]
    for found in ("outside", "cannot be told", "inside"):
        if found in words:
            return found, each[words.index(found)][1]
    return "cannot be told", ""


def _range(claim: Claim) -> tuple[float | None, float | None]:
    expected = claim.expected
    if isinstance(expected, list):
        return expected[0], expected[1]
    return expected, expected


def _needed(claim: Claim, low: float | None, high: float | None) -> str:
    parts = [claim.verdict] if claim.verdict else []
    if low is not None and high is not None:
        what = {"compare": "difference", "place": "median", "scaling": "slope a doubling"}
        kind = next(key for key in what if getattr(claim, key) is not None)
        number = short(low) if low == high else f"{short(low)} to {short(high)}"
        parts.append(f"{what[kind]} {number}")
    return ", ".join(parts)


def _where(claim: Claim) -> str:
    if claim.compare is not None:
        return f"comparison {claim.compare}"
    entry = claim.place or claim.scaling
    assert entry is not None
    words = f"{entry.model} on {entry.task}"
    if claim.place is None:
        return f"{words} over lengths"
    place = claim.place
    words += f" at {place.seqlen} tokens" if place.seqlen else " at every length"
    words += f", tested at {place.evaluated}" if place.evaluated else ""
    return words + (f", {place.test_set}" if place.test_set else "")


def _alias(entry: dict) -> dict:
    """An entry as a study's file has it, from one as a study dumps it."""
    words = {key: value for key, value in entry.items() if key != "verdict"}
    return words if entry.get("verdict") is None else words | {"is": entry["verdict"]}
