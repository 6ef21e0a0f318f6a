"""One trainer a cell: whoever holds the lease may write below the cell's folder.

The lease is an advisory lock on a file, so it ends with the process however that ends. Locks do
not travel everywhere, so the file also names its holder: host, process, job and a random token.
A holder elsewhere counts as dead when its scheduler no longer has its job, as far as there is one
to ask, and its heartbeat stands still while we look, whatever its clock says. Who was taken for
dead and wakes up finds another token in the file, and writes nothing more.
"""

import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from seqgrid.provenance import job_id, now

HEARTBEAT_SECONDS = 5.0  # trainers write a heartbeat this often
SILENT_SECONDS = 30.0  # without one, watched by who wants the lease: a holder is dead
WAIT_SECONDS = 60.0  # how long a second trainer waits for the first one to end
SHELLS = ("sh", "bash", "dash", "zsh")

Alive = Callable[[str], bool | None]  # whether the scheduler still has a job; None: not known


class Taken(Exception):
    """Somebody else holds the lease; the message says who."""


class Lost(Exception):
    """The lease was ours and names somebody else by now; the message says whom."""


class Lease:
    """The lease on a cell's folder. Kept from `acquire` until `release` or the process's end."""

    def __init__(self, cell_folder: Path) -> None:
        self.path = cell_folder / "lease.json"
        self.file: IO[str] | None = None
        self.token = secrets.token_hex(8)

    def acquire(
        self, heartbeats: list[Path], alive: Alive, silent_seconds: float | None = None
    ) -> str | None:
        """Take the lease.

        Args:
            heartbeats: files that a holder on another host would be writing.
            alive: tells whether the scheduler still has a job.
            silent_seconds: how long to watch them before a holder counts as dead.

        Returns:
            From whom it was taken over and by what proof; None where nobody held it.

        Raises:
            Taken: another process holds it. OSError: the folder cannot be written.
        """
        seconds = SILENT_SECONDS if silent_seconds is None else silent_seconds
        file = self.path.open("a+")
        try:
            locks = _lock(file, self.path, alive)
            holder = _read(self.path)
            proof = _proof(holder, locks, [self.path, *heartbeats], alive, seconds)
            mine = {
                "host": socket.gethostname(), "pid": os.getpid(), "job": job_id(), "since": now(),
                "starter": _starter(os.getpid()), "boot": boot(), "token": self.token,
            }  # fmt: skip
            file.truncate(0)
            file.write(json.dumps(mine) + "\n")
            file.flush()
            os.fsync(file.fileno())  # other hosts see what has reached the server
        except BaseException:
            file.close()
            raise
        self.file = file
        return f"taken over from {describe(holder)}: {proof}" if holder else None

    def wait(self, heartbeats: list[Path], alive: Alive, say: Callable[[str], None]) -> str | None:
        """`acquire`, but a holder gets WAIT_SECONDS to end; `say` is told that we wait.

        Raises:
            Taken: it goes on. OSError: the folder cannot be written.
        """
        deadline, told = time.monotonic() + WAIT_SECONDS, False
        while True:
            try:
                return self.acquire(heartbeats, alive)
            except Taken as taken:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    say(f"{taken}; waiting up to {WAIT_SECONDS:g} s for its end")
                told = True
                time.sleep(min(0.5, WAIT_SECONDS))

    def check(self) -> None:
        """Make sure that the lease is still ours; to be called before every write.

        Raises:
            Lost: it is not. OSError: nobody can tell.
        """
        try:
            holder = _parse(self.path.read_bytes())
        except FileNotFoundError:
            holder = {}
        if holder.get("token") != self.token:
            whose = f"{describe(holder)} holds it" if holder else "its file is gone"
            raise Lost(f"this process lost the lease while it was silent, {whose}; it stops here")

    def renew(self) -> None:
        """Show that the holder lives.

        Raises:
            Lost: it was taken for dead. OSError: nobody can tell.
        """
        self.check()
        if self.file is not None:
            os.utime(self.file.fileno())

    def release(self) -> None:
        """Give the lease back; nothing happens where it was not taken, or taken from us."""
        if self.file is None:
            return
        try:
            self.check()
            self.file.truncate(0)
        except (Lost, OSError):
            pass
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
    return found | {"locked": False} if found and found.get("boot") != boot() else None


def describe(holder: dict[str, Any]) -> str:
    """A holder in words."""
    job = f", job {holder['job']}" if holder.get("job") else ""
    since = f", since {str(holder['since'])[:19]} UTC" if holder.get("since") else ""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}{job}{since}"


def _lock(file: IO[str], path: Path, alive: Alive) -> bool:
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
    holder = _read(path)
    raise Taken(f"held by {describe(holder)}{_left_over(holder, path, alive)}")


def _proof(
    holder: dict[str, Any], locks: bool, watched: list[Path], alive: Alive, seconds: float
) -> str:
    """Why a holder that never gave the lease back is dead.

    Raises:
        Taken: it is not.
    """
    if not holder:
        return ""
    if locks and holder.get("boot") == boot() and not _process(holder.get("pid")):
        return "its lock is free and its process is gone"
    job = holder.get("job")
    # A requeued job keeps its id: what ran under ours was an earlier life of it.
    has = alive(str(job)) if job and job != job_id() else None
    if has:
        raise Taken(f"held by {describe(holder)}, a job the scheduler still has")
    before = [_state(path) for path in watched]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(0.2, seconds))
        if [_state(path) for path in watched] != before:
            left = _left_over(holder, None, lambda job: has)
            raise Taken(f"held by {describe(holder)}, whose heartbeat goes on{left}")
    ended = f" and the scheduler has no job {job} any more" if has is False else ""
    return f"its heartbeat was silent for {seconds:g} s{ended}"


def _left_over(holder: dict[str, Any], path: Path | None, alive: Alive) -> str:
    """Why a holder that lives should not, and how to end it; empty where nothing says so.

    Args:
        holder: what stands in the lease.
        path: the lease's file where a process of this host has locked it, else None.
        alive: tells whether the scheduler still has a job.
    """
    here = holder.get("boot") == boot()
    pids, why = [holder.get("pid")], ""
    if job := holder.get("job"):
        why = f"job {job} has ended" if alive(str(job)) is False else ""
    if here and not why:
        if not _process(holder.get("pid")):
            why = "its supervisor is gone"
        elif _starter(holder.get("pid")) != holder.get("starter"):
            why = "what started it is gone"
    if here and path is not None:
        pids = _lockers(path) or pids
    if not why:
        return ""
    where = "" if here else f"ssh {holder.get('host')} "
    return f": left over, {why}; to end it: {where}kill {' '.join(map(str, pids))}"


def _lockers(path: Path) -> list[int]:
    """Processes of this host that share the lock on a file, as far as we may see them."""
    found = []
    inode = f":{path.stat().st_ino} "
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        try:
            locks = [line for line in info.read_text().splitlines() if line.startswith("lock:")]
        except OSError:  # gone by now, or another user's
            continue
        if any("FLOCK" in line and "WRITE" in line and inode in line for line in locks):
            found.append(int(info.parts[2]))
    return sorted(set(found))


def _process(pid: Any) -> tuple[str, int] | None:
    """Name and parent of a process of this host; None where there is none, or a dead one."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        state, parent = rest.split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else (name.partition("(")[2], int(parent))


def _starter(pid: Any) -> int | None:
    """The nearest ancestor that is no shell; another one once that is gone."""
    found = _process(pid)
    while found:
        pid = found[1]
        found = _process(pid)
        if found is None or found[0] not in SHELLS:
            return pid
    return None


def boot() -> str | None:
    """Names the running kernel, within which locks and process numbers mean something."""
    return _content(Path("/proc/sys/kernel/random/boot_id")).decode().strip() or None


def _read(path: Path) -> dict[str, Any]:
    """What a holder wrote; empty where nobody did, or it was released."""
    return _parse(_content(path))


def _parse(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _state(path: Path) -> tuple[bytes, int]:
    """What changes with every sign of life."""
    try:
        with path.open("rb") as file:  # opened first: a network file system then asks its server
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return b"", 0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
