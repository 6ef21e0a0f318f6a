"""Gradients, AdamW (Loshchilov & Hutter, arXiv:1711.05101), and learning rates by step."""

import math

import torch
from torch import Tensor, nn

from seqgrid import metrics
from seqgrid.cell import Training
from seqgrid.data import Batch, outputs_of


class AdamW(torch.optim.AdamW):
    """torch.optim.AdamW without the import of torch's compiler.

    The wrappers taken off here exist for torch.compile alone; the first call through any of them
    imports torch._dynamo, 1.2 s of CPU time in every process of a grid.
    """

    grad_scale: Tensor | None = None

    step = torch.no_grad()(torch.optim.Adam.step.__wrapped__)  # ty: ignore[missing-attribute]


for _name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
    setattr(AdamW, _name, getattr(torch.optim.Optimizer, _name).__wrapped__)


def make(model: nn.Module, training: Training) -> AdamW:
    """AdamW over the model's parameters; matrices decay, vectors (norms, biases, gates) do not.

    Nor does a parameter that its layer marks with `_no_weight_decay`, as mamba-ssm and
    flash-linear-attention mark theirs, nor, where so chosen, the embedding.
    """
    decaying: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            spared = getattr(p, "_no_weight_decay", False) or (
                not training.decay_embeddings
                and (name.startswith("embed.") or getattr(p, "_embeds", False))
            )
            (exempt if p.ndim < 2 or spared else decaying).append(p)
    groups = [
        {"params": decaying, "weight_decay": training.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        fused=True,
    )


def backward(model: nn.Module, batch: Batch, kind: metrics.Kind, pieces: int) -> Tensor:
    """Add the gradients of a batch's mean loss to the parameters; returns the loss, a scalar.

    In pieces the same gradients but for rounding, with the activations of one piece at a time.
    """
    if pieces == 1:
        loss = metrics.loss_of(outputs_of(model, batch), batch, kind)
        loss.backward()
        return loss.detach()
    total = torch.zeros((), device=batch.inputs.device)
    for piece in batch.pieces(pieces):
        loss = metrics.loss_of(outputs_of(model, piece), piece, kind, whole=batch)
        loss.backward()
        total = total + loss.detach()
    return total


@torch.no_grad()
def clip(adamw: AdamW, parameters: list[nn.Parameter], limit: float | None) -> Tensor:
    """Have the next step scale the gradients to a norm of at most `limit`; returns their norm.

    The fused step divides gradients by `grad_scale` as it reads them, which torch.amp made it for.
    torch.nn.utils.clip_grad_norm_ goes over all of them twice more and takes 2.5 times as long.
    """
    gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.cat(gradients))
    adamw.grad_scale = None if limit is None else (norm / limit).clamp(min=1.0)
    return norm


def learning_rate(step: int, training: Training) -> float:
    """Learning rate of optimiser step `step`, counted from 0."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    if training.schedule == "constant":
        return training.learning_rate
    if training.schedule == "wsd":  # Hu et al., arXiv:2404.06395, section 4
        decay_steps = max(1, round(training.decay_fraction * training.steps))
        return training.learning_rate * min(1.0, (training.steps - step) / decay_steps)
    span = max(1, training.steps - training.warmup_steps)
    done = min(1.0, (step - training.warmup_steps) / span)
    falling = 1 - done if training.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return training.learning_rate * falling
