"""The course of a model's scores over training lengths: what the rules of `scaling` look at."""

from dataclasses import dataclass
from functools import cached_property
from math import isnan, log2, nan

from seqgrid.analysis import stats
from seqgrid.analysis.slopes import Fit, of_means, of_values

SEEDS, REPORTED = "seeds", "reported means"
TASK_CEILING = "the task"  # in place of what a model sees, where nothing of that is known


@dataclass(frozen=True)
class Point:
    """One training length of a course, evaluated there.

    values: final values of the seeds; of a study run elsewhere the one reported mean.
    error: standard error of one of them over its test examples; NaN where unknown.
    ceiling: the model's own where it is known, else the task's; ceiling_name says which.
    verdicts: names of the verdicts that hold here.
    partial: whether a cell that can exist has no final value, or the mean is not of final values.
    improving: of each value, whether its seed was still improving when its budget ended.
    shortcuts: (name, score) of solvers without the skill tested that a reported mean may be at.
    shortcut: name of the one that all seeds are at, by the verdicts; '' where none.
    """

    seqlen: int
    values: tuple[float, ...]
    error: float = nan
    chance: float | None = None
    ceiling: float | None = None
    ceiling_name: str = TASK_CEILING
    verdicts: frozenset[str] = frozenset()
    partial: bool = False
    improving: tuple[bool, ...] = ()
    shortcuts: tuple[tuple[str, float], ...] = ()
    shortcut: str = ""

    @property
    def span(self) -> float:
        """Distance from chance to the ceiling; 0 where either is unknown."""
        known = self.chance is not None and self.ceiling is not None
        return abs(self.ceiling - self.chance) if known else 0.0

    def share(self, value: float) -> float:
        """Of the way from chance to the ceiling, whichever direction is better."""
        if self.chance is None or self.ceiling is None:
            return nan
        return (value - self.chance) / (self.ceiling - self.chance)


@dataclass(frozen=True)
class Course:
    """A model on a task, by training length; only lengths that have a value, in order.

    unequal: what differs between the lengths besides the length, or keeps a value from counting
    in full; sentences without a full stop.
    missing: whether a cell or run that can exist has no value at all here.
    peak: whether the values are the best of several looks.
    barring: what besides the length may make a change, or hide one, so that none can be told;
        sentences without a full stop.
    coverage: of the intervals of its slopes, and of the differences that FLAT is said of.
    correction: how it was corrected for the number of courses, in words; '' where there is one.
    """

    model: str
    task: str
    variant: str
    metric: str
    better: str
    origin: str
    points: tuple[Point, ...]
    complete: bool = True
    unequal: tuple[str, ...] = ()
    missing: bool = False
    peak: bool = False
    barring: tuple[str, ...] = ()
    coverage: float = stats.CONFIDENCE
    correction: str = ""

    @property
    def bare(self) -> bool:
        """Whether nothing says how far reported values could be off."""
        return self.origin == REPORTED and (self.peak or not all(p.error > 0 for p in self.points))

    @property
    def mostly_improving(self) -> list[int]:
        """Lengths at which half of the seeds or more were still improving."""
        return [p.seqlen for p in self.points if 2 * sum(p.improving) >= len(p.values)]

    @property
    def lengths(self) -> list[int]:
        """Training lengths, tokens."""
        return [p.seqlen for p in self.points]

    @property
    def doublings(self) -> float:
        """From the shortest to the longest."""
        return log2(self.lengths[-1] / self.lengths[0])

    @property
    def medians(self) -> list[float]:
        """Median at each length; of a study run elsewhere the reported mean."""
        return [stats.median(p.values, self.better) for p in self.points]

    @property
    def related(self) -> bool:
        """Whether scores can be held against chance and a ceiling at each length."""
        return all(p.span > 0 for p in self.points)

    @property
    def shares(self) -> list[float]:
        """Share of the way from chance to the ceiling, of the median at each length."""
        return [p.share(m) for p, m in zip(self.points, self.medians, strict=True)]

    @property
    def change(self) -> float | None:
        """Last median over the first, less one; None where the first is not above zero."""
        return relative(self.medians)

    @property
    def ceiling_change(self) -> float | None:
        """Last ceiling over the first, less one."""
        ceilings = [p.ceiling for p in self.points]
        return None if None in ceilings else relative(ceilings)

    @property
    def ceiling_name(self) -> str:
        """What limits the score: the task, or what the model sees; at which lengths if not all."""
        names = list(dict.fromkeys(p.ceiling_name for p in self.points))
        if len(names) == 1:
            return names[0]
        return "; ".join(
            f"{n} at {', '.join(str(p.seqlen) for p in self.points if p.ceiling_name == n)}"
            for n in names
        )

    def slope(self) -> Fit | None:
        """Of the metric, a doubling of the length; None below three lengths with numbers."""
        return self._fit([p.values for p in self.points], [p.error for p in self.points])

    def refitted(self, values: list[tuple[float, ...]]) -> Fit | None:
        """The slope through other values than those that it is judged by."""
        return self._fit(values, self.followed[1])

    def share_slope(self) -> Fit | None:
        """Of the share of the way to the ceiling; None also where that is not known."""
        return self._fit(*self.followed) if self.related else None

    @property
    def p_value(self) -> float:
        """That what it is judged by has no slope; 1 where no slope is known."""
        fit = self._fit(*self.followed)
        return 1.0 if fit is None else fit.p_value

    @property
    def followed(self) -> tuple[list[tuple[float, ...]], list[float]]:
        """What a course is judged by, at each length, and the standard error of one value.

        Shares of the way to the ceiling; values of the metric where no ceiling is known.
        """
        if not self.related:
            return [p.values for p in self.points], [p.error for p in self.points]
        shares = [tuple(map(p.share, p.values)) for p in self.points]
        return shares, [p.error / p.span for p in self.points]

    @cached_property
    def numbers(self) -> bool:
        """Whether no value is a NaN."""
        return not any(isnan(v) for p in self.points for v in p.values)

    def _fit(self, values: list, errors: list[float]) -> Fit | None:
        if len(self.points) < 3 or not self.numbers or self.bare:
            return None
        x = [log2(length) for length in self.lengths]
        if self.origin == REPORTED:
            return of_means(x, [v[0] for v in values], errors, self.coverage)
        return of_values(x, values, errors, self.coverage)


def relative(values: list) -> float | None:
    """The last value over the first, less one; None where the first is not above zero."""
    if not values or isnan(values[0]) or isnan(values[-1]) or values[0] <= 0:
        return None
    return values[-1] / values[0] - 1
