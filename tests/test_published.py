"""Numbers from elsewhere beside ours: agreement, difference, other settings, too little."""

import json

import numpy as np
import pytest
from tables_factory import Tables

from seqgrid.analysis import stats
from seqgrid.analysis.build import build
from seqgrid.report import published
from seqgrid.report.content import Content

OURS = {
    "model_settings": {"d_model": 64},
    "task_settings": {"num_pairs": 32},
    "training": {"steps": 1000, "learning_rate": 1e-3},
}
SEVEN = [0.9, 0.92, 0.95, 0.91, 0.93, 0.92, 0.94]
ENTRY = {"model": "gru", "task": "copy", "seqlen": 64, "value": 0.92, "source": "paper, table 2"}


def made(values=(0.9, 0.92, 0.95), settings=None, thresholds=None, **entry):
    entry = ENTRY | {"settings": settings or {}} | entry
    config = {"published": [entry], "thresholds": thresholds or {}}
    found = Tables(config=config).levels("copy", [64], chance=0.1, ceiling=1.0)
    return found.cells("gru", "copy", 64, values, settings=json.dumps(OURS))


def row(found):
    return build(found.read())["published"].to_pylist()[0]


@pytest.mark.parametrize(
    ("about", "outcome"),
    [
        ({"value": 0.92}, "AGREES"),
        ({"value": 0.83}, "AGREES"),  # below every seed, and where a fourth one may well fall
        ({"value": 0.5}, "NOT TESTABLE YET"),  # three of ours may have missed a kind of run
        ({"value": 0.5, "values": SEVEN}, "DIFFERS"),
        ({"value": 0.5, "seeds": 2, "values": SEVEN}, "NOT TESTABLE YET"),
        ({"value": 0.3, "seeds": 2, "values": SEVEN}, "DIFFERS"),
        ({"value": 0.85, "low": 0.8, "high": 0.9}, "AGREES"),
        ({"value": 0.5, "low": 0.2, "high": 0.9}, "NOT TESTABLE YET"),
        ({"value": 0.83, "seeds": 100}, "NOT TESTABLE YET"),
        ({"value": 0.3, "seeds": 100}, "DIFFERS"),
        ({"value": 0.92, "model": "lstm"}, "NOT TESTABLE YET"),
        ({"value": 0.92, "metric": "loss"}, "NOT TESTABLE YET"),
        ({"value": 0.92, "settings": {"task.num_pairs": 64}}, "DIFFERENT SETTINGS"),
        ({"value": 0.5, "values": SEVEN, "settings": {"task.num_pairs": 32}}, "DIFFERS"),
    ],
)
def test_outcomes(about, outcome):
    assert row(made(**about))["outcome"] == outcome


@pytest.mark.parametrize("steps", [1000, 100_000])
def test_nested_settings_are_the_dotted_ones(steps):
    nested = {"training": {"steps": steps, "schedule": "cosine"}, "optimiser": "Lion"}
    flat = {"training.steps": steps, "training.schedule": "cosine", "optimiser": "Lion"}
    one, other = (row(made(settings=said)) for said in (nested, flat))
    assert one == other
    assert one["outcome"] == ("AGREES" if steps == 1000 else "DIFFERENT SETTINGS")


def test_settings_are_the_same_different_or_unknown():
    said = {"training.learning_rate": 0.001, "model.d_model": 256, "epochs": 30, "task.depth": 2}
    found = row(made(settings=said))
    assert found["same"] == ["training.learning_rate: 0.001"]
    assert found["different"] == ["model.d_model: 256 there, 64 here"]
    assert found["unknown"][:2] == ["epochs: 30 there", "task.depth: 2 there"]
    assert "training.steps: not said there" in found["unknown"]
    assert "neither agreement nor change" in found["statement"]


@pytest.mark.parametrize("outcome", ["missing", "timed_out", "finished"])
def test_nothing_is_said_while_a_cell_is_to_come(outcome):
    found = made().cell("gru", "copy", 64, 3, outcome=outcome, settings=json.dumps(OURS))
    assert row(found)["outcome"] == "NOT TESTABLE YET"
    assert "1 of 4 cells to come" in row(found)["statement"]


def test_nothing_is_said_of_too_few_seeds_a_diverged_one_or_after_a_failed_control():
    assert "2 final values, 3 needed" in row(made([0.9, 0.95]))["statement"]
    assert row(made([0.92, 0.925], thresholds={"enough_seeds": 2}))["outcome"] == "AGREES"
    found = made().cell("gru", "copy", 64, 3, outcome="diverged", settings=json.dumps(OURS))
    assert "gave no number" in row(found)["statement"]
    assert (
        row(made().control("copy", state="failed"))["statement"] == "a control of the task failed"
    )


def test_the_same_experiment_rarely_differs():
    """A fresh run of the same experiment falls outside the range as often as it may."""
    generator, rounds = np.random.default_rng(0), 2000
    outside = 0
    for _ in range(rounds):
        *ours, theirs = generator.normal(size=4)
        low, high = stats.prediction(ours)
        outside += not low <= theirs <= high
    assert abs(outside - 0.05 * rounds) < 3 * (0.05 * 0.95 * rounds) ** 0.5
    with pytest.raises(ValueError, match="needs 2"):
        stats.prediction([1.0])


def test_the_section_shows_both_numbers_and_every_setting(tmp_path):
    found = made(settings={"task.num_pairs": 64}, value=0.0072, metric="accuracy").read()
    shown = published.published(Content.of(tmp_path, found, build(found)))
    assert "DIFFERENT SETTINGS" in shown
    assert "paper, table 2" in shown
    assert "task.num_pairs: 64 there, 32 here" in shown.replace("\n  ", " ")
    none = Tables().cells("gru", "copy", 64, [0.9]).read()
    shown = published.published(Content.of(tmp_path, none, build(none)))
    assert shown == "The study names no published number."


def test_a_range_that_holds_nearly_everything_agrees_with_nothing():
    unstable = row(made([0.1, 0.99, 0.5], value=0.99))
    assert unstable["outcome"] == "NOT TESTABLE YET"
    assert "unstable" in unstable["statement"]
    wide = row(made([0.6, 0.7, 0.8], value=0.75))
    assert wide["outcome"] == "NOT TESTABLE YET"
    assert "too wide to tell: 0.2" in wide["statement"]
    theirs = row(made(value=0.8, low=0.2, high=0.95))
    assert theirs["statement"] == "its interval 0.2 to 0.95 is too wide to tell"


def test_what_is_said_names_an_interval_and_a_mean():
    assert row(made(value=0.5, low=0.88, high=0.94, seeds=3))["statement"].startswith(
        "its interval 0.88 to 0.94 meets 0.8"
    )
    assert "where one more run of ours would fall" in row(made())["statement"]
    assert "where the mean of 3 more runs of ours would" in row(made(seeds=3))["statement"]


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
@pytest.mark.parametrize(("n", "runs"), [(3, 1), (7, 1), (5, 5), (10, 3)])
def test_runs_of_which_some_fail_rarely_differ_from_themselves(share, n, runs):
    """Success or failure, as often as in the published runs: none of ours may have failed."""
    generator = np.random.default_rng(0)
    ours, theirs = (generator.random((20_000, k)) < share for k in (n, runs))
    allowed = stats.unlike(n, runs)
    same = ours.all(1) | ~ours.any(1)
    other = (theirs != ours[:, :1]).sum(1)
    assert (same & (other > allowed)).mean() <= 0.055
    assert allowed == {(3, 1): 1, (7, 1): 0, (5, 5): 2, (10, 3): 1}[n, runs]


def test_more_entries_need_more():
    found = made(value=0.5, values=SEVEN)
    found.about["config"]["published"] *= 2
    assert row(found)["outcome"] == "NOT TESTABLE YET"


def test_nothing_is_held_against_a_variant_that_may_yet_be_another():
    found = made(values=[])
    found.cells("gru", "copy", 64, SEVEN, variant="learning_rate=0.001", settings=json.dumps(OURS))
    found.cell("gru", "copy", 64, 0, outcome="missing", variant="learning_rate=0.01")
    assert row(found)["outcome"] == "NOT TESTABLE YET"
    assert "selected before" in row(found)["statement"]


def test_stale_values_are_marked(tmp_path):
    found = Tables(config={"published": [ENTRY]}).levels("copy", [64], chance=0.1, ceiling=1.0)
    found.cells("gru", "copy", 64, [0.9, 0.92, 0.95], stale=True, settings=json.dumps(OURS))
    assert row(found)["statement"].endswith("; sources of ours have changed since")
    read = found.read()
    assert "0.9200‡" in published.published(Content.of(tmp_path, read, build(read)))


@pytest.mark.parametrize(
    ("levels", "columns", "why"),
    [
        ({"chance": 0.1, "ceiling": 0.8}, {}, "beyond the best there can be"),
        ({"chance": 0.1, "ceiling": 1.0}, {"model_ceiling": ("a bag", 0.5)}, "possible for it"),
        ({"chance": 0.1, "ceiling": 0.1}, {}, "the ceiling is chance"),
    ],
)
def test_nothing_is_held_against_a_score_that_cannot_be(levels, columns, why):
    found = Tables(config={"published": [ENTRY]}).levels("copy", [64], **levels)
    found.cells("gru", "copy", 64, [0.9, 0.92, 0.95], settings=json.dumps(OURS), **columns)
    said = row(found)
    assert said["outcome"] == "NOT TESTABLE YET"
    assert why in said["statement"]
