"""Disks that are full or read-only: rows of the fault table."""

import os

import pytest
from disks import fill, mounted
from faults import FAULTS
from forge import wait_until
from trainers import Run, place


@pytest.fixture
def disk(tmp_path):
    with mounted("small", tmp_path) as path:
        yield path


@pytest.fixture
def run(disk, unbroken, forge):
    return Run(disk, *unbroken, forge)


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while_costs_nothing(run, disk):
    trainer = run.start()
    run.at_a_random_moment(trainer)
    ballast = fill(disk)
    wait_until(lambda: "no checkpoint at step" in trainer.said, lambda: trainer.said)
    reached = run.part().step()
    ballast.unlink()
    wait_until(lambda: run.part().step() > reached, lambda: trainer.said)
    assert trainer.wait() == 0
    FAULTS["full at checkpoint"].assert_seen(trainer.said)
    run.assert_whole()


@pytest.mark.parametrize("file", ["checkpoint", "history", "outcome"])
def test_a_disk_that_is_full_at_the_end_of_a_part_asks_to_try_again(run, disk, file):
    place(run.cells.parent, run.cell, checkpoint_seconds=1000)  # one checkpoint, at the end
    page = os.statvfs(disk).f_frsize
    sizes = {n: -(-record.size // page) * page for n, record in run.end[0].files.items()}
    fits = {"checkpoint": 0, "history": sizes["checkpoint.pt"], "outcome": sum(sizes.values())}
    trainer = run.start()
    run.training(trainer)
    ballast = fill(disk, leave=fits[file])
    assert trainer.wait() == 75
    FAULTS["full at end" if file == "checkpoint" else f"full at {file}"].assert_seen(trainer.said)
    written = {p.name for p in run.part().final.iterdir()}
    assert (
        written
        == {
            "checkpoint": set(),
            "history": {"checkpoint.pt"},
            "outcome": {"checkpoint.pt", "history.parquet"},
        }[file]
    )
    assert run.part().step() == (0 if file == "checkpoint" else 1500)
    ballast.unlink()
    again = run.start()
    assert again.wait() == 0
    run.assert_whole()


def test_a_disk_that_is_full_at_the_start_asks_to_try_again(run, disk):
    ballast = fill(disk)
    trainer = run.start()
    assert trainer.wait() == 75
    FAULTS["full at end"].assert_seen(trainer.said)
    ballast.unlink()
    assert run.start().wait() == 0
    run.assert_whole()


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_folder_gets_one_line(tmp_path, unbroken, forge, begun):
    run = Run(tmp_path, *unbroken, forge)
    if begun:
        trainer = run.start()
        run.at_a_random_moment(trainer)
        trainer.send_all(9)
        trainer.wait()
    with mounted("read-only", tmp_path) as path:
        trainer = forge.start("train", path / run.folder.relative_to(tmp_path))
        assert trainer.wait() == 75
    FAULTS["read-only"].assert_seen(trainer.said)
    assert len(trainer.said.splitlines()) == 1
    assert run.start().wait() == 0
    run.assert_whole()


@pytest.mark.slow
def test_a_driver_on_a_read_only_folder_says_so_in_one_line(project):
    project.study(
        "question: is it said?\nmodels: {gru: }\ntasks: {adding_problem: }\nlengths: [8]\n"
        "seeds: [0]\ntraining: {steps: 3}\n"
    )
    aside = project.folder / "aside"
    aside.mkdir()
    with mounted("read-only", aside) as path:
        (project.folder / "results").symlink_to(path)
        done = project.snakemake()
    assert done.returncode != 0
    FAULTS["read-only driver"].assert_seen(done.text)
    assert done.text.count("Read-only file system") == 1, done.text
    (project.folder / "results").unlink()
    aside.rename(project.folder / "results")
    done = project.snakemake()
    assert done.returncode == 0, done.text  # no lock was left behind
