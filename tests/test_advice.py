"""What a report advises of cells, groups and a study: each rule where it applies and beside it."""

import json

import numpy as np
import pytest
from tables_factory import PROVENANCE, Tables, everything

from seqgrid.analysis import edits, rates, resuming
from seqgrid.analysis.build import build
from seqgrid.analysis.groups import Cell, Group
from seqgrid.analysis.levels import Levels, ModelCeiling
from seqgrid.thresholds import Thresholds

STEPS = np.arange(100, 2001, 100)
LEVELS = Levels(chance=0.1, ceiling=1.0, solved=0.95, shortcuts=(("bag", 0.4),))
RISING = 0.15 + 0.5 * STEPS / 2000


def judged(curve, levels=LEVELS, broken=100, ceiling=None, error=0.01, fell=False,
           metric="accuracy", **fields):  # fmt: skip
    """What is said of a cell whose validations were these, of 2,000 steps asked for."""
    history = tuple((int(s), float(v), error) for s, v in zip(STEPS, curve, strict=False))
    cell = Cell(0, "timed_out", step=100 * len(curve), budget=2000, history=history, **fields)
    group = Group(*("m", "t", "", 64, 64, "", "", metric, levels, (cell,)), model_ceiling=ceiling)
    return resuming.judge(cell, group, Thresholds(), broken, fell)


def flat(value, n=18):
    """A curve that has been at the value for long, after a short way up."""
    return value - (value - 0.1) * np.exp(-STEPS[:n] / 50)


def test_a_curve_that_still_rises_is_resumed_with_the_gain_it_promises():
    found = judged(RISING[:12])
    assert (found.action, found.rule) == ("resume", "IMPROVING")
    assert found.low <= found.gain <= found.high
    assert 0.1 < found.gain < 0.5


@pytest.mark.parametrize(
    ("metric", "better", "bounded"),
    [("accuracy", "higher", True), ("mse", "lower", True), ("loss", "lower", False)],
)
def test_without_levels_nothing_is_expected_beyond_what_the_metric_can_be(metric, better, bounded):
    curve = np.linspace(0.1, 0.96, 10)
    curve = curve if better == "higher" else 1 - curve
    found = judged(curve, Levels(better), metric=metric)
    assert (found.high <= 0.04 + 1e-9) == bounded


def test_where_chance_is_not_known_no_plateau_is_given_up():
    curve = flat(0.5)
    curve[2] = 0.6
    assert judged(curve).rule == "PLATEAU"
    found = judged(curve, Levels(ceiling=1.0))
    assert (found.action, found.rule) == ("cannot be told", "PLATEAU MAY BREAK")
    assert found.reason.endswith("; chance is not known")


def test_a_plateau_above_chance_is_left_only_where_it_is_longer_than_any_that_broke():
    assert judged(flat(0.5)).rule == "PLATEAU"
    assert judged(flat(0.5)).action == "do not resume"
    for broken in (None, 1700):
        found = judged(flat(0.5), broken=broken)
        assert (found.action, found.rule) == ("cannot be told", "PLATEAU MAY BREAK")


def test_a_plateau_from_which_the_next_shortcut_can_be_reached_is_not_given_up():
    near = Levels(chance=0.1, ceiling=1.0, solved=0.95, shortcuts=(("bag", 0.51),))
    assert judged(flat(0.5), near).rule == "WIDE INTERVAL"


@pytest.mark.parametrize("broken", [None, 0, 100])
@pytest.mark.parametrize("value", [0.1, 0.08, 0.11])
def test_a_plateau_inside_the_chance_band_is_never_given_up(value, broken):
    found = judged(np.full(19, value), broken=broken)
    assert (found.action, found.rule) == ("cannot be told", "AT CHANCE")


def test_what_has_solved_the_task_or_cannot_do_better_is_left():
    assert judged(flat(0.96), solved_step=300).rule == "SOLVED"
    low = ModelCeiling("unordered_chunks", 0.52, "of any such model")
    found = judged(flat(0.515), ceiling=low)
    assert (found.action, found.rule) == ("do not resume", "AT MODEL CEILING")
    top = Levels(chance=0.1, ceiling=0.6)
    assert judged(flat(0.598), top).rule == "AT CEILING"
    scored = Levels(chance=0.1, ceiling=0.1)
    assert judged(np.full(9, 0.1), scored).rule == "UNLEARNABLE AS SCORED"


def test_a_wide_interval_that_reaches_the_ceiling_is_no_ceiling():
    """A curve that rises from 0.2 to 0.72 with standard errors of 0.1 has more to gain."""
    top = Levels(chance=0.1, ceiling=1.0)
    found = judged(np.linspace(0.2, 0.72, 10), top, error=0.1)
    assert found.rule not in ("AT CEILING", "SOLVED", "PLATEAU")
    assert found.action != "do not resume"
    low = ModelCeiling("a bag", 0.9, "of any such model")
    assert judged(np.linspace(0.2, 0.72, 10), ceiling=low, error=0.1).rule != "AT MODEL CEILING"


def test_a_level_that_a_shortcut_reaches_is_not_solved():
    held = Levels(chance=0.1, ceiling=1.0, solved=0.95, shortcuts=(("bag", 0.97),))
    curve = [0.2, 0.5, 0.7, 0.8, 0.9, 0.92, 0.955, 0.94]
    assert judged(curve, held, error=0.002, solved_step=700).rule != "SOLVED"
    assert judged(curve, error=0.002, solved_step=700).rule == "SOLVED"


def test_just_below_the_solved_level_is_no_ceiling():
    assert judged(flat(0.94), error=0.03).rule not in ("AT CEILING", "SOLVED")


def test_few_validations_and_a_collapse_say_nothing():
    assert judged(RISING[:4]).rule == "TOO FEW VALIDATIONS"
    assert judged([*RISING[:10], 0.15, 0.15], fell=True).rule == "COLLAPSED"


def test_a_metric_that_is_better_when_lower_is_judged_alike():
    levels = Levels(better="lower", chance=1.0, ceiling=0.0, solved=0.05)
    found = judged(1 - RISING[:12], levels)
    assert (found.action, found.gain > 0.1) == ("resume", True)
    assert judged(1 - flat(0.5), levels).rule == "PLATEAU"


def test_a_cell_without_a_curve_is_held_against_the_levels_by_its_best_validation():
    known = {"origin": "validation", "history": ()}
    ceiling = ModelCeiling("unordered_chunks", 0.52, "of any such model")
    for value, rule in ((0.97, "SOLVED"), (0.12, "AT CHANCE"), (0.5, "AT MODEL CEILING")):
        fields = known | {"value": value, "low": value - 0.04, "high": value + 0.04}
        cell = Cell(0, "timed_out", step=500, budget=2000, **fields)
        group = Group(
            *("m", "t", "", 64, 64, "", "", "accuracy", LEVELS, (cell,)), model_ceiling=ceiling
        )
        assert resuming.judge(cell, group, Thresholds(), None).rule == rule
    bare = Cell(0, "timed_out", step=500, budget=2000)
    group = Group(*("m", "t", "", 64, 64, "", "", "accuracy", LEVELS, (bare,)))
    assert resuming.judge(bare, group, Thresholds(), None).rule == "TOO FEW VALIDATIONS"


def test_every_rule_of_cells_is_explained():
    said = {judged(flat(0.5)).rule, judged(RISING[:4]).rule, judged(RISING[:12]).rule}
    assert said <= set(resuming.RULES)


def test_the_longest_plateau_that_broke_is_known_and_one_that_never_broke_is_not():
    stairs = [(int(s), 0.1 if s < 900 else 0.8, 0.0) for s in STEPS]
    level = [(int(s), 0.1, 0.0) for s in STEPS]
    assert resuming.longest_broken([(stairs, 0.01), (level, 0.01)], 0.05) == 800
    assert resuming.longest_broken([(level, 0.01)], 0.05) is None


def test_seeds_that_an_interval_takes():
    assert rates.seeds_for_median(0.95) == 6
    assert rates.seeds_for_median(0.75) == 3
    assert rates.seeds_for_half_width(0.5, 0.25, 0.95) == 12
    assert rates.seeds_for_half_width(1.0, 0.25, 0.95) < 12


def test_edits_unite_what_they_set_and_no_seed_stands_twice():
    one = edits.including({}, "gru", "mqar", 16, [3, 4])
    two = edits.including({}, "gru", "mqar", 16, [4, 5])
    (entry,) = edits.merged(one, two)["include"]
    assert entry["seeds"] == [3, 4, 5]
    assert edits.new_seeds([0, 2, 5], 3) == [1, 3, 4]
    sweeps = [edits.sweeping("gru", "training.learning_rate", v) for v in ([1e-3], [1e-4, 1e-3])]
    assert edits.text(edits.merged(*sweeps)) == (
        "models:\n  gru:\n    sweep: {training.learning_rate: [0.0001, 0.001]}"
    )


def rows(made, **wanted):
    found = build(made.read())["advice"].to_pylist()
    return [r for r in found if all(r[name] == value for name, value in wanted.items())]


def test_the_cost_of_a_cell_is_its_remaining_steps_at_its_own_rate():
    made = Tables()
    made.levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.95)
    curve = list(RISING[:10])
    made.cell("gru", "mqar", 64, 0, outcome="timed_out", curve=curve, budget_steps=3000)
    (row,) = rows(made, scope="cell")
    # 22.5 s for 1,000 steps in training, validation and checkpoints; 2,000 are left
    assert row["hours"] == pytest.approx(2000 * 0.0225 / 3600)
    assert row["command"].endswith("seed0-0")
    (row,) = rows(made, scope="study")
    assert (row["action"], row["cells"]) == ("finish", 1)


def test_a_running_cell_is_watched():
    made = Tables()
    made.levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.95)
    made.cell("gru", "mqar", 64, 0, outcome="running", curve=list(RISING[:10]))
    (row,) = rows(made, scope="cell")
    assert (row["action"], row["command"]) == ("monitor", None)


def test_a_study_that_was_run_elsewhere_gets_no_command_and_no_edit():
    made = everything()
    made.rows["reported"].append({"model": "lstm", "task": "mqar", "metric": "accuracy"})
    found = rows(made)
    assert found
    assert not [r for r in found if r["command"] or r["edit"]]


def test_a_falling_learning_rate_allows_no_forecast_of_a_longer_training():
    for schedule, known in (("constant", True), ("cosine", False)):
        made = Tables()
        made.levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.95)
        settings = json.dumps({"training": {"schedule": schedule, "learning_rate": 1e-3}})
        for seed in range(3):
            made.cell("gru", "mqar", 64, seed, 0.6, curve=list(RISING), settings=settings)
        (row,) = rows(made, action="raise the budget")
        assert (row["gain"] is not None) == known
        assert row["cells"] == 3


def swept(solved, variants=((1e-3, ""),)):
    """Two models of a declared comparison, with these scores; 0.5 where none is given."""
    config = {
        "models": {"gru": {}, "lstm": {}},
        "tasks": {"mqar": {}},
        "seeds": [0, 1],
        "compare": {"recall": {"a": {"model": "gru"}, "b": {"model": "lstm"}}},
    }
    if variants[1:]:
        config["sweep"] = {"training.learning_rate": [rate for rate, _ in variants]}
    made = Tables(config=config, name="small")
    made.levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.95)
    for model in ("gru", "lstm"):
        for rate, variant in variants:
            settings = json.dumps({"training": {"learning_rate": rate, "schedule": "constant"}})
            for seed in (0, 1):
                value = solved.get((model, rate), 0.5)
                curve = [0.1, value / 2, value, value, value, value]
                columns = {"settings": settings, "variant": variant, "curve": curve}
                made.cell(
                    model,
                    "mqar",
                    64,
                    seed,
                    value,
                    best_validation_metric=value,
                    **columns,
                )
    return made


def test_models_of_a_comparison_get_a_sweep_together_the_solved_ones_too():
    found = rows(swept({("gru", 1e-3): 0.99}), action="sweep the learning rate")
    edited = {r["model"]: r["edit"].partition("sweep:")[2].strip() for r in found}
    assert edited["gru"] == edited["lstm"]
    (gru,) = [r for r in found if r["model"] == "gru"]
    assert gru["reason"].startswith("compared with lstm")


def test_models_of_a_comparison_get_a_wider_grid_together():
    rates = ((1e-3, "learning_rate=0.001"), (1e-2, "learning_rate=0.01"))
    best = {("gru", 1e-3): 0.6, ("lstm", 1e-2): 0.6}
    found = rows(swept(best, rates), action="widen the grid")
    wide = "{training.learning_rate: [0.0001, 0.001, 0.01, 0.1]}"
    assert {r["model"]: r["edit"].partition("sweep:")[2].strip() for r in found} == dict.fromkeys(
        ("gru", "lstm"), wide
    )
    assert all("which it is compared with" in r["reason"] for r in found)
    assert {r["cells"] for r in found} == {4}


def test_too_few_seeds_everywhere_are_said_once():
    found = rows(swept({}))
    assert [r["verdict"] for r in found if r["action"] == "more seeds everywhere"]
    assert not [r for r in found if r["verdict"] == "TOO FEW SEEDS"]


def test_hours_of_a_gpu_and_of_a_cpu_are_not_mixed():
    made = Tables()
    made.levels("mqar", [64], chance=0.1, ceiling=1.0, solved=0.95)
    made.cells("gru", "mqar", 64, [0.5, 0.5, 0.5])
    made.cell("gru", "mqar", 64, 3, 0.5, training_seconds=2000.0, **PROVENANCE | {"device": "H200"})
    cells = made.read()["cells"].to_pylist()
    cells[-1]["ended_at"] = cells[0]["ended_at"].replace(year=2020)
    known = rates.Rates(cells)
    assert known.unit == "CPU time"
    assert known.hours(cells[0], 1000) < 0.1


def test_where_a_control_failed_nothing_is_advised_but_to_understand_it():
    made = swept({})
    assert {"sweep the learning rate"} <= {row["action"] for row in rows(made)}
    made.control("mqar", state="failed")
    found = [row for row in rows(made) if row["action"] != "more seeds everywhere"]
    assert [row["action"] for row in found] == ["understand the control"]
    assert "gru, trained at 8 tokens: SOLVED expected, AT CHANCE observed" in found[0]["reason"]
