"""How a part ended, as data: the schema of outcome.json, and what makes one valid.

Exit status and file age say nothing. A part is what its outcome says if the outcome matches the
schema, belongs to this cell and part, and the files it names have the sizes and hashes it records.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from seqgrid.settings import Strict

Name = Literal[
    "finished",
    "timed_out",
    "interrupted",
    "diverged",
    "out_of_memory",
    "killed",
    "failed",
    "skipped",
]
# A cell whose last part ended so goes on with the next part; every other end is final.
UNFINISHED = ("timed_out", "interrupted")
# Ends after which asking again goes on from the last checkpoint; after the others it starts anew.
CONTINUED = ("failed", "out_of_memory", "killed", *UNFINISHED)

SCHEMA = 1
PART_FILES = ("checkpoint.pt", "history.parquet")


class FileRecord(Strict):
    """Size and content hash of a file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        """Read a file and record it."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(size=path.stat().st_size, sha256=digest)


class Progress(Strict):
    """Where the training stands at the end of a part; times are of this part alone."""

    first_step: int = 0
    step: int = 0
    seen_tokens: int = 0
    solved_step: int | None = None
    solved_seconds: float | None = None  # training seconds of all parts up to then
    best_step: int | None = None
    best_metric: float | None = None
    last_metric: float | None = None
    metric: str | None = None
    training_seconds: float = 0.0
    validation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    peak_memory_bytes: int | None = None  # of device memory on CUDA, else resident
    peak_host_bytes: int | None = None  # resident
    pieces: int = 1  # that each batch was cut into at the end, after an out-of-memory
    parameters: int | None = None
    state_bytes: int | None = None
    flops_per_token: float | None = None
    # of the circuits of a quantum model; None: it has none
    qubits: int | None = None
    circuit_depth: int | None = None
    gates_per_example: int | None = None
    circuits_per_example: int | None = None
    simulated_flops_per_example: float | None = None


class Provenance(Strict):
    """Where a result comes from."""

    source_digest: str
    git_commit: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    host: str
    job_id: str | None
    threads: int
    asked_by: str | None = None  # study whose run trained it; others reuse it
    device: str | None = None
    dtype: str | None = None
    backend: dict[str, str] = Field(default_factory=dict)


class Death(Strict):
    """How a process that worked on a part died, as far as anybody knows."""

    state: str  # the scheduler's, such as NODE_FAIL; else the signal; UNKNOWN without a trace
    words: str
    host: str | None
    job_id: str | None
    step: int | None  # reached
    kept_step: int | None  # of the newest checkpoint then; the steps between were lost


class Outcome(Strict):
    """How one part of one cell ended."""

    schema_version: Literal[1] = 1
    cell: str  # path of the cell below results/cells
    run: str  # '' or 'again1' ...
    part: int
    outcome: Name
    reason: str
    error: str | None = None  # traceback
    progress: Progress = Progress()
    attempts: int = 1  # processes that worked on the part
    silent_deaths: int = 0  # of them, those that died without a word
    last_death: Death | None = None
    jobs: int = 1  # jobs that worked on the part; each has one or more attempts
    wall_seconds: float | None = None  # of all attempts, as far as their ends are known
    asked_minutes: int | None = None  # of all jobs together
    asked_mb: int | None = None  # of the last job
    started_at: str  # ISO 8601, UTC
    ended_at: str
    provenance: Provenance
    files: dict[str, FileRecord]
    seal: str | None = None  # in the file alone: hash of everything else there

    @property
    def terminal(self) -> bool:
        """Whether the cell has come to its end, good or bad."""
        return self.outcome not in UNFINISHED

    def write(self, path: Path) -> None:
        """Write whole or not at all."""
        content = json.loads(self.model_dump_json())
        write_text(path, json.dumps(content | {"seal": _seal(content)}, indent=1) + "\n")


class EvaluationRecord(Strict):
    """What stands beside an evaluation's Parquet file."""

    file: FileRecord
    checkpoint: str  # sha256 of the checkpoint that was evaluated
    source_digest: str
    seconds: float
    ended_at: str  # ISO 8601, UTC
    error: str | None
    peak_host_bytes: int | None = None  # resident


class Invalid(Exception):
    """A part whose outcome does not count; the message says why."""


class Newer(Invalid):
    """A part that a newer version of this program made; it is not trained again unasked."""


class Absent(Invalid):
    """A part that has no outcome yet, or lacks one of its files."""


def read(
    folder: Path, cell: str, run: str, part: int, verified: "Verified | None" = None
) -> Outcome:
    """The outcome of a part's folder, checked.

    Raises:
        Absent: a declared file is missing. Newer: another version made it.
        Invalid: something is there and wrong.
    """
    try:
        text = (folder / "outcome.json").read_bytes()
    except FileNotFoundError:
        raise Absent("no outcome.json") from None
    except OSError as error:
        raise Invalid(f"outcome.json cannot be read: {error}") from None
    try:
        found = Outcome.model_validate_json(text)
    except ValidationError as error:
        version = _version(text)
        if version > SCHEMA:
            raise Newer(
                f"outcome.json: made by a newer seqgrid (schema {version}, this one reads "
                f"{SCHEMA}); go on with that one, or ask for rerun=corrupt"
            ) from None
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"outcome.json: {key + ': ' if key else ''}{first['msg']}") from None
    if (found.cell, found.run, found.part) != (cell, run, part):
        where = "/".join(filter(None, [found.cell, found.run, f"part{found.part}"]))
        raise Invalid(f"outcome.json belongs to {where}")
    if found.seal is not None and found.seal != _seal(json.loads(text)):
        raise Invalid("outcome.json does not have the content it was sealed with")
    for name in PART_FILES:
        check_file(folder / name, found.files.get(name), verified)
    return found.model_copy(update={"seal": None})


def _seal(content: dict[str, Any]) -> str:
    """Hash of an outcome's keys and values; of those in the file, which later versions add to."""
    rest = {key: value for key, value in content.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _version(text: bytes) -> int:
    """The schema version a file claims; 0 where it claims none."""
    try:
        claimed = json.loads(text)["schema_version"]
    except (ValueError, TypeError, KeyError):
        return 0
    return claimed if isinstance(claimed, int) else 0


def read_evaluation(
    path: Path, checkpoint: str, verified: "Verified | None" = None
) -> EvaluationRecord:
    """The record of an evaluation's Parquet file, checked.

    Raises:
        Absent: a file is missing. Invalid: something is there and wrong.
    """
    try:
        found = EvaluationRecord.model_validate_json(path.with_suffix(".json").read_bytes())
    except FileNotFoundError:
        raise Absent(f"{path.name} has no record") from None
    except (OSError, ValidationError):
        raise Invalid(f"the record of {path.name} cannot be read") from None
    if found.checkpoint != checkpoint:
        raise Invalid(f"{path.name} belongs to another checkpoint")
    check_file(path, found.file, verified)
    return found


def check_file(path: Path, record: FileRecord | None, verified: "Verified | None" = None) -> None:
    """Compare a file with its record.

    Raises:
        Absent: there is no such file. Invalid: it is another one.
    """
    if record is None:
        raise Invalid(f"outcome.json has no record of {path.name}")
    try:
        stat = path.stat()
        if stat.st_size != record.size:
            raise Invalid(f"{path.name} has {stat.st_size} bytes, recorded {record.size}")
        if verified is not None and verified.knows(path, stat, record):
            return
        same = FileRecord.of(path).sha256 == record.sha256
    except FileNotFoundError:
        raise Absent(f"{path.name} is missing") from None
    except OSError as error:
        raise Invalid(f"{path.name} cannot be read: {error}") from None
    if not same:
        raise Invalid(f"{path.name} does not have the recorded content")
    if verified is not None:
        verified.learn(path, stat, record)


class Verified:
    """Remembers files whose hash was checked, so that unchanged ones are not read again.

    Keyed by inode, size and change time: any write to the file, even one that restores its
    modification time, leads to a new check.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fresh = 0
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError):
            known = {}
        self.known: dict[str, Any] = known if isinstance(known, dict) else {}

    @staticmethod
    def _state(stat: os.stat_result, record: FileRecord) -> list[Any]:
        return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, record.sha256[:16]]

    def knows(self, path: Path, stat: os.stat_result, record: FileRecord) -> bool:
        """Whether this very file was checked before."""
        return self.known.get(str(path)) == self._state(stat, record)

    def learn(self, path: Path, stat: os.stat_result, record: FileRecord) -> None:
        """Remember a file that was just checked."""
        self.known[str(path)] = self._state(stat, record)
        self.fresh += 1

    def save(self) -> None:
        """Keep what was learnt; without write permission the next run checks again."""
        if self.fresh:
            try:
                write_text(self.path, json.dumps(self.known), durable=False)
            except OSError:
                return


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode(), durable)


def write_bytes(
    path: Path, content: bytes, durable: bool = True, fence: Callable[[], None] | None = None
) -> None:
    """Write a file whole or not at all: temporary file, fsync where `durable`, rename.

    Args:
        path: where it goes.
        content: what it holds.
        durable: whether it must be on the disk before it has its name.
        fence: called right before the rename; raises where the file is not ours to write.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if fence:
            fence()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
