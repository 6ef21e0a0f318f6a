"""Pairs of runs whose variant was selected on other seeds than their own.

The best of many variants on some seeds is too good on these, the more so the more its variants
spread, so that of two equal models the one with more spread looks better. Here each half of the
seeds has the variant that the other half selects.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isnan

from seqgrid.analysis import stats
from seqgrid.analysis.groups import short
from seqgrid.analysis.paired import Judged, Paired
from seqgrid.analysis.pairs import Pairs
from seqgrid.analysis.pairs import pairs as paired_seeds
from seqgrid.analysis.sides import Member, Side

ENDED = "finished"


def pairs(a: Side, b: Side, better: str) -> Pairs | None:
    """The pairs of both sides so selected; None where neither has selected among variants."""
    if not any(member.rows for side in (a, b) for member in side.members):
        return None
    found = [replace(side, members=tuple(map(_crossed, side.members))) for side in (a, b)]
    return paired_seeds(*found, better)


def held_back(crossed: Paired, found: Paired, judged: Judged) -> list[str]:
    """Why a difference is not claimed: it is not there on seeds that did not select."""
    if judged.outcome not in ("A BETTER", "B BETTER"):
        return []
    level = (1 - judged.coverage) * (1 + 1e-9)
    if crossed.p_value <= level and crossed.favours == found.favours:
        return []
    return [
        "variants were selected on these seeds, and on each half of the seeds with what the other "
        f"half selects the difference is not shown (p {short(crossed.p_value)})"
    ]


def _crossed(member: Member) -> Member:
    """The model with the values of each half of its seeds from the variant the other selects."""
    seeds = sorted({cell["seed"] for cell in member.rivals})
    cells, values = [], []
    for half, other in ((seeds[::2], seeds[1::2]), (seeds[1::2], seeds[::2])):
        chosen = _selected(member, other)
        cells += [c for c in member.rivals if (c["variant"] or "") == chosen and c["seed"] in half]
        if row := member.rows.get(chosen):
            each = zip(row["seeds"], row["values"], row["finals"], strict=True)
            values += [one for one in each if one[0] in half]
    if not member.rows or member.row is None:
        return member
    columns = zip(*values, strict=True) if values else ((), (), ())
    row = member.row | dict(zip(("seeds", "values", "finals"), columns, strict=True))
    return replace(member, cells=cells, row=row)


def _selected(member: Member, seeds: Sequence[int]) -> str:
    """The variant with the best median over these seeds of the best validation, as in `summary`."""
    found: dict[str, list[float]] = {}
    for cell in member.rivals:
        values = found.setdefault(cell["variant"] or "", [])
        if cell["seed"] in seeds and cell["outcome"] != "skipped":
            value = cell["best_validation_metric"] if cell["outcome"] == ENDED else None
            values.append(float("nan") if value is None else value)
    sign = 1 if member.selects == "higher" else -1

    def rank(variant: str) -> float:
        values = found[variant]
        value = stats.median(values, member.selects) if values else float("nan")
        return -inf if isnan(value) else sign * value

    return max(found, key=rank)
