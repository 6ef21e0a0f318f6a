"""Steps to solve: survival curves, their intervals, and the comparison of models."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import beta
from statsmodels.duration.survfunc import SurvfuncRight
from tables_factory import Tables

from seqgrid.analysis import convergence, summary, survival
from seqgrid.analysis.survival import Time, kaplan_meier
from seqgrid.report import convergence as section


def times(solved, censored=()):
    return [Time(s, True) for s in solved] + [Time(s, False) for s in censored]


def study(*models, budget=2000, task="t"):
    """Each model: the outcomes of its seeds, as (test score, further columns)."""
    made = Tables(models=[f"m{i}" for i in range(len(models))])
    made.levels(task, [64], chance=0.0, ceiling=1.0, solved=0.9)
    for i, seeds in enumerate(models):
        for seed, (value, columns) in enumerate(seeds):
            columns = {"curve": [0.1] * 20, "budget_steps": budget} | columns
            made.cell(f"m{i}", task, 64, seed, value, **columns)
    return made


def solved(step):
    return 0.95, {"solved_step_steps": step}


UNSOLVED = (0.4, {})


def built(made):
    read = made.read()
    tables = summary.build(read)
    tables["survival"] = survival.build(read, tables)
    tables["convergence"] = convergence.build(read, tables)
    return {name: tables[name].to_pylist() for name in ("summary", "survival", "convergence")}


# -- curves ----------------------------------------------------------------------------------------


def test_the_curve_is_that_of_kaplan_and_meier():
    # Eight at risk; solved at 10 and 20, one censored between: 7/8, then 7/8 * 5/6.
    curve = kaplan_meier(times([10, 20], [15, 30, 30, 30, 40, 40]), 0.95)
    assert curve.steps.tolist() == [10, 15, 20, 30, 40]
    assert curve.at_risk.tolist() == [8, 7, 6, 5, 2]
    assert curve.censored.tolist() == [0, 1, 0, 3, 2]
    assert curve.unsolved == pytest.approx([7 / 8, 7 / 8, 35 / 48, 35 / 48, 35 / 48])
    generator = np.random.default_rng(0)
    steps, event = generator.integers(1, 30, 40), generator.random(40) < 0.6
    ours = kaplan_meier([Time(int(s), bool(e)) for s, e in zip(steps, event, strict=True)], 0.95)
    known = SurvfuncRight(steps.astype(float), event.astype(int))
    at = np.isin(ours.steps, known.surv_times)
    assert ours.unsolved[at] == pytest.approx(known.surv_prob)


def test_without_censoring_the_interval_is_the_exact_binomial_one():
    n = 7
    curve = kaplan_meier(times(range(1, n + 1)), 0.95)
    for gone in range(1, n + 1):
        left = n - gone
        low = beta.ppf(0.025, left, gone + 1) if left else 0.0
        high = beta.ppf(0.975, left + 1, gone)
        assert (curve.low[gone - 1], curve.high[gone - 1]) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [3, 6])
def test_intervals_hold_at_few_seeds_with_two_in_five_censored(n):
    generator = np.random.default_rng(3)
    missed, censored, trials = 0, 0, 300
    for _ in range(trials):
        event, cut = generator.exponential(1443, n), generator.exponential(2164, n)
        seeds = [Time(1 + int(min(e, c)), e <= c) for e, c in zip(event, cut, strict=True)]
        censored += sum(not s.solved for s in seeds)
        curve = kaplan_meier(seeds, 0.95)
        at = np.searchsorted(curve.steps, 1000, side="right") - 1
        if at >= 0:
            missed += not curve.low[at] <= 0.5 <= curve.high[at]
    assert 0.35 < censored / (n * trials) < 0.45
    assert missed / trials <= 0.05 + 0.01


# -- what counts as what ---------------------------------------------------------------------------

ENDS = {
    "solved": (solved(700), (700, 1, 0)),
    "solved on the test split alone": ((0.95, {}), (2000, 1, 0)),
    "solved on validation alone": ((0.5, {"solved_step_steps": 700}), (2000, 0, 1)),
    "unsolved at its budget": (UNSOLVED, (2000, 0, 1)),
    "on a plateau": (
        (0.4, {"step_steps": 800, "reason": "plateau: no better validation since step 100"}),
        (2000, 0, 1),
    ),
    "cut": ((None, {"outcome": "timed_out", "step_steps": 800}), (800, 0, 1)),
    "killed": ((None, {"outcome": "killed", "step_steps": 900}), (900, 0, 1)),
    "cut after a solved validation": (
        (None, {"outcome": "timed_out", "step_steps": 800, "solved_step_steps": 600}),
        (600, 0, 1),
    ),
    "diverged": (
        (None, {"outcome": "diverged", "step_steps": 300, "solved_step_steps": 200}),
        (2000, 0, 1),
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_long_a_seed_is_followed(name):
    seed, (step, event, censored) = ENDS[name]
    start, end = built(study([seed]))["survival"]
    assert (start["step_steps"], start["at_risk"], start["unsolved"]) == (0, 1, 1.0)
    assert (end["step_steps"], end["solved"], end["censored"]) == (step, event, censored)


def test_events_are_the_successes_and_missing_seeds_are_not_followed():
    missing = (None, {"outcome": "missing", "curve": None})
    made = study([solved(700), solved(900), (0.5, {"solved_step_steps": 100}), missing])
    found = built(made)
    (row,) = (r for r in found["summary"] if r["weights"] == "best")
    assert row["successes"] == sum(r["solved"] for r in found["survival"]) == 2
    assert found["survival"][0]["at_risk"] == 3


UNTIMED = (0.95, {"curve": [], "step_steps": 2000})  # solved, and no history says when


@pytest.mark.parametrize("curve", [[], [0.1] * 3], ids=["no history", "one that ends early"])
def test_a_seed_that_solved_the_task_nobody_knows_when_leaves_no_curve(curve):
    untimed = (0.95, {"curve": curve, "step_steps": 2000})
    found = built(study([solved(700), untimed], [solved(300), solved(500)]))
    assert {r["model"] for r in found["survival"]} == {"m1"}
    assert {r["model"] for r in found["convergence"] if r["model"]} == {"m1"}
    # A censored one is followed to its last step, whatever its history.
    assert built(study([(0.4, {"curve": [], "step_steps": 2000})]))["survival"][-1]["censored"] == 1


def row_of(made, model):
    """The cells of a model's row in the section of the report, and all of its words."""
    found = built(made)
    content = SimpleNamespace(
        convergence=found["convergence"], tasks=["t"], cells=made.read()["cells"].to_pylist(),
        rows=lambda task: [r for r in found["summary"] if r["weights"] == "best"],
        verdicts_of=lambda row: [], figures={},
    )  # fmt: skip
    page = section.convergence(content)
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {model} ")]
    return re.split(r"\s*\|\s*", line.strip("| ")), " ".join(page.split())


def test_the_section_says_that_nobody_knows_when():
    row, words = row_of(study([UNTIMED] * 3, [solved(500)] * 3), "m0")
    assert row[3:6] == ["3/3", "not known", "-"]
    assert "Not known: no history has validations" in words


def test_what_was_cut_short_is_not_said_to_never_solve_its_task():
    cut = [(0.4, {"curve": [0.1] * 3, "budget_steps": 300})] * 2
    assert "not within 300 steps (0/2)" in row_of(study(cut), "m0")[0]
    cut[0] = (None, {"outcome": "killed", "step_steps": 40})
    row, words = row_of(study(cut), "m0")
    assert "not within 40 to 300 steps (0/2)†" in row
    assert "never" not in words


def test_models_that_no_comparison_names_are_not_tested_against_each_other():
    fast, slow = ([solved(at + i) for i in range(10)] for at in (300, 1500))
    made = study(fast, slow)
    assert [r["model"] for r in built(made)["convergence"]] == ["m0", "m1"]
    words = row_of(made, "m0")[1]
    assert "Nothing is tested here" in words
    assert "log-rank" not in words


def test_no_curve_where_nothing_counts_as_solving():
    made = study([solved(700)])
    made.levels("t", [64], shortcuts={"a guess": 0.95})
    assert built(made)["survival"] == []
    assert built(made)["convergence"] == []


# -- medians and means -----------------------------------------------------------------------------


def test_the_median_s_interval_is_the_range_at_three_seeds_and_says_so():
    assert convergence.median(times([10, 20, 40]), 0.95) == (20, 10, 40, 0.75)
    assert convergence.median(times([10, 20], [50]), 0.95) == (20, 10, None, 0.75)
    assert convergence.median(times([], [50, 50]), 0.95) == (None, 50, None, 0.5)
    assert convergence.median(times([10]), 0.95) == (10, None, None, 0.0)
    # Nine: ranks 2 and 8 hold the median with 96.1 %, as for any sample.
    middle, low, high, coverage = convergence.median(times(range(1, 10)), 0.95)
    assert (middle, low, high, coverage) == (5, 2, 8, 0.95)


def test_the_restricted_mean_is_the_area_under_the_curve():
    assert convergence.restricted_mean(times([10, 20, 30]), 30) == pytest.approx(20)
    assert convergence.restricted_mean(times([10, 20, 30]), 15) == pytest.approx((10 + 15 + 15) / 3)
    assert convergence.restricted_mean(times([], [40]), 40) == 40


def test_the_horizon_is_where_the_first_unsolved_model_ends():
    assert convergence.horizon([times([10, 20]), times([5], [60]), times([], [80])]) == 60
    assert convergence.horizon([times([10, 20]), times([5, 7])]) == 20


def test_statements_name_what_was_not_reached():
    rows = built(study([UNSOLVED] * 3, [solved(500), UNSOLVED, UNSOLVED]))["convergence"]
    words = {r["model"]: r["statement"] for r in rows}
    assert words["m0"] == ("no seed of 3 solved the task within the steps that it had: 2,000")
    assert words["m1"].startswith(
        "1 of 3 seeds solved the task; fewer than half of them within 2,000"
    )
    assert "validated every 100 steps" in words["m1"]
    assert [r["times_steps"] for r in rows][1] == [500, -2000, -2000]
