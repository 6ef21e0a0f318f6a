"""The grid at a glance: every state, why, who runs, what it cost and will cost."""

import os
import re
import subprocess
import sys

import pytest
from grid_factory import Results

from seqgrid import plan, status
from seqgrid.cell import Cell
from seqgrid.lease import Lease
from seqgrid.outcome import Progress
from seqgrid.rows import Evaluation, Row

EVERY = """
question: how do cells end?
models: {gru: , a transformer: {model: attention}}
tasks: {adding_problem: , selective_copy: {settings: {num_markers: 2}}}
lengths: [8]
seeds: 0..5
exclude: [{model: a transformer, task: selective_copy}]
"""
STATES = ["finished", "timed_out", "interrupted", "diverged", "out_of_memory", "killed",
          "failed", "skipped"]  # fmt: skip


@pytest.fixture
def every(tmp_path, monkeypatch):
    """One cell of every state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    results = Results(tmp_path, EVERY)
    for row, state in enumerate(STATES):
        results.part(state, row=row, evaluated=True)
    part = results.part("finished", row=8)
    (part.folder / "outcome.json").write_text("")
    return results


def view(results):
    return status.view(results.name, results.plan(), results.folder)


def test_every_state_has_its_letter(every):
    part = every.part("timed_out", row=9, publish=False)
    lease = Lease(part.cell_folder)
    lease.acquire([], lambda job: None)
    part.write_beat(step=300, steps_per_second=50.0, seconds_left=14.0)
    text = view(every)
    lease.release()
    assert text.startswith(
        "small: 18 cells: 1 finished, 1 running, 1 timed out, 1 interrupted, 1 diverged, "
        "1 out of memory, 1 killed, 1 failed, 1 skipped, 1 corrupt, 8 missing\n"
        "to do: train 9, resume 3, evaluate 12\n"
    )
    assert (
        "\n"
        "                adding_problem   selective_copy\n"
        "                L8               L8\n"
        "gru             FTIDMK           XSCR..\n"
        "a transformer   ......           -\n"
        "\n"
        "F finished  R running  T timed out  I interrupted  D diverged  M out of memory  K killed"
    ) in text
    running = every.rows[9].cell.path
    assert f"\nrunning:\n  {running}: step 300 of 1000, 50.0 steps/s, about 14 s left at" in text
    assert f"at most, process {os.getpid()} on " in text


def test_deaths_underway_are_named_with_job_host_and_step(every):
    for row in (9, 10):
        part = every.part("timed_out", row=row, publish=False)
        (part.final / "outcome.json").unlink()
        part.begin_attempt("invocation")
        why = {"state": "NODE_FAIL", "node": "n2"}
        part.note_death(part.attempts()[-1], why=why, reached=840, kept=800)
    silent = every.part("timed_out", row=11, publish=False)
    silent.begin_attempt("invocation")
    [died] = re.findall(r"\ndied underway:\n(.*)", view(every), re.DOTALL)
    known, unknown = died.partition("\nforecast")[0].splitlines()
    assert known.startswith(f"  NODE_FAIL: {every.rows[9].cell.path}/part1, process {os.getpid()}")
    assert "on n2, goes on from step" in known
    assert known.endswith("and 1 more")
    assert unknown.startswith(f"  without a trace (not looked into yet): {silent}")


def test_reasons_are_given_for_all_that_is_not_fine(every):
    every.evaluate(
        every.part("finished", row=12), every.rows[12], error="Traceback\n  ...\nValueError: odd\n"
    )
    [why] = re.findall(r"\nwhy:\n(.*?)\n\n", view(every), re.DOTALL)
    lines = why.splitlines()
    assert len(lines) == 9
    for state in STATES[1:6]:
        words = state.replace("_", " ")
        assert any(x.startswith(f"  {words}: gru adding_problem: it was {state} (") for x in lines)
    assert any(x.startswith("  corrupt: gru selective_copy: outcome.json: ") for x in lines)
    assert any(
        x.startswith("  evaluation failed: a transformer adding_problem: ValueError: odd (")
        for x in lines
    )


def test_equal_reasons_stand_together_and_long_ones_are_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path)
    for row in range(2):
        results.part("failed", row=row, evaluated=True, reason="no\nluck " + "at all " * 100)
    text = view(results)
    [line] = [x for x in text.splitlines() if x.startswith("  failed:")]
    assert "gru adding_problem: no luck at all" in line
    assert " ... (gru/adding_problem/L8/seed0-" in line
    assert line.endswith(" and 1 more)")
    assert len(line) < 300


def test_the_cost_so_far_and_to_come(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path)
    assert "cost: 0 s of training so far" in view(results)
    assert view(results).endswith(
        "\n\nforecast: none before the first part\n  4 cells by a first guess, not counted"
    )
    progress = Progress(step=500, training_seconds=90.0, validation_seconds=10.0)
    results.part("timed_out", progress=progress, evaluated=True)
    text = view(results)
    assert "cost: 100 s of training so far\n" in text
    # 500 and 1000 steps of 0.2 s, and the seconds of two evaluations.
    assert text.endswith(
        "\n\nforecast: about 5.0 min of CPU time to come at most, from 1 part of 1 cell\n"
        "  1 cell from earlier parts of the same cell\n"
        "  1 cell from equal cells\n"
        "  2 cells by a first guess, not counted"
    )
    progress = Progress(first_step=500, step=1000, training_seconds=7200.0)
    results.part("finished", number=2, progress=progress, evaluated=True)
    text = view(results)
    assert "cost: 2.0 h of training so far" in text
    assert "forecast: about 2.0 h of CPU time to come" in text
    assert "from 2 parts of 1 cell" in text
    # A new training starts at step 0, whatever the one before reached: at its slowest part's rate.
    results.part("interrupted", run="again1", publish=False)
    assert "forecast: about 6.0 h of CPU time to come" in view(results)
    for row in range(4):
        results.part("finished", row=row, run="again2", evaluated=True)
    assert "forecast" not in view(results)


def test_gpu_time_is_forecast_where_the_last_part_ran_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path)
    progress = Progress(step=1000, training_seconds=1e6)
    results.part("finished", progress=progress, evaluated=True)
    progress = Progress(step=1000, training_seconds=100.0)
    results.part("finished", row=2, progress=progress, evaluated=True, device="NVIDIA H100")
    assert (
        "forecast: about 101 s of GPU time to come at most, from 1 part of 1 cell\n"
        "  1 cell from equal cells\n"
        "  1 cell by a first guess, not counted"
    ) in view(results)


def test_stale_results_are_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path)
    results.part("finished", stale=True)
    text = view(results)
    assert "stale: the sources of 1 trained cells have changed since; --config rerun=stale" in text


def test_titles_of_tasks_are_never_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    label = "recall with a very long label"
    results = Results(
        tmp_path,
        f"""
        question: which?
        models: {{gru: }}
        tasks: {{{label}: {{task: mqar}}, adding_problem: , x: {{task: selective_copy}}}}
        lengths: [64]
        seeds: [0]
        """,
    )
    lines = view(results).splitlines()
    title = next(line for line in lines if label in line)
    below = lines[lines.index(title) + 1]
    assert title.split() == [*label.split(), "adding_problem", "x"]
    assert [m.start() for m in re.finditer("L64", below)] == [
        title.index(label), title.index("adding_problem"), title.index(" x") + 1
    ]  # fmt: skip


def grid(models=1, tasks=1, lengths=1, seeds=1):
    """Missing cells of a grid, without a study."""
    return [
        plan.Standing(
            row=Row(
                f"model-{model}",
                f"task-{task}",
                "",
                Cell(model="gru", task="mqar", seqlen=2**length, seed=first + seed),
                Evaluation((64,), 10),
            ),
            run="", outcomes=(), reported_run="", state="missing", reason="", stale=False,
            evaluation=None, next="train", part=1, target="x",
        )
        for model in range(models)
        for task in range(tasks)
        for first in [1000 * (models * task + model)]
        for length in range(4, 4 + lengths)
        for seed in range(seeds)
    ]  # fmt: skip


def test_a_grid_of_5000_cells_prints_within_the_width(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    standings = grid(models=20, tasks=5, lengths=10, seeds=5)
    assert len(standings) == 5000
    lines = status.view("large", standings, tmp_path).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 130
    assert sum(line.count(".....") for line in lines) == 1000
    for task in range(5):
        assert any(f"task-{task}" in line for line in lines)


def test_a_terminal_that_is_far_too_narrow_still_gets_every_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    text = status.view("small", grid(models=2, tasks=2, lengths=6, seeds=3), tmp_path)
    assert text.count("...") == 24


def test_many_seeds_are_counted(tmp_path):
    text = status.view("small", grid(seeds=100), tmp_path)
    assert "\nmodel-0   100.\n" in text


def test_long_lists_are_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path, EVERY.replace("0..5", "0..29"))
    for row in range(25):
        results.part("failed", row=row, evaluated=True, reason=f"number {row}")
    assert "\n  ... and 5 more\n\nforecast" in view(results)


def test_the_command_prints_the_view(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Results(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "seqgrid.status", "small"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("small: 4 cells: 4 missing\nto do: train 4, evaluate 4\n")
    assert "  (a letter a seed, in order" in done.stdout
