"""Swept settings and fairness in a report: what was tried, chosen, equal and not."""

import json

import pytest
from tables_factory import Tables

from seqgrid.analysis import selection, summary
from seqgrid.report.__main__ import write
from seqgrid.report.bytask import judged_rows
from seqgrid.report.markdown import DAGGER


def settings(rate, mlp=2.0, batch=64):
    training = {"learning_rate": rate, "batch_size": batch, "steps": 2000, "data_seed": None}
    return json.dumps({"model_settings": {"mlp_ratio": mlp}, "training": training})


def grid(rates=(1e-4, 1e-3, 1e-2), scores=(0.2, 0.5, 0.9), **columns):
    """One model at three learning rates, another at one."""
    made = Tables(models=["gru", "lstm"], tasks=["mqar"])
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.99)
    for rate, score in zip(rates, scores, strict=True):
        made.cells(
            *("gru", "mqar", 64, [score, score + 0.01, score - 0.01]),
            **{"variant": f"learning_rate={rate}", "settings": settings(rate)} | columns,
        )
    made.cells("lstm", "mqar", 64, [0.3, 0.31, 0.32], settings=settings(1e-3, mlp=0.0))
    return made


def verdicts(made, model="gru"):
    rows = summary.build(made.read())["verdicts"].to_pylist()
    return {(r["variant"], r["verdict"]): r for r in rows if r["model"] == model}


def words(made, folder):
    return " ".join(write(made.write(folder)).read_text(encoding="utf-8").split())


# -- words of variants ----------------------------------------------------------------------------


def test_variants_are_read_as_they_are_written():
    words = "learning_rate=0.001, layers=['a', 'b'], x=none"
    found = {"learning_rate": "0.001", "layers": "['a', 'b']", "x": "none"}
    assert selection.settings(words) == found
    assert selection.settings("") == {}


def test_what_is_tried_is_what_varies_numbers_in_order():
    assert selection.tried(["a=1e-2, b=x, c=1", "a=0.001, b=y, c=1"]) == {
        "a": ["0.001", "1e-2"],
        "b": ["x", "y"],
    }


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("a=1", ["a=1, the smallest of 3 tried"]),
        ("a=2", []),
        ("a=10", ["a=10, the largest of 3 tried"]),
    ],
)
def test_the_ends_of_a_grid_are_its_smallest_and_largest_numbers(variant, expected):
    assert selection.edges(variant, ["a=10", "a=1", "a=2"]) == expected
    assert selection.edges("b=x", ["b=x", "b=y"]) == []


# -- verdicts -------------------------------------------------------------------------------------


def test_one_learning_rate_is_said_of_the_model_that_has_one():
    assert ("learning_rate=0.001", "SINGLE LR") not in verdicts(grid())
    assert ("", "SINGLE LR") in verdicts(grid(), "lstm")
    one = grid(rates=[1e-3], scores=[0.5])  # a grid of one value is none
    assert ("learning_rate=0.001", "SINGLE LR") in verdicts(one)


def test_a_choice_at_the_edge_of_its_grid_is_said_of_the_chosen_alone():
    found = [key for key in verdicts(grid()) if key[1] == "AT GRID EDGE"]
    assert found == [("learning_rate=0.01", "AT GRID EDGE")]
    inside = verdicts(grid(scores=(0.2, 0.9, 0.5)))
    assert not [key for key in inside if key[1] == "AT GRID EDGE"]


def test_a_selection_with_cells_missing_is_preliminary():
    made = grid()
    made.cell("gru", "mqar", 64, 3, outcome="missing", variant="learning_rate=0.0001")
    found = [key for key in verdicts(made) if key[1] == "PRELIMINARY SELECTION"]
    assert found == [("learning_rate=0.01", "PRELIMINARY SELECTION")]
    assert verdicts(made)[found[0]]["label"] == "PRELIMINARY SELECTION 9/10"
    rows = summary.build(made.read())["summary"].to_pylist()
    assert [r["variant"] for r in rows if r["preliminary"]] == ["learning_rate=0.01"] * 2
    assert not [key for key in verdicts(grid()) if key[1] == "PRELIMINARY SELECTION"]


def unvalidated(made, variant):
    """The same study, whose runs of one variant are known by their test scores alone."""
    for row in made.rows["cells"]:
        if row["variant"] == variant:
            row["best_validation_metric"] = None
    return made


@pytest.mark.parametrize("variant", ["learning_rate=0.01", "learning_rate=0.001"])
def test_nothing_is_selected_where_a_finished_variant_has_no_validation(variant):
    made = unvalidated(grid(), variant)
    rows = summary.build(made.read())["summary"].to_pylist()
    assert not any(r["selected"] for r in rows if r["model"] == "gru")
    assert len(judged_rows([r for r in rows if r["weights"] == "best" and r["primary"]])) == 2
    assert (variant, "NO SELECTION") in verdicts(made)
    assert not [key for key in verdicts(made) if key[1] == "AT GRID EDGE"]
    assert not [key for key in verdicts(grid()) if key[1] == "NO SELECTION"]


def test_one_variant_alone_needs_no_validation():
    made = unvalidated(grid(rates=[1e-3], scores=[0.5]), "learning_rate=0.001")
    assert not [key for key in verdicts(made) if key[1] == "NO SELECTION"]


def test_skipped_cells_keep_no_selection_preliminary():
    made = grid()
    made.cell("gru", "mqar", 64, 3, outcome="skipped", variant="learning_rate=0.0001")
    assert not [key for key in verdicts(made) if key[1] == "PRELIMINARY SELECTION"]


# -- the report -----------------------------------------------------------------------------------


def test_the_report_shows_every_seed_over_the_grid(tmp_path):
    made = grid()
    made.cell("gru", "mqar", 64, 3, 0.4, outcome="timed_out", variant="learning_rate=0.001")
    page = words(made, tmp_path)
    [line] = [x for x in page.split("| gru ") if x.startswith("| 64 | 0.2")]
    assert f"| 0.2 0.21 0.19 | 0.5 0.51 0.49 0.4{DAGGER} | * 0.9 0.91 0.89 |" in line
    assert "learning_rate=0.01; preliminary: 9 of 10 cells of its 3 variants have ended" in line
    assert "at the edge of its grid" in line
    assert "learning_rate=0.01 (selected, preliminary)" in page
    assert (tmp_path / "figures/sensitivity.png").stat().st_size > 5000


def test_several_swept_settings_are_rows_and_columns(tmp_path):
    made = Tables()
    for rate in (1e-3, 1e-2):
        for decay in (0.0, 0.1):
            variant = f"weight_decay={decay}, learning_rate={rate}"
            made.cells("gru", "mqar", 64, [rate * 10, 0.3], variant=variant)
    page = words(made, tmp_path)
    assert "accuracy by learning_rate" in page
    assert "| gru | weight_decay=0.1 | 64 | 0.01 0.3 |" in page


def test_choices_that_are_no_numbers_get_a_table_and_no_figure(tmp_path):
    made = Tables()
    for choice in ("rope", "none"):
        made.cells("attention", "mqar", 64, [0.5, 0.6], variant=f"positions={choice}")
    assert "accuracy by positions" in words(made, tmp_path)
    assert not (tmp_path / "figures/sensitivity.png").exists()


def test_many_seeds_are_a_range(tmp_path):
    made = grid(scores=(0.2, 0.5, 0.9))
    for seed in range(3, 10):
        made.cell("gru", "mqar", 64, seed, 0.95, variant="learning_rate=0.01")
    assert "* 0.89 to 0.95 (10 seeds)" in words(made, tmp_path)


def test_nothing_swept_nothing_said(tmp_path):
    page = words(Tables().cells("gru", "mqar", 64, [0.5, 0.6]), tmp_path)
    assert "Nothing is swept: every model was trained at one learning rate." in page


def test_what_is_not_equal_stands_in_one_line_with_its_largest_ratio(tmp_path):
    made = grid(parameters=31_000)
    page = words(made, tmp_path)
    line = page.split("Not equal: ")[1].split(" What the models are")[0]
    assert line == (
        "parameters by up to 3.23x (gru 31,000 and lstm 100,000 on mqar at 64 tokens); MLP; "
        "learning rates tried, also in their number (gru 3, lstm 1)."
    )
    assert "Equal among the models at every task and length: state at the training length," in page
    assert "| gru | 2,000 | 64 |" in page
    assert "| 0.0001 0.001 0.01 | float32 | cpu |" in page


def test_of_optimiser_settings_those_that_differ_are_shown(tmp_path):
    made = Tables()
    for model, decay in (("gru", 0.1), ("lstm", 0.01)):
        training = {"steps": 9, "learning_rate": 1e-3, "beta1": 0.9, "weight_decay": decay}
        content = json.dumps({"model_settings": {}, "training": training})
        made.cells(model, "mqar", 64, [0.5, 0.6], settings=content)
    page = words(made, tmp_path)
    assert "| gru | weight_decay=0.1 |" in page
    assert "| lstm | weight_decay=0.01 |" in page


def test_what_is_recorded_of_some_models_is_not_called_equal(tmp_path):
    page = words(grid(flops_per_token=1e5), tmp_path)
    assert "FLOPs a token, not recorded of lstm" in page
