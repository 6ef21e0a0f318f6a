"""A model's answers to examples, scored."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from seqgrid import metrics
from seqgrid.data import Batch, outputs_of


def score(model: nn.Module, batches: list, task: Any) -> dict[str, Any]:
    """Metrics of a model on batches; leaves mode and random state as they were."""
    return metrics.summarise(scores(model, batches, task), task.loss)


def scores(model: nn.Module, batches: list[Batch], task: Any) -> dict[str, np.ndarray]:
    """Per-example scores of a model on batches; what the task has no use for stays out."""
    return slice_scores(model, batches, task, lambda batch: {})[""]


@torch.no_grad()
def slice_scores(
    model: nn.Module,
    batches: list[Batch],
    task: Any,
    slices: Callable[[Batch], dict[str, torch.Tensor]],
) -> dict[str, dict[str, np.ndarray]]:
    """As `scores`, under '' for all of the examples and under the name of each slice for it."""
    training = model.training
    model.eval()
    parts: dict[str, list] = {"": []}
    try:
        for batch in batches:
            asked = batch if task.shape.pooled else batch.asked()
            outputs = outputs_of(model, asked)
            chosen = {name: batch.only(part) for name, part in slices(batch).items()}
            if asked.positions is not None:
                chosen = {name: part.at(asked.positions) for name, part in chosen.items()}
            for name, part in {"": asked, **chosen}.items():
                found = metrics.score(outputs, part, task.loss, task.tolerance)
                parts.setdefault(name, []).append(found)
    finally:
        model.train(training)
    return {name: metrics.gather(found) for name, found in parts.items()}
