"""Real trainers on one small cell: started, killed, waited for, compared with an unbroken one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import torch
from forge import wait_until

from seqgrid import checkpoint, registry
from seqgrid.cell import Cell, Stopping, Training, Validation
from seqgrid.store import TEMPORARY, Part

TIMES = ("training_seconds", "part")  # what a cut may change in a history row
LONG = {"steps": 1500, "batch_size": 8, "examples": 100}


def make_cell(model="gru", settings=None, **training):
    num_layers = 2 if model == "hybrid" else 1  # one layer holds no two mixers
    record = registry.settings("model", model)
    small = {"d_model": 16, "num_layers": num_layers, "dropout": 0.1, "num_qubits": 2}
    small = {key: value for key, value in small.items() if key in record.model_fields}
    defaults = {"steps": 40, "batch_size": 8, "warmup_steps": 5, "schedule": "cosine"}
    return Cell(
        model=model,
        model_settings=record(**small | (settings or {})).model_dump(),
        task="adding_problem",
        task_settings=registry.settings("task", "adding_problem")().model_dump(),
        seqlen=9,
        seed=3,
        # 30 examples in batches of 8: an epoch ends inside a batch, and every cut is mid-epoch.
        training=Training(**(defaults | {"examples": 30, "learning_rate": 3e-3} | training)),
        validation=Validation(every_steps=7, examples=32),
        stopping=Stopping(plateau_validations=3, plateau_at_chance=True),
    )


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class Trainer:
    """`python -m seqgrid.train` in a process group of its own."""

    def __init__(self, folder, part=1, **environment):
        self.log = folder / f"log{time.monotonic_ns()}.txt"
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "seqgrid.train", str(folder), "--part", str(part)],
                env=os.environ | environment,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def said(self):
        return self.log.read_text()

    def wait(self):
        return self.process.wait(timeout=120)

    def kill_everything(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def place(results, cell, checkpoint_seconds=0.05, **limits):
    folder = results / "cells" / cell.path
    cell.write(folder)
    limits = {"study": "x", "checkpoint_seconds": checkpoint_seconds} | limits
    (folder / "execution.json").write_text(json.dumps(limits))
    return folder


def wait_for_checkpoint(part, process, above=0):
    deadline = time.monotonic() + 60
    while part.step() <= above and process.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert part.step() > above, process.said


def outcome_and_weights(cells, cell, number=1):
    part = Part.of(cells, cell.path, "", number)
    outcome = part.read()
    history = pq.read_table(part.folder / "history.parquet").to_pylist()
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in history]
    return outcome, checkpoint.load(part.folder / "checkpoint.pt"), rows


def assert_same_end(found, unbroken):
    for a, b in zip(found[1:], unbroken[1:], strict=True):
        if isinstance(a, dict):
            same(a["model"], b["model"])
            same(a["best"], b["best"])
            assert a["track"]["best_step"] == b["track"]["best_step"]
        else:
            assert a == b
    assert found[0].outcome == "finished"
    assert found[0].progress.step == unbroken[0].progress.step


def train_unbroken(folder):
    """A cell of a few seconds, and outcome, checkpoint and history of its undisturbed training."""
    cell = make_cell(**LONG).model_copy(update={"stopping": Stopping(solved_validations=None)})
    process = Trainer(place(folder, cell, checkpoint_seconds=1000))
    assert process.wait() == 0, process.said
    return cell, outcome_and_weights(folder / "cells", cell)


class Run:
    """A cell of 1500 steps whose unbroken end is known, and the trainers sent to it."""

    def __init__(self, folder, cell, end, forge):
        self.cell, self.end, self.forge = cell, end, forge
        self.cells = folder / "cells"
        self.folder = place(folder, cell)

    def part(self, number=1):
        return Part.of(self.cells, self.cell.path, "", number)

    def start(self, part=1, **environment):
        return self.forge.start("train", self.folder, "--part", part, **environment)

    def training(self, trainer):
        """The pid of a trainer's training process, once it is there."""
        part = self.part()
        wait_until(
            lambda: any(a["pid"] == trainer.pid for a in part.attempts()) or trainer.poll() == 0,
            lambda: trainer.said,
        )
        wait_until(lambda: (part.beat() or {}).get("pid"), lambda: trainer.said)
        return part.beat()["pid"]

    def at_a_random_moment(self, trainer):
        """Let a trainer make a checkpoint, and go on for up to half its training."""
        goal = random.randrange(1, 700)
        sys.stdout.write(f"waiting for step {goal}\n")  # shown when the test fails
        wait_until(lambda: self.part().step() >= goal, lambda: trainer.said)

    def assert_whole(self, part=1):
        """The end is the unbroken one's, and nothing lies about."""
        assert_same_end(outcome_and_weights(self.cells, self.cell, part), self.end)
        litter = [p for p in self.folder.rglob(".*") if TEMPORARY.fullmatch(p.name)]
        assert not litter
