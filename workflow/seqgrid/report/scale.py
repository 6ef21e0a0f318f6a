"""The absolute scale of maps and trade-offs: 0 at chance, 1 at the ceiling of the task."""

import math

from seqgrid.report import panels
from seqgrid.report.content import Content


def share(content: Content, row: dict, value: float | None) -> float | None:
    """A value as the share of the way from chance to the ceiling of the task.

    The same for every model, whatever it can see: a share is never of a model's own ceiling.
    Negative below chance, NaN for a NaN; None without a value, without both levels, and where a
    rule found the task UNLEARNABLE AS SCORED.

    row: of `summary`.
    """
    kinds = {v["kind"]: v["value"] for v in panels.levels_of(content, row)}
    chance, ceiling = kinds.get("chance"), kinds.get("ceiling")
    if value is None or chance is None or ceiling is None or unlearnable(content, row):
        return None
    if chance == ceiling:
        return None
    return math.nan if math.isnan(value) else (value - chance) / (ceiling - chance)


def unlearnable(content: Content, row: dict) -> bool:
    """Whether a rule found that even a perfect model scores chance here."""
    return any(v["verdict"] == "UNLEARNABLE AS SCORED" for v in content.verdicts_of(row))


def scaled_levels(content: Content, row: dict) -> list[dict]:
    """The levels of a row as shares."""
    levels = panels.levels_of(content, row)
    return [v | {"value": share(content, row, v["value"])} for v in levels]
