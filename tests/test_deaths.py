"""How often a part may die before it is given up, and what is remembered of a death."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grid_factory import provenance_of

from seqgrid import deaths, facts, hostmemory, postmortem, scheduler, tables, train
from seqgrid.store import Part, add_rolling

CELL = "gru/adding_problem/L8/seed0-0123456789"


@pytest.fixture
def part(tmp_path):
    return Part.of(tmp_path, CELL, "", 1)


def die(part, state=None, ended=None, **facts):
    """An attempt that dies; `state` is what a scheduler says of it afterwards."""
    part.begin_attempt("invocation")
    if ended:
        part.end_attempt(ended)
    if state:
        why = {"state": state} | facts
        part.note_death(part.attempts()[-1], why=why, reached=0, kept=0)


def given_up(part):
    return deaths.enough(part.deaths_here(), part.step())


@pytest.mark.parametrize(
    ("death", "limit"),
    [
        ({"state": "OUT_OF_MEMORY"}, 3),
        ({"state": "FAILED"}, 3),
        ({"ended": "signal 11 (SIGSEGV)"}, 3),
        ({"ended": "exit 1"}, 3),
        ({"state": "TIMEOUT"}, 3),
        ({"state": "NODE_FAIL"}, 10),
        ({"state": "PREEMPTED"}, 10),
        ({"state": "CANCELLED"}, 10),
        ({"state": "BOOT_FAIL"}, 10),
        ({"state": "A_STATE_OF_NEXT_YEAR"}, 10),
        ({"state": "UNKNOWN"}, 10),
        ({}, 10),
    ],
)
def test_a_part_is_given_up_after_as_many_deaths_as_their_kind_allows(part, death, limit):
    for count in range(limit):
        assert given_up(part) is None, count
        die(part, **death)
    reason = given_up(part)
    assert f"died {limit} times at step 0 without progress" in reason
    shown = next(filter(None, (death.get("ended"), death.get("state"))), "UNKNOWN")
    assert ("without a trace" if shown == "UNKNOWN" else shown) in reason


def test_what_the_scheduler_says_outweighs_the_signal_that_was_seen(part):
    for _ in range(9):
        die(part, "PREEMPTED", ended="signal 9 (SIGKILL)")
    assert given_up(part) is None
    die(part, "PREEMPTED", ended="signal 9 (SIGKILL)")
    assert "not the training's fault" in given_up(part)


def test_deaths_of_other_kinds_do_not_count_as_the_trainings_own(part):
    for state in ("OUT_OF_MEMORY", *["NODE_FAIL"] * 9, "TIMEOUT", "TIMEOUT", "OUT_OF_MEMORY"):
        die(part, state)
    assert given_up(part) is None
    die(part, "OUT_OF_MEMORY")
    assert "the training's own: 3" in given_up(part)


def test_time_limits_without_a_step_of_progress_say_that_the_allocation_is_too_short(part):
    for _ in range(3):
        die(part, "TIMEOUT")
    assert "the allocation is too short" in given_up(part)


def test_stopping_in_good_order_at_a_time_limit_before_the_first_step_counts_too(part):
    for _ in range(2):
        die(part, "TIMEOUT", ended="exit 75")
    assert given_up(part) is None
    die(part, ended="exit 75")  # by a signal, or a full disk: nothing speaks against another try
    assert given_up(part) is None
    for _ in range(3):
        die(part, "TIMEOUT", ended="exit 75")
    assert "the allocation is too short" in given_up(part)


def test_progress_forgives_every_kind_of_death(part):
    for state in ["OUT_OF_MEMORY", "TIMEOUT"] * 2:
        die(part, state)
    add_rolling(part.live, 10, b"at 10")
    for state in ["OUT_OF_MEMORY", "TIMEOUT"] * 2:
        die(part, state)
    assert given_up(part) is None


def test_a_death_is_noted_beside_its_attempt_whatever_was_noted_since(part):
    die(part)
    first = part.attempts()[0]
    part.begin_attempt("invocation")
    part.note_death(first, why={"state": "NODE_FAIL", "node": "n2"}, reached=8, kept=5)
    part.end_attempt("exit 75")
    found = part.attempts()
    assert [(a["ended"], (a.get("why") or {}).get("state")) for a in found] == [
        (None, "NODE_FAIL"),
        ("exit 75", None),
    ]
    assert (found[0]["reached"], found[0]["kept"]) == (8, 5)


def test_the_outcome_keeps_the_last_death(part):
    die(part, "OUT_OF_MEMORY", node="n1")
    die(part, "CANCELLED", node="n2", by="ada")
    part.begin_attempt("invocation")  # the one that speaks
    path = add_rolling(part.live, 100, b"weights")
    fields = {"outcome": "finished", "reason": "because", "provenance": provenance_of()}
    made = part.finish(path, b"history", **fields)
    assert (made.attempts, made.silent_deaths) == (3, 2)
    assert (made.last_death.state, made.last_death.host) == ("CANCELLED", "n2")
    assert "CANCELLED by ada" in made.last_death.words


def test_the_table_of_parts_names_the_last_death(part):
    die(part, "OUT_OF_MEMORY")
    die(part, ended="signal 9 (SIGKILL)")
    why = {"state": "NODE_FAIL", "node": "n2"}
    part.note_death(part.attempts()[-1], why=why, reached=840, kept=800)
    fields = {"outcome": "killed", "reason": "because", "provenance": provenance_of()}
    row = facts.part(part.finish(None, b"history", **fields))
    assert (row["silent_deaths"], row["last_death"]) == (2, "NODE_FAIL")
    assert row["last_death_host"] == "n2"
    assert row["last_death_lost_steps"] == 40
    tables.from_rows("parts", [row])


def test_what_the_scheduler_starts_again_is_no_restart_of_the_workflow(part, monkeypatch):
    monkeypatch.setenv("SEQGRID_INVOCATION", "invocation")
    monkeypatch.setenv("SEQGRID_RETRIES", "2")
    supervisor = train.Supervisor(None, part, None)
    for pid, job, started, left in [
        (1, "12", "T1", 2),
        (2, "12", "T2", 2),  # preempted and requeued: the same job
        (3, "13", "T3", 1),
        (4, "13", "T3", 0),  # in the same allocation, but not by the scheduler
        (5, "13", "T4", 0),
        (6, None, None, -1),
    ]:
        facts = {"host": "n1", "pid": pid, "job": job, "job_started": started}
        part._note({"started_at": f"t{pid}", "invocation": "invocation"} | facts)
        assert supervisor._restarts_left() == left


def test_memory_doubles_with_each_death_for_want_of_it_and_not_for_others(tmp_path, part):
    assert postmortem.memory_factor(part) == 1
    for state, factor in [
        ("NODE_FAIL", 1), ("OUT_OF_MEMORY", 2), ("TIMEOUT", 2), ("OUT_OF_MEMORY", 4),
    ]:  # fmt: skip
        die(part, state)
        assert postmortem.memory_factor(part) == factor
    # What a run has learnt its next part need not learn again.
    assert postmortem.memory_factor(Part.of(tmp_path, CELL, "", 2)) == 4
    assert postmortem.memory_factor(Part.of(tmp_path, CELL, "again1", 1)) == 1
    for _ in range(3):
        die(part, "OUT_OF_MEMORY")
    assert postmortem.memory_factor(part) == 8


def test_asking_for_memory_writes_nothing(part):
    part.begin_attempt("invocation")
    before = part._attempts_file.read_bytes()
    assert postmortem.memory_factor(part) == 1
    assert part._attempts_file.read_bytes() == before


def test_a_death_without_a_trace_is_told_in_one_line(part, capfd):
    add_rolling(part.live, 800, b"at 800")
    code = (
        "import os, sys; from pathlib import Path; from seqgrid.store import Part\n"
        f"part = Part.of(Path({str(part.cells)!r}), {CELL!r}, '', 1)\n"
        "part.begin_attempt(None); part.write_beat(step=840); os.kill(os.getpid(), 9)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    process.wait()
    postmortem.explain(part)
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"process {process.pid} on" in said
    assert "ended without a trace at step 840; goes on from step 800" in said
    [attempt] = part.attempts()
    assert (attempt["why"]["state"], attempt["reached"], attempt["kept"]) == ("UNKNOWN", 840, 800)
    postmortem.explain(part)
    assert capfd.readouterr().err == ""


def test_an_end_in_words_needs_no_explanation(part, capfd):
    for ended in deaths.SPOKEN:
        part.begin_attempt(None)
        part.end_attempt(ended)
        postmortem.explain(part)
    assert capfd.readouterr().err == ""


# -- without SLURM, and with outputs of a real one -----------------------------------------------


def test_without_slurm_nothing_is_known_and_no_time_is_lost(monkeypatch, tmp_path):
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("scontrol") is None
    begun = time.monotonic()
    for _ in range(100):
        assert scheduler.why("12", "2026-11-21T12:00:00+00:00") is None
        assert scheduler.alive("12") is None
    assert scheduler.seconds_left() is None
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("job", ["", "x", "12; rm -rf /", "-j 1", "12_[1-3]", None])
def test_what_is_no_job_is_not_asked_for(job):
    assert scheduler.why(job, "2026-11-21T12:00:00+00:00") is None
    assert scheduler.alive(job) is None


def recorded(job, since="2026-11-21T12:00:00+00:00", started=None):
    """The answer from what the sacct of SLURM 22.05 printed, in tests/slurm/sacct-22.05.txt."""
    text = (Path(__file__).parent / "slurm/sacct-22.05.txt").read_text()
    found = scheduler._choose(scheduler.parse_accounting(text, job), since, started)
    return scheduler._from_accounting(found) if found and found["ended"] else None


@pytest.mark.parametrize(
    ("job", "state", "by", "node"),
    [
        ("1", "NODE_FAIL", None, "n2"),
        ("2", "CANCELLED", "root", "n1"),
        ("3", "TIMEOUT", None, "n1"),
        ("4", "OUT_OF_MEMORY", None, "n1"),
        ("5", "OUT_OF_MEMORY", None, "n1"),  # of its step; the job says FAILED
        ("6", "FAILED", None, "n1"),
        ("8_1", "COMPLETED", None, "n1"),
        ("8_2", "FAILED", None, "n1"),
        ("10", "FAILED", None, "n1"),  # the same, by its other id
        ("9", "COMPLETED", None, "n1"),
    ],
)
def test_the_accounting_is_read(job, state, by, node):
    found = recorded(job)
    assert (found.state, found.by, found.node) == (state, by, node)


def test_the_incarnation_of_a_requeued_job_is_told_by_its_start_or_by_the_time():
    # Job 13 was requeued and then cancelled; job 11 preempted and then completed.
    assert recorded("13", started="2026-11-21T00:21:01").state == "REQUEUED"
    assert recorded("13", started="2026-11-21T00:21:15").state == "CANCELLED"
    assert recorded("13", started="2026-11-21T00:21:30") is None
    assert recorded("11", since="2026-11-20T23:59:35+00:00").state == "PREEMPTED"
    assert recorded("11", since="2026-11-21T00:00:00+00:00").state == "COMPLETED"
    # A clock that fits no incarnation: the last that ended.
    assert recorded("11").state == "COMPLETED"
    assert recorded("99999") is None


def test_the_kernels_count_is_looked_for_in_the_group_of_the_process():
    groups = "4:memory:/slurm_n2/uid_0/job_1/step_batch/task_0\n0::/\n"
    mounts = (
        "35 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "40 24 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert list(map(str, hostmemory.counters(groups, mounts))) == [
        "/sys/fs/cgroup/memory/slurm_n2/uid_0/job_1/step_batch/task_0/memory.oom_control",
        "/sys/fs/cgroup/unified/memory.events",
    ]
    # In a container the mount begins at its own group.
    inside = "35 24 0:30 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    [found] = hostmemory.counters("0::/docker/ab/job\n", inside)
    assert str(found) == "/sys/fs/cgroup/job/memory.events"


def test_the_kernels_count_only_grows():
    first = hostmemory.oom_kills()
    if first is None:
        pytest.skip("no control group of this host counts kills for want of memory")
    assert 0 <= first <= hostmemory.oom_kills()
