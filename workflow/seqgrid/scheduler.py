"""What SLURM knows about a job: how it ended, whether it still has it, when it will end it.

Asked are `sacct` where there is accounting, else `scontrol` for as long as slurmctld remembers a
job. Nothing here raises, and without SLURM every answer is None at once.
"""

import datetime
import functools
import os
import pwd
import re
import shutil
import subprocess
import time
from dataclasses import dataclass

JOB = re.compile(r"\d+(_\d+)?")  # a job, or a task of an array
ASK_SECONDS = 20.0  # the most that one question may take
LAG_SECONDS = 15.0  # how far the accounting may be behind
YEAR_SECONDS = 365 * 86400.0
COLUMNS = ("jobid", "jobidraw", "state", "exitcode", "start", "end", "nodelist")
# Of a job that scontrol shows: it runs, or will. Everything else is an end.
ACTIVE = (
    "RUNNING", "PENDING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How one incarnation of a job ended."""

    state: str  # as SLURM names it: NODE_FAIL, PREEMPTED, TIMEOUT, CANCELLED, ...
    reason: str  # in words, where there is more to say
    by: str | None = None  # who cancelled it
    node: str | None = None
    exit: str | None = None  # exit status:signal


def why(job: str, since: str, started: str | None = None) -> Ended | None:
    """How the incarnation of a job ended that ran at some time.

    Args:
        job: id of the job, or JOB_TASK for a task of an array.
        since: a time at which it ran, ISO 8601, UTC, by the clock of that host.
        started: when SLURM says that it started, as `job_started` gave it there. A requeued job
            keeps its id, and this tells its incarnations apart without trusting any clock.

    Returns:
        None where nobody knows, or where the incarnation still runs.
    """
    if not JOB.fullmatch(job or "") or not _installed():
        return None
    begun = time.monotonic()
    while True:
        left = ASK_SECONDS - (time.monotonic() - begun)
        incarnations = _accounted(job, left)
        found = _choose(incarnations or [], since, started)
        if found and found["ended"]:
            return _from_accounting(found)
        shown = _controlled(job, ASK_SECONDS - (time.monotonic() - begun))
        answer = _from_control(shown[0], since, started) if shown else None
        # Behind is the accounting only where slurmctld already knows of an end.
        late = time.monotonic() - begun > LAG_SECONDS
        if incarnations is None or answer is None or late:
            return answer
        time.sleep(0.5)


def alive(job: str) -> bool | None:
    """Whether the scheduler still has a job: running, suspended, ending, or to be started again.

    Returns:
        False where it has ended or is not known, None where there is no scheduler to ask.
    """
    if not JOB.fullmatch(job or "") or not _installed():
        return None
    shown = _controlled(job, ASK_SECONDS)
    return None if shown is None else any(_state(record) in ACTIVE for record in shown)


def seconds_left() -> tuple[float, float] | None:
    """Seconds until this job's time limit, and the limit itself; None where there is none."""
    record = _this_job()
    start, end = _time(record.get("StartTime")), _time(record.get("EndTime"))
    if not start or not end:
        return None
    left, limit = (end - datetime.datetime.now(datetime.UTC)), end - start
    # A scheduler whose clock is not ours says nothing that could be used.
    if not 0 < left.total_seconds() <= YEAR_SECONDS or limit < left:
        return None
    return left.total_seconds(), limit.total_seconds()


def job_started() -> str | None:
    """When this incarnation of this job started by SLURM's clock; None without SLURM."""
    return _this_job().get("StartTime")


@functools.cache
def _this_job() -> dict[str, str]:
    """The record of the job this process runs in; asked once, and inherited over a fork."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not JOB.fullmatch(job) or not _installed():
        return {}
    return (_controlled(job, ASK_SECONDS) or [{}])[0]


def _installed() -> bool:
    return shutil.which("scontrol") is not None


def _ask(*command: str, seconds: float) -> subprocess.CompletedProcess[str] | None:
    """Run one of SLURM's commands; None where it gives no answer in time."""
    # Times in UTC and in one format, whatever the user prefers.
    settings = {"TZ": "UTC", "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(0.1, seconds),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _accounted(job: str, seconds: float) -> list[dict] | None:
    """Incarnations of a job in the accounting, each with its steps; None without accounting."""
    done = _ask(
        *("sacct", "--duplicates", "--parsable2", "--noheader", "--starttime", "now-30days"),
        *("--jobs", job, "--format", ",".join(COLUMNS)),
        seconds=seconds,
    )
    return None if done is None or done.returncode else parse_accounting(done.stdout, job)


def parse_accounting(text: str, job: str) -> list[dict]:
    """Incarnations of a job in sacct's output, oldest first; those of other jobs are left out."""
    found: list[dict] = []
    for line in text.splitlines():
        row: dict = dict(zip(COLUMNS, line.split("|"), strict=False))
        if len(row) < len(COLUMNS):
            continue
        row["ended"] = _time(row["end"]) is not None
        # A task of an array has an id of its own besides ARRAY_TASK.
        if job in (row["jobid"], row["jobidraw"]):
            found.append(row | {"steps": []})
        elif found and row["jobid"].startswith(f"{found[-1]['jobid']}."):
            found[-1]["steps"].append(row)
    return found


def _choose(incarnations: list[dict], since: str, started: str | None) -> dict | None:
    """The one that started then; else the one that ran at that time; else the last that ended."""
    if started:
        return next((i for i in incarnations if i["start"] == started), None)
    at = _time(since)
    for found in reversed(incarnations):
        start, end = _time(found["start"]), _time(found["end"])
        if at and start and start <= at and (end is None or at <= end):
            return found
    return next((i for i in reversed(incarnations) if i["ended"]), None)


def _from_accounting(found: dict) -> Ended:
    # As in 'CANCELLED by 1000'.
    state, _, who = found["state"].partition(" by ")
    reason = ""
    short = [s["jobid"] for s in found["steps"] if s["state"] == "OUT_OF_MEMORY"]
    # What ran out of memory is a step, of which the job may say no more than that it failed.
    if short and state in ("FAILED", "COMPLETED"):
        state, reason = "OUT_OF_MEMORY", f"step {short[0]} ran out of memory; the job says {state}"
    return Ended(
        state=state,
        reason=reason,
        by=_user(who) if who else None,
        node=_known(found["nodelist"]),
        exit=_known(found["exitcode"]),
    )


def _controlled(job: str, seconds: float) -> list[dict[str, str]] | None:
    """What slurmctld remembers of a job, none where it has forgotten it; None: no answer."""
    done = _ask("scontrol", "show", "job", "--oneliner", job, seconds=seconds)
    if done is None:
        return None
    if done.returncode:
        return [] if "Invalid job id" in done.stderr else None
    return [parse_control(line) for line in done.stdout.splitlines() if "JobId=" in line]


def parse_control(line: str) -> dict[str, str]:
    """The fields of a line of `scontrol show job --oneliner` that hold no blanks."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _from_control(record: dict[str, str], since: str, started: str | None) -> Ended | None:
    start, at = _time(record.get("StartTime")), _time(since)
    if started:
        other = record.get("StartTime") != started
    else:
        other = start is None or bool(at and start > at)
    if record.get("Restarts", "0") != "0" and other:
        words = f"started again by SLURM, restart {record['Restarts']}; it keeps no reason"
        return Ended("REQUEUED", words)
    if _state(record) in ACTIVE or other:
        return None
    words = record.get("Reason", "None")
    return Ended(
        state=_state(record),
        reason="" if words == "None" else words,
        node=_known(record.get("NodeList", "")),
        exit=_known(record.get("ExitCode", "")),
    )


def _state(record: dict[str, str]) -> str:
    return record.get("JobState", "").split("+")[0]


def _user(number: str) -> str:
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (KeyError, ValueError, OverflowError):
        return f"user {number}"


def _known(text: str) -> str | None:
    return None if text in ("", "(null)", "None assigned", "Unknown") else text


def _time(text: str | None) -> datetime.datetime | None:
    """A time of ours, or one of SLURM's (in UTC, as asked for); None for 'Unknown' and the like."""
    try:
        found = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
