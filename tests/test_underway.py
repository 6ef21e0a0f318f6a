"""Cells that are being trained while the tables are made: running, as far as they are, and left."""

import io
import os
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from grid_factory import Results
from test_lease import elsewhere, taken

from seqgrid import collection, plan, registry, tables, underway
from seqgrid.analysis.build import build
from seqgrid.analysis.spending import spending
from seqgrid.analysis.summary import meta
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


def saved(part, step, values, number=None):
    """A rolling checkpoint of a part, with validations."""
    from seqgrid import checkpoint

    rows = [
        {"part": 1, "step_steps": 20 * i, "metric": "r2", "validation_metric": value}
        for i, value in enumerate(values, 1)
    ]
    track = {"rows": rows, "part_seconds": [3.0, 1.0, 0.5], "best_step": 20, "best_metric": 0.3,
             "solved_step": None, "solved_seconds": None}  # fmt: skip
    state = {"cell": part.cell, "part": number or part.number, "first_step": 0, "step": step,
             "seen_tokens": 8 * step, "track": track, "random": {}}  # fmt: skip
    checkpoint.save(state, part.live)


def left(results, ended=None, row=0, step=65):
    """A part whose process died, or ended as it said, at a step, with a checkpoint of step 60."""
    part = begin(results, 1, row=row)
    part.begin_attempt("earlier")
    saved(part, 60, [0.1, 0.3, 0.2])
    part.write_beat(step=step, last_metric=0.25)
    if ended:
        part.end_attempt(ended)
    return part


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


def test_a_cell_whose_process_died_underway_is_cut_with_what_its_checkpoint_holds(results):
    left(results)
    read = gathered(results)
    first, second = read["cells"].to_pylist()[:2]
    assert second["outcome"] == "missing"
    names = ["outcome", "step_steps", "reached_steps", "training_seconds", "parts", "device"]
    assert [first[n] for n in names] == ["interrupted", 60, None, 3.0, 1, "cpu"]
    assert first["reason"] == "died underway at step 65, without a trace; goes on from step 60"
    assert (first["best_validation_metric"], first["last_validation_metric"]) == (0.3, 0.2)
    assert first["ended_at"] is not None
    history = read["history"].to_pylist()
    assert [r["validation_metric"] for r in history] == [0.1, 0.3, 0.2]
    (part,) = read["parts"].to_pylist()
    names = ["outcome", "silent_deaths", "last_death_lost_steps", "training_seconds"]
    assert [part[n] for n in names] == ["interrupted", 1, 5, 3.0]
    advice = build(read)["advice"].to_pylist()
    (row,) = [r for r in advice if r["scope"] == "cell"]
    assert row["command"].endswith(f"cell={results.rows[0].cell.path}")
    assert spending(read["cells"].to_pylist(), read["parts"].to_pylist())[-1]["open"] == 3.0


def test_how_it_ended_and_from_where_it_goes_on_are_said(results):
    left(results, "exit 75")
    part = begin(results, 1, row=1)
    part.begin_attempt("earlier")  # dead before its first heartbeat and checkpoint
    first, second = gathered(results)["cells"].to_pylist()[:2]
    assert first["reason"] == "stopped underway; goes on from step 60"
    assert (second["outcome"], second["step_steps"]) == ("interrupted", None)
    said = "died underway at step 0, without a trace; goes on from where the part began"
    assert second["reason"] == said


def test_a_part_that_has_its_outcome_and_waits_to_be_published_did_not_die(results):
    part = results.part("finished", publish=False)
    part.begin_attempt("earlier")
    assert cells(results)[0] == ("missing", None, None)


def test_a_later_part_that_died_adds_its_cost_to_those_before(results):
    cut(results)
    part = begin(results, 2)
    part.begin_attempt("earlier")
    first = gathered(results)["cells"].to_pylist()[0]
    assert (first["outcome"], first["step_steps"], first["parts"]) == ("interrupted", 40, 2)
    saved(part, 60, [0.1, 0.3, 0.2])
    first = gathered(results)["cells"].to_pylist()[0]
    assert (first["step_steps"], first["training_seconds"]) == (60, 5.0)


def test_a_running_cell_has_its_validations_so_far(results):
    trainer = taken(left(results).cell_folder)
    read = gathered(results)
    trainer.release()
    first = read["cells"].to_pylist()[0]
    names = ["outcome", "step_steps", "reached_steps", "last_validation_metric"]
    assert [first[n] for n in names] == ["running", 60, 65, 0.25]  # the heartbeat is newer
    assert (len(read["history"]), len(read["parts"])) == (3, 0)
    content: Any = SimpleNamespace(cells=[first], inventory=[])
    said = " ".join(coverage._cut_short(content).split())
    assert "Cut short or still running" in said
    assert f"| 65 of {first['budget_steps']:,} | 0.3000† |" in said


def test_where_nothing_is_evaluated_levels_and_metric_come_from_the_task(results):
    left(results)
    read = gathered(results)
    known = {
        (r["evaluated_seqlen_tokens"], r["metric"], r["level"]) for r in read["levels"].to_pylist()
    }
    assert {(8, "r2", "chance"), (8, "r2", "ceiling"), (8, "mse", "chance")} <= known
    rows = [r for r in build(read)["summary"].to_pylist() if r["primary"]]
    assert {(r["metric"], r["chance"], r["ceiling"]) for r in rows} == {("r2", 0.0, 1.0)}
    assert meta(read["cells"])["judged_by"] == {"adding_problem": "r2"}


def test_a_task_file_whose_levels_fail_is_named_and_no_more(results, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no idea")

    monkeypatch.setattr(registry, "make_task", fails)
    left(results)
    assert gathered(results)["levels"].num_rows == 0
    assert "levels of tasks/adding_problem.py: RuntimeError: no idea" in capsys.readouterr().err
