"""Each rule on cells made to fire it, and on cells made not to."""

import json

import numpy as np
import pytest
from tables_factory import Tables

from seqgrid.analysis import expectations, summary
from seqgrid.analysis.groups import Cell, Group
from seqgrid.analysis.levels import Levels
from seqgrid.analysis.seed_rules import two_groups
from seqgrid.analysis.verdicts import RULES, collapsed, improving, no_clear_plateau, plateau
from seqgrid.thresholds import Thresholds

LEVELS = {"chance": 0.1, "ceiling": 1.0, "solved": 0.95, "shortcuts": {"bag": 0.3, "chunk": 0.6}}


def study(values, levels=LEVELS, **columns):
    return Tables().levels("task", [64], **levels).cells("model", "task", 64, values, **columns)


def verdicts(made: Tables, **match) -> dict[str, dict]:
    rows = summary.build(made.read())["verdicts"].to_pylist()
    return {r["verdict"]: r for r in rows if all(r[k] == v for k, v in match.items())}


def test_solved_counts_seeds_and_steps():
    found = verdicts(study([0.99, 0.97, 0.5], solved_step_steps=300))
    assert found["SOLVED"]["label"] == "SOLVED 2/3"
    assert "after a median of 300 steps" in found["SOLVED"]["statement"]
    assert json.loads(found["SOLVED"]["evidence"])["values"]["2"] == 0.5


def test_solved_says_how_many_seeds_test_noise_could_turn():
    told = verdicts(study([0.951, 0.97, 0.5]))["SOLVED"]
    assert told["label"] == "SOLVED 2/3"
    assert (
        "2 of 3 seeds reached 0.95 accuracy, 1 of them by more than test noise"
        in (told["statement"])
    )
    assert "noise" not in verdicts(study([0.99, 0.97, 0.951], half=0.0))["SOLVED"]["statement"]


@pytest.mark.parametrize("solved_step", [None, 300])
def test_the_test_score_says_whether_a_finished_cell_has_solved_its_task(solved_step):
    """A seed may solve its task on no validation, and one that did so there may miss the test."""
    columns = {"curve": [0.94] * 40, "solved_step_steps": solved_step}
    assert "PLATEAU" not in verdicts(study([0.99] * 3, **columns))
    assert "PLATEAU" in verdicts(study([0.93] * 3, **columns))
    ended = verdicts(study([0.93] * 3, reason="solved at step 300", **columns))
    assert "PLATEAU" not in ended


def test_bimodal_seeds_are_unstable_and_not_at_chance():
    found = verdicts(study([0.996, 0.095, 0.098]))
    assert found["SOLVED"]["label"] == "SOLVED 1/3"
    assert "UNSTABLE ACROSS SEEDS" in found
    assert not {"AT CHANCE", "AT CEILING", "ABOVE"} & found.keys()


@pytest.mark.parametrize("values", [[0.1, 0.105, 0.095], [0.02, 0.1, 0.09]])
def test_chance_and_worse_is_chance(values):
    found = verdicts(study(values))
    assert "AT CHANCE" in found
    assert not {"AT SHORTCUT", "ABOVE", "UNSTABLE ACROSS SEEDS"} & found.keys()


def test_many_seeds_at_chance_stay_at_chance_when_one_strays():
    values = np.random.default_rng(0).normal(0.1, 0.005, 10)
    values[3] = 0.1 + 0.012  # outside its own 95 % interval of +-0.01
    assert "AT CHANCE" in verdicts(study(values))
    assert "AT CHANCE" not in verdicts(study([0.1, 0.113]))


@pytest.mark.parametrize(
    ("values", "half", "columns"),
    [
        ([0.4, 0.42, 0.35], 0.32, {}),
        ([0.1] * 3, 0.32, {}),
        ([0.8, 0.82, 0.85], 0.2, {}),
        ([0.75, 0.8, 0.78], 0.22, {}),
        ([0.45, 0.5, 0.55], 0.2, {"model_ceiling": ("a bag", 0.6)}),
    ],
)
def test_a_wide_interval_puts_no_seed_at_a_level(values, half, columns):
    found = verdicts(study(values, half=half, **columns))
    at = {"AT CHANCE", "AT CEILING", "AT SHORTCUT", "AT MODEL CEILING"}
    assert not at & found.keys()


def test_seeds_that_together_exclude_a_level_are_not_at_it():
    """Each of 20 intervals holds chance, and every one of the values lies above it."""
    values = np.random.default_rng(0).normal(0.125, 0.004, 20)
    assert min(values) > 0.11
    assert "AT CHANCE" not in verdicts(study(values, half=0.025))
    hidden = [*values, *[0.0] * 20]  # seeds below chance do not hide them
    assert "AT CHANCE" not in verdicts(study(hidden, half=0.025))
    assert "AT CHANCE" in verdicts(study(values - 0.025, half=0.025))
    assert "AT CEILING" not in verdicts(study(values + 0.85, half=0.025))
    assert "AT SHORTCUT" in verdicts(study(values + 0.175, half=0.025))
    assert "AT SHORTCUT" not in verdicts(study(values + 0.205, half=0.025))


def test_far_below_chance_an_interval_may_be_wide():
    found = verdicts(study([-6.0, -4.5, -5.0], half=0.6))["AT CHANCE"]
    assert found["statement"] == "no seed is better than chance 0.1; seed 0, 1, 2 is worse than it"
    one = verdicts(study([0.03, 0.1, 0.105]))["AT CHANCE"]
    assert one["statement"] == "no seed is better than chance 0.1; seed 0 is worse than it"


def test_without_a_ceiling_widths_are_shares_of_the_way_to_a_perfect_score():
    assert "AT CHANCE" in verdicts(study([0.1] * 3, {"chance": 0.1}, half=0.02))
    assert "AT CHANCE" not in verdicts(study([0.1] * 3, {"chance": 0.1}, half=0.2))


def test_a_shortcut_is_named_and_the_level_below_it_passed():
    found = verdicts(study([0.6, 0.61, 0.595]))
    assert found["AT SHORTCUT"]["label"] == "AT SHORTCUT (chunk)"
    assert found["ABOVE"]["label"] == "ABOVE bag"
    assert "SOLVED" not in found


def test_a_shortcut_needs_chance_excluded():
    found = verdicts(study([0.11, 0.14, 0.1], LEVELS | {"shortcuts": {"bag": 0.15}}, half=0.05))
    assert "AT CHANCE" in found
    assert "AT SHORTCUT" not in found


def test_ceiling_and_above():
    found = verdicts(study([0.995, 1.0, 0.99]))
    assert "AT CEILING" in found
    assert found["ABOVE"]["label"] == "ABOVE chunk"


def test_levels_work_for_metrics_where_lower_is_better():
    levels = {"metric": "mse", "better": "lower", "chance": 1 / 6, "ceiling": 0.0, "solved": 0.01}
    found = verdicts(study([0.17, 40.0, 0.16], levels, metric="mse"))
    assert "AT CHANCE" in found
    assert verdicts(study([0.001, 0.002, 0.003], levels, metric="mse"))["SOLVED"]
    assert "ABOVE" in verdicts(study([0.1, 0.1, 0.1], levels, metric="mse"))


def test_where_ceiling_is_chance_nothing_else_is_said_of_quality():
    levels = {"chance": 0.1, "ceiling": 0.1, "solved": 0.1, "shortcuts": {"bag": 0.1}}
    found = verdicts(study([0.1, 0.101, 0.099], levels))
    assert "UNLEARNABLE AS SCORED" in found
    assert not {"SOLVED", "AT CHANCE", "AT CEILING", "AT SHORTCUT", "ABOVE"} & found.keys()


def test_a_moving_ceiling_is_no_degradation():
    """The order-blind ceiling falls with the length, and a model that sits on it falls along.

    The numbers are those of a study that read the fall as a degradation of 22 % with length.
    """
    made = Tables()
    ceilings = {100: 0.161, 200: 0.160, 500: 0.160, 1000: 0.133}
    seen = {100: 0.169, 200: 0.169, 500: 0.156, 1000: 0.131}
    for seqlen, bag in ceilings.items():
        levels = {"chance": 0.0, "ceiling": 1.0, "solved": 0.95, "shortcuts": {"order_blind": bag}}
        made.levels("copy", [seqlen], metric="r2", **levels)
        values = [seen[seqlen] + d for d in (-0.004, 0.0, 0.004)]
        made.cells("2d", "copy", seqlen, values, metric="r2", half=0.03)
    rows = summary.build(made.read())["verdicts"].to_pylist()
    assert [r["seqlen_tokens"] for r in rows if r["label"] == "AT SHORTCUT (order_blind)"] == [
        *(100, 200, 500, 1000)
    ]
    said = " ".join(r["verdict"] + r["statement"] for r in rows).lower()
    assert not any(word in said for word in ("degrad", "drop", "decline", "worsen", "collapse"))
    made = Tables()
    for seqlen, bag in ceilings.items():
        made.levels("copy", [seqlen], metric="r2", chance=0.0, ceiling=bag, solved=0.95)
        made.cells("2d", "copy", seqlen, [seen[seqlen]] * 3, metric="r2", half=0.0105)
    names = [r["verdict"] for r in summary.build(made.read())["verdicts"].to_pylist()]
    assert names.count("AT CEILING") == 4


def test_a_model_that_cannot_score_more_is_at_its_ceiling():
    found = verdicts(study([0.41, 0.4, 0.395], model_ceiling=("chunks of 32", 0.4)))
    assert found["AT MODEL CEILING"]["label"] == "AT MODEL CEILING (chunks of 32)"
    assert "0.4, the best there can be knowing this much" in found["AT MODEL CEILING"]["statement"]
    assert json.loads(found["AT MODEL CEILING"]["evidence"])["model_ceiling"] == 0.4
    below = verdicts(study([0.41, 0.4, 0.3], model_ceiling=("chunks of 32", 0.4)))
    assert not {"AT MODEL CEILING", "ABOVE MODEL CEILING"} & below.keys()
    at_chance = verdicts(study([0.1, 0.1, 0.1], model_ceiling=("chunks of 32", 0.11)))
    assert "AT MODEL CEILING" not in at_chance
    assert "AT MODEL CEILING" not in verdicts(study([0.41, 0.4, 0.395]))


@pytest.mark.parametrize("value", [0.125, 0.131, 0.138, 0.14, 0.154])
def test_a_low_ceiling_of_a_model_is_held_as_closely_as_a_high_one(value):
    levels = {"chance": 0.0, "ceiling": 1.0, "solved": 0.95}
    made = study([value] * 3, levels, half=0.003, model_ceiling=("unordered_chunks of 32", 0.135))
    named = verdicts(made).keys() & {"AT MODEL CEILING", "ABOVE MODEL CEILING"}
    expected = {value: {"AT MODEL CEILING"} for value in (0.131, 0.138)}
    expected[0.14] = set()  # the seeds together lie beyond it, none of them for sure
    assert named == expected.get(value, {"ABOVE MODEL CEILING"} if value > 0.135 else set())


def test_a_seed_beyond_what_its_model_can_see_refutes_the_explanation():
    found = verdicts(study([0.4, 0.4, 0.5], model_ceiling=("chunks of 32", 0.4)))
    assert found["ABOVE MODEL CEILING"]["label"] == "ABOVE MODEL CEILING (chunks of 32)"
    assert found["ABOVE MODEL CEILING"]["statement"].startswith("seed 2 lies beyond 0.4")
    assert "AT MODEL CEILING" not in found
    lower = {"metric": "mse", "better": "lower", "chance": 1.0, "ceiling": 0.0, "solved": 0.1}
    better = study([0.5] * 3, lower, metric="mse", model_ceiling=("chunks of 32", 0.6))
    worse = study([0.7] * 3, lower, metric="mse", model_ceiling=("chunks of 32", 0.6))
    assert "ABOVE MODEL CEILING" in verdicts(better)
    assert "ABOVE MODEL CEILING" not in verdicts(worse)


def test_unfinished_cells_bound_the_success_and_enter_no_median():
    made = study([0.99, 0.98])
    made.cell("model", "task", 64, 2, 0.2, outcome="timed_out", reason="out of time")
    made.cell("model", "task", 64, 3, outcome="diverged", reason="loss is NaN")
    built = summary.build(made.read())
    row = built["summary"].to_pylist()[0]
    assert (row["final"], row["successes"], row["unknown"]) == (2, 2, 1)
    assert row["median"] == pytest.approx(0.985)
    assert row["finals"] == [True, True, False, False]
    assert row["success_low"] < 2 / 4 < 3 / 4 < row["success_high"]
    found = verdicts(made)
    assert found["SOLVED"]["label"] == "SOLVED 2/4"
    assert "timed_out 1" in found["PARTIAL"]["statement"]
    assert "loss is NaN" in found["DIVERGED"]["statement"]
    assert found["TOO FEW SEEDS"]["label"] == "TOO FEW SEEDS (2)"
    assert not verdicts(study([0.99] * 3)).keys() & {"PARTIAL", "TOO FEW SEEDS", "DIVERGED"}


def test_failed_and_skipped_cells_say_why():
    made = study([None] * 2, outcome="failed", reason="RuntimeError: boom\nmore", error="trace")
    assert "(seed 0, 1): RuntimeError: boom" in verdicts(made)["FAILED"]["statement"]
    found = verdicts(study([None], outcome="skipped", reason="needs 96 tokens"))
    assert "needs 96 tokens" in found["SKIPPED"]["statement"]
    assert not {"PARTIAL", "TOO FEW SEEDS", "FAILED"} & found.keys()


def test_a_nan_metric_is_neither_solved_nor_at_chance():
    found = verdicts(study([float("nan")] * 3))
    assert found["NOT A NUMBER"]["label"] == "NOT A NUMBER 3/3"
    assert not {"SOLVED", "AT CHANCE", "AT CEILING", "ABOVE"} & found.keys()


def test_stale_cells_are_named():
    assert verdicts(study([0.5] * 3, evaluation_stale=True))["STALE"]["label"] == "STALE 3/3"


def test_variants_are_selected_on_validation_and_never_on_test():
    made = study([])
    # The better test score has the worse validation.
    made.cells("model", "task", 64, [0.9] * 3, variant="learning_rate=0.1", curve=[0.5] * 20)
    made.cells("model", "task", 64, [0.7] * 3, variant="learning_rate=0.01", curve=[0.8] * 20)
    rows = summary.build(made.read())["summary"].to_pylist()
    assert {r["variant"] for r in rows if r["selected"]} == {"learning_rate=0.01"}
    assert {r["variant"] for r in rows} == {"learning_rate=0.01", "learning_rate=0.1"}
    assert "SINGLE LR" not in verdicts(made)
    assert "SINGLE LR" in verdicts(study([0.5] * 3))


def test_one_lucky_seed_of_a_diverging_variant_is_not_selected():
    made = study([])
    made.cell("model", "task", 64, 0, 0.99, variant="lr=1", curve=[0.99] * 20)
    made.cell("model", "task", 64, 1, outcome="diverged", variant="lr=1")
    made.cell("model", "task", 64, 2, outcome="diverged", variant="lr=1")
    made.cells("model", "task", 64, [0.7] * 3, variant="lr=0.1", curve=[0.7] * 20)
    rows = summary.build(made.read())["summary"].to_pylist()
    assert {r["variant"] for r in rows if r["selected"]} == {"lr=0.1"}


CURVE_LEVELS = Levels(chance=0.0, ceiling=1.0, solved=0.95)


def with_curve(values, error=0.01, **about) -> Cell:
    history = tuple((100 * (i + 1), float(v), error) for i, v in enumerate(values))
    return Cell(seed=0, outcome=about.pop("outcome", "finished"), history=history, **about)


def test_a_peak_that_is_lost_is_a_collapse_and_noise_is_not():
    assert collapsed(with_curve([0.2, 0.9, 0.95, 0.4]), CURVE_LEVELS)
    noise = 0.5 + np.random.default_rng(0).normal(0, 0.03, 40)
    assert collapsed(with_curve(noise, error=0.03), CURVE_LEVELS) is None
    assert collapsed(with_curve([0.9]), CURVE_LEVELS) is None


def test_a_curve_that_still_rises_is_improving_and_a_flat_one_a_plateau():
    rising = with_curve(np.linspace(0.1, 0.6, 40))
    assert improving(rising, CURVE_LEVELS)
    assert plateau(rising, CURVE_LEVELS) is None
    flat = with_curve([0.5] * 40)
    assert improving(flat, CURVE_LEVELS) is None
    assert "chance" not in plateau(flat, CURVE_LEVELS).statement
    assert "can still break" in plateau(with_curve([0.0] * 40), CURVE_LEVELS).statement


@pytest.mark.parametrize(
    "about", [{"outcome": "timed_out"}, {"solved_step": 300}], ids=["unfinished", "solved"]
)
def test_convergence_is_judged_only_of_finished_unsolved_cells(about):
    for values in (np.linspace(0.1, 0.6, 40), [0.5] * 40):
        cell = with_curve(values, **about)
        assert improving(cell, CURVE_LEVELS) is None
        assert plateau(cell, CURVE_LEVELS) is None


def test_too_short_a_curve_says_nothing():
    assert improving(with_curve([0.1, 0.2, 0.3, 0.4]), CURVE_LEVELS) is None


def test_rules_have_distinct_names_and_a_sentence():
    assert len({r.name for r in RULES}) == len(RULES)
    assert all(r.sentence.endswith(".") and r.find.__doc__ for r in RULES)


def named(made):
    return {v["label"] for v in summary.build(made.read())["verdicts"].to_pylist()}


def test_a_score_that_cannot_be_is_said_to_be_none():
    """The answers leak, or the ceiling is wrong; where the ceiling is chance, too."""
    made = Tables().levels("leaks", [64], chance=0.5, ceiling=0.8, solved=0.78)
    made.cells("sees", "leaks", 64, [0.95, 0.79, 0.94])
    assert "ABOVE CEILING" in named(made)
    made = Tables().levels("fixture", [64], chance=0.1, ceiling=0.1)
    made.cells("sees", "fixture", 64, [1.0] * 3)
    assert {"ABOVE CEILING", "UNLEARNABLE AS SCORED"} <= named(made)
    made = Tables().levels("fair", [64], chance=0.5, ceiling=0.8, solved=0.78)
    made.cells("good", "fair", 64, [0.81, 0.79, 0.8])
    assert "ABOVE CEILING" not in named(made)


def test_what_a_shortcut_reaches_is_not_solved():
    levels = {"chance": 0.0, "ceiling": 1.0, "solved": 0.95}
    made = Tables().levels("copy", [64], metric="r2", shortcuts={"chunks": 0.96}, **levels)
    made.cells("chunked", "copy", 64, [0.96] * 3, metric="r2")
    found = named(made)
    assert "SHORTCUT SUFFICES (chunks)" in found
    assert "AT SHORTCUT (chunks)" in found
    assert not any(label.startswith("SOLVED") for label in found)


def test_solved_takes_more_than_a_few_lucky_answers():
    made = Tables().levels("coin", [64], chance=0.5, ceiling=1.0, solved=0.99)
    made.cells("lucky", "coin", 64, [1.0] * 3, half=0.6)
    assert not any(label.startswith("SOLVED") for label in named(made))
    made = Tables().levels("coin", [64], chance=0.5, ceiling=1.0, solved=0.99)
    made.cells("able", "coin", 64, [1.0] * 3, half=0.01)
    assert "SOLVED 3/3" in named(made)


def about(**thresholds):
    return {"config": {"thresholds": thresholds}}


def with_thresholds(values, levels=LEVELS, columns=None, **thresholds):
    made = Tables(**about(**thresholds)).levels("task", [64], **levels)
    return verdicts(made.cells("model", "task", 64, values, **columns or {}))


@pytest.mark.parametrize(
    ("threshold", "values", "columns", "verdict"),
    [
        ({"enough_seeds": 4}, [0.5] * 3, {}, "TOO FEW SEEDS"),
        ({"level_share": 0.2}, [0.5] * 3, {}, "AT SHORTCUT"),
        ({"unstable_share": 0.05}, [0.4, 0.45, 0.5], {}, "UNSTABLE ACROSS SEEDS"),
        ({"unlearnable_share": 0.95}, [0.5] * 3, {}, "UNLEARNABLE AS SCORED"),
        ({"seen_share": 1e-9}, [0.5] * 3, {"log2_inputs": 20.0, "seen_examples": 8},
         "SEEN IN TRAINING"),
        ({"collapse_share": 0.01}, [0.5] * 3, {"curve": [0.5] * 10 + [0.46] * 10}, "COLLAPSED"),
        ({"confidence": 0.9999}, [0.11] * 3, {}, "AT CHANCE"),
        ({"interval_share": 0.9}, [0.1] * 3, {"half": 0.32}, "AT CHANCE"),
        ({"plateau_share": 0.2}, [0.5] * 3, {"curve": [0.45, 0.55] * 20}, "PLATEAU"),
        ({"window_share": 1.0}, [0.5] * 3, {"curve": list(np.linspace(0.2, 0.5, 30)) + [0.5] * 20},
         "IMPROVING"),
        ({"window_points": 20}, [0.5] * 3, {"curve": list(np.linspace(0.2, 0.5, 10)) + [0.5] * 10},
         "IMPROVING"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_study_sets_each_threshold_and_the_rule_says_so(threshold, values, columns, verdict):
    usual = with_thresholds(values, columns=columns)
    here = with_thresholds(values, columns=columns, **threshold)
    assert verdict in here
    assert verdict not in usual
    assert "set by this study; usually" in here[verdict]["rule"]


def test_a_wider_confidence_widens_the_intervals_of_medians_and_rates():
    rows = {
        confidence: summary.build(
            Tables(**about(confidence=confidence))
            .levels("task", [64], **LEVELS)
            .cells("model", "task", 64, np.linspace(0.9, 0.99, 12))
            .read()
        )["summary"].to_pylist()[0]
        for confidence in (0.8, 0.95)
    }
    assert rows[0.8]["low"] > rows[0.95]["low"]
    assert rows[0.8]["success_low"] > rows[0.95]["success_low"]


def test_every_threshold_of_a_rule_is_one_and_each_is_used():
    known = set(Thresholds.model_fields)
    used = {name for rule in RULES for name in rule.thresholds}
    assert used <= known
    # Advice, scaling and comparisons have the others.
    assert known - used == {"worth_share", "success_half_width", "flat_share", "margin_share"}


def test_two_groups_of_seeds_are_named_with_the_rate_of_success():
    found = verdicts(study([0.996, 0.095, 0.098, 0.99]))["UNSTABLE ACROSS SEEDS"]
    assert found["label"] == "UNSTABLE ACROSS SEEDS (two groups)"
    assert (
        "groups of seeds: 0.095 to 0.098 (seed 1, 2); 0.99 to 0.996 (seed 3, 0)"
        in (found["statement"])
    )
    assert "success rate 0.50, 95 % interval 0.15 to 0.85" in found["statement"]
    assert json.loads(found["evidence"])["groups"] == [[1, 2], [3, 0]]


def test_one_seed_makes_no_group():
    found = verdicts(study([0.996, 0.095, 0.098]))["UNSTABLE ACROSS SEEDS"]
    assert found["label"] == "UNSTABLE ACROSS SEEDS (one seed apart)"
    assert "one seed apart: 0.095 to 0.098 (seed 1, 2); 0.996 (seed 0)" in found["statement"]
    assert "among values spread evenly so large a gap" in found["statement"]


def test_a_gap_in_a_long_tail_makes_no_second_group():
    """Two groups are told where the gap is wider than either, a tail is wider than its gaps."""
    tail = [*np.linspace(0.70, 0.90, 11), 0.52, 0.53]
    found = verdicts(study(tail, half=0.004))["UNSTABLE ACROSS SEEDS"]
    assert found["label"] == "UNSTABLE ACROSS SEEDS"
    evidence = json.loads(found["evidence"])
    assert (evidence["p_even"] < 0.001, evidence["groups"]) == (True, [])
    apart = [*np.linspace(0.70, 0.80, 11), 0.52, 0.53]
    found = verdicts(study(apart, half=0.004))["UNSTABLE ACROSS SEEDS"]
    assert found["label"] == "UNSTABLE ACROSS SEEDS (two groups)"


def test_seeds_that_spread_evenly_are_unstable_without_groups():
    found = verdicts(study([0.2, 0.5, 0.9]))["UNSTABLE ACROSS SEEDS"]
    assert found["label"] == "UNSTABLE ACROSS SEEDS"
    assert "values from 0.2 to 0.9" in found["statement"]


def test_seeds_just_beside_the_solved_level_are_not_unstable():
    assert "UNSTABLE ACROSS SEEDS" not in verdicts(study([0.948, 0.951, 0.952]))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_evenly_spread_seeds_rarely_look_like_two_groups(n):
    generator = np.random.default_rng(n)
    rounds, split = 400, 0
    for _ in range(rounds):
        cells = tuple(
            Cell(i, "finished", evaluated=True, value=v, low=v, high=v, origin="test")
            for i, v in enumerate(generator.random(n))
        )
        group = Group("m", "t", "", 64, 64, "", "", "accuracy", CURVE_LEVELS, cells)
        split += two_groups(group)[0] < 0.05
    assert split <= 0.05 * rounds + 3 * (0.05 * 0.95 * rounds) ** 0.5
    assert split > 0


def test_without_an_interval_nothing_that_takes_one_is_said():
    made = study([0.1, 0.1, 0.99])
    for row in made.rows["evaluations"]:
        row |= {"low": None, "high": None}
    found = verdicts(made)
    assert found["NO INTERVAL"]["label"] == "NO INTERVAL 3/3"
    quality = {"SOLVED", "AT CHANCE", "AT CEILING", "AT SHORTCUT", "ABOVE", "ABOVE CEILING"}
    assert not (quality | {"UNSTABLE ACROSS SEEDS"}) & found.keys()
    row = summary.build(made.read())["summary"].to_pylist()[0]
    assert (row["successes"], row["unknown"]) == (0, 1)
    assert "NO INTERVAL" not in verdicts(study([0.1] * 3))


def test_the_time_to_solve_is_told_in_steps_and_seconds():
    found = verdicts(study([0.99] * 3, solved_step_steps=300, solved_seconds=12.5))
    assert "after a median of 300 steps and 12.5 s of training" in found["SOLVED"]["statement"]
    beyond = study([0.5] * 3, elsewhere={128: 0.99}, solved_seconds=12.5).levels(
        "task", [128], **LEVELS
    )
    assert (
        "s of training" not in verdicts(beyond, evaluated_seqlen_tokens=128)["SOLVED"]["statement"]
    )


def test_a_collapse_names_peak_and_end():
    label = collapsed(with_curve([0.2, 0.9, 0.95, 0.4]), CURVE_LEVELS).label
    assert label == "COLLAPSED (0.95 -> 0.4)"


def test_an_infinite_validation_is_no_peak():
    assert collapsed(with_curve([np.inf, 0.5, 0.6, np.inf]), CURVE_LEVELS) is None
    assert collapsed(with_curve([np.inf, np.inf]), CURVE_LEVELS) is None
    label = collapsed(with_curve([np.inf, 0.9, 0.2]), CURVE_LEVELS).label
    assert label == "COLLAPSED (0.9 -> 0.2)"


def test_a_plateau_is_said_only_where_it_is_longer_than_those_known_to_break():
    flat = [0.0] * 40  # 4,000 steps, of which the last 900 are judged
    assert "900" not in plateau(with_curve(flat), CURVE_LEVELS).statement
    short, long = (with_curve(flat, known_plateau=k) for k in (2000, 3900))
    assert "longer than the 2,000 steps" in plateau(short, CURVE_LEVELS).statement
    assert no_clear_plateau(short, CURVE_LEVELS) is None
    assert plateau(long, CURVE_LEVELS) is None
    assert "up to 3,900 steps" in no_clear_plateau(long, CURVE_LEVELS).statement
    late = with_curve([*np.linspace(0, 0.5, 25), *[0.5] * 15], known_plateau=2000)
    assert plateau(late, CURVE_LEVELS) is None
    assert no_clear_plateau(late, CURVE_LEVELS)
    assert (
        no_clear_plateau(with_curve(np.linspace(0.1, 0.6, 40), known_plateau=9000), CURVE_LEVELS)
        is None
    )


def test_many_seeds_that_differ_little_are_not_unstable():
    values = [0.49, 0.52, 0.55, 0.57, 0.6, 0.61, 0.63, 0.66, 0.69, 0.72]
    assert "UNSTABLE ACROSS SEEDS" not in verdicts(study(values, half=0.005))
    found = verdicts(study([*values[:-1], 0.12], half=0.005))["UNSTABLE ACROSS SEEDS"]
    assert found["label"] == "UNSTABLE ACROSS SEEDS (one seed apart)"


def test_a_curve_that_was_never_above_chance_has_nothing_to_lose():
    lost = [-8.8, -20.0, -39.7]
    assert "COLLAPSED" not in verdicts(study([-39.7], curve=lost, half=0.01))


def test_a_score_beside_a_shortcut_is_not_above_it_as_well():
    """Seeds whose intervals exclude a level that they lie within 2 % of the span of."""
    levels = LEVELS | {"shortcuts": {"value": 0.25, "bag": 0.15}}
    found = verdicts(study([0.265, 0.264, 0.266], levels, half=0.003))
    assert found["AT SHORTCUT"]["label"] == "AT SHORTCUT (value)"
    words = "the interval of every seed comes within 2 % of the span of value at 0.25"
    assert found["AT SHORTCUT"]["statement"].startswith(words)
    assert found["ABOVE"]["label"] == "ABOVE bag"
    wide = verdicts(study([0.265, 0.24, 0.266], levels, half=0.03))
    assert wide["AT SHORTCUT"]["statement"].startswith("no seed can be told from value at 0.25")
    near = verdicts(study([0.79] * 3, {"chance": 0.1, "ceiling": 0.8}, half=0.001))
    assert "comes within 2 % of the span of the ceiling 0.8" in near["AT CEILING"]["statement"]


def test_what_lies_close_above_a_shortcut_is_neither_shown_nor_refuted_to_be_above_it():
    made = Tables(config={"expect": []}).levels("task", [64], **LEVELS)
    made.cells("model", "task", 64, [0.31, 0.312, 0.311], half=0.003)
    read = made.read()
    rows = expectations.known(read, summary.build(read))
    entry = {"model": "model", "task": "task", "seqlen": 64, "evaluated": None, "test_set": ""}
    said = {
        words: next(expectations.Places(rows, entry | {"verdict": words, "why": ""}).rows())["met"]
        for words in ("ABOVE bag", "ABOVE chance", "ABOVE chunk", "AT SHORTCUT (bag)")
    }
    assert said == {
        "ABOVE bag": None,
        "ABOVE chance": True,
        "ABOVE chunk": False,
        "AT SHORTCUT (bag)": True,
    }


def test_beyond_the_ceiling_nothing_else_is_said_of_quality():
    levels = {"chance": 0.5, "ceiling": 0.8, "solved": 0.78, "shortcuts": {"bag": 0.6}}
    found = verdicts(study([0.95, 0.94, 0.5], levels))
    assert "ABOVE CEILING" in found
    quality = {"SOLVED", "AT CHANCE", "AT CEILING", "AT SHORTCUT", "ABOVE"}
    assert not (quality | {"UNSTABLE ACROSS SEEDS"}) & found.keys()


def test_a_median_of_steps_says_of_how_many_seeds_it_is():
    made = study([0.99] * 2)
    made.cell("model", "task", 64, 2, 0.99, solved_step_steps=100)
    told = verdicts(made)["SOLVED"]["statement"]
    assert told.endswith("after a median of 100 steps (of 1 of them)")


def test_an_infinite_validation_gains_nothing_that_can_be_told():
    curve = [*np.linspace(0.1, 0.5, 30), np.inf, *np.linspace(0.5, 0.6, 5)]
    assert improving(with_curve(curve), CURVE_LEVELS) is None
    assert plateau(with_curve(curve), CURVE_LEVELS) is None
