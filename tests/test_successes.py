"""Success rates of two sides: the exact test, its interval, equivalence, and rows of a study."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial
from statsmodels.stats.contingency_tables import mcnemar
from tables_factory import Tables
from test_comparison_rows import X, only, rows

from seqgrid.analysis import paired, successes

# -- the test ------------------------------------------------------------------------------------


def of_rates(both, only_a, only_b, neither, **more):
    return successes.compare([1.0] * only_a + [-1.0] * only_b + [0.0] * (both + neither), **more)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (6, 0), (7, 1), (2, 9), (5, 5)])
def test_mcnemars_test_is_that_of_statsmodels_and_concordant_pairs_say_nothing(only_a, only_b):
    table = np.array([[3, only_a], [only_b, 2]])
    found = of_rates(3, only_a, only_b, 2)
    assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert found.p_value == of_rates(20, only_a, only_b, 0).p_value


@pytest.mark.parametrize("waiting", [1, 2, 3])
@pytest.mark.parametrize("margin", [None, 0.45])
def test_rates_of_pairs_to_come_hold_whatever_they_become(waiting, margin):
    for only_a, only_b, both in itertools.product(range(9), range(3), (0, 6)):
        now = paired.judge([of_rates(both, only_a, only_b, 0, margin=margin, waiting=waiting)])[0]
        rest = itertools.combinations_with_replacement((1.0, 0.0, -1.0), waiting)
        d = [1.0] * only_a + [-1.0] * only_b + [0.0] * both
        ends = {paired.judge([successes.compare([*d, *r], margin)])[0].outcome for r in rest}
        if now.outcome != "NOT TESTABLE YET":
            assert ends == {now.outcome}


def test_the_interval_of_rates_is_of_the_differences_that_a_score_test_does_not_reject():
    def z(d, only_a, only_b, n):
        # Tango's score at the likeliest rate of `only_b` under a difference d, by looking for it.
        q = np.linspace(max(0, -d), (1 - d) / 2, 200_001)[1:-1]
        likely = only_a * np.log(q + d) + only_b * np.log(q)
        likely += (n - only_a - only_b) * np.log(1 - 2 * q - d)
        best = q[likely.argmax()]
        return (only_a - only_b - n * d) / np.sqrt(n * (2 * best + d - d**2))

    for only_a, only_b, n in ((3, 1, 12), (2, 7, 30), (6, 1, 7), (1, 1, 5)):
        found = successes.paired_rates(only_a, only_b, n)
        assert z(found.low, only_a, only_b, n) == pytest.approx(1.95996, abs=1e-3)
        assert z(found.high, only_a, only_b, n) == pytest.approx(-1.95996, abs=1e-3)
        mirrored = successes.paired_rates(only_b, only_a, n)
        assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    # No run differs: the score test of a difference d has z = sqrt(n d / (1 - d)).
    assert successes.paired_rates(0, 0, 10).high == pytest.approx(3.8415 / 13.8415, abs=1e-4)
    assert (successes.paired_rates(9, 0, 9).high, successes.paired_rates(0, 9, 9).low) == (1, -1)


@pytest.mark.parametrize("n", [2, 6, 10])
def test_the_interval_of_rates_has_zero_as_the_test_does_and_its_coverage(n):
    counts, made = [], []
    for a, b, c in itertools.product(range(n + 1), repeat=3):
        if a + b + c <= n:
            found = of_rates(c, a, b, n - a - b - c)
            judged = paired.judge([found])[0]
            made.append(successes.interval(found, judged.outcome, judged.coverage))
            counts.append((a, b, c, n - a - b - c))
            excluded = made[-1].low > 0 or made[-1].high < 0
            assert excluded == (judged.outcome in ("A BETTER", "B BETTER"))
    low, high = np.array([(i.low, i.high) for i in made]).T
    generator, covered = np.random.default_rng(3), []
    for rates in generator.dirichlet([1, 1, 1, 1], 200):
        true = rates[0] - rates[1]
        holds = (low <= true) & (true <= high)
        covered.append(multinomial(n, rates).pmf(counts)[holds].sum())
    assert np.mean(covered) > 0.95
    assert np.quantile(covered, 0.05) > 0.94
    assert min(covered) > 0.83


@pytest.mark.parametrize("margin", [0.2, 0.3])
@pytest.mark.parametrize("least", [0.0, 0.1])
def test_rates_as_far_apart_as_the_margin_are_seldom_called_alike(margin, least):
    n = 14
    rates = [margin + least, least, 0.5 * (1 - margin - 2 * least)]
    wrong = 0.0
    for a, b in itertools.product(range(n + 1), repeat=2):
        if a + b <= n and of_rates(n - a - b, a, b, 0, margin=margin).p_equivalent <= 0.05:
            p = multinomial(n, [*rates[:2], 1 - sum(rates[:2])]).pmf([a, b, n - a - b])
            wrong += float(p)
    assert 0 < wrong <= 0.05 or least > 0
    assert wrong <= 0.05


# -- rows of a study ------------------------------------------------------------------------------

S, F = 0.97, 0.3  # a score that solves the task, and one that does not


def solved(p, q, shortcut=None, groups=None, elsewhere=None, **entry):
    """Shares of seeds that solve it; a word in place of a score is how the run ended without."""
    about = X["x"] | {"metric": "solved"} | entry
    made = Tables(config={"compare": {"x": about}, "groups": groups or {}})
    shortcuts = {"bag": shortcut} if shortcut else None
    made.levels("mqar", [64, 128], chance=0.01, ceiling=1.0, solved=0.95, shortcuts=shortcuts)
    for model, found in (("p", p), ("q", q)):
        for seed, value in enumerate(found):
            ended = {"outcome": value} if isinstance(value, str) else {"value": value}
            beyond = {} if elsewhere is None else {"elsewhere": {128: elsewhere[model][seed]}}
            made.cell(model, "mqar", 64, seed, **ended, **beyond)
    return made


def test_success_rates_are_compared_by_the_seeds_that_one_side_alone_solves():
    row = only(solved([S] * 9 + [F], [S] * 2 + [F] * 7 + [S]))
    assert (row["outcome"], row["pairs"]) == ("NO DIFFERENCE SHOWN", 10)
    assert row["p_value"] == pytest.approx(binomtest(7, 8).pvalue)
    row = only(solved([S] * 10, [S] * 3 + [F] * 7))
    assert (row["outcome"], row["solved_a"], row["solved_b"]) == ("A BETTER", 10, 3)
    assert row["difference"] == pytest.approx(0.7)
    assert row["p_value"] == pytest.approx(2 / 2**7)  # the three that both solve say nothing
    assert 0 < row["low"] < 0.7 < row["high"]
    assert "a solved it in 10 of 10 runs (0.72 to 1.00), b in 3 of 10" in row["statement"]
    assert "a alone in 7, b alone in 0" in row["statement"]
    assert row["effect_size"] is None
    assert only(solved([S] * 3, [F] * 3))["outcome"] == "TOO FEW PAIRS"


def test_a_run_that_diverged_has_not_solved_it_and_one_to_come_is_no_failure():
    nan = float("nan")
    row = only(solved([S] * 8, ["diverged"] * 4 + [nan] * 4))
    assert (row["outcome"], row["solved_b"], row["pairs"]) == ("A BETTER", 0, 8)
    assert "has not solved it: seed 0 of b: diverged" in row["statement"]
    row = only(solved([S] * 8, [F] * 5 + ["timed_out", "missing", "failed"]))
    assert (row["outcome"], row["pairs"], len(row["missing"])) == ("NOT TESTABLE YET", 5, 3)
    # Nine say enough, whatever becomes of the tenth.
    assert only(solved([S] * 10, [F] * 9 + ["timed_out"]))["outcome"] == "A BETTER"
    row = only(solved([S] * 7, [F] * 6 + ["skipped"]))
    assert (row["outcome"], row["pairs"]) == ("A BETTER", 6)
    assert "without a partner: seed 6 of b: skipped" in row["statement"]


def test_a_score_beyond_the_solved_level_without_an_interval_is_no_success_and_no_failure():
    made = solved([S] * 8, [F] * 8)
    for row in made.rows["evaluations"]:
        if row["model"] == "p" and row["seed"] == 7:
            row |= {"low": None, "high": None}
    row = only(made)
    assert (row["pairs"], row["unpaired"]) == (7, 2)
    assert "without a partner: seed 7 of a: its score has no interval" in row["statement"]


def test_rates_are_alike_only_within_a_margin_and_enough_seeds():
    assert only(solved([S, F] * 6, [S, F] * 6))["outcome"] == "NO DIFFERENCE SHOWN"
    row = only(solved([S] * 12, [S] * 12, margin=0.3))
    # Two tests by Holm: 0.7 to the twelfth, that no seed of so many is solved by one side alone.
    assert row["p_equivalent"] == pytest.approx(2 * 0.7**12)
    assert row["outcome"] == "NO DIFFERENCE"
    assert "success rates that differ by 0.3 or more are excluded" in row["statement"]
    # All at the ceiling are equally often there; all at chance show nothing.
    assert only(solved([1.0] * 12, [1.0] * 12, margin=0.3))["outcome"] == "NO DIFFERENCE"
    row = only(solved([0.01] * 12, [0.01] * 12, margin=0.3))
    assert (row["outcome"], len(row["blockers"])) == ("NO DIFFERENCE SHOWN", 1)
    assert only(solved([S] * 12, [S] * 12, margin=0.2))["outcome"] == "NO DIFFERENCE SHOWN"


def test_success_is_that_of_the_length_it_is_tested_at():
    beyond = {"p": [S] * 8, "q": [F] * 8}
    made = solved([S] * 8, [S] * 8, elsewhere=beyond, on={"evaluated": 128})
    assert (only(made)["outcome"], only(made)["solved_b"]) == ("A BETTER", 0)
    none = solved([S] * 8, ["timed_out"] * 8, on={"evaluated": 128})
    assert only(none)["outcome"] == "NOT COMPARABLE"  # a was evaluated, and not there
    to_come = solved(["missing"] * 8, ["missing"] * 8, on={"evaluated": 128})
    assert only(to_come)["outcome"] == "NOT TESTABLE YET"


def test_success_that_no_score_shows_and_that_of_a_group_is_not_compared():
    row = only(solved([S] * 8, [F] * 8, shortcut=0.97))
    assert (row["outcome"], row["pairs"]) == ("NOT COMPARABLE", 0)
    assert "a shortcut reaches it" in row["statement"]
    row = only(solved([S] * 8, [F] * 8, a={"group": "g"}, groups={"g": ["p", "q"]}))
    assert row["blockers"] == ["solved is compared model by model"]


def test_a_claim_rests_on_success_rates_at_every_place():
    claims = [{"statement": "s", "compare": "x", "verdict": "A BETTER", "expected": [0.3, 1.0]}]
    made = solved([S] * 10, [F] * 10)
    made.about["config"]["claims"] = claims
    claim = rows(made, "claims")[0]
    assert (claim["status"], claim["found"], claim["value"]) == ("supported", "inside", 1)
    del claims[0]["expected"]
    made.cells("p", "mqar", 128, [S] * 10).cells("q", "mqar", 128, [S] * 10)
    assert [row["seqlen_tokens"] for row in rows(made)] == [64, 128]  # none over all places
    assert rows(made, "claims")[0]["status"] == "not testable yet"
