"""What the next jobs of a cell ask for: minutes and memory, with a margin on what is estimated.

A request that is too small loses nothing: a part that meets its limit is resumed, and one that
ran out of memory is started again with more.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seqgrid.estimates import Amount, Known, Level, remaining
from seqgrid.job import execution
from seqgrid.plan import Standing, run_folder
from seqgrid.postmortem import MOST_MEMORY, memory_factor
from seqgrid.store import Part
from seqgrid.study import Study

# Level -> factor on time, factor on memory.
MARGINS: dict[Level, tuple[float, float]] = {
    "own": (1.25, 1.2),  # nodes of one kind, and what else runs on them, differ by a fifth
    "equal": (1.5, 1.25),  # seeds and swept settings differ too
    "lengths": (2.0, 1.5),  # a doubled length costs twice, with attention four times as much
    "tasks": (3.0, 2.0),  # batch size, vocabulary and validation are another task's
}
# To import torch from a cold network file system and to compile; and, at the end, the last step,
# a validation, a checkpoint and the minute that the trainer keeps free before a limit.
START_SECONDS = 180.0
# Beside the training process: its supervisor, and a SLURM job's two Snakemakes of 170 MB each.
BESIDE_MB = 500
RUNTIME_STEP = 5  # minutes; a scheduler's backfill plans no finer
MB = 2**20  # what SLURM takes a megabyte for
# 1, 1.5, 2, 3, 4, 6 ... GB, so that jobs of a similar size can share an allocation.
MEMORY_STEPS = [512 * step for n in range(12) for step in (2 * 2**n, 3 * 2**n)]


@dataclass(frozen=True)
class Bounds:
    """First guesses where nothing is known, and the most a job may ask for."""

    runtime: int = 60  # minutes
    mem_mb: int = 4096
    max_runtime: int = 24 * 60
    max_mem_mb: int = 256 * 1024
    evaluation_runtime: int = 15

    @classmethod
    def of(cls, resources: Mapping[str, Any] | None) -> "Bounds":
        """Those of Snakemake's default-resources, the rest as above.

        Raises:
            ValueError: a maximum is no whole number above 0. A first guess that is none is an
            expression, as Snakemake's own default is, and passed over.
        """
        found = {}
        for name in ("runtime", "mem_mb", "max_runtime", "max_mem_mb"):
            value = resources[name] if resources and name in resources else None
            value = getattr(value, "raw", value)  # of Snakemake's own record
            if isinstance(value, int) and value > 0:
                found[name] = value
            elif name.startswith("max_") and value is not None:
                unit = "minutes" if name == "max_runtime" else "MB"
                raise ValueError(
                    f"default-resources: {name}: a whole number of {unit} above 0 is needed, "
                    f"got {value!r}"
                )
        return cls(**found)


DEFAULTS = Bounds()


@dataclass(frozen=True)
class Request:
    """What a job asks for."""

    runtime: int  # minutes
    mem_mb: int
    basis: str
    factor: int = 1  # of the memory, after the host ran out of it


@dataclass(frozen=True)
class Jobs:
    """What the jobs of one run of a cell ask for."""

    train: Request
    evaluate: Request


def of(
    standings: list[Standing],
    everything: list[Standing],
    study: Study,
    bounds: Bounds,
    results: Path,
) -> dict[str, Jobs]:
    """What is asked for by the cells that have work to do, by run folder below results/cells.

    Args:
        standings: the cells that this run works on.
        everything: all cells of the study, to learn from.
        study: has the length of a part.
        bounds: first guesses and maxima.
        results: the results folder.
    """
    known = Known(everything)
    return {
        run_folder(s): Jobs(_train(s, known, study, bounds, results), _evaluate(s, known, bounds))
        for s in standings
        if s.next
    }


def as_execution(jobs: Jobs) -> dict[str, Any]:
    """The entries of execution.json."""
    return {"request": asdict(jobs.train), "evaluation_request": asdict(jobs.evaluate)}


class Asked:
    """Answers the rules: from the plan in the driver, from execution.json in a job's process."""

    def __init__(self, planned: Mapping[str, Jobs], bounds: Bounds, results: Path) -> None:
        self.planned, self.bounds, self.cells = planned, bounds, results / "cells"

    def train(self, cell: str, part: int, attempt: int) -> Request:
        """For a part's training; with more memory once the host has run out of it."""
        found = self._find(cell, "train", "request", self.bounds.runtime)
        if attempt > 1:
            path, _, again = cell.partition("/again")
            run = f"again{again}" if again else ""
            trained = Part(self.cells, path, run, part)
            # What has its outcome is only published again.
            factor = 1 if trained.stored() else memory_factor(trained)
            if factor > found.factor:
                mem_mb = min(found.mem_mb // found.factor * factor, self.bounds.max_mem_mb)
                return Request(found.runtime, mem_mb, found.basis, factor)
        return found

    def evaluate(self, cell: str, attempt: int = 1) -> Request:
        """For the evaluation of a part; twice the memory with every attempt.

        An evaluation leaves no record of its deaths, and want of memory is the likeliest of them.
        """
        limit = self.bounds.evaluation_runtime
        found = self._find(cell, "evaluate", "evaluation_request", limit)
        factor = min(2 ** (attempt - 1), MOST_MEMORY)
        return replace(found, mem_mb=min(found.mem_mb * factor, self.bounds.max_mem_mb))

    def _find(self, cell: str, job: str, key: str, runtime: int) -> Request:
        if jobs := self.planned.get(cell):
            return getattr(jobs, job)
        try:
            return Request(**execution(self.cells / cell)[key])
        except (KeyError, TypeError):
            return Request(runtime, self.bounds.mem_mb, "first guess")


def _train(s: Standing, known: Known, study: Study, bounds: Bounds, results: Path) -> Request:
    rate, peak = known.step_seconds.of(s.row), known.training_bytes.of(s.row)
    seconds = bounds.runtime * 60.0
    if rate:
        seconds = rate.value * remaining(s) * MARGINS[rate.level][0] + START_SECONDS
    # A part stops by itself then, whatever its steps take; a budget counts training alone.
    if study.part_seconds is not None:
        seconds = min(seconds, study.part_seconds + START_SECONDS)
    if (budget := s.row.cell.training.seconds) is not None:
        seconds = min(seconds, budget * MARGINS["equal"][0] + START_SECONDS)
    part = Part(results / "cells", s.row.cell.path, s.run, s.part)
    # Where nobody has worked on the cell there is nothing to look for.
    factor = memory_factor(part) if s.begun or s.part > 1 else 1
    mem_mb = _memory(peak, bounds) * factor
    basis = _basis(rate, peak)
    if factor > 1:
        basis += f"; memory times {factor}: the host ran out of it"
    return Request(_minutes(seconds, bounds), min(mem_mb, bounds.max_mem_mb), basis, factor)


def _evaluate(s: Standing, known: Known, bounds: Bounds) -> Request:
    time = known.evaluation_seconds.of(s.row)
    seconds = bounds.evaluation_runtime * 60.0
    if time:
        seconds = time.value * MARGINS[time.level][0] + START_SECONDS
    # The training holds more than its evaluation: gradients and the optimiser's state.
    peak = known.evaluation_bytes.of(s.row) or known.training_bytes.of(s.row)
    return Request(_minutes(seconds, bounds), _memory(peak, bounds), _basis(time, peak))


def _minutes(seconds: float, bounds: Bounds) -> int:
    steps = max(1, math.ceil(seconds / 60 / RUNTIME_STEP))
    return min(steps * RUNTIME_STEP, bounds.max_runtime)


def _memory(peak: Amount | None, bounds: Bounds) -> int:
    if peak is None:
        return min(bounds.mem_mb, bounds.max_mem_mb)
    wanted = peak.value / MB * MARGINS[peak.level][1] + BESIDE_MB
    return min(next((m for m in MEMORY_STEPS if m >= wanted), MEMORY_STEPS[-1]), bounds.max_mem_mb)


def _basis(time: Amount | None, memory: Amount | None) -> str:
    first, second = (f"from {a.basis}" if a else "first guess" for a in (time, memory))
    return first if first == second else f"time: {first}; memory: {second}"
