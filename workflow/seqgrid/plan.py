"""What is next for every cell, from the study and the files on disk alone.

    no part yet                       -> train makes part 1
    last part timed_out, interrupted  -> resume makes the next part
    last part corrupt                 -> resume makes the next part from the newest good state
    last part of a newer version      -> nothing
    last part finished, failed, ...   -> nothing, but its evaluation where that is missing

Nothing else decides: the Snakefile turns a plan into targets, `status` prints it. Asking again
(`rerun`) goes on after a failure and starts anew (a run `again1`, ...) after a training that came
to its end; nothing on disk is overwritten or deleted.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from seqgrid import lease, outcome, provenance, sources
from seqgrid.cell import Cell
from seqgrid.outcome import Absent, Invalid, Newer, Outcome, Verified, write_text
from seqgrid.store import Part
from seqgrid.study import Row, Study

RERUN = (*get_args(outcome.Name), "corrupt", "stale")
Step = Literal["train", "resume", "evaluate"]
# A trainer on another host that wrote no heartbeat for so long does not count as running.
SILENT_SECONDS = 600.0


@dataclass(frozen=True)
class Found:
    """One evaluation of a part on disk."""

    name: str  # with its -againN
    valid: bool
    stale: bool
    error: str | None
    seconds: float
    peak_host_bytes: int | None = None


@dataclass(frozen=True)
class Standing:
    """A cell of a study as it stands on disk, and what comes next."""

    row: Row
    run: str  # '' or 'again1' ...: where the next part goes
    outcomes: tuple[Outcome, ...]  # valid outcomes of the reported run, in order of parts
    reported_run: str
    state: str  # an outcome's name, 'missing' or 'corrupt'
    reason: str
    stale: bool
    evaluation: Found | None
    next: Step | None
    part: int  # number of the part that is next, or of the last one
    target: str | None  # evaluation file to make, relative to results/cells
    begun: bool = False  # a job has worked on the part that is next
    others: tuple[Outcome, ...] = ()  # valid outcomes of the runs that are not reported

    @property
    def last(self) -> Outcome | None:
        """The outcome of the last valid part."""
        return self.outcomes[-1] if self.outcomes else None


class WrongRequest(Exception):
    """A request on the command line that means nothing; the message says what is allowed."""


def parse_rerun(value: str | Iterable[str]) -> set[str]:
    """The set of states asked for again, such as 'failed' or 'failed,stale'.

    Raises:
        WrongRequest: a name that is no state.
    """
    names = [n.strip() for n in (value.split(",") if isinstance(value, str) else value)]
    names = [name for name in names if name]
    for name in names:
        if name not in RERUN:
            raise WrongRequest(f"rerun: '{name}' is not a state; allowed: {', '.join(RERUN)}")
    return set(names)


def plan(rows: list[Row], results: Path, rerun: Collection[str] = frozenset()) -> list[Standing]:
    """How every row stands and what is next for it; `results` is the results folder."""
    verified = Verified(results / ".verified.json")
    standings = [_standing(row, results / "cells", rerun, verified) for row in rows]
    verified.save()
    return standings


def select(standings: list[Standing], pattern: str) -> list[Standing]:
    """The cells whose path matches: a path, a folder above cells, or a glob pattern.

    Raises:
        WrongRequest: none does.
    """
    wanted = pattern.strip().removeprefix("./").strip("/")
    wanted = wanted.removeprefix("results/").removeprefix("cells/")
    pieces = ["[^/]*" if piece == "*" else re.escape(piece) for piece in re.split(r"(\*)", wanted)]
    expression = re.compile("".join(pieces) + "(/.*)?")
    chosen = [s for s in standings if expression.fullmatch(s.row.cell.path)]
    if not chosen:
        raise WrongRequest(
            f"cell: '{pattern}' matches no cell of the study; a path looks like "
            f"{standings[0].row.cell.path}, and * stands for any part of a name"
        )
    return chosen


@dataclass(frozen=True)
class _Run:
    """One training of a cell, as found on disk."""

    name: str  # '' or 'again1' ...
    outcomes: tuple[Outcome, ...]  # valid ones, in order of parts
    trouble: str | None  # what is wrong with the last part
    absent: bool  # the last part lacks declared files: it is the one to make
    newer: bool  # a newer version made the last part: nothing is done to it unasked
    part: int  # number of the last part
    stale: bool
    evaluation: Found | None

    @property
    def last(self) -> Outcome | None:
        return self.outcomes[-1] if self.outcomes else None

    @property
    def state(self) -> str:
        if self.trouble:
            return "corrupt"
        return self.last.outcome if self.last else "missing"

    @property
    def ended(self) -> bool:
        return self.state not in ("missing", "corrupt", *outcome.UNFINISHED)


def _standing(row: Row, cells: Path, rerun: Collection[str], verified: Verified) -> Standing:
    folder = str(cells / row.cell.path)
    entries = _entries(folder)
    names = ["", *_numbered(entries, "again")]
    runs = [
        _read_run(row, cells, name, _entries(f"{folder}/{name}") if name else entries, verified)
        for name in names
    ]
    # A new training under way does not hide the result of the one before.
    shown = next((run for run in reversed(runs) if run.ended), runs[-1])
    following = f"again{int(names[-1].removeprefix('again') or 0) + 1}"
    step, name, part, evaluation = _next(runs[-1], following, row, rerun)
    target = "/".join(filter(None, [row.cell.path, name, f"part{part}"]))
    return Standing(
        row=row,
        run=name,
        outcomes=shown.outcomes,
        reported_run=shown.name,
        state=shown.state,
        reason=shown.trouble or (shown.last.reason if shown.last else ""),
        stale=shown.stale,
        evaluation=shown.evaluation,
        next=step,
        part=part,
        target=f"{target}/evaluation-{evaluation}.parquet" if evaluation else None,
        begun=runs[-1].absent and name == runs[-1].name,
        others=tuple(o for run in runs if run is not shown for o in run.outcomes),
    )


def _next(
    run: _Run, following: str, row: Row, rerun: Collection[str]
) -> tuple[Step | None, str, int, str | None]:
    """The next step, the run and part it makes, and the name of the evaluation that follows."""
    name = row.evaluation.name
    asked = run.state in rerun
    anew = (asked and run.state not in outcome.CONTINUED) or (run.stale and "stale" in rerun)
    if anew and run.state != "corrupt":
        return "train", following, 1, name
    if run.absent or run.state == "missing":
        return ("train" if run.part == 1 else "resume"), run.name, run.part, name
    if run.newer and not asked:
        return None, run.name, run.part, None
    if asked or not run.ended:
        return "resume", run.name, run.part + 1, name
    found, last = run.evaluation, run.last
    if last and last.files["checkpoint.pt"].size:
        if found is None:
            return "evaluate", run.name, run.part, name
        failed = found.error is not None and "failed" in rerun
        if not found.valid or failed or (found.stale and "stale" in rerun):
            base, _, number = found.name.partition("-again")
            return "evaluate", run.name, run.part, f"{base}-again{int(number or 0) + 1}"
    return None, run.name, run.part, None


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208, names alone and in a third of the time
    except OSError:
        return []


def _numbered(entries: list[str], stem: str) -> list[str]:
    """Those called stem1, stem2, ..., in order."""
    found = [e for e in entries if e.startswith(stem) and e.removeprefix(stem).isdecimal()]
    return sorted(found, key=lambda name: int(name.removeprefix(stem)))


def _read_run(row: Row, cells: Path, name: str, entries: list[str], verified: Verified) -> _Run:
    """A bad part that was followed by a good one is history and does not count."""
    cell = row.cell
    outcomes: list[Outcome] = []
    trouble, absent, newer, number = None, False, False, 1
    for part in _numbered(entries, "part"):
        number = int(part.removeprefix("part"))
        trouble, absent, newer = None, False, False
        try:
            folder = cells / cell.path / name / part
            outcomes.append(outcome.read(folder, cell.path, name, number, verified))
        except Absent:
            absent = True
        except Invalid as error:
            trouble, newer = str(error), isinstance(error, Newer)
    digest = sources.training_digest(cell.model, cell.task, cell.parts) if outcomes else ""
    evaluation = None
    if outcomes and not trouble:
        last = Part(cells, cell.path, name, outcomes[-1].part)
        evaluation = _evaluation(last, row, outcomes[-1], verified)
    return _Run(
        name=name,
        outcomes=tuple(outcomes),
        trouble=trouble,
        absent=absent,
        newer=newer,
        part=number,
        stale=any(o.provenance.source_digest != digest for o in outcomes)
        or bool(outcomes and _other_settings(cells / cell.path / name, cell)),
        evaluation=evaluation,
    )


def _other_settings(folder: Path, cell: Cell) -> bool:
    """Whether the training was begun with other settings, as after a changed default."""
    try:
        return Cell.read(folder) != cell
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True


def _evaluation(part: Part, row: Row, last: Outcome, verified: Verified) -> Found | None:
    """The newest evaluation of a part; None where there is none."""
    stem, suffix = f"evaluation-{row.evaluation.name}", ".parquet"
    files = [e.removesuffix(suffix) for e in _entries(str(part.folder)) if e.endswith(suffix)]
    newest = [*(stem for e in files if e == stem), *_numbered(files, f"{stem}-again")][-1:]
    if not newest:
        return None
    name = newest[0].removeprefix("evaluation-")
    path = part.folder / f"{newest[0]}{suffix}"
    try:
        record = outcome.read_evaluation(path, last.files["checkpoint.pt"].sha256, verified)
    except Invalid:
        return Found(name, False, False, None, 0.0)
    digest = sources.evaluation_digest(row.cell.model, row.cell.task, row.cell.parts)
    stale = record.source_digest != digest
    return Found(name, True, stale, record.error, record.seconds, record.peak_host_bytes)


def run_folder(standing: Standing) -> str:
    """Folder below results/cells of the run that goes on: what the rules call `cell`."""
    return f"{standing.row.cell.path}/{standing.run}".rstrip("/")


def prepare(
    standings: list[Standing],
    name: str,
    study: Study,
    results: Path,
    requests: Mapping[str, dict] = MappingProxyType({}),
) -> None:
    """Make ready what jobs read, for every run that has work to do: cell.json, execution.json.

    requests: entries of execution.json by run folder.
    """
    limits = {
        "study": name,
        "part_seconds": study.part_seconds,
        "checkpoint_seconds": study.checkpoint_seconds,
        "out_of_memory_pieces": study.out_of_memory_pieces,
    }
    for standing in standings:
        if standing.next:
            below = run_folder(standing)
            folder = results / "cells" / below
            standing.row.cell.write(folder)
            path = folder / "execution.json"
            text = json.dumps(limits | requests.get(below, {})) + "\n"
            if not path.exists() or path.read_bytes() != text.encode():
                write_text(path, text, durable=False)
            for checkpoint in folder.glob("part*/checkpoint.pt"):
                # As after a clock was set back: Snakemake fails a job whose input is of tomorrow.
                if checkpoint.stat().st_mtime > time.time():
                    os.utime(checkpoint)


def running(standing: Standing, results: Path) -> dict | None:
    """Who trains a cell right now, with its last heartbeat under 'beat'; None for nobody."""
    cells = results / "cells"
    holder = lease.held(cells / standing.row.cell.path)
    if holder is None:
        return None
    beat = Part(cells, standing.row.cell.path, standing.run, standing.part).beat()
    if not holder["locked"]:
        last = max(str(holder.get("since", "")), str((beat or {}).get("time", "")))
        if provenance.seconds_since(last) > SILENT_SECONDS:
            return None
    return holder | {"beat": beat}


def counts(standings: list[Standing]) -> dict[str, int]:
    """Number of jobs of each kind that the plan asks for."""
    steps = Counter(s.next for s in standings if s.next)
    training = steps["train"] + steps["resume"]
    found = {
        "train": steps["train"],
        "resume": steps["resume"],
        "evaluate": steps["evaluate"] + training,
    }
    return {name: number for name, number in found.items() if number}
