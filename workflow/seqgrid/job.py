"""What the processes of jobs share: how they speak, end and are stopped."""

import importlib
import json
import signal
import sys
from pathlib import Path

TRY_AGAIN = 75  # exit status EX_TEMPFAIL of sysexits.h: nothing is lost, run the job again
WRONG_CALL = 2  # exit status: the command line or a file it names is wrong
STOP_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2
)  # fmt: skip


class WrongCall(Exception):
    """The command line names nothing that can be worked on; the message says what and where."""


def say(text: str) -> None:
    """One line on the console."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def alive(job: str) -> bool | None:
    """Whether the scheduler still has a job; None where nobody can tell."""
    try:
        scheduler = importlib.import_module("seqgrid.scheduler")
    except ImportError:
        return None
    return scheduler.alive(job)


def execution(run_folder: Path) -> dict:
    """How long a part may train and how often it saves: what does not change the result."""
    try:
        found = json.loads((run_folder / "execution.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
