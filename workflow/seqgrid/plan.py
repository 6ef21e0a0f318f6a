"""What is next for every cell, from the study and the files on disk alone.

    no part yet                       -> train makes part 1
    last part timed_out, interrupted  -> resume makes the next part
    last part corrupt                 -> resume makes the next part from the newest good state
    last part finished, failed, ...   -> nothing, but its evaluation where that is missing

Nothing else decides: the Snakefile turns a plan into targets, `status` prints it. Asking again
(`rerun`) goes on after a failure and starts anew (a run `again1`, ...) after a training that came
to its end; nothing on disk is overwritten or deleted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from seqgrid import lease, outcome, sources
from seqgrid.outcome import Absent, FileRecord, Invalid, Outcome, Verified, write_text
from seqgrid.store import Part
from seqgrid.study import Row, Study

RERUN = (*get_args(outcome.Name), "corrupt", "stale")
Step = Literal["train", "resume", "evaluate"]


@dataclass(frozen=True)
class Found:
    """One evaluation of a part on disk."""

    name: str  # with its -againN
    valid: bool
    stale: bool
    error: str | None
    seconds: float


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


def plan(rows: list[Row], results: Path, rerun: set[str] = frozenset()) -> list[Standing]:  # type: ignore[assignment]
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
    wanted = pattern.strip("/").removeprefix("results/").removeprefix("cells/")
    expression = re.compile(
        "".join(
            "[^/]*" if piece == "*" else re.escape(piece) for piece in re.split(r"(\*)", wanted)
        )
        + "(/.*)?$"
    )
    chosen = [s for s in standings if expression.match(s.row.cell.path)]
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


def _standing(row: Row, cells: Path, rerun: set[str], verified: Verified) -> Standing:
    runs = [_read_run(row, cells, name, verified) for name in _runs(cells / row.cell.path)]
    # A new training under way does not hide the result of the one before.
    shown = next((run for run in reversed(runs) if run.ended), runs[-1])
    step, name, part, evaluation = _next(runs[-1], len(runs), row, rerun)
    folder = "/".join(filter(None, [row.cell.path, name, f"part{part}"]))
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
        target=f"{folder}/evaluation-{evaluation}.parquet" if evaluation else None,
    )


def _next(
    run: _Run, runs: int, row: Row, rerun: set[str]
) -> tuple[Step | None, str, int, str | None]:
    """The next step, the run and part it makes, and the name of the evaluation that follows."""
    name = row.evaluation.name
    if (
        run.stale
        and "stale" in rerun
        or (run.state in rerun and run.state not in outcome.CONTINUED)
    ):
        if run.state != "corrupt":
            return "train", f"again{runs}", 1, name
    if run.absent or run.state == "missing":
        return ("train" if run.part == 1 else "resume"), run.name, run.part, name
    if run.trouble or not run.ended or run.state in rerun:
        return "resume", run.name, run.part + 1, name
    found, last = run.evaluation, run.last
    if last and last.files["checkpoint.pt"].size:
        if found is None:
            return "evaluate", run.name, run.part, name
        failed = found.error is not None and "failed" in rerun
        if not found.valid or failed or (found.stale and "stale" in rerun):
            return "evaluate", run.name, run.part, _again(found.name)
    return None, run.name, run.part, None


def _runs(folder: Path) -> list[str]:
    """Runs of a cell on disk, oldest first: '' and again1, again2, ..."""
    try:
        again = [p.name for p in folder.iterdir() if re.fullmatch(r"again\d+", p.name)]
    except OSError:
        return [""]
    return ["", *sorted(again, key=lambda name: int(name.removeprefix("again")))]


def _read_run(row: Row, cells: Path, name: str, verified: Verified) -> _Run:
    """A corrupt part that was followed by a good one is history and does not count."""
    cell = row.cell
    outcomes: list[Outcome] = []
    trouble, absent, number = None, False, 1
    while (folder := cells / cell.path / name / f"part{number}").is_dir():
        try:
            outcomes.append(outcome.read(folder, cell.path, name, number, verified))
            trouble = None
        except Absent:
            absent, trouble = True, None
            break
        except Invalid as error:
            trouble = str(error)
        number += 1
    number = number if absent else max(1, number - 1)
    digest = sources.training_digest(cell.model, cell.task) if outcomes else ""
    evaluation = None
    if outcomes and not trouble:
        part = Part(cells, cell.path, name, outcomes[-1].part)
        evaluation = _evaluation(part, row, outcomes[-1])
    return _Run(
        name=name,
        outcomes=tuple(outcomes),
        trouble=trouble,
        absent=absent,
        part=number,
        stale=any(o.provenance.source_digest != digest for o in outcomes),
        evaluation=evaluation,
    )


def _evaluation(part: Part, row: Row, last: Outcome) -> Found | None:
    """The newest evaluation of a part; None where there is none."""
    number = 0
    while (part.folder / f"evaluation-{_numbered(row.evaluation.name, number)}.parquet").exists():
        number += 1
    if number == 0:
        return None
    newest = _numbered(row.evaluation.name, number - 1)
    path = part.folder / f"evaluation-{newest}.parquet"
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        outcome.check_file(path, FileRecord(**record["file"]))
        valid = record["checkpoint"] == last.files["checkpoint.pt"].sha256
        digest = sources.evaluation_digest(row.cell.model, row.cell.task)
        stale = record["source_digest"] != digest
        return Found(newest, valid, stale, record["error"], record["seconds"])
    except (OSError, ValueError, KeyError, TypeError, Invalid):
        return Found(newest, False, False, None, 0.0)


def _numbered(name: str, number: int) -> str:
    return f"{name}-again{number}" if number else name


def _again(name: str) -> str:
    base, _, number = name.partition("-again")
    return _numbered(base, int(number or 0) + 1)


def prepare(standings: list[Standing], name: str, study: Study, results: Path) -> None:
    """Write what jobs read: cell.json, and execution.json, for every run that has work to do."""
    limits = {
        "study": name,
        "part_seconds": study.part_seconds,
        "checkpoint_seconds": study.checkpoint_seconds,
    }
    text = json.dumps(limits) + "\n"
    for standing in standings:
        if standing.next in ("train", "resume"):
            folder = results / "cells" / standing.row.cell.path / standing.run
            standing.row.cell.write(folder)
            path = folder / "execution.json"
            if not path.exists() or path.read_text() != text:
                write_text(path, text)


def running(standing: Standing, results: Path) -> dict | None:
    """Who trains a cell right now, with its last heartbeat under 'beat'; None for nobody."""
    holder = lease.held(results / "cells" / standing.row.cell.path)
    if holder is None:
        return None
    cells = results / "cells"
    part = Part(cells, standing.row.cell.path, standing.run, standing.part)
    return holder | {"beat": part.beat()}


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
