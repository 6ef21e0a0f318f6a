"""Slopes through a few values at each of a few lengths, with intervals that hold at three seeds.

`of_values` is for values that are known seed by seed. Two intervals are made and the wider one
counts. Student's, from all residuals, takes the spread as the same at each length; it is too narrow
where only the outer lengths scatter. That of the slope as a contrast of means, each with its own
spread, with the degrees of freedom of Welch (Biometrika 34 (1947) 28) and Satterthwaite (Biometrics
Bulletin 2 (1946) 110), is too narrow where a spread comes out small by luck. Simulated rates of
both, and of the wider, stand in docs/length-and-convergence.md.

`of_means` is for means whose seeds are not known. Their standard errors, over test examples only,
hold nothing of the spread of seeds, which shows in the scatter around the line alone; so again the
wider of two counts: from the standard errors, and from the scatter, as in a fit whose errors are
scaled up to the scatter (Birge, Phys. Rev. 40 (1932) 207).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np

from seqgrid.analysis.stats import CONFIDENCE


@dataclass(frozen=True)
class Fit:
    """A slope, in units of y per unit of x, with its interval and how that was made.

    p_value: two-sided; an interval of coverage 1 - p just reaches zero.
    """

    value: float
    low: float
    high: float
    method: str
    p_value: float = 1.0

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def of_values(
    x: Sequence[float],
    values: Sequence[Sequence[float]],
    errors: Sequence[float],
    coverage: float = CONFIDENCE,
) -> Fit:
    """Slope through the values y[i][j] of seed j at x[i].

    errors: standard error of one value at each x over its test examples, NaN where unknown; seeds
    that agree better than that agree by luck, so no spread is taken as smaller.

    Raises:
        ValueError: fewer than three distinct x.
    """
    at = _distinct(x)
    counts = np.array([len(v) for v in values])
    everywhere, all_values = np.repeat(at, counts), np.concatenate([np.asarray(v) for v in values])
    floor = np.array([0.0 if isnan(e) else e**2 for e in errors])
    deviation = everywhere - everywhere.mean()
    squares = float(deviation @ deviation)
    slope = float(deviation @ all_values) / squares
    residuals = all_values - all_values.mean() - slope * deviation
    freedom = len(all_values) - 2
    variance = max(float(residuals @ residuals) / freedom, float(floor @ counts) / counts.sum())
    half = _student(coverage, freedom) * np.sqrt(variance / squares)
    p_value = _p_value(slope, np.sqrt(variance / squares), freedom)
    method = f"Student, {freedom} degrees of freedom"
    if counts.min() >= 2:
        own = np.maximum([np.var(v, ddof=1) for v in values], floor)
        weights = counts * (at - everywhere.mean()) / squares  # of the means in the slope
        terms = weights**2 * own / counts
        total = float(terms.sum())
        lost = float((terms**2 / (counts - 1)).sum())
        welch = total**2 / lost if lost > 0 else float(freedom)
        other = _student(coverage, welch) * np.sqrt(total)
        p_value = max(p_value, _p_value(slope, np.sqrt(total), welch))
        if other > half:
            half, method = other, f"Welch-Satterthwaite, {welch:.1f} degrees of freedom"
    return Fit(slope, float(slope - half), float(slope + half), method, p_value)


def of_means(
    x: Sequence[float],
    means: Sequence[float],
    errors: Sequence[float],
    coverage: float = CONFIDENCE,
) -> Fit:
    """Slope through one mean at each x, weighted by their standard errors where all are known.

    Raises:
        ValueError: fewer than three distinct x.
    """
    from scipy import stats

    at, y, known = _distinct(x), np.asarray(means, dtype=float), np.asarray(errors, dtype=float)
    weighted = bool(np.all(known > 0))
    weights = 1 / known**2 if weighted else np.ones(len(at))
    deviation = at - weights @ at / weights.sum()
    squares = float(weights @ deviation**2)
    slope = float(weights @ (deviation * y)) / squares
    residuals = y - weights @ y / weights.sum() - slope * deviation
    scatter = float(weights @ residuals**2) / (len(at) - 2)
    half = _student(coverage, len(at) - 2) * np.sqrt(scatter / squares)
    p_value = _p_value(slope, np.sqrt(scatter / squares), len(at) - 2)
    method = f"Student on {len(at)} means, from their scatter"
    if weighted:
        sampling = stats.norm.ppf(0.5 + coverage / 2) / np.sqrt(squares)
        p_value = max(p_value, _p_value(slope, 1 / np.sqrt(squares), inf))
        if sampling > half:
            half, method = sampling, f"normal on {len(at)} means, from their standard errors"
    return Fit(slope, float(slope - half), float(slope + half), method, p_value)


def difference(
    first: Sequence[float],
    second: Sequence[float],
    errors: tuple[float, float],
    coverage: float = CONFIDENCE,
) -> tuple[float, float]:
    """Interval of the mean of `second` less that of `first`, after Welch and Satterthwaite.

    errors: standard error of one value of each over its test examples, NaN where unknown; no spread
    is taken as smaller. A single value each is taken as known up to its error alone, and without
    one nothing is known of the difference.
    """
    middle = float(np.mean(second) - np.mean(first))
    terms, lost = [], 0.0
    for values, error in ((first, errors[0]), (second, errors[1])):
        floor = 0.0 if isnan(error) else error**2
        own = float(np.var(values, ddof=1)) if len(values) > 1 else nan
        if isnan(own) and isnan(error):
            return -inf, inf
        terms.append(max(floor, 0.0 if isnan(own) else own) / len(values))
        lost += terms[-1] ** 2 / (len(values) - 1) if len(values) > 1 else 0.0
    total = sum(terms)
    half = _student(coverage, total**2 / lost if lost > 0 else inf) * np.sqrt(total)
    return float(middle - half), float(middle + half)


def _distinct(x: Sequence[float]) -> np.ndarray:
    if len(set(x)) < 3:
        raise ValueError(f"slope through {len(set(x))} distinct points: needs 3")
    return np.asarray(x, dtype=float)


def _p_value(slope: float, error: float, freedom: float) -> float:
    """That a slope with this standard error is zero, two-sided; 0 of one without any error."""
    from scipy import stats

    if not error > 0:
        return float(slope == 0)
    return float(2 * stats.t.sf(abs(slope) / error, freedom))


def _student(coverage: float, freedom: float) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.5 + coverage / 2, freedom))
