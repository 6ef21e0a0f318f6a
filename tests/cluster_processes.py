"""What starting and cleaning up a test cluster asks of the machine."""

import contextlib
import os
import random
import signal
import socket
import time
from pathlib import Path

PATIENCE = 3  # so much slower than where the waits were set may a machine be
DAEMONS = ("slurm", "munged", "mariadbd", "faketime", "srun")  # how the names of ours begin


def until(condition, what, seconds: float = 20) -> None:
    """Wait until a condition holds, for PATIENCE times as long as it should take.

    Args:
        what: what is waited for, or a function that says what there is instead.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while not condition():
        if time.monotonic() > deadline:
            what = what() if callable(what) else what
            raise TimeoutError(f"waited {PATIENCE * seconds:g} s for {what}")
        time.sleep(0.1)


def environ(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def processes(folder: Path) -> list[int]:
    """Daemons of the cluster in a folder, and processes of its jobs, wherever they ended up."""
    found = []
    for pid in (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()):
        mine = environ(pid)
        if mine.get("SEQGRID_CLUSTER") == str(folder):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text()
                if name.startswith(DAEMONS) or {"SLURM_JOB_ID", "FAKETIME"} & mine.keys():
                    found.append(pid)
    return found


def kill(pids: list[int]) -> list[int]:
    """Kill processes at once; returns them."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def free_ports(number: int) -> int:
    """The first of that many free ports in a row, below those given to outgoing connections."""
    while True:
        first = random.randrange(12000, 30000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + number):
                found = stack.enter_context(socket.socket())
                found.bind(("", port))
            return first


def remove_cgroup(folder: Path) -> None:
    """Remove a control group and those in it; they are empty once their processes are dead."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir():
                remove_cgroup(path)
        with contextlib.suppress(OSError):
            folder.rmdir()
