"""The folder of one part: what is declared to the workflow, and the trainer's own store behind it.

    part1/checkpoint.pt, history.parquet, outcome.json    declared outputs, published once
    part1/live/step000000000400-<hash>.pt                 rolling checkpoints, two kept
    part1/live/heartbeat.json, attempts.jsonl             who works on it, and how far it is
    part1/live/final/                                     what was published

The workflow may delete declared outputs whenever it likes: they are hard links, republished from
`live/final` without training anything again. Nothing here needs torch.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgrid import deaths, outcome, provenance, scheduler
from seqgrid.attempts import work
from seqgrid.outcome import FileRecord, Outcome, write_bytes, write_text

ROLLING = re.compile(r"step(\d{12})-([0-9a-f]{16})\.pt")
TEMPORARY = re.compile(r"\.(checkpoint|step\S+|history|outcome|heartbeat)\.(pt|parquet|json)\.\d+")


@dataclass(frozen=True)
class Part:
    """The folder of one part of one run of a cell."""

    cells: Path  # results/cells
    cell: str  # path of the cell below it
    run: str  # '' or 'again1' ...
    number: int

    @classmethod
    def of(cls, cells: Path, cell: str, run: str, number: int) -> "Part":
        """A part, its folders made."""
        part = cls(cells, cell, run, number)
        part.final.mkdir(parents=True, exist_ok=True)
        return part

    @property
    def cell_folder(self) -> Path:
        """The folder of the cell, which holds the lease."""
        return self.cells / self.cell

    @property
    def run_folder(self) -> Path:
        """The folder of the run, which holds cell.json."""
        return self.cell_folder / self.run

    @property
    def folder(self) -> Path:
        """The folder of the part."""
        return self.run_folder / f"part{self.number}"

    @property
    def live(self) -> Path:
        """The trainer's own folder."""
        return self.folder / "live"

    @property
    def final(self) -> Path:
        """The store of what was published."""
        return self.live / "final"

    @property
    def heartbeat(self) -> Path:
        """Written by a training process every few seconds."""
        return self.live / "heartbeat.json"

    @property
    def heartbeats(self) -> list[Path]:
        """Those of every part of the cell: whatever somebody else may be training."""
        return sorted(self.cell_folder.glob("**/live/heartbeat.json"))

    def __str__(self) -> str:
        return "/".join(filter(None, [self.cell, self.run, f"part{self.number}"]))

    def read(self) -> Outcome:
        """The published outcome, checked; see outcome.read for what it raises."""
        return outcome.read(self.folder, self.cell, self.run, self.number)

    def stored(self) -> Outcome | None:
        """The outcome in the store, if it is there and valid."""
        try:
            return outcome.read(self.final, self.cell, self.run, self.number)
        except outcome.Invalid:
            return None

    def publish(self) -> None:
        """Link what the store holds to where the workflow expects it; the outcome comes last."""
        for name in (*outcome.PART_FILES, "outcome.json"):
            _link(self.final / name, self.folder / name)

    def finish(
        self,
        checkpoint: Path | None,
        history: bytes,
        fence: Callable[[], None] = lambda: None,
        **fields: Any,
    ) -> Outcome:
        """Store the end of the part: checkpoint (empty where there is none), history, outcome.

        Raises:
            OSError: it could not be written. What `fence` raises: the part is not ours any more.
        """
        fence()
        if checkpoint:
            _link(checkpoint, self.final / "checkpoint.pt")
        else:
            write_bytes(self.final / "checkpoint.pt", b"")
        write_bytes(self.final / "history.parquet", history)
        attempts, ended_at = self.attempts(), provenance.now()
        # Not the one that speaks now.
        ended = attempts[:-1] if attempts and _mine(attempts[-1]) else attempts
        made = Outcome(
            cell=self.cell,
            run=self.run,
            part=self.number,
            started_at=attempts[0]["started_at"] if attempts else ended_at,
            ended_at=ended_at,
            files={name: FileRecord.of(self.final / name) for name in outcome.PART_FILES},
            **work(attempts, ended_at, ended),
            **fields,
        )
        fence()
        made.write(self.final / "outcome.json")
        return made

    def rolling(self) -> list[Path]:
        """Rolling checkpoints whose content matches the hash in their name, newest first."""
        return [path for path in sorted(self._rolling_files(), reverse=True) if _intact(path)]

    def newest_state(self) -> Path | None:
        """The newest checkpoint; see `states`."""
        return next(self.states(), None)

    def states(self) -> Iterator[Path]:
        """Checkpoints to go on from: this part's, newest first, then those of the parts before."""
        for number in range(self.number, 0, -1):
            part = Part(self.cells, self.cell, self.run, number)
            for folder in (part.folder, part.final):
                try:
                    ended = outcome.read(folder, self.cell, self.run, number)
                except outcome.Invalid:
                    continue
                if ended.files["checkpoint.pt"].size:
                    yield folder / "checkpoint.pt"
            yield from part.rolling()

    def attempts(self) -> list[dict]:
        """Who worked on the part, oldest first; 'ended' is None for a silent death.

        What was found out about a death stands under 'why', 'reached' and 'kept'.
        """
        try:
            lines = self._attempts_file.read_text(errors="replace").splitlines()
        except OSError:
            return []
        found: list[dict] = []
        for record in filter(None, map(_json, lines)):
            if "started_at" in record:
                found.append(record | {"ended": None})
            elif "about" in record:
                about = record.pop("about")
                for attempt in found:
                    if attempt["started_at"] == about:
                        attempt.update(record)
            elif found and found[-1]["ended"] is None:
                found[-1] |= {"ended": record.get("ended"), "ended_at": record.get("ended_at")}
        return found

    def begin_attempt(self, invocation: str | None, asked: tuple[int, int] | None = None) -> None:
        """Note that a process starts working on the part, and clear away what a killed one left.

        asked: minutes and MB that its job asked for.
        """
        self._tidy()
        record = {
            "started_at": provenance.now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": provenance.job_id(),
            # A job that SLURM starts again keeps its id.
            "job_started": scheduler.job_started(),
            "invocation": invocation,
            "step": self.step(),
            "asked": asked,
            "seen": (self.beat() or {}).get("time"),  # the last sign of the attempt before
        }
        self._note(record)

    def end_attempt(self, ended: str) -> None:
        """Note how the process ended."""
        self._note({"ended": ended, "ended_at": provenance.now()})

    def note_death(self, attempt: dict, *, why: dict, reached: int, kept: int) -> None:
        """Note why an attempt died: the step it had reached, and that of the newest checkpoint."""
        about = attempt["started_at"]
        self._note({"about": about, "why": why, "reached": reached, "kept": kept})

    def _note(self, record: dict) -> None:
        with self._attempts_file.open("a+b") as file:
            torn = file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            file.write(b"\n" * bool(torn) + json.dumps(record).encode() + b"\n")

    @property
    def _attempts_file(self) -> Path:
        return self.live / "attempts.jsonl"

    def _tidy(self) -> None:
        """Remove temporary files; only who holds the lease may call this."""
        for folder in (self.folder, self.live, self.final):
            for path in folder.iterdir():
                if TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def deaths_here(self) -> list[dict]:
        """The latest attempts, as long as each died, or came too late, without progress."""
        found = []
        for attempt in reversed(self.attempts()):
            if not deaths.in_vain(attempt) or attempt.get("step") != self.step():
                break
            found.append(attempt)
        return found

    def step(self) -> int:
        """Step of the newest rolling checkpoint; 0 where there is none."""
        return max((int(path.name[4:16]) for path in self._rolling_files()), default=0)

    def _rolling_files(self) -> list[Path]:
        return [path for path in self.live.glob("step*.pt") if ROLLING.fullmatch(path.name)]

    def beat(self) -> dict | None:
        """The last heartbeat; None where there is none."""
        try:
            return _json(self.heartbeat.read_text(errors="replace"))
        except OSError:
            return None

    def write_beat(self, **fields: object) -> None:
        """Write a heartbeat; a full disk must not end a training."""
        record = {"host": socket.gethostname(), "pid": os.getpid(), "time": provenance.now()}
        with contextlib.suppress(OSError):
            write_text(self.heartbeat, json.dumps(record | fields) + "\n", durable=False)


def add_rolling(
    live: Path, step: int, content: bytes, fence: Callable[[], None] | None = None
) -> Path:
    """Write a rolling checkpoint under a name that carries its hash; keep it and the one before.

    Raises:
        OSError: it could not be written; older checkpoints are untouched. So they are by
            what `fence` raises, which is called before anything shows.
    """
    path = live / f"step{step:012d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    write_bytes(path, content, fence=fence)
    others = sorted((p for p in live.glob("step*.pt") if p != path), reverse=True)
    # What claims a later step was no good, or this one would not have been trained again.
    before = next((p for p in others if p.name < f"step{step:012d}"), None)
    for old in others:
        if old != before:
            old.unlink(missing_ok=True)
    return path


def _link(source: Path, target: Path) -> None:
    """Put a file under a second name, at once and whole; a copy where there are no hard links."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except FileNotFoundError:
        raise
    except OSError:
        write_bytes(target, source.read_bytes())
    else:
        temporary.replace(target)
        # Renaming one name of a file to another of the same file does nothing.
        temporary.unlink(missing_ok=True)


def _mine(attempt: dict) -> bool:
    """Whether this process, or the one that forked it, is the attempt."""
    here = (socket.gethostname(), (os.getpid(), os.getppid()))
    return attempt["ended"] is None and (
        attempt.get("host") == here[0] and attempt.get("pid") in here[1]
    )


def _intact(path: Path) -> bool:
    match = ROLLING.fullmatch(path.name)
    if not match:
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16] == match[2]
    except OSError:
        return False


def _json(text: str) -> dict | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
