"""Operators, forward and backward, against the libraries' own implementations for a CPU.

Needs the packages of envs/requirements-kernels.txt. Rows come from the `cases_*.py` beside it.
"""

import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from table import Table, ratio

from seqgrid import worker

SECONDS = 6.0  # a measurement ends after so many, and after 5 repetitions
REPETITIONS = 5


@dataclass
class Case:
    """One row.

    Attributes:
        name: operator and sizes.
        inputs: tensors that get a gradient.
        ours: the fast path; called with the inputs.
        rival_name: package and function of the rival.
        rival: called with the inputs, unless `rival_inputs` are given.
        rival_inputs: fewer of them where the rival is too slow, or another layout.
        share: part of our work that the rival does, such as 1/4 for a quarter of the batch.
    """

    name: str
    inputs: tuple[torch.Tensor, ...]
    ours: Callable[..., Any]
    rival_name: str
    rival: Callable[..., Any]
    rival_inputs: tuple[torch.Tensor, ...] | None = None
    share: float = 1.0


def run(quick: bool) -> Iterator[Table]:
    """One table; `quick` only has the shortest sequences."""
    torch.set_num_threads(1)
    worker._keep_memory()  # as in training; both sides gain by it
    columns = ["operator", "ours, ms", "rival", "rival, ms", "faster"]
    table = Table("Operators, forward and backward, CPU milliseconds on one thread", columns)
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        for case in importlib.import_module(path.stem).cases(quick):
            ours = measure(case.ours, case.inputs)
            given = case.inputs if case.rival_inputs is None else case.rival_inputs
            theirs = measure(case.rival, given) / case.share
            words = "" if case.share == 1 else f", of {case.share:g} of the batch"
            table.add(case.name, f"{1e3 * ours:.1f}", case.rival_name + words,
                      f"{1e3 * theirs:.0f}", ratio(theirs, ours))  # fmt: skip
    yield table


def measure(function: Callable[..., Any], inputs: tuple[torch.Tensor, ...]) -> float:
    """Processor seconds of the quickest forward and backward pass."""
    inputs = tuple(x.detach().requires_grad_(x.is_floating_point()) for x in inputs)
    wanted = [x for x in inputs if x.requires_grad]
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < 2 or (len(found) < REPETITIONS and time.perf_counter() - begin < SECONDS):
        start = time.process_time()
        outputs = function(*inputs)
        output = outputs[0] if isinstance(outputs, tuple) else outputs
        torch.autograd.grad(output.sum(), wanted, allow_unused=True)
        found.append(time.process_time() - start)
        if found[-1] > SECONDS:
            break
    return min(found)
