"""The folder of one part: what is declared to the workflow, and the trainer's own store behind it.

    part1/checkpoint.pt, history.parquet, outcome.json    declared outputs, published once
    part1/live/step000000000400-<hash>.pt                 rolling checkpoints, two kept
    part1/live/heartbeat.json, attempts.jsonl, log.txt    who works on it, and how far it is
    part1/live/final/                                     what was published

The workflow may delete declared outputs whenever it likes: they are hard links, republished from
`live/final` without training anything again. Nothing here needs torch.
"""

import hashlib
import json
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from seqgrid import outcome, provenance
from seqgrid.job import TRY_AGAIN
from seqgrid.outcome import FileRecord, Outcome

ROLLING = re.compile(r"step(\d{12})-([0-9a-f]{16})\.pt")
KEPT = 2  # rolling checkpoints


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
            temporary = self.folder / f".{name}.{os.getpid()}"
            temporary.unlink(missing_ok=True)
            os.link(self.final / name, temporary)
            temporary.replace(self.folder / name)

    def finish(self, checkpoint: Path | None, history: bytes, **fields: object) -> Outcome:
        """Store the end of the part: checkpoint (empty where there is none), history, outcome."""
        target = self.final / "checkpoint.pt"
        temporary = self.final / f".checkpoint.pt.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        if checkpoint:
            os.link(checkpoint, temporary)
        else:
            temporary.touch()
        temporary.replace(target)
        write_bytes(self.final / "history.parquet", history)
        attempts = self.attempts()
        made = Outcome(
            cell=self.cell,
            run=self.run,
            part=self.number,
            attempts=max(1, len(attempts)),
            # The last attempt is the one that speaks now, unless its end is noted already.
            silent_deaths=sum(_died(a) for a in attempts if a["ended"] or a is not attempts[-1]),
            started_at=attempts[0]["started_at"] if attempts else provenance.now(),
            ended_at=provenance.now(),
            files={name: FileRecord.of(self.final / name) for name in outcome.PART_FILES},
            **fields,  # type: ignore[arg-type]
        )
        made.write(self.final / "outcome.json")
        return made

    def rolling(self) -> list[Path]:
        """Rolling checkpoints whose content matches the hash in their name, newest first."""
        found = sorted(self.live.glob("step*.pt"), reverse=True)
        return [path for path in found if _intact(path)]

    def newest_state(self) -> Path | None:
        """The checkpoint to go on from: this part's newest, else the newest of the parts before."""
        for number in range(self.number, 0, -1):
            part = Part(self.cells, self.cell, self.run, number)
            candidates = [*part.rolling()]
            for folder in (part.folder, part.final):
                try:
                    outcome.read(folder, self.cell, self.run, number)
                    candidates.insert(0, folder / "checkpoint.pt")
                    break
                except outcome.Invalid:
                    continue
            for path in candidates:
                if path.stat().st_size:
                    return path
        return None

    def attempts(self) -> list[dict]:
        """The processes that worked on the part, oldest first; 'ended' is null for a silent death."""
        try:
            lines = (self.live / "attempts.jsonl").read_text().splitlines()
        except OSError:
            return []
        found: list[dict] = []
        for record in filter(None, map(_json, lines)):
            if "started_at" in record:
                found.append(record | {"ended": None})
            elif found:
                found[-1]["ended"] = record.get("ended")
        return found

    def begin_attempt(self, invocation: str | None) -> None:
        """Note that a process starts working on the part."""
        record = {
            "started_at": provenance.now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": provenance.job_id(),
            "invocation": invocation,
            "step": self.step(),
        }
        self._note(record)

    def end_attempt(self, ended: str) -> None:
        """Note how the process ended."""
        self._note({"ended": ended})

    def _note(self, record: dict) -> None:
        with (self.live / "attempts.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def deaths_here(self) -> list[dict]:
        """The latest attempts, as long as each died without a word and without progress."""
        deaths = []
        for attempt in reversed(self.attempts()):
            if not _died(attempt) or attempt["step"] != self.step():
                break
            deaths.append(attempt)
        return deaths

    def step(self) -> int:
        """Step of the newest rolling checkpoint; 0 where there is none."""
        steps = [int(match[1]) for p in self.live.iterdir() if (match := ROLLING.match(p.name))]
        return max(steps, default=0)

    def beat(self) -> dict | None:
        """The last heartbeat; None where there is none."""
        try:
            return _json(self.heartbeat.read_text())
        except OSError:
            return None

    def write_beat(self, **fields: object) -> None:
        """Write a heartbeat; a full disk must not end a training."""
        record = {"host": socket.gethostname(), "pid": os.getpid(), "time": provenance.now()}
        try:
            temporary = self.live / f".heartbeat.{os.getpid()}"
            temporary.write_text(json.dumps(record | fields) + "\n")
            temporary.replace(self.heartbeat)
        except OSError:
            return


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def add_rolling(live: Path, step: int, content: bytes) -> Path:
    """Write a rolling checkpoint under a name that carries its hash; drop all but the last two."""
    path = live / f"step{step:012d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    write_bytes(path, content)
    for old in sorted(live.glob("step*.pt"), reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def _died(attempt: dict) -> bool:
    return attempt["ended"] not in ("exit 0", f"exit {TRY_AGAIN}", "stopped")


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
