"""Claims: what supports one, what refutes it, and what does neither."""

import pyarrow as pa
import pytest
from tables_factory import Tables
from test_comparison_rows import reported

from seqgrid import tables
from seqgrid.analysis import claims, comparisons, summary
from seqgrid.analysis.claims import inside
from seqgrid.analysis.evidence import Number
from seqgrid.analysis.selection import UNSELECTED
from seqgrid.report.__main__ import write

UP = [0.81, 0.82, 0.84, 0.83, 0.80, 0.85, 0.82, 0.81]
DOWN = [0.41, 0.44, 0.42, 0.40, 0.43, 0.45, 0.41, 0.42]
PLACE = {"model": "p", "task": "mqar"}


def made(**values):
    study = Tables(config={})
    study.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.75)
    for model, found in (values or {"p": UP, "q": DOWN}).items():
        study.cells(model, "mqar", 64, found)
    return study


def judged(study, claim, margin=None, courses=()):
    """The row of one claim; `courses` are rows of the table `scaling`."""
    compare = {"x": {"a": "p", "b": "q", "margin": margin}}
    study.about["config"] = {"compare": compare, "claims": [{"statement": "s"} | claim]}
    read = study.read()
    built = summary.build(read)
    built["comparisons"] = comparisons.build(read, built)
    built["scaling"] = pa.Table.from_pylist(list(courses), schema=tables.schema("scaling"))
    return claims.build(read, built).to_pylist()[0]


# -- on a comparison ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "status"),
    [("A BETTER", "supported"), ("B BETTER", "refuted"), ("NO DIFFERENCE", "not testable yet")],
)
def test_a_claim_is_what_its_comparison_says(wanted, status):
    row = judged(made(), {"compare": "x", "verdict": wanted})
    assert (row["status"], row["observed"]) == (status, "A BETTER")


def test_a_difference_beyond_the_margin_refutes_that_there_is_none():
    none = {"compare": "x", "verdict": "NO DIFFERENCE"}
    assert judged(made(), none, margin=0.1)["status"] == "refuted"
    # A difference of a fifth of the margin is both: one, and none that counts.
    near = made(p=UP, q=[v - 0.002 for v in UP])
    assert judged(near, none, margin=0.01)["status"] == "supported"
    # One that may be larger or smaller than the margin supports and refutes nothing.
    wide = made(p=UP, q=[v - d for v, d in zip(UP, [0.001, 0.2] * 4, strict=True)])
    assert judged(wide, none, margin=0.1)["status"] == "not testable yet"


def test_a_difference_that_is_not_shown_neither_supports_nor_refutes():
    near = made(p=UP, q=[v + s for v, s in zip(UP, [0.01, -0.01] * 4, strict=True)])
    for wanted in ("A BETTER", "B BETTER", "NO DIFFERENCE"):
        row = judged(near, {"compare": "x", "verdict": wanted})
        assert (row["status"], row["observed"]) == ("not testable yet", "NO DIFFERENCE SHOWN")
    row = judged(near, {"compare": "x", "verdict": "A BETTER"}, margin=0.05)
    assert (row["status"], row["observed"]) == ("refuted", "NO DIFFERENCE")


def test_cells_that_a_claim_waits_for_are_named():
    study = made(p=UP[:6], q=DOWN[:6])
    study.cell("p", "mqar", 64, 6, 0.8).cell("q", "mqar", 64, 6, outcome="missing")
    row = judged(study, {"compare": "x", "verdict": "A BETTER"})
    assert row["status"] == "not testable yet"
    assert row["missing"] == ["cells/q/mqar/L64/seed6-0"]


# -- on a place -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("SOLVED", "supported"),
        ("NOT SOLVED", "refuted"),
        ("ABOVE chance", "supported"),
        ("AT CHANCE", "refuted"),
    ],
)
def test_a_claim_is_what_the_rules_say_of_its_place(wanted, status):
    row = judged(made(), {"place": PLACE, "verdict": wanted})
    assert (row["status"], row["about"]) == (status, "p on mqar at every length")


def test_two_seeds_support_and_refute_nothing():
    for wanted in ("SOLVED", "NOT SOLVED", "ABOVE chance"):
        row = judged(made(p=UP[:2]), {"place": PLACE, "verdict": wanted})
        assert row["status"] == "not testable yet"
        assert "TOO FEW SEEDS (2, 3 needed)" in row["reason"]


@pytest.mark.parametrize("verdict", ["SOLVED", "NOT SOLVED", "ABOVE chance", "AT CHANCE"])
def test_values_without_an_interval_support_and_refute_nothing(verdict):
    study = Tables(config={}).levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.75)
    study.cells("p", "mqar", 64, [0.99] * 8, half=float("nan"))
    assert judged(study, {"place": PLACE, "verdict": verdict})["status"] == "not testable yet"


@pytest.mark.parametrize(
    ("verdict", "value", "half", "status"),
    [
        ("ABOVE chance", 0.05, 0.1, "not testable yet"),
        ("ABOVE chance", 0.005, 0.001, "refuted"),
        ("AT CHANCE", 0.05, 0.01, "refuted"),
        ("AT CEILING", 0.9, 0.2, "not testable yet"),
        ("AT CEILING", 0.99, 0.03, "supported"),
        ("AT CHANCE", 0.05, 0.2, "not testable yet"),
        ("SOLVED", 0.751, 0.03, "not testable yet"),
        ("SOLVED", 0.79, 0.03, "supported"),
        ("SOLVED", 0.749, 0.03, "not testable yet"),
        ("NOT SOLVED", 0.749, 0.03, "not testable yet"),
        ("NOT SOLVED", 0.7, 0.03, "supported"),
        ("AT CEILING", 0.5, 0.1, "refuted"),
        ("UNSTABLE ACROSS SEEDS", 0.5, 0.01, "not testable yet"),
        ("AT CEILING", float("nan"), 0.1, "not testable yet"),
    ],
)
def test_a_rule_that_did_not_fire_refutes_nothing(verdict, value, half, status):
    study = Tables(config={}).levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.75)
    study.cells("p", "mqar", 64, [value] * 3, half=half)
    row = judged(study, {"place": PLACE, "verdict": verdict})
    assert row["status"] == status, row


@pytest.mark.parametrize(
    ("claim", "status"),
    [
        ({"expected": [0.9, 1.0]}, "not testable yet"),
        ({"verdict": "AT CEILING"}, "not testable yet"),
        ({"verdict": "ABOVE chance"}, "not testable yet"),
        ({"verdict": "AT CHANCE"}, "refuted"),
        ({"verdict": "SOLVED"}, "refuted"),
        ({"verdict": "DIVERGED"}, "supported"),
    ],
)
def test_what_is_left_of_diverged_seeds_stands_for_no_claim(claim, status):
    study = made(p=[0.999] * 6)
    for seed in range(6, 20):
        study.cell("p", "mqar", 64, seed, outcome="diverged", reason="loss is NaN")
    row = judged(study, {"place": PLACE} | claim)
    assert row["status"] == status, row


def test_nothing_is_supported_behind_a_failed_control():
    study = made().control("mqar", state="failed")
    row = judged(study, {"place": PLACE, "verdict": "SOLVED", "expected": [0.7, 0.9]})
    assert (row["status"], row["found"]) == ("not testable yet", "cannot be told")
    assert "CONTROL FAILED" in row["reason"]


def test_what_cannot_be_learned_as_scored_says_nothing_of_chance():
    study = Tables(config={}).levels("mqar", [64], chance=0.1, ceiling=0.1)
    study.cells("p", "mqar", 64, [0.1] * 8)
    assert judged(study, {"place": PLACE, "verdict": "AT CHANCE"})["status"] == "not testable yet"
    known = judged(study, {"place": PLACE, "verdict": "UNLEARNABLE AS SCORED"})
    assert known["status"] == "supported"


def test_a_place_that_the_tables_do_not_have_is_not_testable():
    row = judged(made(), {"place": {"model": "r", "task": "mqar"}, "verdict": "SOLVED"})
    assert (row["status"], row["observed"]) == ("not testable yet", "nothing")


# -- expected numbers -----------------------------------------------------------------------------


def test_a_claim_names_what_was_judged_of_a_reported_value_and_does_not_rest_on_it():
    study = Tables(config={})
    study.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.75)
    study.rows["reported"].append(reported("p"))
    row = judged(study, {"place": PLACE, "verdict": "AT CHANCE"})
    assert row["observed"] == "AT CHANCE, of a reported mean"
    assert row["status"] == "not testable yet"
    assert row["reason"] == "a reported value has no seeds, and supports and refutes nothing"


@pytest.mark.parametrize(
    ("expected", "found", "status"),
    [
        ([0.75, 0.9], "inside", "supported"),
        ([0.9, 1.0], "outside", "refuted"),
        ([0.82, 0.9], "cannot be told", "not testable yet"),
        (0.82, "cannot be told", "not testable yet"),
        (0.5, "outside", "refuted"),
    ],
)
def test_an_expected_number_is_held_against_the_whole_interval(expected, found, status):
    row = judged(made(), {"place": PLACE, "expected": expected})
    assert (row["found"], row["status"]) == (found, status)
    assert row["value_low"] < row["value"] < row["value_high"]


def test_a_verdict_that_holds_does_not_save_a_number_that_does_not():
    row = judged(made(), {"compare": "x", "verdict": "A BETTER", "expected": [0.6, 0.8]})
    assert (row["status"], row["found"]) == ("refuted", "outside")


def test_an_interval_short_of_its_coverage_says_nothing():
    number = Number(0.5, 0.49, 0.51, 0.75)
    assert inside(number, 0.0, 1.0, 0.95)[0] == "cannot be told"
    assert inside(Number(0.5, 0.49, 0.51, 0.96), 0.0, 1.0, 0.95)[0] == "inside"
    assert inside(Number(1.0, 1.0, 1.0, 0.96), 1.0, 1.0, 0.95)[0] == "inside"
    assert inside(Number(0.5, None, 0.51, 0.96), 0.0, 1.0, 0.95)[0] == "cannot be told"


def preliminary(values, variant="learning_rate=0.001"):
    """Cells of a selected variant, one of whose rivals has not run."""
    study = Tables(config={}).levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.75)
    for model, found in values.items():
        study.cells(model, "mqar", 64, found, variant=variant)
        for seed in range(len(found)):
            rival = {"variant": "learning_rate=0.01", "outcome": "missing"}
            study.cell(model, "mqar", 64, seed, **rival)
    return study


@pytest.mark.parametrize(
    "claim",
    [
        {"place": PLACE, "verdict": "SOLVED"},
        {"place": PLACE, "verdict": "NOT SOLVED"},
        {"place": PLACE, "expected": [0.75, 0.9]},
        {"place": PLACE, "expected": [0.9, 1.0]},
        {"compare": "x", "expected": [0.3, 0.5]},
        {"compare": "x", "expected": [-0.1, 0.1]},
        {"compare": "x", "verdict": "A BETTER"},
        {"scaling": PLACE, "verdict": "RISES"},
        {"scaling": PLACE, "verdict": "FALLS"},
    ],
)
def test_a_variant_that_may_yet_be_another_supports_and_refutes_nothing(claim):
    course = {"model": "p", "task": "mqar", "outcome": "RISES", "statement": "so it is"}
    course |= {"variant": "learning_rate=0.001", "slope": 0.1, "low": 0.0, "high": 0.2}
    row = judged(preliminary({"p": UP, "q": DOWN}), claim, courses=[course | {"complete": True}])
    assert row["status"] == "not testable yet"
    assert "selected before all" in row["reason"]


def test_a_claim_on_a_model_of_which_no_variant_is_selected_stays_open():
    study = made(q=DOWN)
    for rate in (0.001, 0.01):
        columns = {"variant": f"learning_rate={rate}", "best_validation_metric": None}
        study.cells("p", "mqar", 64, UP, **columns)
    row = judged(study, {"place": PLACE, "verdict": "SOLVED", "expected": [0.0, 1.0]})
    assert (row["observed"], row["status"]) == ("NO SELECTION", "not testable yet")
    assert "no variant is selected" in row["reason"]
    gate = {"model": "p", "task": "mqar", "low": 0.5, "high": 1.0}
    study.about["config"] = {"gates": [gate]}
    (held,) = summary.build(study.read())["gates"].to_pylist()
    assert (held["state"], held["reason"]) == ("partial", UNSELECTED)


def test_no_number_stands_for_places_that_contradict_each_other():
    study = made().levels("copy", [64], chance=0.01, ceiling=1.0, solved=0.75)
    study.cells("p", "copy", 64, DOWN).cells("q", "copy", 64, UP)
    row = judged(study, {"compare": "x", "expected": [-0.1, 0.1]})
    assert (row["status"], row["found"]) == ("not testable yet", "cannot be told")
    assert "contradict each other" in row["reason"]


def test_no_median_stands_for_unstable_seeds():
    study = made(p=[0.3, 0.31, 0.32, 0.3, 0.31, 0.9, 0.91, 0.9, 0.92, 0.91])
    row = judged(study, {"place": PLACE, "expected": [0.2, 1.0]})
    assert (row["status"], row["found"]) == ("not testable yet", "cannot be told")
    assert "no median stands" in row["reason"]


@pytest.mark.parametrize(
    "claim", [{"place": PLACE, "verdict": "SOLVED"}, {"compare": "x", "verdict": "A BETTER"}]
)
def test_what_stale_values_support_says_so(claim, tmp_path):
    study = Tables(config={}).levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.75)
    study.cells("p", "mqar", 64, UP, stale=True).cells("q", "mqar", 64, DOWN)
    row = judged(study, claim)
    assert (row["status"], row["stale"]) == ("supported", True)
    assert row["reason"].endswith("sources of its values have changed since")
    page = " ".join(write(study.write(tmp_path)).read_text(encoding="utf-8").split())
    assert "supported‡" in page
    assert '1 supported ("s" from values whose sources have changed since)' in page
    assert not judged(made(), claim)["stale"]


def test_the_section_counts_the_answers_that_no_correction_covers(tmp_path):
    study = made()
    entries = [{"statement": "s", "place": PLACE, "verdict": v} for v in ("SOLVED", "AT CHANCE")]
    study.about["config"] = {"claims": entries}
    page = " ".join(write(study.write(tmp_path)).read_text(encoding="utf-8").split())
    assert (
        "Of the answers here 2 rest on a place or a course, whose intervals hold with 95 %" in page
    )


# -- on a course over lengths ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "outcome", "status"),
    [
        ("RISES", "RISES", "supported"),
        ("RISES", "CEILING MOVES", "refuted"),
        ("FALLS", "AT CEILING", "refuted"),
        ("FLAT", "AT CEILING", "not testable yet"),
        ("FLAT", "CEILING MOVES", "not testable yet"),
        ("CEILING MOVES", "FLAT", "not testable yet"),
        ("RISES", "FLAT", "refuted"),
        ("FALLS", "CANNOT BE TOLD", "not testable yet"),
    ],
)
def test_a_course_is_what_its_rule_says(wanted, outcome, status):
    course = {"model": "p", "task": "mqar", "outcome": outcome, "statement": "so it is"}
    row = judged(made(), {"scaling": PLACE, "verdict": wanted}, courses=[course])
    assert (row["status"], row["reason"]) == (status, "so it is")


@pytest.mark.parametrize(("low", "status"), [(0.005, "not testable yet"), (0.03, "refuted")])
def test_a_share_that_rises_by_next_to_nothing_may_still_be_flat(low, status):
    course = {"model": "p", "task": "mqar", "outcome": "RISES", "statement": "so it is"}
    course |= {"lengths": [64, 128, 256], "share_low": low, "share_high": 0.04}
    row = judged(made(), {"scaling": PLACE, "verdict": "FLAT"}, courses=[course])
    assert row["status"] == status


def test_a_course_is_looked_up_in_the_metric_that_the_task_is_judged_by():
    about = {"model": "p", "task": "mqar", "variant": "", "statement": "so it is"}
    courses = [
        about | {"metric": "loss", "outcome": "FALLS"},
        about | {"metric": "accuracy", "outcome": "RISES"},
    ]
    row = judged(made(), {"scaling": PLACE, "verdict": "RISES"}, courses=courses)
    assert (row["status"], row["observed"]) == ("supported", "RISES")


def test_the_report_gives_the_reason_of_a_claim(tmp_path):
    study = made()
    claim = {"statement": "s", "place": PLACE, "verdict": "SOLVED", "why": "a paper says so"}
    study.about["config"] = {"claims": [claim]}
    assert "Reason given: a paper says so." in " ".join(
        write(study.write(tmp_path)).read_text(encoding="utf-8").split()
    )
