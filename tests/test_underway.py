"""Cells that are being trained while the tables are made: running, as far as they are, and left."""

import io
import os
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from grid_factory import Results
from test_lease import elsewhere, taken

from seqgrid import collection, plan, tables, underway
from seqgrid.analysis.build import build
from seqgrid.collect import gather
from seqgrid.outcome import Progress
from seqgrid.report import __main__ as report
from seqgrid.report import coverage, marks
from seqgrid.store import Part


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Results(tmp_path)


def history():
    buffer = io.BytesIO()
    pq.write_table(tables.schema("history_file").empty_table(), buffer)
    return buffer.getvalue()


def cut(results, outcome="timed_out", row=0, **fields):
    """A part of a cell that goes on, with what the tables read of it."""
    return results.part(outcome, row=row, history=history(),
                        progress=Progress(step=40, training_seconds=2.0), **fields)  # fmt: skip


def begin(results, number, run="", row=0):
    """A part that a trainer has begun."""
    return Part.of(results.folder / "cells", results.rows[row].cell.path, run, number)


def gathered(results):
    return gather("small", results.study, results.plan(), results.folder)


def cells(results):
    rows = gathered(results)["cells"].to_pylist()
    return [(row["outcome"], row["reached_steps"], row["step_steps"]) for row in rows]


def test_a_cell_that_is_trained_while_the_tables_are_made_is_running(results):
    cut(results)
    part = begin(results, 2)
    assert cells(results)[:2] == [("timed_out", None, 40), ("missing", None, None)]
    trainer = taken(part.cell_folder)
    assert cells(results)[0] == ("running", 40, 40)
    part.write_beat(step=65)
    assert cells(results)[0] == ("running", 65, 40)
    assert gathered(results)["cells"].to_pylist()[0]["reason"] == underway.REASON
    trainer.release()
    assert cells(results)[0] == ("timed_out", None, 40)


def test_a_first_part_under_way_counts_and_one_on_a_silent_host_does_not(results):
    part = begin(results, 1, row=1)
    elsewhere(part.cell_folder)
    part.write_beat(step=7)
    assert cells(results)[1] == ("running", 7, None)
    old = "2026-01-01T00:00:00+00:00"
    elsewhere(part.cell_folder, since=old)
    part.heartbeat.write_text(f'{{"time": "{old}", "step": 7}}')
    assert cells(results)[1] == ("missing", None, None)


def test_a_result_is_not_hidden_by_who_evaluates_it_or_trains_the_cell_anew(results):
    part = results.part("finished", history=history())
    evaluator = taken(part.cell_folder)
    assert cells(results)[0] == ("finished", None, 100)
    begin(results, 1, "again1")
    assert cells(results)[0] == ("finished", 0, 100)
    evaluator.release()
    assert cells(results)[0] == ("finished", None, 100)


def test_a_result_that_a_run_under_way_will_replace_stays_and_the_run_is_named(results):
    """The values are those of the run before, stale as they are; nothing else is advised."""
    results.part("finished", history=history(), stale=True)
    trainer = taken(begin(results, 1, "again1").cell_folder)
    begin(results, 1, "again1").write_beat(step=65)
    read = gathered(results)
    trainer.release()
    first = read["cells"].to_pylist()[0]
    shown = [first[k] for k in ("outcome", "complete", "stale", "step_steps", "reached_steps")]
    assert shown == ["finished", True, True, 100, 65]
    built = build(read)
    assert "running" not in {v["verdict"].lower() for v in built["verdicts"].to_pylist()}
    advice = built["advice"].to_pylist()
    assert not [r for r in advice if r["verdict"] == "STALE"]  # that is what the new run is for
    (row,) = [r for r in advice if r["scope"] == "cell"]
    assert (row["action"], row["verdict"], row["command"]) == ("monitor", "RUNNING", None)
    assert row["reason"].startswith("trained again, step 65 of ")
    content: Any = SimpleNamespace(cells=read["cells"].to_pylist())
    said = " ".join(coverage._again(content).split())
    assert "Being trained again when the tables were made: 1." in said
    assert f"| 65 of {first['budget_steps']:,} | finished{marks.STALE} |" in said


def test_a_new_run_counts_its_own_steps_and_not_those_of_the_run_it_replaces(results):
    results.part("finished", history=history(), stale=True, progress=Progress(step=300))
    cut(results, run="again1")
    trainer = taken(begin(results, 2, "again1").cell_folder)
    assert cells(results)[0] == ("finished", 40, 300)
    trainer.release()


def test_a_failed_cell_that_is_trained_again_is_running(results):
    part = cut(results, "failed")
    trainer = taken(part.cell_folder)
    assert cells(results)[0][0] == "failed"  # nobody has begun another part of it
    begin(results, 2)
    assert cells(results)[0] == ("running", 40, 40)
    trainer.release()


def test_the_same_store_gives_the_same_tables_and_the_digest_knows_no_trainer(results):
    part = cut(results)
    first = gathered(results)
    assert all(first[name].equals(table) for name, table in gathered(results).items())
    before = collection.digest(results.study, results.plan())
    trainer = taken(part.cell_folder)
    assert collection.digest(results.study, results.plan()) == before
    # Whatever becomes of the trainer: what is to do for its cell asks for the next collection.
    assert collection.generation(results.folder, "small", results.study, results.plan()) == 1
    trainer.release()


def test_the_report_says_so_and_advises_to_wait(results):
    part = cut(results)
    trainer = taken(part.cell_folder)
    begin(results, 2).write_beat(step=1065)
    read = gathered(results)
    trainer.release()
    advice = build(read)["advice"].to_pylist()
    (row,) = [r for r in advice if r["scope"] == "cell"]
    assert (row["action"], row["verdict"], row["command"]) == ("monitor", "RUNNING", None)
    budget = results.rows[0].cell.training.steps
    assert row["reason"] == f"step 1,065 of {budget:,}: wait for its end"
    (finish,) = [r for r in advice if r["action"] == "finish"]
    assert (finish["cells"], finish["reason"].split(";")[0]) == (3, "3 missing")
    folder = results.folder / "studies/small"
    for name, table in read.items():
        tables.write(table, folder / f"{name}.parquet")
    text = report.write(folder).read_text()
    said = " ".join(text.split())
    assert "was being trained when the tables were made" in said
    assert f"1,065 of {budget:,}" in said
    assert f"**running**, 1: `{underway.REASON}`" in said


def test_the_own_process_is_no_trainer_of_others(results):
    """A lease that was released holds nobody, whichever process looks."""
    part = cut(results)
    trainer = taken(part.cell_folder)
    assert plan.running(results.first(), results.folder)["pid"] == os.getpid()
    trainer.release()
    assert underway.reached(results.first(), results.folder) is None
