"""A row of the calibration: a study whose truth is known, and a statement that is made of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from simulated import Tables

from seqgrid.analysis.stats import wilson

LEVEL = 0.05
Built = dict[str, list[dict]]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    most, least: what the rate may be at most, or should be at least; neither where the row shows
        how far a rule sees, and no rate would be wrong.
    known: why the rate is not what is wanted, where that is known and said.
    """

    about: str
    statement: str
    made: Callable[[np.random.Generator], Tables]
    said: Callable[[Built], bool]
    most: float | None = None
    least: float | None = None
    known: str = ""

    def mark(self, count: int, n: int) -> str:
        """'' where the rate is as wanted, 'not shown' where only its interval may be, else 'fails'.

        The interval is Wilson's, of 95 %; so one row in forty at its bound fails by chance.
        """
        ends, rate = wilson(count, n), count / n
        if self.most is not None and rate > self.most:
            return "fails" if ends.low > self.most else "not shown"
        if self.least is not None and rate < self.least:
            return "fails" if ends.high < self.least else "not shown"
        return ""

    @property
    def wanted(self) -> str:
        """The bound, in words."""
        if self.most is not None:
            return f"at most {self.most:.0%}"
        return "-" if self.least is None else f"at least {self.least:.0%}"

    def holds(self, count: int, n: int) -> bool:
        """Whether the count does not contradict the bound, with 99.9 % confidence."""
        if self.most is not None:
            return bool(binom.sf(count - 1, n, self.most) > 0.001)
        return self.least is None or bool(binom.cdf(count, n, self.least) > 0.001)
