"""Intervals of values whose single examples nobody kept."""

from math import sqrt
from typing import Any

from seqgrid.metrics import Z, wilson

SHARES = ("accuracy", "sequence_accuracy", "error_rate")


def interval(metric: str, value: float, row: dict[str, Any], outputs: int) -> dict[str, Any]:
    """`low`, `high` and `interval`, 95 %; empty where nothing can be said.

    Given ends are taken as they are, a stated standard error as value +- 1.96 of it. A share of n
    examples has Wilson's interval (Wilson 1927), as if all outputs of an example were right or
    wrong together. R2 and MSE of n examples have that of a mean of squared normal errors, whose
    standard error is MSE x sqrt(2 / (n D)), D outputs an example.

    Args:
        metric: its name.
        value: in units of the metric.
        row: with `low`, `high`, `standard_error` and `examples`, or some of them.
        outputs: D.
    """
    if row.get("low") is not None and row.get("high") is not None:
        return {"low": row["low"], "high": row["high"], "interval": "as given"}
    error, n = row.get("standard_error"), row.get("examples")
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
    return {} if error is None else _normal(metric, value, error, words)


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
