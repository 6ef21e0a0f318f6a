"""Two trainers and one cell, holders that freeze, die elsewhere or are left over: fault table."""

import json
import os
import signal

import pytest
from faults import FAULTS
from forge import wait_until

# As on a file system without locks, and with seconds for what takes half a minute.
NO_LOCKS = """
import errno, fcntl
from seqgrid import lease, train, worker

def refuse(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = refuse
lease.HEARTBEAT_SECONDS = train.HEARTBEAT_SECONDS = worker.HEARTBEAT_SECONDS = 0.2
lease.SILENT_SECONDS = train.SILENT_SECONDS = 2.0
"""


def holder(run):
    return json.loads((run.folder / "lease.json").read_text())


def files(run):
    return {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file() and p.suffix != ".log"}


def test_a_second_trainer_waits_for_the_first_and_publishes_what_it_made(run):
    first = run.start()
    run.at_a_random_moment(first)
    second = run.start()
    assert (first.wait(), second.wait()) == (0, 0)
    FAULTS["two trainers"].assert_seen(second.said)
    assert "nothing to train" in second.said
    assert len(run.part().attempts()) == 1  # one of them trained
    run.assert_whole()


@pytest.mark.slow
def test_a_second_trainer_that_waits_in_vain_exits_75_and_changes_nothing(run):
    first = run.start()
    run.at_a_random_moment(first)
    first.send_all(signal.SIGSTOP)
    before = files(run)
    second = run.start(before="from seqgrid import lease; lease.WAIT_SECONDS = 1.0")
    assert second.wait() == 75
    assert files(run) == before
    assert f"held by process {first.pid} on {os.uname().nodename}" in second.said
    assert "try again when it is done" in second.said
    assert "left over" not in second.said  # what started it lives
    first.send_all(signal.SIGCONT)
    assert first.wait() == 0
    run.assert_whole()


def test_a_frozen_trainer_that_was_replaced_stops_without_a_trace(run):
    frozen = run.start(before=NO_LOCKS)
    run.at_a_random_moment(frozen)
    frozen.send_all(signal.SIGSTOP)
    new = run.start(before=NO_LOCKS)
    FAULTS["dead holder"].assert_seen(said_in_time(new, "taken over from"))
    wait_until(lambda: holder(run)["pid"] == new.pid, lambda: new.said)
    wait_until(lambda: len(run.part().attempts()) == 2, lambda: new.said)
    new.send_all(signal.SIGSTOP)  # so that every change is the old one's
    before = files(run)
    frozen.send_all(signal.SIGCONT)
    assert frozen.wait() == 75
    assert files(run) == before
    FAULTS["frozen"].assert_seen(frozen.said)
    assert f"process {new.pid} on" in frozen.said
    new.send_all(signal.SIGCONT)
    assert new.wait() == 0
    run.assert_whole()


def said_in_time(trainer, words):
    wait_until(lambda: words in trainer.said, lambda: trainer.said)
    return trainer.said


def test_a_trainer_frozen_while_its_training_hangs_is_ended(run):
    """Its training process never looks up again: the supervisor ends it, and says why."""
    frozen = run.start(before=NO_LOCKS)
    run.at_a_random_moment(frozen)
    training = run.training(frozen)
    frozen.send_all(signal.SIGSTOP)
    new = run.start(before=NO_LOCKS)
    said_in_time(new, "taken over from")
    frozen.send(signal.SIGCONT)  # the supervisor alone
    assert frozen.wait() == 75
    FAULTS["frozen"].assert_seen(frozen.said)
    assert not os.path.exists(f"/proc/{training}")  # noqa: PTH110
    assert new.wait() == 0
    run.assert_whole()


@pytest.mark.slow
def test_a_holder_that_only_takes_long_steps_is_not_taken_for_dead(run):
    """Its supervisor shows that it lives while its training process cannot."""
    first = run.start(before=NO_LOCKS)
    run.at_a_random_moment(first)
    training = run.training(first)
    os.kill(training, signal.SIGSTOP)
    second = run.start(before=NO_LOCKS + "lease.WAIT_SECONDS = 3.0\n")
    assert second.wait() == 75
    assert "whose heartbeat goes on" in second.said
    os.kill(training, signal.SIGCONT)
    assert first.wait() == 0
    run.assert_whole()


@pytest.mark.parametrize("job", [None, "41"])
@pytest.mark.slow
def test_a_leftover_is_named_with_the_command_that_ends_it(run, job):
    """Started by a process that is killed: it trains on, and belongs to nobody."""
    environment = {"SLURM_JOB_ID": job} if job else {}
    starter = run.forge.start("train", run.folder, before=ADOPT, **environment)
    wait_until(lambda: run.part().step() > 0, lambda: starter.said)
    left = holder(run)["pid"]
    assert left != starter.pid
    starter.send(signal.SIGKILL)
    starter.wait()
    os.kill(run.part().beat()["pid"], signal.SIGSTOP)  # so that it does not end before we look
    second = run.start(before="from seqgrid import lease; lease.WAIT_SECONDS = 1.0")
    assert second.wait() == 75
    FAULTS["left over"].assert_seen(second.said)
    assert f"held by process {left} on" in second.said
    assert ("job 41" in second.said) == (job is not None)
    command = second.said.partition("to end it: ")[2].split(";")[0].split()
    assert command[0] == "kill"
    assert str(left) in command
    for pid in command[1:]:
        os.kill(int(pid), signal.SIGCONT)
        os.kill(int(pid), signal.SIGTERM)
    wait_until(lambda: run.part().stored(), "the command does not end it")
    third = run.start()
    assert third.wait() == 0
    assert "nothing to train" in third.said
    assert run.start(part=2).wait() == 0
    run.assert_whole(part=2)


ADOPT = """
if os.fork():
    os.waitpid(-1, 0)
    os._exit(1)
os.setsid()
"""


def test_a_leftover_that_ends_in_time_is_waited_for(run):
    starter = run.forge.start("train", run.folder, before=ADOPT)
    wait_until(lambda: run.part().step() > 0, lambda: starter.said)
    starter.send(signal.SIGKILL)
    second = run.start()
    assert second.wait() == 0
    FAULTS["left over"].assert_seen(second.said)
    assert len(run.part().attempts()) == 1
    run.assert_whole()
