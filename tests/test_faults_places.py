"""Clocks that jump, folders that move and very long paths: rows of the fault table."""

import datetime
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from faults import FAULTS
from forge import wait_until
from grids import ONE, Grid
from project import Project
from trainers import Trainer

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.fixture
def clock(tmp_path):
    """The environment of a process whose clock obeys a file, and that file."""
    if FAKETIME is None:
        words = "libfaketime is not installed"
        if os.environ.get("SEQGRID_REQUIRE_SLURM"):
            pytest.fail(words)
        pytest.skip(words)
    file = tmp_path / "clock"
    file.write_text("+0d\n")
    return file, {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        # What counts from the start of the machine does not jump when somebody sets the date.
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_clock_that_jumps_back_a_day_changes_nothing_but_dates(run, clock, killed):
    file, environment = clock
    trainer = Trainer(run.folder, **environment)
    wait_until(lambda: run.part().step() > 0, lambda: trainer.said)
    file.write_text("-1d\n")
    if killed:
        wait_until(lambda: run.part().step() > 100, lambda: trainer.said)
        os.killpg(trainer.process.pid, signal.SIGKILL)
        trainer.wait()
        trainer = Trainer(run.folder, **environment)
    assert trainer.wait() == 0, trainer.said
    FAULTS["clock back a day"].assert_seen(trainer.said)
    found = run.part().read()
    began, over = map(datetime.datetime.fromisoformat, (found.started_at, found.ended_at))
    assert over < began - datetime.timedelta(hours=23)  # it did jump
    assert 0 < found.progress.training_seconds < 100
    run.assert_whole()


@pytest.mark.slow
def test_a_driver_whose_clock_went_back_a_day_goes_on(project):
    """To it, whatever was made before is of tomorrow."""
    project.study(ONE.replace("steps: 600", "steps: 2000") + "part_seconds: 0.5\n")
    done = project.snakemake()
    assert done.returncode == 0, done.text
    assert [o["outcome"] for o in project.outcomes().values()] == ["timed_out"]
    tomorrow = time.time() + 24 * 3600
    for path in project.folder.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    project.study(ONE.replace("steps: 600", "steps: 2000"))
    done = project.snakemake()
    assert done.returncode == 0, done.text
    FAULTS["clock back a day"].assert_seen(done.text)
    assert [o["outcome"] for o in project.outcomes("part2").values()] == ["finished"]
    assert project.missing() == {}


@pytest.mark.slow
def test_results_moved_between_parts_go_on(tmp_path, forge):
    whole = Grid(tmp_path / "whole", forge)
    whole.finish()
    grid = Grid(tmp_path / "one", forge)
    standing = grid.plan()[0]
    trainer = grid.train(standing)
    wait_until(lambda: grid.part(standing).step() > 100, lambda: trainer.said)
    trainer.send(signal.SIGTERM)
    assert trainer.wait() == 0
    shutil.move(grid.folder, tmp_path / "another")
    grid = Grid(tmp_path / "another", forge, text=None)
    FAULTS["moved"].assert_seen(grid.finish())
    found, expected = (g.end(g.plan()[0]) for g in (grid, whole))
    assert found[2] == expected[2]
    assert found[0].progress.first_step > 100
    assert not (tmp_path / "one").exists()


@pytest.mark.slow
def test_a_path_of_300_characters_is_like_any_other(tmp_path):
    folder = tmp_path.joinpath(*("long" * 20 for _ in range(4)))
    folder.mkdir(parents=True)
    assert len(str(folder)) > 300
    project = Project(folder)
    project.study(ONE)
    done = project.snakemake()
    assert done.returncode == 0, done.text
    FAULTS["long path"].assert_seen(done.text)
    assert project.missing() == {}
    assert (folder / "results/studies/small/report.md").exists()
