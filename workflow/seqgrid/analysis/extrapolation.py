"""Where a validation curve will be after more steps: saturating curves, averaged.

Each of some hundred shapes that rise and level off (exponential, power law, Hill) is fitted for
each of some forty limits up to the ceiling, and weighted by its likelihood, as Domhan et al. (IJCAI
2015, section 3) average parametric curves, here on a fixed grid in place of a Markov chain: the
same curve always gives the same forecast. Such curves know nothing of a break that has not begun:
a plateau that will break, or a collapse, lies outside every interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

LIMITS = 41  # between the worst value and the ceiling
# Successive validations share their examples and their weights: no curve counts for more points.
MOST_POINTS = 20.0
BINS = 400


@dataclass(frozen=True)
class Forecast:
    """The best goodness by the horizon: median and interval, at least the best so far."""

    value: float
    low: float
    high: float
    coverage: float


@cache
def _shapes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(family, place, power) of each shape; times are in units of the last step seen."""
    found = [(0, tau, 1.0) for tau in np.geomspace(0.05, 5.0, 14)]
    found += [(1, place, b) for place in (0.02, 0.1, 0.5) for b in (0.25, 0.5, 1.0, 2.0)]
    found += [(2, place, b) for place in np.geomspace(0.15, 5.0, 14) for b in (2.0, 4.0, 8.0)]
    family, place, power = np.array(found).T
    return family, place, power


def _missing(times: np.ndarray) -> np.ndarray:
    """Share of the way that is still to go, by shape and time: (shapes, times), 1 to 0."""
    family, place, power = (column[:, None] for column in _shapes())
    at = times[None, :] / place
    shapes = (np.exp(-at), (1 + at) ** -power, 1 / (1 + at**power))
    return np.select([family == number for number in range(3)], shapes)


def forecast(
    steps: Sequence[float],
    goodness: Sequence[float],
    errors: Sequence[float],
    horizon: float,
    ceiling: float | None = None,
    coverage: float = 0.95,
) -> Forecast:
    """The best goodness there will be by the step `horizon`.

    Args:
        steps: of the validations, increasing.
        goodness: their values, turned so that more is better.
        errors: their standard errors; 0 where unknown.
        horizon: a later step.
        ceiling: the best goodness there can be; None: twice the range of the curve above its best.
        coverage: of the interval, if the curve is one of the shapes.

    Raises:
        ValueError: fewer than two validations, or a horizon that is not later.
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(goodness, dtype=float)
    if len(x) < 2 or horizon < x[-1]:
        raise ValueError(f"{len(x)} validations up to step {x[-1:]}, horizon {horizon}")
    best, spread = float(y.max()), float(np.ptp(y))
    top = best + 2 * spread if ceiling is None else max(ceiling, best)
    noise = max(float(np.median(np.asarray(errors, dtype=float))), 1e-3 * (top - y.min()), 1e-9)
    times = x / x[-1]
    weights = 0.25 + 0.75 * times  # the end of a curve says more of what follows than its start
    weights *= min(len(x), MOST_POINTS) / weights.sum()
    limits = np.linspace(float(y.min()), top, LIMITS)

    shape = _missing(times)  # (shapes, points)
    towards = weights @ (limits[None, :] - y[:, None]) ** 2  # (limits,)
    along = shape @ (weights[:, None] * (limits[None, :] - y[:, None]))  # (shapes, limits)
    amount = np.maximum(along / (shape**2 @ weights)[:, None], 0.0)
    residual = towards - 2 * amount * along + amount**2 * (shape**2 @ weights)[:, None]
    variance = np.maximum(residual, 0.0) / weights.sum() + noise**2
    chance = -0.5 * weights.sum() * np.log(variance)
    chance = np.exp(chance - chance.max())
    later = limits[None, :] - amount * _missing(np.array([horizon / x[-1]]))  # (shapes, limits)
    low, value, high = _quantiles(
        later.ravel(), np.sqrt(variance * horizon / x[-1]).ravel(), chance.ravel(), coverage
    )
    value, low, high = (float(np.clip(v, best, top)) for v in (value, low, high))
    return Forecast(value, low, high, coverage)


def _quantiles(
    means: np.ndarray, deviations: np.ndarray, weights: np.ndarray, coverage: float
) -> tuple[float, float, float]:
    """Low, median and high of a mixture of logistic distributions, nearly normal ones."""
    kept = weights > 1e-4 * weights.max()
    means, deviations, weights = means[kept], deviations[kept], weights[kept]
    reach = 5 * deviations.max()
    at = np.linspace(means.min() - reach, means.max() + reach, BINS)
    scale = deviations * 3**0.5 / np.pi
    below = 0.5 * (1 + np.tanh((at[:, None] - means) / (2 * scale))) @ (weights / weights.sum())
    tail = (1 - coverage) / 2
    low, value, high = np.interp([tail, 0.5, 1 - tail], below, at)
    return low, value, high
