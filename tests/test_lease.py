"""One trainer a cell: a second one is refused, a dead one is not in the way."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from grid_factory import Results

from seqgrid import lease, plan, provenance
from seqgrid.lease import Lease, Lost, Taken, held

HOLDER = """
import sys, time
from pathlib import Path
from seqgrid.lease import Lease
lease = Lease(Path(sys.argv[1]))
lease.acquire([], lambda job: None)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lease of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def unknown(job):
    """No scheduler to ask."""


def taken(folder, heartbeats=(), silent_seconds=0.3, alive=unknown):
    one = Lease(folder)
    one.acquire(list(heartbeats), alive, silent_seconds)
    return one


def elsewhere(folder, **fields):
    """A lease file as a holder on another host leaves it."""
    record = {"host": "node9", "pid": 7, "job": "41_2", "since": provenance.now()} | fields
    (folder / "lease.json").write_text(json.dumps(record) + "\n")


def test_a_second_process_is_refused_with_who_holds_it(tmp_path, holder):
    before = (tmp_path / "lease.json").read_text()
    refused = Lease(tmp_path)
    with pytest.raises(Taken, match=f"held by process {holder.pid} on {socket.gethostname()}"):
        refused.acquire([], unknown)
    refused.release()  # as a trainer does in every case
    assert (tmp_path / "lease.json").read_text() == before
    assert held(tmp_path)["pid"] == holder.pid
    assert held(tmp_path)["locked"]


def test_a_killed_holder_is_not_in_the_way(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert held(tmp_path) is None
    begin = time.monotonic()
    mine = taken(tmp_path, silent_seconds=5)
    assert time.monotonic() - begin < 1  # it was on this host: nothing to watch
    assert json.loads((tmp_path / "lease.json").read_text())["pid"] == os.getpid()
    mine.release()


def test_a_lease_given_back_is_free(tmp_path):
    mine = taken(tmp_path)
    assert held(tmp_path)["pid"] == os.getpid()
    mine.release()
    mine.release()
    assert held(tmp_path) is None
    taken(tmp_path).release()


def test_a_folder_that_is_not_there_is_held_by_nobody(tmp_path):
    assert held(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError):
        taken(tmp_path / "none")


def test_a_holder_on_another_host_whose_heart_beats_keeps_it(tmp_path):
    elsewhere(tmp_path)
    beats = [tmp_path / "other.json", tmp_path / "heartbeat.json"]
    stop = threading.Event()

    def beat():
        number = 0
        while not stop.wait(0.05):
            number += 1
            beats[1].write_text(str(number))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(
            Taken, match=r"held by process 7 on node9, job 41_2, .* whose heartbeat"
        ):
            taken(tmp_path, beats, silent_seconds=5)
    finally:
        stop.set()
        thread.join()
    assert json.loads((tmp_path / "lease.json").read_text())["host"] == "node9"
    taken(tmp_path, beats).release()  # silent now


@pytest.mark.parametrize("beat", [None, "{}"])
def test_a_silent_holder_on_another_host_loses_it(tmp_path, beat):
    elsewhere(tmp_path)
    heartbeat = tmp_path / "heartbeat.json"
    if beat:
        heartbeat.write_text(beat)
    mine = taken(tmp_path, [heartbeat])
    assert held(tmp_path)["pid"] == os.getpid()
    mine.release()


@pytest.mark.parametrize("content", ["{", "[]", "5", "", "\x00"])
def test_a_torn_lease_file_holds_nobody_up(tmp_path, content):
    (tmp_path / "lease.json").write_text(content)
    assert held(tmp_path) is None
    mine = taken(tmp_path)
    (tmp_path / "lease.json").write_text(content)  # as while it is being written
    assert held(tmp_path) == {"host": "?", "pid": "?", "locked": True}
    mine.release()


def test_where_locks_are_not_supported_heartbeats_decide(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    heartbeat = tmp_path / "heartbeat.json"
    mine = taken(tmp_path, [heartbeat])
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: heartbeat.write_text(str(time.time())))
    with pytest.raises(Taken, match=f"held by process {os.getpid()}"):
        taken(tmp_path, [heartbeat])
    mine.release()
    taken(tmp_path, [heartbeat]).release()


def test_looking_does_not_break_a_trainers_acquire(tmp_path):
    (tmp_path / "lease.json").touch()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            held(tmp_path)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(20):
            taken(tmp_path).release()
    finally:
        stop.set()
        thread.join()


def test_a_look_that_takes_its_time_is_waited_for(tmp_path):
    with (tmp_path / "lease.json").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.25, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        taken(tmp_path).release()


def test_status_believes_a_holder_on_another_host_only_while_it_beats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path)
    part = results.part("timed_out", publish=False)
    standing = results.first()
    assert plan.running(standing, results.folder) is None
    elsewhere(part.cell_folder)
    assert plan.running(standing, results.folder)["beat"] is None  # it has just begun
    elsewhere(part.cell_folder, since="2026-01-01T00:00:00+00:00")
    assert plan.running(standing, results.folder) is None
    part.write_beat(step=5)
    assert plan.running(standing, results.folder)["beat"]["step"] == 5
    part.heartbeat.write_text('{"time": "2026-01-01T00:00:00+00:00", "step": 5}')
    assert plan.running(standing, results.folder) is None
    mine = taken(part.cell_folder)
    assert plan.running(standing, results.folder)["locked"]  # beat or no beat
    mine.release()


def test_a_holder_whose_job_the_scheduler_still_has_keeps_it_however_silent(tmp_path):
    elsewhere(tmp_path)
    with pytest.raises(Taken, match=r"job 41_2, .*, a job the scheduler still has"):
        taken(tmp_path, alive=lambda job: job == "41_2")
    assert json.loads((tmp_path / "lease.json").read_text())["host"] == "node9"


def proof(folder, alive, silent_seconds=0.3):
    one = Lease(folder)
    words = one.acquire([], alive, silent_seconds)
    one.release()
    return words


def test_a_take_over_states_its_proof(tmp_path, holder):
    record = json.loads((tmp_path / "lease.json").read_text())
    holder.kill()
    holder.wait()
    assert proof(tmp_path, unknown) == (
        f"taken over from {lease.describe(record)}: its lock is free and its process is gone"
    )
    assert proof(tmp_path, unknown) is None  # it was given back
    elsewhere(tmp_path)
    assert proof(tmp_path, unknown).endswith(": its heartbeat was silent for 0.3 s")
    elsewhere(tmp_path)
    assert proof(tmp_path, lambda job: False).endswith(
        ": its heartbeat was silent for 0.3 s and the scheduler has no job 41_2 any more"
    )


def test_a_requeued_job_takes_over_from_its_earlier_life(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "52")
    elsewhere(tmp_path, job="52")
    assert "silent" in proof(tmp_path, lambda job: True)


def test_a_holder_that_beats_after_its_job_has_ended_is_left_over(tmp_path):
    elsewhere(tmp_path)
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            os.utime(tmp_path / "lease.json")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(Taken, match="left over, job 41_2 has ended; to end it: ssh node9 kill"):
            proof(tmp_path, lambda job: False, silent_seconds=5)
    finally:
        stop.set()
        thread.join()


def test_a_process_number_used_again_is_no_proof_of_death(tmp_path):
    """Lock free, but a process of that number lives: its heartbeat decides."""
    mine = taken(tmp_path)
    record = json.loads((tmp_path / "lease.json").read_text())
    mine.release()
    (tmp_path / "lease.json").write_text(json.dumps(record))
    assert "silent" in proof(tmp_path, unknown)


def test_who_lost_the_lease_is_told_and_gives_nothing_back(tmp_path):
    mine = taken(tmp_path)
    mine.check()
    mine.renew()
    elsewhere(tmp_path, token="theirs")
    before = (tmp_path / "lease.json").read_text()
    with pytest.raises(Lost, match="lost the lease while it was silent, process 7 on node9"):
        mine.check()
    with pytest.raises(Lost):
        mine.renew()
    mine.release()
    assert (tmp_path / "lease.json").read_text() == before


def test_a_lease_whose_file_is_gone_is_lost(tmp_path):
    mine = taken(tmp_path)
    (tmp_path / "lease.json").unlink()
    with pytest.raises(Lost, match="its file is gone"):
        mine.check()
    mine.release()


def test_a_lease_that_cannot_be_read_is_not_lost(tmp_path, monkeypatch):
    mine = taken(tmp_path)

    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(lease.Path, "read_bytes", fail)
        with pytest.raises(OSError, match="Input/output"):
            mine.check()
    mine.check()
    mine.release()
