"""What models share that are nothing like the backbone and give one answer a sequence.

B batch, L sequence length, C input channels, T numbers in an answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.kernels import Operator
from seqgrid.quantum.circuit import Circuit
from seqgrid.settings import ModelSettings


@dataclass(frozen=True)
class CircuitUse:
    """A circuit that a model runs.

    Attributes:
        runs: how often for one sequence.
    """

    circuit: Circuit
    runs: int


class PooledModel(nn.Module, ABC):
    """A whole model, from a sequence to one answer.

    A subclass makes what turns inputs into vectors with `input_layer`, and defines `project` and
    `answer`.

    Attributes:
        operators: what it runs on, in the order it runs.
        max_seqlen: positions in the longest sequence it can read; None where there is no limit.

    Raises:
        ValueError: the problem asks for answers at positions.
    """

    causal = False
    operators: tuple[Operator, ...] = ()
    max_seqlen: int | None = None

    def __init__(self, settings: ModelSettings, shape: Shape):
        super().__init__()
        if not shape.pooled:
            raise ValueError(f"the model gives one answer a sequence, not one a position: {shape}")
        self.settings, self.shape = settings, shape
        self.num_targets = shape.num_outputs * (shape.slots or 1)

    def input_layer(self, width: int) -> nn.Linear | nn.Embedding:
        """What turns channels (B, L, C), or tokens (B, L), into vectors (B, L, width)."""
        layer: nn.Linear | nn.Embedding
        if self.shape.num_channels is None:
            assert self.shape.vocab_size is not None
            layer = nn.Embedding(self.shape.vocab_size, width)
        else:
            layer = nn.Linear(self.shape.num_channels, width)
        layer.weight._embeds = True  # ty: ignore[missing-attribute]
        return layer

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, d_model); inputs (B, L, C), or (B, L) tokens."""

    @abstractmethod
    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, d_model), zero where an example is padded."""

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Outputs of a batch.

        Args:
            inputs: int64 tokens (B, L), or float32 channels (B, L, C).
            lengths: (B,) int64, how many leading positions are each example's own; None: all.
            positions: nothing to a model with one answer a sequence.

        Returns:
            (B, num_outputs), or (B, slots, num_outputs).
        """
        x = self.project(inputs)
        if lengths is not None:
            own = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, L)
            x = x * own[..., None]
        outputs = self.answer(x)
        return outputs if self.shape.slots is None else outputs.unflatten(1, (self.shape.slots, -1))

    @property
    def num_parameters(self) -> int:
        """Trained real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def backend(self) -> dict[str, str]:
        """Operator -> the implementation it runs on, where the parameters are now.

        Raises:
            MissingKernel: its fused kernel is not installed.
        """
        device = next(self.parameters()).device
        return {operator.name: operator.backend(device) for operator in self.operators}

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """The quantum circuits it runs for one sequence of `seqlen` positions."""
        return ()

    @abstractmethod
    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """What is kept of one sequence of `seqlen` positions until its end, bytes."""

    @abstractmethod
    def flops_per_token(self, seqlen: int) -> float:
        """Forward FLOPs a position, 2 a multiply-add, as the mean over `seqlen` positions.

        Counts classical matrix products; circuits are counted apart.
        """


def chunks(x: Tensor, size: int) -> Tensor:
    """Positions in chunks, the last filled with zeros: (B, L, D) -> (B, chunks, size, D)."""
    missing = -x.shape[1] % size
    return nn.functional.pad(x, (0, 0, 0, missing)).unflatten(1, (-1, size))


class AttentionPool(nn.Sequential):
    """A mean over positions with weights softmax(w2 tanh(W1 x)), without their order.

    Parameters are named as those of a Sequential of Linear, Tanh, Linear, but for a bias of the
    second: a softmax is the same with and without it, so that its gradient would be rounding.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, input: Tensor) -> Tensor:
        """The mean, (..., L, D) -> (..., D)."""
        return (super().forward(input).softmax(-2) * input).sum(-2)


class SinusoidalPositions(nn.Module):
    """Adds sines and cosines of the position, of wavelengths from 2 pi to 10,000 x 2 pi.

        p[t, 2 i] = sin(t / 10000^(2 i / D))      p[t, 2 i + 1] = cos(t / 10000^(2 i / D))

    Source: Vaswani et al., arXiv:1706.03762, section 3.5. No parameters, any length.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Vectors that know where they stand; (B, L, D) -> (B, L, D)."""
        L, D = x.shape[1:]
        # in float64: float32 is off by 1e-4 at position 1,000
        t = torch.arange(L, device=x.device, dtype=torch.float64)[:, None]
        angle = t * 10000.0 ** (-torch.arange(0, D, 2, device=x.device, dtype=torch.float64) / D)
        return x + torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :D].to(x.dtype)


def linear_layers(*modules: nn.Module) -> Iterator[nn.Linear]:
    """Every linear layer within."""
    for module in modules:
        yield from (layer for layer in module.modules() if isinstance(layer, nn.Linear))
