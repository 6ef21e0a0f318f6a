"""The metrics there are, and which values are better; without numpy, as studies read it."""

from math import inf
from typing import Literal

BETTER: dict[str, Literal["higher", "lower"]] = {
    "accuracy": "higher",
    "sequence_accuracy": "higher",
    "error_rate": "lower",
    "loss": "lower",
    "r2": "higher",
    "mse": "lower",
}
# What a comparison may be of besides a metric: when a task is solved, and whether it is.
STEPS, SOLVED = "steps", "solved"
SOLVING = (STEPS, SOLVED)
# Those that lie between 0 and 1.
UNIT = ("accuracy", "sequence_accuracy", "error_rate", SOLVED)
# What values a metric can have, where that is known.
BOUNDS = {
    **dict.fromkeys(UNIT, (0.0, 1.0)),
    "r2": (-inf, 1.0),
    "mse": (0.0, inf),
}


def impossible(metric: str | None, value: float | None, difference: bool = False) -> str | None:
    """What is wrong with a value of a metric, or with a difference of two; None: it can be."""
    if metric not in BOUNDS or value is None or value != value:
        return None
    low, high = BOUNDS[metric]
    if difference:
        low, high = low - high, high - low
    if low <= value <= high:
        return None
    what = f"a difference in {metric}" if difference else metric
    if metric in UNIT:
        span = "from -1 to 1" if difference else "a share from 0 to 1"
        return f"{what} is {span}, got {value:g}"
    least = f"at least {low:g}" if value < low else f"at most {high:g}"
    return f"{what} is {least}, got {value:g}"
