"""What a part achieved survives deletion, kills and full disks."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest
from grid_factory import provenance_of

from seqgrid import outcome
from seqgrid.outcome import Absent, Invalid
from seqgrid.store import Part, add_rolling

CELL = "gru/adding_problem/L8/seed0-0123456789"


@pytest.fixture
def part(tmp_path):
    return make(tmp_path)


def make(tmp_path, number=1, run=""):
    return Part.of(tmp_path, CELL, run, number)


def finish(part, checkpoint=b"weights", state="finished"):
    path = add_rolling(part.live, 100, checkpoint) if checkpoint else None
    fields = {"outcome": state, "reason": "because", "provenance": provenance_of()}
    return part.finish(path, b"history", **fields)


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.is_file())


PUBLISHED = ["checkpoint.pt", "history.parquet", "outcome.json"]

# -- publishing ----------------------------------------------------------------------------------


def test_a_part_is_stored_first_and_then_published(part):
    made = finish(part)
    assert part.stored() == made
    with pytest.raises(Absent):
        part.read()
    part.publish()
    assert part.read() == made
    assert names(part.folder) == names(part.final) == PUBLISHED
    assert (part.folder / "checkpoint.pt").samefile(part.final / "checkpoint.pt")


@pytest.mark.parametrize("lost", [PUBLISHED, *([name] for name in PUBLISHED)], ids=str)
def test_what_the_workflow_deleted_is_published_again(part, lost):
    made = finish(part)
    part.publish()
    for name in lost:
        (part.folder / name).unlink()
    with pytest.raises(Absent):
        part.read()
    part.publish()
    assert part.read() == made
    assert names(part.folder) == PUBLISHED  # and no temporary file


def test_a_part_without_weights_has_an_empty_checkpoint(part):
    made = finish(part, checkpoint=None, state="skipped")
    part.publish()
    assert part.read().files["checkpoint.pt"].size == 0
    assert made.outcome == "skipped"
    assert part.newest_state() is None


def test_a_part_can_be_finished_again(part):
    """As after a kill between storing the checkpoint and storing the outcome."""
    finish(part)
    (part.final / "outcome.json").unlink()
    assert part.stored() is None
    finish(part)
    finish(part, checkpoint=b"other")
    part.publish()
    assert (part.folder / "checkpoint.pt").read_bytes() == b"other"
    assert names(part.final) == PUBLISHED


def test_without_hard_links_files_are_copied(part, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    made = finish(part)
    part.publish()
    assert part.read() == made
    assert names(part.folder) == PUBLISHED


def test_a_store_that_lost_a_file_publishes_nothing_new(part):
    finish(part)
    (part.final / "history.parquet").unlink()
    assert part.stored() is None
    with pytest.raises(FileNotFoundError):
        part.publish()
    with pytest.raises(Invalid):
        part.read()


# -- rolling checkpoints -------------------------------------------------------------------------


def test_the_newest_two_checkpoints_are_kept(part):
    paths = [add_rolling(part.live, step, f"at {step}".encode()) for step in (5, 50, 500)]
    assert part.rolling() == [paths[2], paths[1]]
    assert names(part.live) == sorted(p.name for p in paths[1:])
    assert part.newest_state() == paths[2]
    assert part.step() == 500


DAMAGES = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:3]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": lambda path: path.write_bytes(b"AT" + path.read_bytes()[2:]),
    "unreadable": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_older_one(part, damage):
    older = add_rolling(part.live, 5, b"at 5")
    DAMAGES[damage](add_rolling(part.live, 10, b"at 10"))
    assert part.newest_state() == older


def test_a_damaged_checkpoint_gives_way_when_training_gets_there_again(part):
    kept = add_rolling(part.live, 5, b"at 5")
    DAMAGES["torn"](add_rolling(part.live, 10, b"at 10"))
    newest = add_rolling(part.live, 7, b"at 7")
    assert part.rolling() == [newest, kept]
    DAMAGES["torn"](add_rolling(part.live, 9, b"at 9"))
    again = add_rolling(part.live, 9, b"at 9, otherwise")
    assert part.rolling() == [again, newest]


def test_a_file_that_only_looks_like_a_checkpoint_is_none(part):
    (part.live / "step5.pt").write_bytes(b"")
    (part.live / "step000000000005-0123456789abcdef.pt.tmp").write_bytes(b"")
    assert part.rolling() == []
    assert part.step() == 0
    assert part.newest_state() is None


def test_the_newest_state_is_sought_part_by_part(tmp_path):
    first, second, third = (make(tmp_path, number) for number in (1, 2, 3))
    assert third.newest_state() is None
    rolling = add_rolling(first.live, 3, b"1 rolling")
    assert third.newest_state() == rolling
    finish(first, b"1 end", "timed_out")
    assert third.newest_state() == first.final / "checkpoint.pt"  # stored, not yet published
    first.publish()
    assert third.newest_state() == first.folder / "checkpoint.pt"
    rolling = add_rolling(second.live, 2, b"2 rolling")
    assert third.newest_state() == second.newest_state() == rolling
    finish(second, None, "failed")
    second.publish()
    assert third.newest_state().name.startswith("step000000000002")  # its end has no weights
    finish(second, b"2 end", "timed_out")
    second.publish()
    assert third.newest_state() == second.folder / "checkpoint.pt"
    assert first.newest_state() == first.folder / "checkpoint.pt"
    (second.folder / "checkpoint.pt").write_bytes(b"torn")
    assert third.newest_state().read_bytes() == b"2 rolling"  # the older one of the same part
    for path in second.live.glob("step*.pt"):
        path.unlink()
    assert third.newest_state() == first.folder / "checkpoint.pt"
    assert make(tmp_path, 1, "again1").newest_state() is None  # a new run starts anew


# -- full disks ----------------------------------------------------------------------------------


def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


FULL = {
    "on fsync": lambda patch: patch.setattr(os, "fsync", full),
    "on open": lambda patch: patch.setattr(outcome.Path, "open", full),
    "on rename": lambda patch: patch.setattr(outcome.Path, "replace", full),
}


@pytest.mark.parametrize("when", FULL)
def test_a_full_disk_leaves_what_was_there_and_no_litter(part, monkeypatch, when):
    add_rolling(part.live, 5, b"at 5")
    newest = add_rolling(part.live, 10, b"at 10")
    made = finish(part, checkpoint=None, state="timed_out")
    before = {p: p.read_bytes() for p in part.folder.rglob("*") if p.is_file()}
    with monkeypatch.context() as patch:
        FULL[when](patch)
        with pytest.raises(OSError, match="No space left"):
            add_rolling(part.live, 15, b"at 15")
        with pytest.raises(OSError, match="No space left"):
            outcome.write_text(part.final / "outcome.json", "{}")
        part.write_beat(step=15)  # not worth ending a training for
    (part.heartbeat).unlink(missing_ok=True)
    assert {p: p.read_bytes() for p in part.folder.rglob("*") if p.is_file()} == before
    assert part.rolling()[0] == newest
    assert part.stored() == made


def test_a_disk_that_fills_up_within_a_file_leaves_no_litter(part, tmp_path):
    """A real short write: the process may not write files above a size."""
    code = f"""
import resource, signal
from pathlib import Path
from seqgrid.store import Part, add_rolling
part = Part.of(Path({str(tmp_path)!r}), {CELL!r}, "", 1)
add_rolling(part.live, 5, b"x" * 1000)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    add_rolling(part.live, 10, b"y" * 1_000_000)
except OSError as error:
    print(error.strerror)
print(*[p.name[:16] for p in part.rolling()], *[p.name for p in part.live.glob(".*")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\nstep000000000005\n"


# -- attempts ------------------------------------------------------------------------------------


def attempt(part, ended=None):
    part.begin_attempt("invocation")
    if ended:
        part.end_attempt(ended)


def test_deaths_without_progress_add_up(part):
    assert part.deaths_here() == []
    attempt(part)
    attempt(part, "signal 9 (SIGKILL)")
    attempt(part, "exit 1")
    assert [a["ended"] for a in part.deaths_here()] == ["exit 1", "signal 9 (SIGKILL)", None]


@pytest.mark.parametrize("ended", ["stopped", "exit 75", "exit 0"])
def test_an_end_in_words_is_no_death_and_starts_the_count_again(part, ended):
    attempt(part)
    attempt(part, ended)
    assert part.deaths_here() == []
    attempt(part)
    assert len(part.deaths_here()) == 1


def test_progress_starts_the_count_again(part):
    attempt(part)
    attempt(part)
    add_rolling(part.live, 10, b"at 10")
    assert part.deaths_here() == []  # the last one got somewhere before it died
    attempt(part)
    assert len(part.deaths_here()) == 1
    attempt(part)
    assert len(part.deaths_here()) == 2


@pytest.mark.parametrize("torn", ['{"ended": "exi', '{"started_at": "2026', "\x00\x00", "[]", "5"])
def test_a_torn_last_line_costs_nothing_but_itself(part, torn):
    attempt(part, "stopped")
    attempt(part)
    with (part.live / "attempts.jsonl").open("a") as file:
        file.write(torn)
    assert [a["ended"] for a in part.attempts()] == ["stopped", None]
    attempt(part, "signal 9 (SIGKILL)")
    assert [a["ended"] for a in part.attempts()] == ["stopped", None, "signal 9 (SIGKILL)"]
    assert len(part.deaths_here()) == 2


def test_lines_that_are_no_text_cost_nothing_but_themselves(part):
    attempt(part)
    with (part.live / "attempts.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n")
    attempt(part)
    assert len(part.attempts()) == 2


def test_an_attempt_says_who_and_from_where(part):
    add_rolling(part.live, 10, b"at 10")
    attempt(part)
    [only] = part.attempts()
    assert only["host"] == socket.gethostname()
    assert only["pid"] == os.getpid()
    assert (only["step"], only["invocation"], only["ended"]) == (10, "invocation", None)


def test_an_attempt_clears_away_what_a_killed_one_left_half_written(part):
    kept = add_rolling(part.live, 10, b"at 10")
    for path in (
        part.live / f".{kept.name}.123",
        part.live / ".heartbeat.json.123",
        part.final / ".outcome.json.123",
        part.folder / ".checkpoint.pt.123",
    ):
        path.write_bytes(b"half")
    other = part.folder / ".evaluation-L8-n10.parquet.123"  # somebody else's
    other.write_bytes(b"half")
    attempt(part)
    assert list(part.folder.rglob(".*")) == [other]
    assert part.newest_state() == kept


def test_an_outcome_counts_attempts_and_silent_deaths(part):
    attempt(part, "signal 9 (SIGKILL)")
    attempt(part, "exit 75")
    attempt(part)  # this process, which speaks
    made = finish(part)
    assert (made.attempts, made.silent_deaths) == (3, 1)


def test_of_a_killed_part_every_death_is_counted(part):
    for ended in ("signal 9 (SIGKILL)", "exit 1", "signal 9 (SIGKILL)"):
        attempt(part, ended)
    made = finish(part, checkpoint=None, state="killed")
    assert (made.attempts, made.silent_deaths) == (3, 3)


def test_a_part_that_was_never_tried_counts_one_attempt(part):
    made = finish(part, checkpoint=None, state="skipped")
    assert (made.attempts, made.silent_deaths) == (1, 0)


# -- heartbeats ----------------------------------------------------------------------------------


def test_the_last_heartbeat_is_read(part, tmp_path):
    assert part.beat() is None
    part.write_beat(step=5)
    part.write_beat(step=6, metric="r2")
    assert (part.beat()["step"], part.beat()["pid"]) == (6, os.getpid())
    for torn in (b"", b'{"step', b"[]", b"\xff"):
        part.heartbeat.write_bytes(torn)
        assert part.beat() is None
    other = make(tmp_path, 2, "again1")
    other.write_beat(step=1)
    assert part.heartbeats == [other.heartbeat, part.heartbeat]


def test_an_outcome_is_readable_by_whoever_looks_at_it(part):
    finish(part)
    text = (part.final / "outcome.json").read_text()
    assert json.loads(text)["outcome"] == "finished"
    assert text.count("\n") > 20
