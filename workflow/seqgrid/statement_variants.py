"""Variants as a study's comparisons spell them: equal numbers are one, however they are written."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from seqgrid.statement_places import Spot
from seqgrid.statements import Side
from seqgrid.study_schema import SWEPT

GROUPS = ("model", *SWEPT)


def respell(study: Any, spots: Iterable[Spot]) -> bool:
    """Write variants in `study.compare` as the grid writes them; whether any was changed.

    What names no variant, or could name two, is left as it is.
    """
    spots, changed = list(spots), False
    for name, entry in study.compare.items():
        sides = {which: _as_run(getattr(entry, which), study.groups, spots) for which in "ab"}
        if any(sides[which] != getattr(entry, which) for which in sides):
            study.compare[name], changed = entry.model_copy(update=sides), True
    return changed


def _as_run(side: Side, groups: dict[str, list[str]], spots: list[Spot]) -> Side:
    models = [side.model] if side.model else groups.get(side.group or "", [])
    known = {spot.variant for spot in spots if spot.model in models}
    if side.variant is None or side.variant in known:
        return side
    same = [words for words in known if _values(words) == _values(side.variant)]
    return side.model_copy(update={"variant": same[0]}) if len(same) == 1 else side


def _values(words: str) -> list[tuple[str, str]]:
    """Keys without their group, and values: numbers alike however they are written."""
    found = []
    for part in words.split(","):
        key, sign, value = (piece.strip() for piece in part.partition("="))
        group, _, setting = key.partition(".")
        with suppress(ValueError):  # no number: as it is written
            value = repr(float(value))
        found.append((setting if sign and group in GROUPS else key, value))
    return sorted(found)
