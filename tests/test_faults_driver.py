"""Snakemake killed, started again and started twice: rows of the fault table."""

import os
import signal
import subprocess
import sys
import time

import pytest
from faults import FAULTS
from forge import ended, wait_until
from grids import ONE
from project import Project

SHORT = ONE.replace("seeds: [3]", "seeds: 0..1")
LONG = SHORT.replace("steps: 600", "steps: 2000")


class Driver:
    """A `snakemake` in a process group of its own."""

    def __init__(self, project, words=""):
        self.log = project.folder / f"driver{time.monotonic_ns()}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *f"-m snakemake --cores 2 --config study=small {words}".split()],
                cwd=project.folder,
                env=project.environment,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def said(self):
        return self.log.read_text()

    def wait(self):
        return self.process.wait(timeout=200)


def beats(project):
    return list(project.folder.glob("results/cells/*/*/*/*/part1/live/step*.pt"))


def trainers(project):
    """Processes of this project's trainers that still live."""
    found = []
    for path in project.folder.glob("results/cells/*/*/*/*/lease.json"):
        pid = path.read_text().partition('"pid": ')[2].partition(",")[0]
        found += [int(pid)] if pid and not ended(pid) else []
    return found


def assert_finished_once(project):
    assert {o["outcome"] for o in project.outcomes().values()} == {"finished"}
    assert len(project.outcomes()) == 2
    assert [o["attempts"] for o in project.outcomes().values()] == [1, 1]


@pytest.mark.slow
def test_a_killed_driver_is_started_again_while_its_trainers_go_on(project):
    project.study(LONG)
    driver = Driver(project)
    wait_until(lambda: len(trainers(project)) == 2 and beats(project), lambda: driver.said)
    driver.process.kill()
    driver.wait()
    again = Driver(project)
    assert again.wait() == 0, again.said
    FAULTS["kill driver"].assert_seen(again.said)
    assert f"process {driver.process.pid} on" in again.said
    assert_finished_once(project)
    assert project.missing() == {}


@pytest.mark.slow
def test_the_lock_of_a_driver_that_lives_or_may_live_stays(project):
    project.study(LONG)
    driver = Driver(project)
    wait_until(lambda: beats(project), lambda: driver.said)
    second = Driver(project)
    assert second.wait() != 0
    FAULTS["lock without proof"].assert_seen(second.said)
    driver.process.kill()
    driver.wait()
    [record] = project.folder.glob(".snakemake/drivers/*.json")
    record.write_text(record.read_text().replace('"boot": "', '"boot": "another-'))
    third = Driver(project)
    assert third.wait() != 0
    FAULTS["lock without proof"].assert_seen(third.said)
    record.unlink()
    fourth = Driver(project)
    assert fourth.wait() != 0
    FAULTS["lock without proof"].assert_seen(fourth.said)
    assert Driver(project, "--unlock").wait() == 0
    last = Driver(project)
    assert last.wait() == 0, last.said
    assert not list(project.folder.glob(".snakemake/drivers/*.json"))


@pytest.mark.slow
def test_two_drivers_on_one_results_folder_both_end_well(project, tmp_path_factory):
    """Two clones with one results folder: neither sees the other's Snakemake."""
    other = Project(tmp_path_factory.mktemp("clone"))
    (project.folder / "results").mkdir()
    (other.folder / "results").symlink_to(project.folder / "results")
    for one in (project, other):
        one.study(SHORT)
    drivers = [Driver(project), Driver(other)]
    assert [driver.wait() for driver in drivers] == [0, 0], [d.said for d in drivers]
    FAULTS["two drivers"].assert_seen("\n".join(driver.said for driver in drivers))
    assert_finished_once(project)
    assert project.missing() == {}
    assert other.missing() == {}


@pytest.mark.slow
def test_killing_the_whole_run_loses_one_interval_at_most(project):
    project.study(LONG)
    driver = Driver(project)
    wait_until(lambda: beats(project), lambda: driver.said)
    os.killpg(driver.process.pid, signal.SIGKILL)
    driver.wait()
    wait_until(lambda: not trainers(project), "its trainers go on")
    again = Driver(project)
    assert again.wait() == 0, again.said
    FAULTS["kill whole run"].assert_seen(again.said)
    assert {o["outcome"] for o in project.outcomes().values()} == {"finished"}
    assert project.missing() == {}
