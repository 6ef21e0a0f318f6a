"""What tasks hand to models: the shape of the problem, and batches.

B batch, L sequence length, C channels, V vocabulary, D width of a pooled target.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

IGNORE = -100  # target of a position that is not scored; torch's cross_entropy default


@dataclass(frozen=True)
class Shape:
    """What goes into a model and what comes out.

    Exactly one of `vocab_size` (token input, int64 (B, L)) and `num_channels` (continuous input,
    float32 (B, L, C)) is set. Outputs are (B, L, num_outputs) logits, one for each position; or,
    where `pooled`, (B, num_outputs) values, or (B, slots, num_outputs) logits where `slots` is set:
    so many classes are told at once from what the model read.
    """

    num_outputs: int
    pooled: bool
    seqlen: int  # tokens
    vocab_size: int | None = None
    num_channels: int | None = None
    slots: int | None = None


@dataclass(frozen=True)
class Batch:
    """One batch of examples.

    inputs: (B, L) int64 tokens or (B, L, C) float32.
    targets: (B, L) int64 with IGNORE where nothing is asked, (B, slots) int64 classes, or (B, D)
        float32 values.
    lengths: (B,) int64, how many leading positions are the example's own; what follows is padding
        that no output may depend on. None: all of them.
    scored: bool as targets, the targets that metrics look at, where the loss sees more of them.
        None: every target that is not IGNORE.
    positions: (B, K) int64, where in the inputs the targets stand, which are then (B, K) as
        `scored` is. None: one at each position, or one for all where the shape is pooled.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    scored: Tensor | None = None
    positions: Tensor | None = None

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with a change made to all its tensors."""
        return Batch(
            change(self.inputs),
            change(self.targets),
            None if self.lengths is None else change(self.lengths),
            None if self.scored is None else change(self.scored),
            None if self.positions is None else change(self.positions),
        )

    def rows(self, start: int, stop: int) -> "Batch":
        """Examples start..stop-1, without a copy."""
        return self._each(lambda tensor: tensor[start:stop])

    def pieces(self, number: int) -> list["Batch"]:
        """The batch cut into so many pieces of nearly equal size, fewer where it is smaller."""
        size, number = len(self), min(number, len(self))
        edges = [i * size // number for i in range(number + 1)]
        return [self.rows(*edge) for edge in pairwise(edges)]

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return self._each(lambda tensor: tensor.to(device))

    def only(self, chosen: Tensor) -> "Batch":
        """The batch with metrics on the chosen targets alone.

        chosen: bool, (B,) for whole examples or in the shape of the targets.
        """
        if chosen.ndim < self.targets.ndim:
            chosen = chosen[:, None].expand_as(self.targets)
        return replace(self, scored=chosen if self.scored is None else chosen & self.scored)

    def asked(self, even: bool = False) -> "Batch":
        """The batch with targets only where something is asked: nothing else needs an output.

        For targets at each position. K is the most that are asked of one example; an example with
        fewer has IGNORE for the rest.

        even: only if as many are asked of every example; otherwise the batch as it is.
        """
        if self.positions is not None:
            return self
        asked = self.targets != IGNORE
        fewest, most = asked.sum(1).aminmax()
        if most == asked.shape[1] or (even and fewest < most):
            return self
        first = asked.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        return self.at(first[:, : max(1, int(most))])

    def at(self, positions: Tensor) -> "Batch":
        """The batch with the targets at these positions, (B, K) int64."""
        return replace(
            self,
            targets=self.targets.gather(1, positions),
            scored=None if self.scored is None else self.scored.gather(1, positions),
            positions=positions,
        )


def outputs_of(model: nn.Module, batch: Batch) -> Tensor:
    """What a model answers to a batch, in the shape its targets have.

    It is told lengths only where they vary, and positions only where not all are asked.
    """
    told = {"lengths": batch.lengths, "positions": batch.positions}
    return model(batch.inputs, **{name: x for name, x in told.items() if x is not None})
