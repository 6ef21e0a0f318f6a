"""Removes the lock that a killed Snakemake leaves behind, where its death is proven.

Snakemake's own locks do not say whose they are. So every driver, before it locks anything, leaves
a record of itself beside them and holds a lock of the kernel's on that for as long as it lives.
"""

import atexit
import contextlib
import fcntl
import json
import os
import socket
import uuid
from pathlib import Path
from typing import IO

from seqgrid import lease
from seqgrid.job import say
from seqgrid.provenance import job_id
from seqgrid.scheduler import alive

_kept: list[IO[str]] = []  # open as long as this process lives


def enter(snakemake: Path) -> None:
    """Note that this process is a driver; remove the locks of drivers that are gone.

    Nothing is removed while a driver may live: one on another host, or whose job the scheduler
    has. Without records, or where nothing can be written, Snakemake's own message stands.

    Args:
        snakemake: Snakemake's folder, .snakemake.
    """
    folder = snakemake / "drivers"
    with contextlib.suppress(OSError):
        mine = _record(folder)
        # Read after the own record was written: of two that start at once, none unlocks the other.
        others = [path for path in sorted(folder.glob("*.json")) if path != mine]
        gone = [path for path in others if _gone(path)]
        locks = list((snakemake / "locks").glob("*.lock"))
        first = min((path.stat().st_mtime for path in gone), default=float("inf"))
        if locks and len(gone) == len(others) and all(p.stat().st_mtime >= first for p in locks):
            names = " and ".join(lease.describe(_read(path)) for path in gone)
            for path in locks:
                path.unlink(missing_ok=True)
            say(f"unlocked: the Snakemake that held the lock is gone ({names})")
            locks = []
        if not locks:
            for path in gone:
                path.unlink(missing_ok=True)


def _record(folder: Path) -> Path:
    """Leave a record of this process, and lock it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.json"
    file = path.open("w")
    _kept.append(file)
    atexit.register(path.unlink, missing_ok=True)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "job": job_id(), "boot": lease.boot()}
    file.write(json.dumps(mine) + "\n")
    file.flush()
    os.fsync(file.fileno())
    return path


def _gone(path: Path) -> bool:
    """Whether the driver of a record has certainly ended."""
    found = _read(path)
    if found.get("boot") == lease.boot():
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True
    job = found.get("job")
    return bool(job) and job != job_id() and alive(str(job)) is False


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
