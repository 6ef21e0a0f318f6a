"""One number a model over tasks: only where the grid has no hole."""

import numpy as np
import pytest
from scipy.stats import trim_mean
from tables_factory import Tables

from seqgrid.analysis.build import build
from seqgrid.report.__main__ import write

SEEDS = [0.2, 0.4, 0.5, 0.6, 0.7, 0.9, 0.45, 0.55, 0.65, 0.3]


def study(seeds=SEEDS, second=SEEDS):
    made = Tables(models=["a"], tasks=["t", "u"]).levels("t", [8], chance=0.1, ceiling=1.0)
    made.levels("u", [8], metric="mse", better="lower", chance=2.0, ceiling=0.0)
    made.cells("a", "t", 8, seeds)
    return made.cells("a", "u", 8, second, metric="mse")


def across(made):
    return {row["model"]: row for row in build(made.read())["across"].to_pylist()}


def test_it_is_the_trimmed_mean_of_shares_whatever_is_better():
    row = across(study())["a"]
    shares = [(v - 0.1) / 0.9 for v in SEEDS] + [(v - 2) / -2 for v in SEEDS]
    assert row["iqm"] == pytest.approx(trim_mean(shares, 0.25))
    assert row["low"] < row["iqm"] < row["high"]
    assert row["seeds"] == list(range(10))
    assert row == across(study())["a"]  # the same tables, the same interval


def test_whole_seeds_are_drawn():
    together = across(study())["a"]
    apart = across(study(SEEDS, [1.8 - 2 * v for v in SEEDS[::-1]]))["a"]
    width = [row["high"] - row["low"] for row in (together, apart)]
    assert not np.isclose(*width)  # the same shares a task, paired otherwise


def test_few_seeds_have_no_interval():
    row = across(study(SEEDS[:9], SEEDS[:9]))["a"]
    assert row["iqm"] is not None
    assert row["low"] is None
    assert row["interval"] == "none below 10 seeds"


def test_a_hole_in_the_grid_is_no_number(tmp_path):
    made = study()
    made.cells("b", "t", 8, SEEDS)
    made.cells("b", "u", 8, [*SEEDS[:9], None], metric="mse", outcome="timed_out")
    made.cells("c", "t", 8, SEEDS)
    found = across(made)
    assert found["a"]["iqm"] is not None
    for model in "bc":
        assert found[model]["iqm"] is None
        assert found[model]["reason"] == "not every seed has a final value on u 8"
    page = write(made.write(tmp_path)).read_text()
    assert "### Across tasks" in page
    assert "c: not every seed has a final value on u 8" in page


def test_a_variant_that_may_yet_be_another_has_no_number_and_a_stale_one_a_mark(tmp_path):
    made = study()
    made.cells("b", "t", 8, SEEDS, variant="d=1")
    made.cell("b", "t", 8, 0, outcome="missing", variant="d=2")
    made.cells("b", "u", 8, SEEDS, metric="mse")
    made.cells("c", "t", 8, SEEDS, stale=True).cells("c", "u", 8, SEEDS, metric="mse")
    found = across(made)
    assert found["b"]["iqm"] is None
    assert found["b"]["reason"].startswith("a variant was selected before all")
    assert [found[m]["stale"] for m in "ac"] == [False, True]
    assert f"{found['c']['iqm']:.4f}‡" in write(made.write(tmp_path)).read_text()


def test_a_task_that_cannot_be_learned_is_left_out():
    made = study()
    made.levels("v", [8], chance=0.5, ceiling=0.5).cells("a", "v", 8, [0.5] * 6)
    assert across(made)["a"]["places"] == ["t 8", "u 8"]
    alone = Tables().levels("t", [8], chance=0.1, ceiling=1.0).cells("a", "t", 8, SEEDS)
    assert not across(alone)
