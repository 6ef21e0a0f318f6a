"""Intervals and small estimators, each of which says what it is.

An interval carries its method and its coverage, the chance with which it holds the true value, so
that a range over three seeds can never be read as a 95 % interval. Randomness enters only through
a `numpy.random.Generator` that the caller gives.

Sources: Wilson, J. Am. Stat. Assoc. 22 (1927) 209, for `wilson`; David & Nagaraja, Order
Statistics, 3rd ed., section 7.1, for `median_interval`; Agarwal et al., arXiv:2108.13264, for
`iqm` as a summary of few runs.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite, nan
from typing import Any

import numpy as np

CONFIDENCE = 0.95  # coverage that is asked for; what is reached stands in `Interval.coverage`

# At n <= 5 even the smallest and largest value together hold the median with less than 95 %
# (1 - 2 * 0.5^5 = 93.75 %), and three values have only ten distinct resamples.
BOOTSTRAP_MIN_VALUES = 6


@cache
def _scipy() -> Any:
    """scipy.stats, whose import takes most of a second: tables without a value need none of it."""
    from scipy import stats

    return stats


@cache
def _normal(probability: float) -> float:
    """Quantile of the normal distribution: the same few are asked for all the time."""
    return float(_scipy().norm.ppf(probability))


@dataclass(frozen=True)
class Interval:
    """An interval, how it was made and how often such an interval holds the true value.

    low, high: in the unit of the values; NaN where no interval exists.
    coverage: a probability; 0 where no interval exists.
    """

    low: float
    high: float
    method: str
    coverage: float


@dataclass(frozen=True)
class Slope:
    """A least-squares slope, in units of y per unit of x, and its interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int, coverage: float = CONFIDENCE) -> Interval:
    """Wilson score interval of a success rate; usable at n = 3, and [0, 1] at n = 0.

    Raises:
        ValueError: successes lie outside 0..n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 <= successes <= n")
    if n == 0:
        return Interval(0.0, 1.0, "no trials", 1.0)
    z = _normal(0.5 + coverage / 2)
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # At 0 and n the bound is exactly 0 or 1; rounding would put it a hair beside.
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Interval(low, high, "Wilson", coverage)


def median(values: Sequence[float], better: str = "higher") -> float:
    """Median in which a NaN counts as worse than every number; NaN where it decides the median."""
    if len(values) == 0:
        return nan
    ordered = _ordered(values, better)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return _number(low if low == high else (low + high) / 2)


def extremes(values: Sequence[float], better: str = "higher") -> tuple[float, float]:
    """Smallest and largest value, with a NaN at the worse end."""
    if len(values) == 0:
        return nan, nan
    ordered = _ordered(values, better)
    return _number(ordered[0]), _number(ordered[-1])


def median_interval(
    values: Sequence[float], better: str = "higher", coverage: float = CONFIDENCE
) -> Interval:
    """Interval of the population median from order statistics, free of any distribution.

    The values ranked r and n+1-r hold the median with probability 1 - 2 P(Binomial(n, 1/2) < r).
    The narrowest pair that reaches `coverage` is returned; below n = 6 none does for 95 %, and the
    whole range is returned under its own coverage: 50 % at n = 2, 75 % at 3, 87.5 % at 4.
    """
    n = len(values)
    if n < 2:
        return Interval(nan, nan, "none: one value" if n else "none: no value", 0.0)
    ordered = _ordered(values, better)
    ranks = np.arange(1, n // 2 + 1)
    covered = 1 - 2 * _scipy().binom.cdf(ranks - 1, n, 0.5)
    enough = ranks[covered >= coverage]
    rank = int(enough[-1]) if len(enough) else 1
    method = f"order statistics {rank} and {n + 1 - rank} of {n}" if rank > 1 else f"min-max of {n}"
    low, high = _number(ordered[rank - 1]), _number(ordered[n - rank])
    return Interval(low, high, method, float(covered[rank - 1]))


def bootstrap(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[..., np.ndarray],
    generator: np.random.Generator,
    coverage: float = CONFIDENCE,
    resamples: int = 10_000,
) -> Interval:
    """Expanded percentile bootstrap of `statistic(array, axis=...)`; its coverage is nominal.

    values: (n,) or (n, k); what is drawn, with replacement, are the n. Resamples spread too little
    by sqrt(1 - 1/n) and for Student's t, so quantiles further out are taken (Hesterberg, Am. Stat.
    69 (2015) 371).

    Raises:
        ValueError: fewer values than BOOTSTRAP_MIN_VALUES; `median_interval` is honest there.
    """
    data = np.asarray(values, dtype=float)
    if len(data) < BOOTSTRAP_MIN_VALUES:
        raise ValueError(f"bootstrap of {len(data)} values: needs {BOOTSTRAP_MIN_VALUES}")
    drawn = data[generator.integers(len(data), size=(resamples, len(data)))]  # (resamples, n, ...)
    estimates = statistic(drawn.reshape(resamples, -1), axis=1)  # (resamples,)
    reach = _scipy().t.ppf(0.5 + coverage / 2, len(data) - 1) / np.sqrt(1 - 1 / len(data))
    low, high = np.quantile(estimates, _scipy().norm.cdf([-reach, reach]))
    method = f"expanded percentile bootstrap, {resamples} resamples, nominal"
    return Interval(float(low), float(high), method, coverage)


def iqm(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean without the lowest and highest quarter."""
    return _scipy().trim_mean(np.asarray(values, dtype=float), 0.25, axis=axis)


def widened(
    value: float, low: float, high: float, n: int, coverage: float = CONFIDENCE
) -> tuple[float, float]:
    """One of n 95 % intervals, widened so that all n hold at once (Bonferroni, normal tails).

    coverage: of all n together; the interval given has 95 % whatever it is.
    Without it, one of ten seeds at chance would leave the chance band by noise alone.
    """
    factor = simultaneous_z(n, coverage) / simultaneous_z(1)
    return value - (value - low) * factor, value + (high - value) * factor


@cache
def simultaneous_z(n: int, coverage: float = CONFIDENCE) -> float:
    """Standard errors that n normal deviates all stay within, two-sided, with `coverage`."""
    return _normal(1 - (1 - coverage) / (2 * max(n, 1)))


def slope(x: Sequence[float], y: Sequence[float], coverage: float = CONFIDENCE) -> Slope:
    """Least-squares slope with its Student interval; needs three distinct x.

    The residuals are taken as independent. Successive validations share their examples, so the
    interval is rather too narrow than too wide.

    Raises:
        ValueError: fewer than three distinct x.
    """
    if len(set(x)) < 3:
        raise ValueError(f"slope through {len(set(x))} distinct points: needs 3")
    if min(y) == max(y):
        return Slope(0.0, 0.0, 0.0)  # rounding in the fit would make it a NaN
    fit = _scipy().linregress(x, y)
    half = float(_scipy().t.ppf(0.5 + coverage / 2, len(x) - 2) * fit.stderr)
    return Slope(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)


def square_and_add(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Difference a - b of independent estimates (value, low, high), with its interval.

    Newcombe, Stat. Med. 17 (1998) 873, method 10, where the two intervals are Wilson's; Zou &
    Donner, Stat. Med. 27 (2008) 1693, for any others. Coverage is that of the two.
    """
    value = a[0] - b[0]
    low = value - np.hypot(a[0] - a[1], b[2] - b[0])
    high = value + np.hypot(a[2] - a[0], b[0] - b[1])
    return value, float(low), float(high)


def superiority(a: Sequence[float], b: Sequence[float]) -> float:
    """P(a > b) + P(a = b) / 2 over all pairs of values: Mann-Whitney's U over its largest value."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float((x[:, None] > y).mean() + (x[:, None] == y).mean() / 2)


def superiority_interval(
    estimate: float, n_a: int, n_b: int, coverage: float = CONFIDENCE
) -> Interval:
    """Interval of `superiority`, sound at 0 and 1, where a bootstrap has no width.

    Newcombe, Stat. Med. 25 (2006) 559, method 5: the values that are as many standard errors away,
    with Hanley and McNeil's standard error at the value itself.
    """
    from scipy.optimize import brentq

    z = _scipy().norm.ppf(0.5 + coverage / 2)
    more = (n_a + n_b) / 2 - 1

    def excess(value: float) -> float:
        shared = (1 - value) / (2 - value) + value / (1 + value)
        variance = value * (1 - value) * (1 + more * shared) / (n_a * n_b)
        return (estimate - value) ** 2 - z**2 * variance

    # At the estimate itself the excess is at most 0; towards 0 and 1 the variance vanishes.
    tiny = 1e-9
    low = 0.0 if estimate <= tiny else brentq(excess, tiny, max(estimate, 2 * tiny) - tiny / 2)
    start = min(estimate, 1 - 2 * tiny) + tiny / 2
    high = 1.0 if estimate >= 1 - tiny else brentq(excess, start, 1 - tiny)
    return Interval(float(low), float(high), "Newcombe 2006, method 5", coverage)


def prediction(
    values: Sequence[float], runs: int = 1, coverage: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval that the mean of `runs` further normal values falls into; needs two values.

    mean +- t s sqrt(1/n + 1/runs), Hahn & Meeker, Statistical Intervals, section 4.8.

    Raises:
        ValueError: fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"prediction from {n} values: needs 2")
    quantile = float(_scipy().t.ppf(0.5 + coverage / 2, n - 1))
    half = quantile * float(np.std(values, ddof=1)) * (1 / n + 1 / runs) ** 0.5
    middle = float(np.mean(values))
    return middle - half, middle + half


def unlike(n: int, runs: int, coverage: float = CONFIDENCE) -> int:
    """How many of `runs` further runs may be of a kind that none of n runs was, as training failed.

    The largest j for which (1 - q)^n P(Binomial(runs, q) >= j) exceeds 1 - coverage for some share
    q of such runs: then that many come with none seen before. `runs` says that all of them may be,
    as for one run below n = 7, where n^n / (n + 1)^(n + 1) exceeds 5 %.
    """
    share = np.linspace(0, 1, 1001)[1:-1]

    def rare(j: int) -> bool:
        chance = (1 - share) ** n * _scipy().binom.sf(j - 1, runs, share)
        return bool(chance.max() <= 1 - coverage)

    return bisect_left(range(1, runs + 1), True, key=rare)


def _ordered(values: Sequence[float], better: str) -> list[float]:
    worst = -inf if better == "higher" else inf
    return sorted(worst if np.isnan(v) else float(v) for v in values)


def _number(value: float) -> float:
    return value if isfinite(value) else nan
