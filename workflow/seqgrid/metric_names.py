"""The metrics there are, and which values are better; without numpy, as studies read it."""

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
