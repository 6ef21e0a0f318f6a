"""Differences of two values, and values bounded for a mean."""

from math import isclose


def difference(a: float, b: float) -> float:
    """A - b; none where they are equal but for rounding, which a sign test would take for one."""
    return 0.0 if isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) else a - b


def bounded(value: float | None, chance: float | None, better: str) -> float | None:
    """A value for a mean: one worse than chance, or none, is chance where that is known."""
    if chance is None or value is None:
        return value if value is not None else chance
    return max(value, chance) if better == "higher" else min(value, chance)
