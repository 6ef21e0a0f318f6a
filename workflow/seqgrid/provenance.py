"""Facts about this process that every result carries."""

import datetime
import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path

from seqgrid.outcome import Provenance

PACKAGES = (
    "torch",
    "numpy",
    "pydantic",
    "pyarrow",
    "triton",
    "mamba-ssm",
    "flash-linear-attention",
)
JOB_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID")


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def seconds_since(time: str) -> float:
    """Seconds since a time that `now` gave; infinite where it is none."""
    try:
        then = datetime.datetime.fromisoformat(time)
        return (datetime.datetime.now(datetime.UTC) - then).total_seconds()
    except (ValueError, TypeError):
        return float("inf")


def job_id() -> str | None:
    """The scheduler's id of this job; None for a process nobody scheduled."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    if job and (task := os.environ.get("SLURM_ARRAY_TASK_ID")):
        return f"{job}_{task}"
    return next((os.environ[name] for name in JOB_VARIABLES if os.environ.get(name)), None)


def git() -> tuple[str | None, bool | None]:
    """Commit of the checkout this package lies in and whether tracked files differ from it."""
    folder = str(Path(__file__).parent)
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    answers = []
    for command in commands:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *command], capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return None, None
        if done.returncode:
            return None, None
        answers.append(done.stdout.strip())
    return answers[0], bool(answers[1])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("seqgrid", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def collect(source_digest: str, asked_by: str | None, threads: int = 1) -> Provenance:
    """Everything but device, dtype and backend, which only the training knows."""
    commit, dirty = git()
    return Provenance(
        source_digest=source_digest,
        git_commit=commit,
        git_dirty=dirty,
        versions=versions(),
        host=socket.gethostname(),
        job_id=job_id(),
        threads=threads,
        asked_by=asked_by,
    )
