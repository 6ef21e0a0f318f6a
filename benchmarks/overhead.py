"""The trainer against the bare step of the same model: forward, loss, backward, optimiser.

The bare step runs on one batch made beforehand, without clipping, schedule or bookkeeping; every
one of them counts as overhead of the trainer. It runs between the trainer's own steps, so that
whatever else the machine does slows both.
"""

import tempfile
import time
from pathlib import Path

import torch
from measure import median
from table import Table

from seqgrid import metrics, optimiser, registry, study, worker
from seqgrid.cell import Cell
from seqgrid.data import outputs_of
from seqgrid.loop import Loop

INTERVAL_SECONDS = 60  # between checkpoints, the default of a study
SAVES = 15
WARM_UP = 8  # steps


class Pair:
    """A trainer and a bare step, alternating."""

    def __init__(self, cell: Cell, live: Path, steps: int) -> None:
        training = cell.training.model_copy(update={"steps": 10**9})
        validation = cell.validation.model_copy(update={"every_steps": steps})
        never = cell.stopping.model_copy(update={"solved_validations": None})
        cell = cell.model_copy(
            update={"training": training, "validation": validation, "stopping": never}
        )
        self.loop = Loop(cell, live, 1, None)
        self.model = registry.make_model(cell.model, cell.model_settings, self.loop.task.shape)
        self.optimiser = optimiser.make(self.model, training)
        self.batch = self.loop.examples.batch(0)
        self.bare_seconds = 0.0
        self.until = 0

    def _bare(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        outputs = outputs_of(self.model, self.batch)
        metrics.loss_of(outputs, self.batch, self.loop.task.loss).backward()
        self.optimiser.step()

    def _between(self, loop: Loop) -> bool:
        begin = time.process_time()
        if loop.track.step < self.until:
            self._bare()
        self.bare_seconds += time.process_time() - begin
        return loop.track.step >= self.until

    def round(self, steps: int) -> tuple[float, float, float]:
        """Processor seconds of a bare step, of a trainer's step, and of the validations."""
        loop, spent = self.loop, 0.0
        validate = loop._validate

        def validated() -> None:
            nonlocal spent
            begin = time.process_time()
            validate()
            spent += time.process_time() - begin

        loop._validate = validated  # type: ignore[method-assign]
        self.until = loop.track.step + steps
        self.bare_seconds = 0.0
        begin = time.process_time()
        loop.run(self._between)
        whole = time.process_time() - begin
        loop._validate = validate  # type: ignore[method-assign]
        ours = whole - spent - self.bare_seconds
        return self.bare_seconds / steps, ours / steps, spent

    def checkpoint(self) -> tuple[float, int]:
        """Wall seconds and bytes of a checkpoint, waiting for the disk included."""
        found = []
        for _ in range(SAVES):
            self.loop.track.step += 1  # another name each time, as in a training
            begin = time.perf_counter()
            path = self.loop.save()
            found.append(time.perf_counter() - begin)
        return median(found), path.stat().st_size


def run(quick: bool) -> list[Table]:
    """Overhead of every model of the study quickstart on its tasks and lengths."""
    torch.set_num_threads(1)
    worker._keep_memory()
    steps, rounds = (4, 1) if quick else (64, 3)
    cells = _cells()[: 1 if quick else None]
    table = Table(
        "Overhead of the trainer",
        ["model", "task", "length", "bare ms", "trainer ms", "ratio", "validation ms",
         "checkpoint ms", "kB", "of 60 s"],
    )  # fmt: skip
    totals = [0.0, 0.0]
    for label, cell in cells:
        with tempfile.TemporaryDirectory(prefix="seqgrid-bench-") as folder:
            pair = Pair(cell, Path(folder), steps)
            pair.round(WARM_UP)
            found = [pair.round(steps) for _ in range(rounds)]
            seconds, size = pair.checkpoint()
        # The round with the median ratio: numbers of one row belong together.
        bare, ours, validation = sorted(found, key=lambda f: f[1] / f[0])[rounds // 2]
        totals = [totals[0] + bare, totals[1] + ours]
        table.add(
            label, cell.task, cell.seqlen, f"{1e3 * bare:.2f}", f"{1e3 * ours:.2f}",
            f"{ours / bare:.3f}x", f"{1e3 * validation:.0f}", f"{1e3 * seconds:.1f}",
            f"{size / 1e3:.0f}", f"{seconds / INTERVAL_SECONDS:.3%}",
        )  # fmt: skip
    table.add("all", "", "", f"{1e3 * totals[0]:.2f}", f"{1e3 * totals[1]:.2f}",
              f"{totals[1] / totals[0]:.3f}x", "", "", "", "")  # fmt: skip
    table.notes = [
        f"Rival: the bare step. Processor time of a step over {steps} steps of each, alternating;",
        f"median of {rounds} rounds. Trainer: data, schedule, clipping, bookkeeping; validation",
        f"apart, one of {cells[0][1].validation.examples} examples. Checkpoint: wall time, median",
        f"of {SAVES}, with fsync; its share of the {INTERVAL_SECONDS} s between two.",
        "Targets: ratio at most 1.05x, checkpoints at most 1 %.",
    ]
    return [table]


def _cells() -> list[tuple[str, Cell]]:
    """Label and cell, one for each model, task and length of the study that can exist."""
    _, rows = study.load("quickstart")
    found = {
        (row.model, row.task, row.cell.seqlen): (row.model, row.cell)
        for row in rows
        if row.cell.unable() is None
    }
    return list(found.values())
