"""A row of the calibration: a study whose truth is known, and a statement that is made of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from simulated import Tables

LEVEL = 0.05
Built = dict[str, list[dict]]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    most, least: what the rate may be at most, or should be at least; one of them.
    """

    about: str
    statement: str
    made: Callable[[np.random.Generator], Tables]
    said: Callable[[Built], bool]
    most: float | None = None
    least: float | None = None

    def holds(self, count: int, n: int) -> bool:
        """Whether the count does not contradict the bound, with 99.9 % confidence."""
        if self.most is not None:
            return bool(binom.sf(count - 1, n, self.most) > 0.001)
        return bool(binom.cdf(count, n, self.least) > 0.001)
