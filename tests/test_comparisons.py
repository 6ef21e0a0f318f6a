"""Comparisons: exact tests of pairs, their correction, and every way a claim is refused."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from seqgrid.analysis import paired, solving, stats

# -- the sign test --------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", range(9))
def test_the_sign_test_is_scipys(ahead):
    found = paired.compare([1.0] * ahead + [-1.0] * (8 - ahead))
    assert found.p_value == pytest.approx(binomtest(ahead, 8).pvalue)


def test_no_spread_never_gives_a_p_value_of_zero_and_ties_count_against_both_sides():
    assert paired.compare([0.2] * 6).p_value == 2 / 2**6
    assert paired.compare([0.0] * 20).p_value == 1
    assert paired.compare([0.1] * 6 + [0.0]).p_value == pytest.approx(2 * 8 / 2**7)
    with pytest.raises(ValueError, match="NaN"):
        paired.compare([math.nan])


def test_so_few_pairs_can_give_no_smaller_p_value_and_so_many_are_needed():
    assert [paired.least_p(n) for n in (1, 3, 6)] == [1, 0.25, 1 / 32]
    assert [paired.pairs_needed(level) for level in (0.05, 0.05 / 2, 0.05 / 10)] == [6, 7, 9]
    for level in (0.05, 0.01, 0.001):
        n = paired.pairs_needed(level)
        assert paired.least_p(n) <= level < paired.least_p(n - 1)


@pytest.mark.parametrize("seed", range(40))
def test_an_interval_excludes_zero_exactly_where_the_corrected_test_rejects(seed):
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(int(generator.integers(1, 6))):
        n, shift = int(generator.integers(6, 16)), generator.choice([0.0, 0.5, 2.0])
        values = np.round(generator.normal(shift, 1, n), int(generator.integers(0, 3)))
        made.append(paired.compare(values.tolist()))
    for judged in paired.judge(made):
        if judged.interval.coverage >= judged.coverage:
            excluded = judged.interval.low > 0 or judged.interval.high < 0
            assert excluded == (judged.p_corrected <= 0.05)


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_sides_and_the_way_of_the_metric_mirror_each_other(seed):
    d = np.random.default_rng(seed).normal(1.0, 0.7, 9)
    here, there = (paired.judge([paired.compare(x.tolist(), margin=0.5)])[0] for x in (d, -d))
    lower = paired.judge([paired.compare((-d).tolist(), "lower", margin=0.5)])[0]
    swap = {"A BETTER": "B BETTER", "B BETTER": "A BETTER"}
    assert there.outcome == swap.get(here.outcome, here.outcome)
    assert lower.outcome == here.outcome
    assert (there.interval.low, there.interval.high) == (-here.interval.high, -here.interval.low)
    assert here.p_corrected == there.p_corrected


def test_holm_is_that_of_statsmodels_and_each_level_agrees_with_its_decision():
    p = [0.001, 0.2, 0.011, 0.03, 0.03]
    corrected, levels = paired.holm(p, 0.05)
    assert corrected == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert [c <= 0.05 for c in corrected] == [
        x <= level for x, level in zip(p, levels, strict=True)
    ]
    assert levels[:3] == pytest.approx([0.05 / 5, 0.05 / 3, 0.05 / 4])
    assert paired.holm([], 0.05) == ([], [])


def test_pairs_to_come_count_against_a_claim_and_only_where_they_could_change_it():
    nine = [1.0] * 9
    assert paired.judge([paired.compare(nine, waiting=1)])[0].outcome == "A BETTER"
    assert paired.judge([paired.compare(nine[:7], waiting=2)])[0].outcome == "NOT TESTABLE YET"
    assert paired.judge([paired.compare([1.0] * 4, waiting=1)])[0].outcome == "TOO FEW PAIRS"
    split = paired.compare([1.0, -1.0] * 4, waiting=1)
    assert paired.judge([split])[0].outcome == "NO DIFFERENCE SHOWN"
    interval = paired.judge([paired.compare(nine, waiting=1)])[0].interval
    assert interval.low == 1


@pytest.mark.parametrize("waiting", [0, 1, 2, 3])
def test_what_is_said_while_pairs_are_to_come_holds_whatever_they_become(waiting):
    for ahead in range(8):
        d = [1.0] * ahead + [-1.0] * (7 - ahead)
        said = paired.judge([paired.compare(d, waiting=waiting)])[0].outcome
        ends = {
            paired.judge([paired.compare([*d, *rest])])[0].outcome
            for rest in itertools.product((1.0, -1.0), repeat=waiting)
        }
        assert said == ends.pop() if len(ends) == 1 else said == "NOT TESTABLE YET"


def test_a_difference_within_the_margin_is_none_and_one_beyond_it_is_not():
    close = [0.01, -0.01] * 5
    judged = paired.judge([paired.compare(close, margin=0.05)])[0]
    assert judged.outcome == "NO DIFFERENCE"
    assert judged.p_equivalent_corrected == pytest.approx(2 / 2**10)
    assert paired.judge([paired.compare(close, margin=0.005)])[0].outcome == "NO DIFFERENCE SHOWN"
    assert paired.judge([paired.compare(close)])[0].outcome == "NO DIFFERENCE SHOWN"


def test_a_side_that_diverged_is_worse_than_every_number():
    d = [0.1] * 5 + [math.inf] * 3
    assert paired.judge([paired.compare(d)])[0].outcome == "A BETTER"
    assert paired.effect_size(d) is None


def test_an_effect_size_needs_six_pairs_and_spread_beyond_the_noise_of_the_test():
    assert paired.effect_size([1.0, 2.0, 3.0, 2.0, 1.0]) is None
    assert paired.effect_size([0.1] * 6) is None
    assert paired.effect_size([1.0, 2.0, 3.0] * 2) == pytest.approx(2 / 0.8**0.5)
    assert paired.effect_size([1.0, 2.0, 3.0] * 2, noise=1.0) is None


# -- false claims ---------------------------------------------------------------------------------


def _normal(generator, n):
    return generator.normal(0.5, 0.1, n)


def _bimodal(generator, n):
    return np.where(generator.random(n) < 0.4, 0.99, 0.1) + generator.normal(0, 0.01, n)


def _constant(generator, n):
    return np.full(n, 0.7)


@pytest.mark.parametrize("draw", [_normal, _bimodal, _constant])
def test_without_a_difference_at_most_the_stated_share_of_studies_claims_one(draw):
    generator = np.random.default_rng(7)
    studies, false = 300, 0
    for _ in range(studies):
        n = int(generator.choice([6, 8, 10]))
        made = [
            paired.compare((draw(generator, n) - draw(generator, n)).tolist()) for _ in range(3)
        ]
        false += any(j.outcome in ("A BETTER", "B BETTER") for j in paired.judge(made))
    assert false <= binom.ppf(0.999, studies, 0.05)


def test_the_median_decides_even_where_the_mean_says_otherwise():
    # b is ahead in nine of ten runs; a wins by far in one: the mean favours a, and is no claim.
    judged = paired.judge([paired.compare([-0.05] * 9 + [0.9])])[0]
    assert judged.outcome == "B BETTER"


# -- intervals over test examples, and superiority ------------------------------------------------


@pytest.mark.parametrize(("k", "m"), [(129, 125), (5, 0), (10, 10), (0, 0)])
def test_the_difference_of_two_rates_is_newcombes(k, m):
    n = 200
    sides = [(x / n, stats.wilson(x, n).low, stats.wilson(x, n).high) for x in (k, m)]
    _, low, high = stats.square_and_add(*sides)
    theirs = confint_proportions_2indep(k, n, m, n, method="newcomb")
    assert (low, high) == pytest.approx(theirs, abs=1e-9)


def test_superiority_counts_ties_half_and_has_width_even_at_the_ends():
    assert stats.superiority([1, 2, 3], [0, 2, 2]) == pytest.approx(
        (3 + 1 / 3 + 1 + 1 - 1) / 9 * 9 / 9, abs=1
    )
    assert stats.superiority([2, 2], [2, 2]) == 0.5
    for estimate in (0.0, 0.3, 0.5, 1.0):
        interval = stats.superiority_interval(estimate, 6, 6)
        mirror = stats.superiority_interval(1 - estimate, 6, 6)
        assert interval.low <= estimate <= interval.high
        assert interval.high - interval.low > 0.2
        assert (interval.low, interval.high) == pytest.approx((1 - mirror.high, 1 - mirror.low))


# -- steps to solve -------------------------------------------------------------------------------


def test_log_rank_scores_add_up_to_what_statsmodels_tests():
    from statsmodels.duration.survfunc import survdiff

    a = [(300, True), (500, True), (2000, False), (400, True)]
    b = [(900, True), (2000, False), (2000, False), (1500, True)]
    total = solving.scores([*a, *b])[:4].sum()
    time, solved = (np.array(x) for x in zip(*a, *b, strict=True))
    chi, _ = survdiff(time, solved, np.repeat([0, 1], 4))
    variance = 0.0
    for t in np.unique(time[solved]):
        risk, mine = (time >= t).sum(), (time[:4] >= t).sum()
        d = ((time == t) & solved).sum()
        share = mine / risk
        variance += d * share * (1 - share) * (risk - d) / max(risk - 1, 1)
    assert total**2 / variance == pytest.approx(chi)


def test_steps_are_compared_exactly_and_a_run_that_never_solves_is_not_left_out():
    generator = np.random.default_rng(0)
    fast, slow = [(500 + i, True) for i in range(7)], [(2000, False)] * 7
    found = solving.compare(fast, slow, generator)
    assert found.p_value == pytest.approx(2 / 2**7)
    assert paired.judge([found])[0].outcome == "A BETTER"
    assert paired.judge([solving.compare(slow, fast, generator)])[0].outcome == "B BETTER"
    # The means of those that finished would favour the side that solves once in seven.
    once = [(100, True), *[(2000, False)] * 6]
    assert paired.judge([solving.compare(once, fast, generator)])[0].outcome != "A BETTER"
    assert solving.compare(slow, slow, generator).p_value == 1
    assert solving.compare(fast[:6], slow[:6], generator, waiting=1).p_value == 1
