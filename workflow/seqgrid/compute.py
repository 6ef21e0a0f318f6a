"""A cell's `compute` settings put into force: precision, kernels, compilation, CUDA graphs.

Weights, optimiser and losses are float32 always. With `precision: bf16` the model's products run
in bfloat16 by torch.autocast; operators that would lose by it compute in float32 inside.
"""

import functools
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seqgrid import kernels
from seqgrid.cell import Compute
from seqgrid.data import Batch


class Unfit(Exception):
    """These settings cannot run here; the message says which and why."""


@contextmanager
def applied(chosen: Compute, device: torch.device) -> Generator[None]:
    """Within it models of the cell run as the cell says; afterwards all is as it was."""
    with ExitStack() as stack:
        stack.enter_context(kernels.use(chosen.kernels, chosen.compile))
        if device.type == "cuda":
            stack.enter_context(_tf32(chosen.tf32))
        yield


@contextmanager
def _tf32(allowed: bool) -> Generator[None]:
    """Whether float32 products may run in TF32: torch's, and those inside Triton kernels."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, os.environ.get("TRITON_F32_DEFAULT")
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    os.environ["TRITON_F32_DEFAULT"] = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before[:2]
        if before[2] is None:
            del os.environ["TRITON_F32_DEFAULT"]
        else:
            os.environ["TRITON_F32_DEFAULT"] = before[2]


def prepare(model: nn.Module, chosen: Compute, device: torch.device) -> None:
    """Have `model` run as chosen; its parameters and their names stay.

    Raises:
        Unfit: CUDA graphs without CUDA, or bfloat16 on a GPU that has none.
    """
    if chosen.cuda_graphs and device.type != "cuda":
        raise Unfit("compute.cuda_graphs: true needs a GPU, and there is none; leave it out")
    if chosen.precision == "bf16":
        if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            name = torch.cuda.get_device_name(device)
            raise Unfit(f"compute.precision: {name} has no bfloat16; use fp32")
        model.forward = _in_bfloat16(model.forward, device)
    if chosen.compile:
        model.compile()


def _in_bfloat16(forward: Any, device: torch.device) -> Any:
    @functools.wraps(forward)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        # its cache of cast weights outlives a captured graph
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            return forward(*args, **kwargs).float()

    return wrapped


def capture(model: nn.Module, batch: Batch, pieces: int = 1) -> None:
    """Record the model's forward and backward pass in training as CUDA graphs, for such batches.

    Raises:
        Unfit: batches of this task differ in more than their numbers, or are cut into pieces.
    """
    if pieces > 1:
        raise Unfit("compute.cuda_graphs: batches that are cut into pieces are not recorded")
    if batch.lengths is not None:
        raise Unfit(
            "compute.cuda_graphs: examples of this task differ in length, which a recorded pass "
            "cannot follow; leave it out for this task"
        )
    state = torch.cuda.get_rng_state(batch.inputs.device)  # the warm-up draws dropout
    tensors = (batch.inputs,) if batch.positions is None else (batch.inputs, batch.positions)
    forward = model.forward

    def positional(inputs: Tensor, positions: Tensor | None = None) -> Tensor:
        return forward(inputs, positions=positions)

    model.forward = positional  # a graph takes no keywords
    torch.cuda.make_graphed_callables(model, tensors, allow_unused_input=True)
    recorded = model.forward

    def replayed(inputs: Tensor, positions: Tensor | None = None) -> Tensor:
        return recorded(inputs) if positions is None else recorded(inputs, positions)

    model.forward = replayed
    torch.cuda.set_rng_state(state, batch.inputs.device)
