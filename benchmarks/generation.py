"""Making the examples of a step against the step itself, and against loops over examples.

A training makes blocks of steps at once, so a batch costs its share of a block. The step is that
of a transformer with d_model 64 and 2 layers. The loops are written as the tasks' original
generators are, example by example in Python and numpy (see loops.py); some tasks have no such
original.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import loops
import numpy as np
from measure import median
from table import Table, ratio

from seqgrid import registry
from seqgrid.cell import Cell, Training, Validation
from seqgrid.loop import Loop

BATCH = 64
LENGTHS = (128, 256, 512, 1024)
LONG_STEP_SECONDS = 0.5  # of a step that is not repeated as often
ROUNDS = 3


def run(quick: bool) -> list[Table]:
    """The table over all tasks."""
    table = Table(
        "Generation of examples",
        ["task", "length", "batch ms", "step ms", "share", "loops ms", "ratio"],
    )
    shares = []
    for name in registry.names("task"):
        for seqlen in LENGTHS[:1] if quick else LENGTHS:
            if registry.settings("task", name)().impossible(seqlen):
                continue
            ours, step = _ours(name, seqlen, 1 if quick else ROUNDS)
            theirs = _loops(name, seqlen, 1 if quick else ROUNDS)
            shares.append(ours / step)
            compared = (
                ["-", "-"] if theirs is None else [f"{1e3 * theirs:.1f}", ratio(theirs, ours)]
            )
            words = f"{100 * shares[-1]:.1f}%"
            table.add(name, seqlen, f"{1e3 * ours:.2f}", f"{1e3 * step:.0f}", words, *compared)
    table.notes += [
        f"Rival: loops over examples in numpy. Batches of {BATCH}, processor time, one thread,",
        f"median of {ROUNDS} rounds; share: of a step of a transformer (d_model 64, 2 layers).",
        f"Target: a share below 5 %. Largest: {100 * max(shares):.1f}%.",
    ]
    return [table]


def _ours(name: str, seqlen: int, rounds: int) -> tuple[float, float]:
    """Processor seconds of a batch, and of a step without it."""
    cell = Cell(
        model="attention",
        model_settings={"d_model": 64, "num_layers": 2, "num_heads": 4},
        task=name,
        seqlen=seqlen,
        seed=0,
        training=Training(steps=10**9, batch_size=BATCH),
        validation=Validation(every_steps=10**9, examples=2),
    )
    with tempfile.TemporaryDirectory(prefix="seqgrid-bench-") as folder:
        loop = Loop(cell, Path(folder), 1, None)
        size = loop.examples.block_steps
        loop._step()  # imports, and the first touch of memory
        step = _median(loop._step, rounds, seconds=LONG_STEP_SECONDS)

        def block() -> None:
            loop.examples.block = None
            loop.examples.batch(loop.track.step)

        block()
        batch = _median(block, rounds, seconds=LONG_STEP_SECONDS) / size
    loop.examples.block = None
    return batch, max(step - batch, 1e-9)


def _loops(name: str, seqlen: int, rounds: int) -> float | None:
    """Processor seconds of a batch from the loops; None where a task has no such original."""
    make = loops.GENERATORS.get(name)
    if make is None:
        return None
    rng = np.random.default_rng(0)

    def batch() -> None:
        inputs, targets = zip(*(make(rng, seqlen) for _ in range(BATCH)), strict=True)
        np.stack(inputs)
        np.stack(targets)

    batch()
    return _median(batch, rounds, seconds=0.0)


def _median(act: Callable[[], object], rounds: int, seconds: float) -> float:
    """Median over rounds of the processor seconds of a call, repeated for that long in each."""
    found = []
    for _ in range(rounds):
        begin, calls = time.process_time(), 0
        while calls == 0 or time.process_time() - begin < seconds:
            act()
            calls += 1
        found.append((time.process_time() - begin) / calls)
    return median(found)
