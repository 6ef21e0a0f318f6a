"""Jobs waiting, running and done, as files that the driver and the allocations share.

    waiting/TICKET.json               written by the driver
    claimed/ALLOCATION/TICKET.json    moved there by the allocation that runs it
    done/TICKET.json                  written by that allocation, read and removed by the driver
    closed                            no more will come: an idle allocation need not wait for any

A rename is what gives a job to one allocation and no other, on network file systems too. Whatever
dies, the files say what is left to do: a requeued allocation finds what it had claimed, and a new
driver finds the jobs of the one before by their key.
"""

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ticket:
    """One job to run."""

    name: str  # a time and the key: the oldest first
    command: str  # for the shell
    log: str  # file that takes its output

    @property
    def key(self) -> str:
        """What stays the same when the job is asked for again."""
        return self.name.rpartition("-")[2]


class Tickets:
    """The folder of one queue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting, self.claimed, self.done = (
            folder / name for name in ("waiting", "claimed", "done")
        )
        for path in (self.waiting, self.claimed, self.done):
            path.mkdir(parents=True, exist_ok=True)
        self._seen: list[str] = []  # of a listing, what is still to be tried

    # -- the driver's side ---------------------------------------------------------------------

    def add(self, key: str, command: str, log: Path) -> Ticket:
        """Queue a job."""
        ticket = Ticket(f"{time.time_ns():020d}-{key}", command, str(log))
        write(self.waiting / f"{ticket.name}.json", asdict(ticket))
        return ticket

    def read(self, name: str, holder: str) -> Ticket | None:
        """A job that `standing` named; None where it is gone from there."""
        folder = self.claimed / holder if holder else self.waiting
        return _read(folder / f"{name}.json")

    def forget(self, name: str) -> None:
        """Remove every trace of a job."""
        for path in [self.waiting / f"{name}.json", *self.claimed.glob(f"*/{name}.json")]:
            path.unlink(missing_ok=True)

    def finished(self, names: Collection[str]) -> dict[str, int]:
        """Exit status of each of these jobs that is done."""
        found = {}
        # What an earlier driver did not hear of stays here: look at the others alone.
        for name in set(_names(self.done)).intersection(names):
            with contextlib.suppress(OSError, ValueError, KeyError):
                found[name] = int(json.loads((self.done / f"{name}.json").read_text())["exit"])
        return found

    def collect(self, name: str) -> None:
        """Forget a job that is done."""
        self.forget(name)
        (self.done / f"{name}.json").unlink(missing_ok=True)

    def names_waiting(self) -> set[str]:
        """Names of the jobs that nobody runs yet."""
        return set(_names(self.waiting))

    def standing(self) -> dict[str, str]:
        """Which allocation has which job, '' for those that wait."""
        return dict.fromkeys(self.names_waiting(), "") | self.holders()

    def holders(self) -> dict[str, str]:
        """Which allocation has which job."""
        return {path.stem: path.parent.name for path in self.claimed.glob("*/*.json")}

    def close(self, closed: bool) -> None:
        """Say whether more jobs may come."""
        if closed:
            (self.folder / "closed").touch()
        else:
            (self.folder / "closed").unlink(missing_ok=True)

    # -- the allocation's side -----------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether no more jobs will come."""
        return (self.folder / "closed").exists()

    def mine(self, allocation: str) -> Iterator[Ticket]:
        """What an allocation had claimed before it was requeued and did not finish."""
        folder = self.claimed / allocation
        folder.mkdir(exist_ok=True)
        for name in _names(folder):
            path = folder / f"{name}.json"
            if (self.done / path.name).exists():  # cut between the two steps of `finish`
                path.unlink(missing_ok=True)
            elif ticket := _read(path):
                yield ticket

    def claim(self, allocation: str) -> Ticket | None:
        """Take the oldest waiting job; None where there is none."""
        for fresh in (False, True):
            if fresh:
                self._seen = _names(self.waiting)
            while self._seen:
                name = f"{self._seen.pop(0)}.json"
                target = self.claimed / allocation / name
                # Over NFS a rename that succeeded may be reported as failed: look what there is.
                with contextlib.suppress(FileNotFoundError):
                    (self.waiting / name).rename(target)
                if target.exists() and (ticket := _read(target)):
                    return ticket
        return None

    def finish(self, allocation: str, ticket: Ticket, status: int) -> None:
        """Say that a job is done."""
        write(self.done / f"{ticket.name}.json", {"exit": status, "allocation": allocation})
        (self.claimed / allocation / f"{ticket.name}.json").unlink(missing_ok=True)


def write(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all, for the owner's eyes: commands may hold secrets."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
    temporary.replace(path)


def _names(folder: Path) -> list[str]:
    return sorted(p.stem for p in folder.glob("*.json") if not p.name.startswith("."))


def _read(path: Path) -> Ticket | None:
    """A ticket; None where another allocation was faster or the file is torn."""
    try:
        return Ticket(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
