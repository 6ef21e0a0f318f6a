"""Where device-hours went: every second once, by device, model and what became of it."""

import contextlib

import numpy as np
import pytest
from advised import HALF, Advised
from tables_factory import Tables, everything

from seqgrid import collect
from seqgrid.analysis.build import build
from seqgrid.analysis.ledger import reasons
from seqgrid.analysis.spending import KINDS, spending
from seqgrid.report.content import Content
from seqgrid.report.cost import said
from seqgrid.report.reading import read


def ledger(made):
    found = made.read()
    return spending(found["cells"].to_pylist(), found["parts"].to_pylist())


def whole(made, device="cpu"):
    (row,) = [r for r in ledger(made) if r["model"] is None and r["device"] == device]
    return row


def test_every_second_of_cells_and_parts_is_counted_once():
    found = everything().read()
    parts, cells = found["parts"].to_pylist(), found["cells"].to_pylist()
    names = ("training_seconds", "validation_seconds", "checkpoint_seconds")
    spent = sum(p[name] for p in parts for name in names)
    spent += sum(c["evaluation_seconds"] or 0 for c in cells)
    row = whole(everything())
    assert row["seconds"] == pytest.approx(spent)
    assert sum(row[kind] for kind in KINDS) == pytest.approx(spent)
    models = [r for r in ledger(everything()) if r["model"]]
    assert sum(r["seconds"] for r in models) == pytest.approx(spent)


def test_training_stands_under_what_became_of_its_cell():
    row = whole(everything())
    assert row["done"] == 20 * 39  # 38 finished and one diverged
    assert row["open"] == 20  # timed out
    assert row["broken"] == 20 * 4  # failed three times, and once out of memory


def test_hours_of_a_cpu_and_of_a_gpu_are_never_added():
    made = Tables().cells("lstm", "mqar", 64, [0.5, 0.5])
    made.cell("lstm", "mqar", 64, 2, 0.5)
    for name in ("cells", "parts"):
        made.rows[name][-1]["device"] = "NVIDIA H200"
    assert whole(made)["done"] == 40
    assert whole(made, "NVIDIA H200")["done"] == 20


def test_what_another_study_spent_is_not_this_study_s():
    made = Tables().cell("lstm", "mqar", 64, 0, 0.5).cell("lstm", "mqar", 64, 1, 0.5, reused=True)
    row = whole(made)
    assert (row["done"], row["reused"]) == (20, 22.5)
    assert row["seconds"] == 20 + 2 + 0.5 + 2 * 1.0  # both were evaluated here


def test_steps_that_a_silent_death_lost_cost_what_the_part_took_for_a_step():
    made = Tables().cell("lstm", "mqar", 64, 0, 0.5, died="NODE_FAIL")
    part = made.rows["parts"][0]
    part["last_death_lost_steps"] = 500  # of 2,000 in 20 s
    part["wall_seconds"] = 40.0
    row = whole(made)
    assert row["lost"] == 5.0
    assert row["start"] == pytest.approx(40 - 22.5 - 5)


def test_a_run_that_was_trained_again_stands_as_replaced(tmp_path):
    made = Advised(tmp_path)
    made.cell(0, HALF, stale=True)
    with contextlib.chdir(tmp_path):
        again = made.results.plan("stale")[0]
        assert again.run == "again1"
    made.cell(0, np.full(10, 0.5), run="again1")
    with contextlib.chdir(tmp_path):
        assert collect.main(["small"]) == 0
        found = read(tmp_path / "results/studies/small")
    rows = spending(found["cells"].to_pylist(), found["parts"].to_pylist())
    (row,) = [r for r in rows if r["model"] is None]
    assert (row["superseded"], row["done"]) == (36 * 20, 36 * 10)


def test_a_new_run_under_way_does_not_yet_replace_the_one_before():
    made = Tables().cell("lstm", "mqar", 64, 0, 0.5)
    again = made.rows["parts"][0] | {"run": "again1", "outcome": "timed_out"}
    made.rows["parts"].append(again)
    row = whole(made)
    assert (row["done"], row["open"], row["superseded"]) == (20, 20, 0)


def test_one_sentence_says_it_all(tmp_path):
    found = everything().read()
    words = said(Content.of(tmp_path, found, build(found)))
    assert words.startswith("All of this took 17.1 min of CPU time: 76% training that came")
    assert words.endswith("; what is open takes at most 24.5 s more.")
    empty = Tables().cell("lstm", "mqar", 64, 0, outcome="missing").read()
    assert said(Content.of(tmp_path, empty, build(empty))) == ""


def test_why_training_ended_is_not_why_there_is_no_score():
    made = Tables()
    made.cell("a", "copy", 64, 0, outcome="finished", reason="budget of 30 steps", evaluated=False)
    made.cell("a", "copy", 64, 1, outcome="missing", reason="")
    made.cell("a", "copy", 64, 2, outcome="diverged", reason="")
    found = {row["outcome"]: row["reason"] for row in reasons(made.rows["cells"])}
    assert found == {
        "finished, not evaluated": "no evaluation yet",
        "missing": "nothing was run yet",
        "diverged": "no reason is recorded",
    }
