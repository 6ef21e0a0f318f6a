"""What jobs ask for follows from the parts already run, with a margin, and says on what basis."""

import json
import subprocess
import sys

import pytest
from grid_factory import Results, provenance_of

from seqgrid import driver, plan, requests
from seqgrid.estimates import Forecast, Known
from seqgrid.outcome import Progress
from seqgrid.requests import DEFAULTS, MARGINS, START_SECONDS, Bounds, Request
from seqgrid.store import Part

STUDY = """
question: what does it take?
models: {gru: , lstm: }
tasks: {adding_problem: , selective_copy: {settings: {num_markers: 2}}}
lengths: [16, 32, 64, 128, 512]
seeds: 0..2
training: {steps: 100000}
"""
GB = 2**30


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Results(tmp_path, STUDY)


def row_of(results, model="gru", task="adding_problem", seqlen=64, seed=0, variant=None):
    (number,) = (
        i
        for i, r in enumerate(results.rows)
        if (r.model, r.task, r.cell.seqlen, r.cell.seed) == (model, task, seqlen, seed)
        and variant in (None, r.variant)
    )
    return number


def ran(results, rate, host=GB, steps=100000, first=0, evaluated=True, where=None, **fields):
    """A part of a cell that took `rate` seconds a step and `host` bytes at most."""
    done = steps - first
    progress = Progress(
        first_step=first,
        step=steps,
        training_seconds=0.6 * rate * done,
        validation_seconds=0.3 * rate * done,
        checkpoint_seconds=0.1 * rate * done,
        peak_host_bytes=host,
        peak_memory_bytes=17 * GB,
    )
    fields.setdefault("outcome", "finished")
    row = row_of(results, **(where or {}))
    return results.part(progress=progress, row=row, evaluated=evaluated, **fields)


def jobs(results, bounds=DEFAULTS, **where):
    standings = results.plan()
    asked = requests.of(standings, standings, results.study, bounds, results.folder)
    return asked[plan.run_folder(standings[row_of(results, **where)])]


def minutes(seconds):
    return -(-seconds // 300) * 5


def test_where_nothing_has_run_a_job_asks_for_the_first_guess(results):
    found = jobs(results)
    assert found.train == Request(60, 4096, "first guess")
    assert found.evaluate == Request(15, 4096, "first guess")
    own = Bounds(runtime=120, mem_mb=9000)
    assert jobs(results, own).train == Request(120, 9000, "first guess")


def test_a_cut_cell_asks_for_what_its_own_parts_say_it_lacks(results):
    ran(results, 0.1, steps=40000, outcome="timed_out", host=3 * GB)
    ran(results, 0.9, where={"seed": 1})  # another cell, much slower, does not matter
    found = jobs(results).train
    assert found.basis == "from 1 earlier part of the cell"
    assert found.runtime == minutes(60000 * 0.1 * MARGINS["own"][0] + START_SECONDS) == 130
    assert found.mem_mb == 6144  # 3072 * 1.2 + 500, rounded up
    ran(results, 0.2, steps=70000, first=40000, outcome="timed_out", number=2)
    found = jobs(results).train
    assert found.basis == "from 2 earlier parts of the cell"
    assert found.runtime == minutes(30000 * 0.2 * MARGINS["own"][0] + START_SECONDS)


def test_a_training_that_starts_anew_asks_for_all_steps(results):
    ran(results, 0.1)
    ran(results, 0.1, steps=40000, outcome="timed_out", run="again1", evaluated=False)
    found = jobs(results).train
    assert found.runtime == minutes(100000 * 0.1 * MARGINS["own"][0] + START_SECONDS)


def test_equal_cells_count_by_their_median_and_say_how_many(results):
    ran(results, 0.1, where={"seed": 1}, host=2 * GB)
    ran(results, 0.2, where={"seed": 2}, host=GB)
    found = jobs(results).train
    assert found.basis == "from 2 parts of 2 equal cells"
    assert found.runtime == minutes(100000 * 0.15 * MARGINS["equal"][0] + START_SECONDS)
    assert found.mem_mb == 3072  # the larger one: 2048 * 1.25 + 500, rounded up


def test_other_lengths_are_reached_by_a_power_law(results):
    for seqlen, rate in ((16, 0.02), (32, 0.03), (128, 0.0675)):
        ran(results, rate, where={"seqlen": seqlen})
    between = jobs(results, seqlen=64).train
    assert between.basis == "from length 16, 32, 128 of the same model and task"
    # A half more for every doubling.
    assert between.runtime == minutes(100000 * 0.045 * MARGINS["lengths"][0] + START_SECONDS)
    # Beyond the longest a step takes at least in proportion to the length.
    beyond = jobs(results, seqlen=512).train
    assert beyond.runtime == minutes(100000 * 0.27 * MARGINS["lengths"][0] + START_SECONDS)


@pytest.mark.parametrize(
    ("rates", "seqlen", "expected"),
    [
        ({32: 0.01, 64: 0.04, 128: 0.16}, 512, 0.16 * 16),  # quadratic
        ({32: 0.01, 64: 0.1, 128: 1.0}, 512, 1.0 * 16),  # no steeper than that
        ({32: 0.01, 64: 0.02, 128: 0.04}, 16, 0.005),
        ({32: 0.01, 64: 0.04, 128: 0.16}, 16, 0.005),  # nor faster than in proportion
        ({32: 0.04, 64: 0.02}, 16, 0.04),  # noise does not make the shorter slower
        ({32: 0.02, 512: 0.02}, 64, 0.02),  # nor is it forced to grow in between
        ({64: 0.1}, 512, 0.8),  # one length: in proportion upwards
        ({64: 0.1}, 16, 0.1),  # and no faster downwards
    ],
)
def test_the_power_law_stays_within_what_models_do(results, rates, seqlen, expected):
    for at, rate in rates.items():
        ran(results, rate, where={"seqlen": at})
    standings = results.plan()
    row = standings[row_of(results, seqlen=seqlen)].row
    assert Known(standings).step_seconds.of(row).value == pytest.approx(expected)


def test_another_task_of_the_model_is_better_than_nothing(results):
    ran(results, 0.02, where={"task": "selective_copy", "seqlen": 64})
    found = jobs(results).train
    assert found.basis == "from other tasks of the same model"
    assert found.runtime == minutes(100000 * 0.02 * MARGINS["tasks"][0] + START_SECONDS)
    assert jobs(results, model="lstm").train.basis == "first guess"


def test_less_is_known_the_wider_is_the_margin():
    for which in (0, 1):
        factors = [MARGINS[level][which] for level in ("own", "equal", "lengths", "tasks")]
        assert factors == sorted(factors)
        assert factors[0] > 1


def test_a_part_that_stops_itself_asks_for_no_more(results):
    ran(results, 0.1, where={"seed": 1})
    results.study = results.study.model_copy(update={"part_seconds": 1800.0})
    assert jobs(results).train.runtime == minutes(1800 + START_SECONDS)
    assert jobs(results, model="lstm").train.runtime == minutes(1800 + START_SECONDS)
    assert jobs(results).evaluate.runtime == 5  # of 1 s
    results.study = results.study.model_copy(update={"part_seconds": 1e9})
    assert jobs(results).train.runtime == minutes(100000 * 0.15 + START_SECONDS)


def test_a_budget_of_seconds_bounds_the_request(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path, STUDY.replace("{steps: 100000}", "{steps: 100000, seconds: 600}"))
    assert jobs(results).train.runtime == minutes(600 * 1.5 + START_SECONDS)


def test_no_job_asks_for_more_than_the_most(results):
    ran(results, 10.0, host=900 * GB, where={"seed": 1})
    assert jobs(results).train.runtime == 24 * 60
    assert jobs(results).train.mem_mb == 256 * 1024
    own = Bounds(max_runtime=30, max_mem_mb=64000)
    found = jobs(results, own)
    assert (found.train.runtime, found.train.mem_mb) == (30, 64000)
    assert (found.evaluate.runtime, found.evaluate.mem_mb) == (5, 64000)


def test_memory_comes_in_few_sizes(results):
    sizes = set()
    for gigabytes in range(1, 60):
        ran(results, 0.01, host=gigabytes * GB, where={"seed": 1})
        found = jobs(results).train.mem_mb
        assert found >= gigabytes * 1024 * 1.25 + 500
        assert found < 2 * (gigabytes * 1024 * 1.25 + 500)
        sizes.add(found)
    assert len(sizes) <= 12
    assert all(size % 512 == 0 for size in sizes)


def test_memory_of_a_gpu_is_not_taken_for_that_of_its_host(results):
    ran(results, 0.1, host=None, where={"seed": 1}, device="NVIDIA H100")
    found = jobs(results).train
    assert found.mem_mb == DEFAULTS.mem_mb
    assert found.basis == "time: from 1 part of 1 equal cell; memory: first guess"
    ran(results, 0.1, host=GB, where={"seed": 2}, device="NVIDIA H100")
    assert jobs(results).train.mem_mb == 2048


def test_before_host_memory_was_recorded_the_cpus_peak_was_it(results):
    ran(results, 0.1, host=None, where={"seed": 1})
    assert jobs(results).train.mem_mb == 24 * 1024  # 17 GB * 1.25 + 500, rounded up


def test_another_kind_of_device_says_nothing_and_the_slowest_of_one_kind_counts(results):
    ran(results, 5.0, where={"seed": 1}, device="cpu")
    ran(results, 0.01, where={"seqlen": 32}, device="NVIDIA A100")
    assert jobs(results).train.basis == "from length 32 of the same model and task"
    ran(results, 0.01, where={"seed": 2}, device="NVIDIA A100")
    ran(results, 0.04, where={"seed": 1, "seqlen": 128}, device="NVIDIA H100")
    ran(results, 0.06, where={"seed": 1}, device="NVIDIA V100")
    found = jobs(results).train
    assert found.basis == "from 2 parts of 2 equal cells"
    assert found.runtime == minutes(100000 * 0.06 * MARGINS["equal"][0] + START_SECONDS)


def test_a_part_whose_trainer_was_killed_does_not_say_what_it_ran_on(results):
    ran(results, 0.01, where={"seed": 1}, device="NVIDIA A100")
    ran(results, 9.0, where={"seed": 2}, device=None, outcome="killed")
    found = Forecast.of(results.plan())
    assert found.on_gpu
    assert found.parts == 1
    assert jobs(results).train.basis == "from 1 part of 1 equal cell"


def test_of_swept_settings_the_cells_own_count_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = "sweep: {training.batch_size: [16, 64]}\n"
    results = Results(tmp_path, STUDY + sweep)
    names = {row.variant for row in results.rows}
    small, large = sorted(names, key=lambda name: int(name.rpartition("=")[2]))
    ran(results, 0.1, where={"seed": 1, "variant": large})
    slow = jobs(results, variant=small).train
    assert slow.runtime == minutes(100000 * 0.1 * MARGINS["equal"][0] + START_SECONDS)
    ran(results, 0.01, where={"seed": 1, "variant": small})
    fast = jobs(results, variant=small).train
    assert fast.runtime == minutes(100000 * 0.01 * MARGINS["equal"][0] + START_SECONDS)
    assert jobs(results, variant=large).train.runtime == slow.runtime


def test_an_evaluation_asks_for_what_evaluations_took(results):
    ran(results, 0.1, where={"seed": 1})
    found = jobs(results).evaluate
    assert found.runtime == minutes(1.0 * MARGINS["equal"][0] + START_SECONDS)
    assert found.basis == "from 1 part of 1 equal cell"
    assert found.mem_mb == jobs(results).train.mem_mb


# -- the host out of memory ----------------------------------------------------------------------


def test_a_job_whose_host_ran_out_of_memory_asks_for_more(results, monkeypatch):
    ran(results, 0.1, host=2 * GB, where={"seed": 1})
    part = ran(results, 0.1, outcome="timed_out", publish=False, evaluated=False)
    monkeypatch.setattr(requests, "memory_factor", lambda p: 4 if str(p) == str(part) else 1)
    found = jobs(results).train
    assert (found.mem_mb, found.factor) == (4 * 3072, 4)
    assert found.basis.endswith("; memory times 4: the host ran out of it")
    assert jobs(results, seed=2).train.mem_mb == 3072


def test_within_one_run_the_next_attempt_looks_again(results, monkeypatch):
    cell = results.rows[0].cell.path
    planned = {cell: requests.Jobs(Request(30, 2048, "x"), Request(5, 1024, "x"))}
    asked = requests.Asked(planned, Bounds(max_mem_mb=6000), results.folder)
    factors = {f"{cell}/part1": 2}
    monkeypatch.setattr(requests, "memory_factor", lambda part: factors.get(str(part), 1))
    assert asked.train(cell, 1, 1).mem_mb == 2048
    assert asked.train(cell, 1, 2).mem_mb == 4096
    assert asked.train(cell, 2, 2).mem_mb == 2048  # another part
    factors[f"{cell}/part1"] = 4
    assert asked.train(cell, 1, 3).mem_mb == 6000
    assert asked.evaluate(cell).mem_mb == 1024
    factors[f"{cell}/again1/part1"] = 2
    planned[f"{cell}/again1"] = planned[cell]
    assert asked.train(f"{cell}/again1", 1, 2).mem_mb == 4096


def test_an_evaluation_asks_for_twice_as_much_with_every_attempt(results):
    cell = results.rows[0].cell.path
    planned = {cell: requests.Jobs(Request(30, 2048, "x"), Request(5, 1024, "x"))}
    asked = requests.Asked(planned, Bounds(max_mem_mb=6000), results.folder)
    found = [asked.evaluate(cell, attempt) for attempt in (1, 2, 3, 4, 5)]
    assert [request.mem_mb for request in found] == [1024, 2048, 4096, 6000, 6000]


def test_what_has_its_outcome_asks_for_no_more_memory(results, monkeypatch):
    cell = ran(results, 0.1, outcome="killed").cell
    planned = {cell: requests.Jobs(Request(30, 2048, "x"), Request(5, 1024, "x"))}
    asked = requests.Asked(planned, Bounds(), results.folder)
    monkeypatch.setattr(requests, "memory_factor", lambda part: 8)
    assert asked.train(cell, 1, 4).mem_mb == 2048
    assert asked.train(cell, 2, 4).mem_mb == 8 * 2048


# -- how jobs get to know it ---------------------------------------------------------------------


def test_a_jobs_own_process_reads_the_same_numbers_from_disk(results):
    ran(results, 0.1, where={"seed": 1})
    run = driver.start({"study": "small"}, DEFAULTS)
    run.prepare(0)
    cell = results.rows[row_of(results)].cell.path
    there = requests.Asked({}, DEFAULTS, results.folder)
    here = requests.Asked(run.requests, DEFAULTS, results.folder)
    assert there.train(cell, 1, 1) == here.train(cell, 1, 1) == run.requests[cell].train
    assert there.evaluate(cell) == here.evaluate(cell) == run.requests[cell].evaluate
    assert there.train(cell, 1, 1).basis == "from 1 part of 1 equal cell"
    written = json.loads((results.folder / "cells" / cell / "execution.json").read_text())
    assert written["request"]["runtime"] == run.requests[cell].train.runtime
    for spoilt in ("", "[]", '{"request": 3}', '{"request": {"runtime": 3}}'):
        (results.folder / "cells" / cell / "execution.json").write_text(spoilt)
        assert there.train(cell, 1, 1) == Request(60, 4096, "first guess")


def test_an_unchanged_request_is_not_written_again(results):
    ran(results, 0.1, where={"seed": 1})
    driver.start({"study": "small"}).prepare(0)
    path = results.folder / "cells" / results.rows[row_of(results)].cell.path / "execution.json"
    before = path.stat().st_mtime_ns
    driver.start({"study": "small"}).prepare(0)
    assert path.stat().st_mtime_ns == before
    ran(results, 0.1, where={"seed": 2})
    driver.start({"study": "small"}).prepare(0)
    assert path.stat().st_mtime_ns > before


def test_first_guesses_and_maxima_come_from_default_resources():
    given = {"runtime": 30, "mem_mb": "max(2 * input.size_mb, 1000)", "max_runtime": 240}
    assert Bounds.of(given) == Bounds(runtime=30, max_runtime=240)
    assert Bounds.of(None) == Bounds.of({}) == DEFAULTS


@pytest.mark.parametrize("value", ["1d", 0, "16GB"])
def test_a_maximum_that_is_no_number_is_one_line(value, capsys):
    with pytest.raises(SystemExit):
        driver.bounds({"max_runtime": value})
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"max_runtime: a whole number of minutes above 0 is needed, got {value!r}" in said


def test_the_forecast_sums_what_is_left_without_margins(results):
    ran(results, 0.1)
    ran(results, 0.2, steps=50000, outcome="timed_out", where={"seed": 1}, evaluated=False)
    found = Forecast.of(results.plan())
    # own: the rest of seed 1; equal: seed 2; lengths: 4 of 3 seeds; tasks: the other task, 5 of 3.
    assert found.levels == {"own": 1, "equal": 1, "lengths": 12, "tasks": 15}
    assert (found.parts, found.cells, found.unknown, found.on_gpu) == (2, 2, 30, False)
    assert found.seconds > 50000 * 0.2 + 100000 * 0.15


def test_asking_needs_neither_torch_nor_pandas():
    code = (
        "import sys, seqgrid.requests; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'numpy', 'snakemake')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- what was asked for and used is recorded -----------------------------------------------------


def test_the_outcome_says_what_was_asked_and_used(results):
    cell = results.rows[0].cell
    part = Part.of(results.folder / "cells", cell.path, "", 1)
    attempts = [
        {"started_at": "2026-01-01T00:00:00+00:00", "pid": 1, "asked": [30, 1024]},
        {"ended": "exit 1", "ended_at": "2026-01-01T00:01:00+00:00"},
        {"started_at": "2026-01-01T00:01:00+00:00", "pid": 1, "asked": [30, 1024]},
        # A job that died without a word was last heard of after 300 s.
        {"started_at": "2026-01-01T02:00:00+00:00", "pid": 2, "asked": [45, 2048],
         "seen": "2026-01-01T00:06:00+00:00"},
        {"ended": "exit 75", "ended_at": "2026-01-01T02:10:00+00:00"},
    ]  # fmt: skip
    lines = "".join(json.dumps(a) + "\n" for a in attempts)
    (part.live / "attempts.jsonl").write_text(lines)
    part.begin_attempt(None, (60, 4096))
    made = part.finish(None, b"", outcome="finished", reason="", provenance=provenance_of())
    assert (made.attempts, made.jobs) == (4, 3)
    assert (made.asked_minutes, made.asked_mb) == (30 + 45 + 60, 4096)
    assert made.wall_seconds == pytest.approx(60 + 300 + 600, abs=5)


def test_outcomes_of_before_are_still_valid(results):
    part = results.part("finished")
    path = part.folder / "outcome.json"
    stored = json.loads(path.read_text())
    for name in ("jobs", "wall_seconds", "asked_minutes", "asked_mb", "seal"):
        del stored[name]
    for name in ("peak_host_bytes", "pieces"):
        del stored["progress"][name]
    path.write_text(json.dumps(stored))
    found = part.read()
    assert (found.jobs, found.asked_minutes, found.progress.pieces) == (1, None, 1)
