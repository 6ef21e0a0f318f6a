"""QuantumTransformer: chunks through quantum circuits, then a transformer; 1a of quantum_hydra.

    x_t = silu(W_in dropout(input_t)) [+ positions]                C channels, as many as go in
    m = sum_t a_t x_t,  a = softmax(w2 tanh(W1 x_t))               each chunk, without order
    psi_k = rings(2 pi sigmoid(W_k m + b_k + base_k)) |0...0>      branches k = 1, 2, 3
    f = |sum_k c_k (<X>, <Y>, <Z> of each qubit of psi_k)| / sqrt(|c|^2 + 1e-9)
    outputs = head(encoder(silu(LayerNorm(W_out f + b_out))))      over chunks, `_qh_attention`

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumTransformer.py, class QuantumTransformer, with
QuantumSuperpositionBranches of models/QuantumGatedRecurrence.py. Initial values are torch's, but
uniform ones for the circuits' angles, base in [0, 2 pi), and for c in [0, 1).

The head is told the order of chunks, as each has its number added, and not the order within one,
but with `positions`.

Odd in it: dropout takes numbers out of the input itself. It is called a superposition, but states
are never summed: magnitudes of weighted sums of expectations are read, which loses their signs.
Zeros that fill the last chunk take part in its mean. Left out are the imaginary parts of c, three
numbers that start at 0, where their gradient is 0. The documented count has the positions of chunks
too, which are not trained. The original's three circuits are one call here. One channel has a
hidden unit in W1, where the original rounds to none and takes a plain mean. Tokens, which the
original does not read, are embedded in d_model channels.

B batch, L positions, C channels, D d_model, n qubits, P = 5 n layers angles of a circuit.
"""

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import silu

from seqgrid.data import Shape
from seqgrid.models._base import linear_flops
from seqgrid.models._pooled import (
    AttentionPool,
    CircuitUse,
    PooledModel,
    SinusoidalPositions,
    chunks,
    linear_layers,
)
from seqgrid.models._qh_attention import Encoder
from seqgrid.ops.attention import attention
from seqgrid.ops.dropout import Dropout
from seqgrid.ops.dropped_attention import dropped_attention
from seqgrid.quantum import run_expectations
from seqgrid.quantum.ansatz import rings
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings, Sight

BRANCHES = 3
EPSILON = 1e-9  # as in the original


class Settings(QuantumHydraSettings):
    """What the model adds to those of its study."""

    num_qubits: int = Field(6, ge=2, le=10, description="qubits of a circuit; a ring needs two")
    num_layers: int = Field(
        2, ge=1, le=1024, description="layers of a circuit, and as many of the transformer"
    )
    num_heads: int = Field(4, ge=1, description="heads; each is d_model / num_heads wide")
    chunk_size: int = Field(16, ge=1, description="positions of a chunk")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what tells the order within a chunk; none, as in the original: nothing"
    )

    @property
    def sight(self) -> Sight | None:
        """Which chunk a position is in."""
        return None if self.positions != "none" else Sight("chunks", self.chunk_size)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        return self


class ChunkFeatures(nn.Module):
    """A feature vector of each chunk, (B, chunks, T, C) -> (B, chunks, D)."""

    def __init__(self, channels: int, d_model: int, num_qubits: int, num_layers: int):
        super().__init__()
        self.circuit = rings(num_qubits, num_layers)
        self.pool = AttentionPool(channels, max(1, channels // 2))
        self.angle_proj = nn.Linear(channels, BRANCHES * self.circuit.num_angles)
        self.base = nn.Parameter(torch.rand(BRANCHES, self.circuit.num_angles) * 2 * math.pi)
        self.coefficients = nn.Parameter(torch.rand(BRANCHES))
        self.out_proj = nn.Linear(3 * num_qubits, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Features of chunks, (B, chunks, T, C) -> (B, chunks, D)."""
        angles = self.angle_proj(self.pool(x)).unflatten(-1, (BRANCHES, -1)) + self.base
        # half precision would end in states that are not of norm 1
        angles = angles.to(torch.promote_types(angles.dtype, torch.float32)).sigmoid() * 2 * math.pi
        expectations = run_expectations(self.circuit, angles)  # (B, chunks, 3, 3 n)
        c = self.coefficients / (self.coefficients.square().sum() + EPSILON).sqrt()
        return silu(self.norm(self.out_proj((c[:, None] * expectations).sum(-2).abs())))

    def flops(self, chunk_size: int) -> float:
        """FLOPs of the matrices for one chunk."""
        pool = linear_flops(*linear_layers(self.pool))
        return linear_flops(self.angle_proj, self.out_proj) + chunk_size * pool


class Model(PooledModel):
    """The whole model."""

    operators = (simulate, attention, dropped_attention)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        self.chunk_size, d_model = settings.chunk_size, settings.d_model
        channels = shape.num_channels or d_model
        layers = settings.num_layers
        self.embed = self.input_layer(channels)
        self.dropout = Dropout(settings.dropout)
        self.positions = SinusoidalPositions() if settings.positions == "sinusoidal" else None
        self.chunk_features = ChunkFeatures(channels, d_model, settings.num_qubits, layers)
        self.encoder = Encoder(d_model, layers, settings.num_heads, settings.dropout)
        self.head = nn.Linear(d_model, self.num_targets)

    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, C); inputs (B, L, C), or (B, L) tokens."""
        if isinstance(self.embed, nn.Linear):
            x = silu(self.embed(self.dropout(inputs)))
        else:
            x = silu(self.dropout(self.embed(inputs)))
        return x if self.positions is None else self.positions(x)

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, C), zero where an example is padded."""
        return self.head(self.encoder(self.chunk_features(chunks(x, self.chunk_size))))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One circuit, in each branch of each chunk."""
        return (CircuitUse(self.chunk_features.circuit, BRANCHES * self._num_chunks(seqlen)),)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Keys and values of every chunk in every layer."""
        return self.encoder.state_bytes(self._num_chunks(seqlen), bytes_per_element)

    def flops_per_token(self, seqlen: int) -> float:
        """The layer of each position; of each chunk features and encoder; the head once."""
        n = self._num_chunks(seqlen)
        flops = n * self.chunk_features.flops(self.chunk_size)
        flops += n * self.encoder.flops_per_token(n) + linear_flops(self.head)
        return linear_flops(*linear_layers(self.embed)) + flops / seqlen

    def _num_chunks(self, seqlen: int) -> int:
        return -(-seqlen // self.chunk_size)


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of this shape."""
    return Model(settings, shape)
