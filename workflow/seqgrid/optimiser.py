"""AdamW (Loshchilov & Hutter, arXiv:1711.05101) and learning-rate schedules as pure functions."""

import math

import torch
from torch import nn

from seqgrid.cell import Training


class AdamW(torch.optim.AdamW):
    """torch.optim.AdamW without the import of torch's compiler.

    The wrappers taken off here exist for torch.compile alone; the first call through any of them
    imports torch._dynamo, 1.2 s of CPU time in every process of a grid.
    """

    step = torch.no_grad()(torch.optim.Adam.step.__wrapped__)  # type: ignore[attr-defined]


for _name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
    setattr(AdamW, _name, getattr(torch.optim.Optimizer, _name).__wrapped__)


def make(model: nn.Module, training: Training) -> AdamW:
    """AdamW over the model's parameters; matrices decay, vectors (norms, biases, gates) do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        fused=True,
    )


def learning_rate(step: int, training: Training) -> float:
    """Learning rate of optimiser step `step`, counted from 0."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    if training.schedule == "constant":
        return training.learning_rate
    span = max(1, training.steps - training.warmup_steps)
    done = min(1.0, (step - training.warmup_steps) / span)
    falling = 1 - done if training.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return training.learning_rate * falling
