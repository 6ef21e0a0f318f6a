"""What tasks hand to models: the shape of the problem, and batches.

B batch, L sequence length, C channels, V vocabulary, D width of a pooled target.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

IGNORE = -100  # target of a position that is not scored; torch's cross_entropy default


@dataclass(frozen=True)
class Shape:
    """What goes into a model and what comes out.

    Exactly one of `vocab_size` (token input, int64 (B, L)) and `num_channels` (continuous input,
    float32 (B, L, C)) is set. Outputs are (B, L, num_outputs) logits, or (B, num_outputs) values
    where `pooled`.
    """

    num_outputs: int
    pooled: bool
    seqlen: int  # tokens
    vocab_size: int | None = None
    num_channels: int | None = None


@dataclass(frozen=True)
class Batch:
    """One batch of examples.

    inputs: (B, L) int64 tokens or (B, L, C) float32.
    targets: (B, L) int64 with IGNORE where nothing is scored, or (B, D) float32.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def rows(self, start: int, stop: int) -> "Batch":
        """Examples start..stop-1, without a copy."""
        return Batch(self.inputs[start:stop], self.targets[start:stop])

    def pieces(self, number: int) -> list["Batch"]:
        """The batch cut into so many pieces of nearly equal size, fewer where it is smaller."""
        size, number = len(self), min(number, len(self))
        edges = [i * size // number for i in range(number + 1)]
        return [self.rows(*edge) for edge in pairwise(edges)]

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return Batch(self.inputs.to(device), self.targets.to(device))
