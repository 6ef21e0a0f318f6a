"""Trainers that are stopped and killed at random moments: rows of the fault table."""

import os
import signal

import pytest
from faults import FAULTS
from forge import ended, wait_until
from trainers import place

from seqgrid.store import TEMPORARY


@pytest.mark.parametrize(
    "name",
    [
        "SIGTERM",
        "SIGUSR1",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGINT", "SIGHUP", "SIGUSR2")),
    ],
)
def test_a_signal_saves_and_the_next_part_goes_on(run, name):
    trainer = run.start()
    run.at_a_random_moment(trainer)
    trainer.send(getattr(signal, name))
    assert trainer.wait() == 0
    FAULTS[name].assert_seen(trainer.said)
    cut = run.part().read()
    assert cut.outcome == "interrupted"
    assert run.start(part=2).wait() == 0
    assert run.part(2).read().progress.first_step == cut.progress.step  # nothing is lost
    run.assert_whole(part=2)


def test_a_signal_before_the_first_step_is_not_missed(run):
    trainer = run.start()
    run.training(trainer)
    trainer.send(signal.SIGTERM)
    assert trainer.wait() == 0
    assert run.part().read().outcome == "interrupted"
    assert run.part().read().progress.step < 1500


@pytest.mark.parametrize("moment", [1, 2])
def test_sigkill_of_the_training_process_is_healed_in_place(run, moment):
    trainer = run.start()
    run.at_a_random_moment(trainer)
    reached = run.part().step()

    os.kill(run.training(trainer), signal.SIGKILL)
    assert trainer.wait() == 0
    FAULTS["kill training"].assert_seen(trainer.said)
    assert run.part().attempts()[-1]["step"] >= reached
    run.assert_whole()


@pytest.mark.parametrize("moment", [1, 2])
def test_sigkill_of_everything_costs_one_interval(run, moment):
    trainer = run.start()
    run.at_a_random_moment(trainer)
    reached = run.part().step()
    trainer.send_all(signal.SIGKILL)
    trainer.wait()
    assert not (run.part().folder / "outcome.json").exists()
    trainer = run.start()
    assert trainer.wait() == 0
    FAULTS["kill everything"].assert_seen(trainer.said)
    assert run.part().attempts()[-1]["step"] >= reached
    assert run.part().read().silent_deaths == 1
    run.assert_whole()


def test_sigkill_inside_the_write_of_a_checkpoint_costs_that_checkpoint(run):
    place(run.cells.parent, run.cell, checkpoint_seconds=0)  # it writes all the time
    part, reached = run.part(), 0
    for _ in range(50):
        trainer = run.start()
        wait_until(lambda: part.step() > reached + 5, lambda: trainer.said)  # noqa: B023
        wait_until(lambda: torn(part), "no checkpoint is being written")
        trainer.send_all(signal.SIGKILL)
        trainer.wait()
        assert part.step() >= reached
        reached = part.step()
        if torn(part):
            break
    assert torn(part), "never hit a write"
    place(run.cells.parent, run.cell)
    trainer = run.start()
    assert trainer.wait() == 0
    FAULTS["kill in write"].assert_seen(trainer.said)
    assert f"step{reached:012d}" in trainer.said
    run.assert_whole()


def torn(part):
    return [p for p in part.live.glob(".step*") if TEMPORARY.fullmatch(p.name)]


def test_sigkill_of_the_supervisor_alone_leaves_no_orphan(run):
    trainer = run.start()
    run.at_a_random_moment(trainer)
    training = run.training(trainer)
    trainer.send(signal.SIGKILL)
    wait_until(lambda: ended(training), "the training process goes on")
    cut = run.part().stored()
    assert cut.outcome == "interrupted"
    again = run.start()
    assert again.wait() == 0
    FAULTS["kill supervisor"].assert_seen(again.said)
    assert run.start(part=2).wait() == 0
    assert run.part(2).read().progress.first_step == cut.progress.step
    run.assert_whole(part=2)
