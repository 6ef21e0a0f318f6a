"""Test sets and slices of a task, from the evaluator to the report."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from grids import Grid
from tables_factory import Tables

from seqgrid import collect, evaluation_rows, plan, registry, study
from seqgrid.analysis.build import build
from seqgrid.cell import Cell
from seqgrid.collector import Collector
from seqgrid.report import __main__ as printing
from seqgrid.report.content import Content

STUDY = """
question: Does it read what was written?
models: {gru: {settings: {d_model: 16, num_layers: 1}}}
tasks: {flip_flop: }
lengths: [16]
seeds: [3]
training: {steps: 40, batch_size: 16, learning_rate: 1e-2}
validation: {every_steps: 20, examples: 32}
evaluation: {examples: 200, lengths: [64]}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, forge):
    grid = Grid(tmp_path_factory.mktemp("sets"), forge, STUDY)
    grid.finish()
    return grid


@pytest.fixture(scope="module")
def gathered(trained):
    with contextlib.chdir(trained.folder):
        _, rows = study.load("small")
        return Collector("small", plan.plan(rows, trained.results), trained.results).tables()


def rows_of(table, **wanted):
    return [r for r in table.to_pylist() if all(r[k] == v for k, v in wanted.items())]


def evaluation(trained):
    [path] = trained.results.rglob("evaluation-*.parquet")
    return pq.read_table(path)


def test_every_test_set_is_evaluated_at_every_length(gathered):
    rows = gathered["evaluations"].to_pylist()
    found = {(r["evaluated_seqlen_tokens"], r["test_set"]) for r in rows}
    assert found == {(n, name) for n in (16, 64) for name in ("", "sparse", "dense")}


def test_a_test_set_has_its_own_examples(trained, gathered):
    """Scored reads are those of the task with the settings of the test set."""
    for name, ignore in (("", 0.8), ("sparse", 0.98), ("dense", 0.1)):
        task = registry.make_task("flip_flop", {"p_ignore": ignore}, 64)
        [row] = gathered["cells"].to_pylist()
        cell = Cell.model_validate(json.loads(row["settings"]))
        batch = task.batch(cell.seed_of("data"), "test", torch.arange(200))
        [row] = rows_of(
            gathered["evaluations"], metric="error_rate", weights="last", test_set=name, slice="",
            evaluated_seqlen_tokens=64,
        )  # fmt: skip
        assert row["scored"] == (batch.targets >= 0).sum()
        assert row["value"] == pytest.approx(1 - row["correct"] / row["scored"])


def test_slices_add_up_to_the_whole(gathered):
    for name in ("", "sparse", "dense"):
        place = {"metric": "error_rate", "weights": "best", "test_set": name}
        rows = rows_of(gathered["evaluations"], evaluated_seqlen_tokens=64, **place)
        [whole] = [r for r in rows if not r["slice"]]
        parts = [r for r in rows if r["slice"]]
        assert len(parts) > 3
        assert all(r["slice"].startswith("distance ") for r in parts)
        for count in ("scored", "correct"):
            assert sum(r[count] for r in parts) == whole[count]
        assert all(r["examples"] <= whole["examples"] for r in parts)


def test_levels_are_those_of_the_test_set(gathered):
    for name, ignore in (("", 0.8), ("sparse", 0.98)):
        task = registry.make_task("flip_flop", {"p_ignore": ignore}, 64)
        expected = {(v.metric, v.name): v.value for v in task.levels()}
        found = rows_of(gathered["levels"], evaluated_seqlen_tokens=64, test_set=name, slice="")
        assert {(r["metric"], r["level"]): r["value"] for r in found} == expected


def test_an_evaluation_from_before_there_were_test_sets_is_read(trained):
    """What an earlier version has written counts as the one test set, whole."""
    table = evaluation(trained)
    old = table.filter(
        (np.array(table["test_set"]) == "") & (np.array(table["slice"]) == "")
    ).drop_columns(["test_set", "slice"])
    new = evaluation_rows.parts(table)
    want = [(g, c) for g, c in new if not g["test_set"] and not g["slice"]]
    found = evaluation_rows.parts(old)
    assert [g for g, _ in found] == [g for g, _ in want]
    for (_, one), (_, other) in zip(found, want, strict=True):
        assert np.array_equal(one["correct"], other["correct"])


def test_the_report_names_test_sets_slices_and_counts(trained):
    with contextlib.chdir(trained.folder):
        assert collect.main(["small"]) == 0
        assert printing.main(["results/studies/small"]) == 0
    text = (trained.results / "studies/small/report.md").read_text()
    assert "flip_flop, test set sparse, trained and evaluated at 16 tokens" in text
    assert "flip_flop, test set dense, trained at 16 and evaluated at 64 tokens" in text
    assert "**flip_flop, slice by slice**" in text
    assert "distance 3-4" in text


def test_elsewhere_than_trained_only_full_lengths_are_tested_where_lengths_vary():
    """At 64 tokens, examples of up to 16 would hide that longer ones fail."""

    def sets(settings, seqlen):
        return list(registry.make_task("parity", settings, seqlen).tested(16))

    assert sets({"shortest": 3}, 16) == ["", "longest"]
    assert sets({"shortest": 3}, 64) == ["longest"]
    assert sets({}, 64) == [""]


GOOD, BAD = 0.0, 0.3


@pytest.fixture
def judged():
    """A model that reads what is trained on and fails on another test set."""
    made = Tables()
    for name in ("", "sparse"):
        kinds = {"chance": 0.5, "ceiling": 0.0, "solved": 1e-3}
        made.levels("reads", [64], metric="error_rate", better="lower", test_set=name, **kinds)
    elsewhere = {(64, "sparse", ""): BAD, (64, "sparse", "distance 9-16"): 0.5}
    made.cells("glitchy", "reads", 64, [GOOD] * 3, metric="error_rate", half=0.0,
               elsewhere=elsewhere)  # fmt: skip
    return build(made.read())


def test_a_test_set_has_verdicts_of_its_own(judged):
    found = {(v["test_set"], v["verdict"]) for v in judged["verdicts"].to_pylist()}
    assert ("", "SOLVED") in found
    assert ("sparse", "SOLVED") not in found
    assert ("sparse", "ABOVE") in found


def test_what_is_said_of_all_seeds_is_said_at_every_test_set():
    made = Tables().levels("reads", [64], chance=0.5, ceiling=1.0, solved=0.9)
    made.levels("reads", [64], chance=0.5, ceiling=1.0, solved=0.9, test_set="sparse")
    made.cell("one", "reads", 64, 0, 0.95, elsewhere={(64, "sparse", ""): 0.95})
    read = made.read()
    content = Content.of(Path(), read, build(read))
    for name in ("", "sparse"):
        [row] = content.rows("reads", test_set=name)
        assert "TOO FEW SEEDS (1)" in content.labels(row)


def test_no_verdict_is_about_a_slice(judged):
    assert {v["slice"] for v in judged["verdicts"].to_pylist()} == {""}
    assert {r["slice"] for r in judged["summary"].to_pylist()} == {"", "distance 9-16"}


def test_a_few_errors_are_not_the_ceiling():
    """Half a percent of wrong reads is a finding where a perfect model makes none."""
    made = Tables().levels(
        "reads", [64], metric="error_rate", better="lower", chance=0.5, ceiling=0.0, solved=1e-4
    )
    made.cells("few", "reads", 64, [0.005] * 3, metric="error_rate", half=0.001)
    made.cells("none", "reads", 64, [0.0] * 3, metric="error_rate", half=0.0)
    found = {(v["model"], v["verdict"]) for v in build(made.read())["verdicts"].to_pylist()}
    assert ("none", "AT CEILING") in found
    assert ("few", "AT CEILING") not in found
    assert ("few", "ABOVE") in found
