"""Gates: inside, outside and before their band, on our cells and on those of others."""

import pytest
from tables_factory import Tables

from seqgrid import study_schema
from seqgrid.analysis.build import build
from seqgrid.report import checks
from seqgrid.report.content import Content

GATE = {"model": "gru", "task": "copy", "seqlen": None, "metric": None, "why": "as published"}


def made(values=(0.9, 0.92, 0.95), low=0.8, high=None, **about):
    gate = GATE | {"low": low, "high": high} | about
    found = Tables(config={"gates": [gate]}).levels("copy", [64], chance=0.1, ceiling=1.0)
    found.cells("gru", "copy", 64, values)
    return found.cells("lstm", "copy", 64, [0.5] * 3).cells("lstm", "other", 64, [0.5] * 3)


def gates(found):
    return build(found.read())["gates"].to_pylist()


def failing(found):
    rows = build(found.read())["verdicts"].to_pylist()
    return {(r["model"], r["task"]) for r in rows if r["verdict"] == "CONTROL FAILED"}


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (0.8, None, "passed"),
        (0.8, 0.94, "passed"),
        (0.8, 0.93, "partial"),
        (0.93, None, "partial"),
        (0.94, None, "failed"),
        (None, 0.9, "failed"),
    ],
)
def test_the_median_of_the_known_model_is_held_against_the_band(low, high, state):
    found = made(low=low, high=high)
    (row,) = gates(found)
    assert row["state"] == state
    assert row["observed"] == "0.92"
    assert row["control"] == "gate: gru on copy, trained at 64 tokens"
    blamed = {("gru", "copy"), ("lstm", "copy")} if state == "failed" else set()
    assert failing(found) == blamed


def test_a_gate_waits_for_all_of_its_cells():
    assert gates(made(values=[]))[0]["control"] == "gate: gru on copy"  # at no length so far
    waiting = made(values=[0.9, 0.92])
    waiting.cell("gru", "copy", 64, 2, outcome="missing")
    assert gates(waiting)[0]["state"] == "partial"
    unseen = made(values=[])
    unseen.cell("gru", "copy", 64, 0, outcome="missing")
    assert gates(unseen)[0]["state"] == "not run"
    assert not failing(waiting) | failing(unseen)


def test_a_diverged_seed_is_worse_than_every_number():
    found = made(values=[0.9])
    found.cell("gru", "copy", 64, 1, outcome="diverged")
    found.cell("gru", "copy", 64, 2, outcome="diverged")
    assert gates(found)[0]["state"] == "failed"


def test_a_gate_decides_nothing_before_all_have_ended_or_by_too_few_seeds():
    cut = made(values=[0.95])
    cut.cell("gru", "copy", 64, 1, outcome="diverged")
    cut.cell("gru", "copy", 64, 2, 0.99, outcome="timed_out")
    assert gates(cut)[0]["reason"] == "1 of 3 cells to come"
    for value in (0.95, 0.2):
        (few,) = gates(made(values=[value]))
        assert (few["state"], few["reason"]) == ("partial", "1 ended seeds, 3 needed")
    early = Tables(config={"gates": [GATE | {"low": 0.8}]})
    early.levels("copy", [64], chance=0.1, ceiling=1.0)
    early.cells("gru", "copy", 64, [0.9] * 3, variant="learning_rate=0.001")
    early.cell("gru", "copy", 64, 0, outcome="missing", variant="learning_rate=0.01")
    (row,) = gates(early)
    assert row["state"] == "partial"
    assert "selected before" in row["reason"]


def test_the_words_of_a_gate_count_diverged_seeds():
    found = made(values=[0.9, 0.92, 0.95]).cell("gru", "copy", 64, 3, outcome="diverged")
    (row,) = gates(found)
    assert row["reason"].startswith("the median of 3 final values and 1 diverged seed lies inside")


def test_a_median_whose_test_interval_meets_the_band_does_not_fail_it():
    wide = Tables(config={"gates": [GATE | {"low": 0.55, "high": 0.6}]})
    wide.levels("copy", [64], chance=0.1, ceiling=1.0)
    wide.cells("gru", "copy", 64, [0.501] * 3, half=0.2)
    (row,) = gates(wide)
    assert row["state"] == "partial"
    assert "interval over test examples" in row["reason"]


def test_a_median_inside_passes_only_with_all_of_its_test_interval():
    def state(half, **band):
        found = Tables(config={"gates": [GATE | {"low": None, "high": None} | band]})
        found.levels("copy", [64], chance=0.1, ceiling=1.0)
        (row,) = gates(found.cells("gru", "copy", 64, [0.98] * 3, half=half))
        return row["state"]

    assert state(0.01, low=0.95) == "passed"
    assert state(0.2, low=0.95) == "partial"
    assert state(0.05, low=0.9, high=1.0) == "passed"  # no accuracy lies beyond 1
    assert state(float("nan"), low=0.95) == "partial"  # nothing is known of its noise
    assert state(float("nan"), low=0.99) == "failed"


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([{"value": 0.9, "origin": "test", "standard_error": 0.01}], "passed"),
        ([{"value": 0.9, "origin": "test", "standard_error": 0.06}], "partial"),
        ([{"value": 0.9, "origin": "test"}], "partial"),
        ([{"value": 0.9, "origin": "test", "standard_error": 0.01, "seeds": 1}], "partial"),
        ([{"value": 0.9, "origin": "validation", "standard_error": 0.01}], "partial"),
        ([{"value": 0.9, "variant": "a"}, {"value": 0.3, "variant": "b"}], "partial"),
        ([{"value": 0.2, "variant": "a"}, {"value": 0.3, "variant": "b"}], "failed"),
        ([{"value": 0.7, "standard_error": 0.2}], "partial"),
    ],
)
def test_what_is_reported_passes_a_gate_only_as_the_one_test_value(rows, state):
    found = made(values=[])
    about = {"model": "gru", "task": "copy", "variant": "", "seqlen_tokens": 64}
    about |= {"evaluated_seqlen_tokens": 64, "test_set": "", "metric": "accuracy"}
    about |= {"statistic": "mean"}
    found.rows["reported"] += [about | row for row in rows]
    assert [row["state"] for row in gates(found)] == [state]


def test_a_gate_holds_at_the_length_it_names():
    found = made(seqlen=64)
    found.cells("gru", "copy", 128, [0.2] * 3)
    assert [row["state"] for row in gates(found)] == ["passed"]
    found = made()
    found.cells("gru", "copy", 128, [0.2] * 3)
    assert [row["state"] for row in gates(found)] == ["passed", "failed"]


def test_a_reported_mean_stands_in_where_there_is_no_cell():
    found = made(values=[])
    row = {"model": "gru", "task": "copy", "variant": "", "seqlen_tokens": 64, "value": 0.3}
    row |= {"evaluated_seqlen_tokens": 64, "test_set": "", "metric": "accuracy"}
    found.rows["reported"].append(row | {"statistic": "peak", "value": 0.9})
    assert [row["state"] for row in gates(found)] == ["not run"]
    found.rows["reported"].append(row | {"statistic": "mean"})
    (gate,) = gates(found)
    assert (gate["state"], gate["reason"]) == ("failed", "the reported mean lies outside the band")
    assert failing(found) == {("gru", "copy"), ("lstm", "copy")}


def test_the_report_shows_gates_among_the_controls(tmp_path):
    found = made(low=0.94).read()
    content = Content.of(tmp_path, found, build(found))
    assert "0 of 1 gates of this study passed." in checks.said(content)
    assert "**CONTROL FAILED** on copy: gate: gru on copy" in checks.failed(content)
    assert "FAILED" in checks.controls(content)
    assert "at least 0.94" in checks.controls(content)


def test_a_gate_without_a_band_is_refused():
    with pytest.raises(ValueError, match="give low, high or both"):
        study_schema.Gate(model="gru", task="copy")
