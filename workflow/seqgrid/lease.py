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

from seqgrid.provenance import job_id, now

HEARTBEAT_SECONDS = 5.0  # trainers write a heartbeat this often


class Taken(Exception):
    """Somebody else holds the lease; the message says who."""


class Lease:
    """The lease on a cell's folder. Kept until `release` or the end of the process."""

    def __init__(self, cell_folder: Path) -> None:
        self.path = cell_folder / "lease.json"
        self.file = self.path.open("a+")

    def acquire(self, heartbeats: list[Path], watch_seconds: float = 3 * HEARTBEAT_SECONDS) -> None:
        """Take the lease.

        Args:
            heartbeats: files that a holder on another host would be writing.
            watch_seconds: how long to watch them before a holder counts as dead.

        Raises:
            Taken: another process holds it.
        """
        if not self._lock():
            raise Taken(f"held by {describe(self.holder())}")
        holder = self.holder()
        if holder and holder.get("host") != socket.gethostname() and heartbeats:
            before = [_content(path) for path in heartbeats]
            deadline = time.monotonic() + watch_seconds
            while time.monotonic() < deadline:
                time.sleep(min(0.2, watch_seconds))
                if [_content(path) for path in heartbeats] != before:
                    raise Taken(f"held by {describe(holder)}, whose heartbeat goes on")
        self.file.seek(0)
        self.file.truncate()
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "job": job_id(), "since": now()}
        self.file.write(json.dumps(mine) + "\n")
        self.file.flush()

    def _lock(self) -> bool:
        for _ in range(5):  # a status view may hold the lock for an instant
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.1)
            else:
                return True
        return False

    def holder(self) -> dict:
        """Who wrote the lease file; empty where nobody did or it was released."""
        try:
            self.file.seek(0)
            found = json.loads(self.file.read() or "{}")
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def release(self) -> None:
        """Give the lease back."""
        self.file.seek(0)
        self.file.truncate()
        fcntl.flock(self.file, fcntl.LOCK_UN)
        self.file.close()


def held(cell_folder: Path) -> dict | None:
    """Who trains this cell now, as far as this host can tell; None for nobody."""
    path = cell_folder / "lease.json"
    try:
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return json.loads(path.read_text() or "{}") or {"host": "?", "pid": "?"}
            found = json.loads(file.read() or "{}")
    except (OSError, ValueError):
        return None
    # Unlocked but never given back: a holder that died here, or one on another host.
    return found if found and found.get("host") != socket.gethostname() else None


def describe(holder: dict) -> str:
    """A holder in words."""
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}{job}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
