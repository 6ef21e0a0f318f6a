"""What training and evaluation take, from the cells that have run: for costs of what is advised.

Times are those of the kind of device that ran last, GPU or not, as for requests to a scheduler
(`seqgrid.estimates`), which this follows: the cell's own rate, else that of equal cells, else by a
power law in length.
"""

import statistics
from math import ceil
from types import SimpleNamespace
from typing import Any

from seqgrid.analysis import stats
from seqgrid.estimates import Quantity

SPENT = ("training_seconds", "validation_seconds", "checkpoint_seconds")


class Rates:
    """Device-hours of steps and evaluations, by the table `cells`."""

    def __init__(self, cells: list[dict]) -> None:
        ran = [c for c in cells if c["device"] and c["ended_at"]]
        last = max(ran, key=lambda c: c["ended_at"], default=None)
        self.on_gpu = last is not None and last["device"] != "cpu"
        self.step = Quantity(statistics.median, 1.0)
        self.evaluation = Quantity(statistics.median, 1.0)
        self.whole: dict[tuple, list[float]] = {}
        for cell in ran:
            if (cell["device"] != "cpu") != self.on_gpu:
                continue
            spent = sum(cell[name] or 0.0 for name in SPENT)
            if spent and cell["step_steps"]:
                self.step.add(_row(cell), cell["device"], spent / cell["step_steps"])
            if tested := cell["evaluation_seconds"]:
                self.evaluation.add(_row(cell), cell["device"], tested)
            if cell["outcome"] == "finished":
                self.whole.setdefault(_group(cell), []).append(spent + (tested or 0.0))

    @property
    def unit(self) -> str:
        """What a time is a time of."""
        return "GPU time" if self.on_gpu else "CPU time"

    def hours(self, cell: dict, steps: float) -> float | None:
        """Device-hours of so many steps of a cell and its evaluation; None where unknown."""
        rate = self.step.of(_row(cell))
        if rate is None:
            return None
        tested = self.evaluation.of(_row(cell))
        return (rate.value * steps + (tested.value if tested else 0.0)) / 3600

    def remaining(self, cell: dict) -> float | None:
        """Device-hours to the end of a cell's budget, at most; None where unknown."""
        left = max((cell["budget_steps"] or 0) - (cell["step_steps"] or 0), 0)
        return self.hours(cell, left)

    def another(self, cell: dict) -> float | None:
        """Device-hours of one more seed: as its finished siblings took, else its whole budget."""
        if took := self.whole.get(_group(cell)):
            return stats.median(took, "lower") / 3600
        return self.hours(cell, cell["budget_steps"] or 0)


def total(hours: list[float | None]) -> float | None:
    """The sum; None where a part of it is unknown."""
    known = [h for h in hours if h is not None]
    return sum(known) if len(known) == len(hours) else None


def seeds_for_half_width(rate: float, half: float, coverage: float, most: int = 1000) -> int:
    """Fewest seeds at which the Wilson interval of such a success rate is no wider than that."""
    for n in range(1, most):
        interval = stats.wilson(min(ceil(rate * n - 1e-9), n), n, coverage)
        if interval.high - interval.low <= 2 * half:
            return n
    return most


def seeds_for_median(coverage: float) -> int:
    """Fewest seeds whose range holds the median with such a coverage: 1 - 2 * 0.5^n, 6 for 95 %."""
    n = 2
    while 1 - 2 * 0.5**n < coverage:
        n += 1
    return n


def _group(cell: dict) -> tuple:
    return cell["model"], cell["task"], cell["variant"] or "", cell["seqlen_tokens"]


def _row(cell: dict) -> Any:
    """What `Quantity` asks of a row."""
    place = SimpleNamespace(path=cell["path"], seqlen=cell["seqlen_tokens"])
    names = {name: cell[name] for name in ("model", "task")}
    return SimpleNamespace(**names, variant=cell["variant"] or "", cell=place)
