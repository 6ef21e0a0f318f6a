"""One trainer a cell: whoever holds the lease may write below the cell's folder.

The lease is an advisory lock on a file, so it ends with the process however that ends. Where
locks do not travel between hosts, the holder named in the file is watched: a heartbeat that
advances while we look is alive, whatever its clock says.
"""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Any

from seqgrid.provenance import job_id, now

HEARTBEAT_SECONDS = 5.0  # trainers write a heartbeat this often


class Taken(Exception):
    """Somebody else holds the lease; the message says who."""


class Lease:
    """The lease on a cell's folder. Kept from `acquire` until `release` or the process's end."""

    def __init__(self, cell_folder: Path) -> None:
        self.path = cell_folder / "lease.json"
        self.file: IO[str] | None = None

    def acquire(self, heartbeats: list[Path], watch_seconds: float = 3 * HEARTBEAT_SECONDS) -> None:
        """Take the lease.

        Args:
            heartbeats: files that a holder on another host would be writing.
            watch_seconds: how long to watch them before a holder counts as dead.

        Raises:
            Taken: another process holds it. OSError: the folder cannot be written.
        """
        file = self.path.open("a+")
        try:
            locks = _lock(file, self.path)
            holder = _read(self.path)
            if holder and not (locks and holder.get("host") == socket.gethostname()):
                _watch(holder, heartbeats, watch_seconds)
            file.truncate(0)
            mine = {
                "host": socket.gethostname(), "pid": os.getpid(), "job": job_id(), "since": now()
            }  # fmt: skip
            file.write(json.dumps(mine) + "\n")
            file.flush()
        except BaseException:
            file.close()
            raise
        self.file = file

    def release(self) -> None:
        """Give the lease back; nothing happens where it was not taken."""
        if self.file is not None:
            self.file.truncate(0)
            self.file.close()
            self.file = None


def held(cell_folder: Path) -> dict[str, Any] | None:
    """Who trains this cell now, as far as this host can tell; None for nobody.

    'locked' in the answer says whether that is certain; where it is not, the holder is on another
    host, and either runs or died without giving the lease back.
    """
    path = cell_folder / "lease.json"
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return {"host": "?", "pid": "?"} | _read(path) | {"locked": True}
    except OSError:
        return None
    found = _read(path)
    # Unlocked but never given back: a holder that died here, or one on another host.
    elsewhere = found and found.get("host") != socket.gethostname()
    return found | {"locked": False} if elsewhere else None


def describe(holder: dict[str, Any]) -> str:
    """A holder in words."""
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}{job}"


def _lock(file: IO[str], path: Path) -> bool:
    """Lock the file; False where the file system has no locks."""
    for _ in range(5):  # a status view may hold the lock for an instant
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        except OSError:
            return False
        else:
            return True
    raise Taken(f"held by {describe(_read(path))}")


def _watch(holder: dict[str, Any], heartbeats: list[Path], seconds: float) -> None:
    """Raise Taken when a heartbeat advances."""
    before = [_content(path) for path in heartbeats]
    deadline = time.monotonic() + seconds if heartbeats else 0.0
    while time.monotonic() < deadline:
        time.sleep(min(0.2, seconds))
        if [_content(path) for path in heartbeats] != before:
            raise Taken(f"held by {describe(holder)}, whose heartbeat goes on")


def _read(path: Path) -> dict[str, Any]:
    """What a holder wrote; empty where nobody did, or it was released."""
    try:
        found = json.loads(_content(path) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
