"""Intervals of values whose single examples nobody kept."""

from collections.abc import Iterator
from math import sqrt
from typing import Any

from seqgrid.metric_names import BETTER
from seqgrid.metrics import Z, wilson

SHARES = ("accuracy", "sequence_accuracy", "error_rate")
ROUNDED = 1e-9  # by how much a value may lie beyond an end that is meant to be the same number


def interval(metric: str, value: float, row: dict[str, Any], outputs: int) -> dict[str, Any]:
    """`low`, `high` and `interval`, 95 %; empty where nothing can be said.

    Given ends are taken as they are, a stated standard error as value +- 1.96 of it; neither where
    that has no width, which no number of examples could give a metric known here. A share of n
    examples has Wilson's interval (Wilson 1927), as if all outputs of an example were right or
    wrong together. R2 and MSE of n examples have that of a mean of squared normal errors, whose
    standard error is MSE x sqrt(2 / (n D)), D outputs an example.

    Args:
        metric: its name.
        value: in units of the metric.
        row: with `low`, `high`, `standard_error` and `examples`, or some of them.
        outputs: D.
    """
    low, high = row.get("low"), row.get("high")
    if low is not None and high is not None and (low < high or _counted(metric)):
        return {"low": low, "high": high, "interval": "as given"}
    error, n = stated(metric, row), row.get("examples")
    if value != value:
        return {}
    if error is not None:
        return _normal(metric, value, error, "normal, standard error as given")
    if not n:
        return {}
    if metric in SHARES:
        low, high = wilson(value, n)
        return {"low": low, "high": high, "interval": f"Wilson over {n} examples"}
    error = standard_error(metric, value, n, outputs)
    words = f"normal, errors of {n} examples x {outputs} outputs taken as normal"
    return _normal(metric, value, error, words) if error else {}


def out_of_order(value: float, row: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the interval or the standard error that a row states of its value."""
    low, high, error = (row.get(name) for name in ("low", "high", "standard_error"))
    given = low is not None and high is not None
    if given and (low > high or value < low - ROUNDED or value > high + ROUNDED):
        yield f"low <= value <= high is needed, got {low:g}, {value:g}, {high:g}"
    if error is not None and error < 0:
        yield f"a standard_error is 0 or more, got {error:g}"


def stated(metric: str, row: dict[str, Any]) -> float | None:
    """The standard error that a row gives its value; 0 is that of a number counted, not tested."""
    error = row.get("standard_error")
    return error if error or _counted(metric) else None


def _counted(metric: str) -> bool:
    """Whether a metric may be no mean over test examples, as a number of bytes is none."""
    return metric not in BETTER


def standard_error(metric: str, value: float, n: int, outputs: int) -> float | None:
    """Of a value of n examples with so many outputs; None where its metric does not tell."""
    if metric in SHARES:
        return sqrt(value * (1 - value) / n)
    if metric in ("r2", "mse"):
        return (1 - value if metric == "r2" else value) * sqrt(2 / (n * outputs))
    return None


def _normal(metric: str, value: float, error: float, words: str) -> dict[str, Any]:
    low, high = value - Z * error, value + Z * error
    if metric in SHARES:
        low, high = max(low, 0.0), min(high, 1.0)
    if metric == "r2":
        high = min(high, 1.0)
    if metric in ("mse", "loss"):
        low = max(low, 0.0)
    return {"low": low, "high": high, "interval": words}
