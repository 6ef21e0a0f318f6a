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
