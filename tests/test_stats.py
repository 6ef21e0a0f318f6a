"""Intervals against hand-made numbers, and their labels."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from seqgrid.analysis import stats


@pytest.mark.parametrize(("k", "n"), [(0, 3), (1, 3), (3, 3), (7, 10), (1, 500)])
def test_wilson_agrees_with_scipy(k, n):
    theirs = binomtest(k, n).proportion_ci(method="wilson")
    ours = stats.wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_without_trials_knows_nothing_and_refuses_nonsense():
    assert (stats.wilson(0, 0).low, stats.wilson(0, 0).high) == (0, 1)
    with pytest.raises(ValueError, match="4 successes of 3"):
        stats.wilson(4, 3)


def test_three_seeds_never_give_a_95_percent_interval():
    interval = stats.median_interval([0.3, 0.1, 0.2])
    assert (interval.low, interval.high, interval.coverage) == (0.1, 0.3, 0.75)
    assert interval.method == "min-max of 3"
    assert "95" not in interval.method


@pytest.mark.parametrize("n", range(2, 30))
def test_the_coverage_of_the_median_interval_is_exact_and_the_interval_the_narrowest(n):
    interval = stats.median_interval(list(range(n)))
    rank = int(interval.low) + 1
    assert interval.high == n - rank
    outside = 2 * sum(math.comb(n, i) for i in range(rank)) / 2**n
    assert interval.coverage == pytest.approx(1 - outside)
    assert (interval.coverage >= 0.95) == (n >= 6)
    if n >= 6:
        assert 1 - outside - 2 * math.comb(n, rank) / 2**n < 0.95


def test_the_median_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.exponential(size=(2000, 3))
    hits = np.mean([i.low <= np.log(2) <= i.high for i in map(stats.median_interval, draws)])
    assert hits == pytest.approx(0.75, abs=0.03)


def test_one_value_has_no_interval():
    interval = stats.median_interval([0.5])
    assert math.isnan(interval.low)
    assert interval.coverage == 0


def test_a_nan_is_the_worst_value_whichever_way_the_metric_goes():
    values = [math.nan, 0.5, 0.7]
    assert stats.median(values, "higher") == 0.5
    assert stats.median(values, "lower") == 0.7
    assert math.isnan(stats.median([math.nan, math.nan, 1.0]))
    low, high = stats.extremes(values, "higher")
    assert math.isnan(low)
    assert high == 0.7
    assert math.isnan(stats.extremes(values, "lower")[1])


def test_the_bootstrap_repeats_itself_and_refuses_few_values():
    values = np.arange(20.0)
    first, second = (stats.bootstrap(values, stats.iqm, np.random.default_rng(1)) for _ in range(2))
    assert first == second
    assert first.low < 9.5 < first.high
    assert "percentile" in first.method
    assert "nominal" in first.method
    with pytest.raises(ValueError, match="needs 6"):
        stats.bootstrap([1.0, 2.0, 3.0], np.mean, np.random.default_rng(1))


def test_a_bootstrapped_mean_of_few_values_is_as_wide_as_student_has_it():
    values = np.random.default_rng(3).normal(size=10)
    found = stats.bootstrap(values, np.mean, np.random.default_rng(1))
    half = student.ppf(0.975, 9) * values.std(ddof=1) / 10**0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


def test_iqm_leaves_out_the_outer_quarters():
    assert stats.iqm(np.array([-100.0, 1, 2, 1000])) == pytest.approx(1.5)


def test_slopes():
    flat = stats.slope([0, 1, 2], [5.0, 5.0, 5.0])
    assert (flat.value, flat.low, flat.high) == (0, 0, 0)
    rising = stats.slope(range(20), [2 * i + (-1) ** i for i in range(20)])
    assert rising.low < 2 < rising.high
    with pytest.raises(ValueError, match="needs 3"):
        stats.slope([1, 1, 2], [0.0, 1.0, 2.0])


def test_widening_keeps_one_interval_and_grows_with_their_number():
    assert stats.widened(0.5, 0.4, 0.7, 1) == pytest.approx((0.4, 0.7))
    low, high = stats.widened(0.5, 0.4, 0.7, 10)
    assert low < 0.4
    assert high > 0.7
