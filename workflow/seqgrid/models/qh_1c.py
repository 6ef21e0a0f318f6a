"""QuantumHydraSSM: chunks through circuits both ways, then two-way scans; 1c of quantum_hydra.

    x = silu(LayerNorm(W_in inputs)) [+ positions]
    f = (a F(x) + b flip(G(flip(x))) + c H(x)) / sqrt(a^2 + b^2 + c^2 + 1e-8)      `_qh_chunks`
    f = dropout(f);   f = f + block(f) each layer                               `_qh_ssm`
    outputs = head(mean over chunks of LayerNorm(f))

F, G and H are features of chunks with parameters of their own; a, b and c are magnitudes of complex
numbers.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumSSM.py, class QuantumHydraSSM.

Odd in it: a chunk is a weighted mean of its positions, so without `positions` it has no order
within, and the features called forward, backward and diagonal differ in parameters alone; but
where the chunk size does not divide L, G cuts the reversed sequence at other places, and its
chunks are added to those that they only overlap. The blocks' Hydra is a weighted sum of two scans
and a linear layer, not a quasiseparable matrix. Left out are parameters that nothing depends on:
1,536 of the documented 910,868 in LayerNorms of the blocks and 9 imaginary parts that stay 0. The
documented number counts a complex one once, here it is two real ones, 3 more in all.

B batch, L positions, C channels, D d_model.
"""

from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse, PooledModel, SinusoidalPositions, chunks
from seqgrid.models._qh_chunks import BRANCHES, EPSILON, ChunkFeatures
from seqgrid.models._qh_ssm import EXPAND, HydraBlock, mixer_flops
from seqgrid.ops.dropout import Dropout
from seqgrid.ops.selective_scan import selective_scan
from seqgrid.quantum import run_expectations
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings, Sight


class Settings(QuantumHydraSettings):
    """What the model adds to those of its study."""

    d_model: int = Field(
        128, ge=8, le=65536, description="width of a position and of a chunk, channels"
    )
    num_qubits: int = Field(6, ge=2, le=10, description="qubits of a circuit; a ring needs two")
    num_layers: int = Field(
        2, ge=1, le=1024, description="layers of a circuit, and as many Hydra blocks"
    )
    d_state: int = Field(16, ge=1, description="states of each channel of a scan")
    chunk_size: int = Field(32, ge=1, description="positions of a chunk")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what tells the order within a chunk; none, as in the original: nothing"
    )

    @property
    def sight(self) -> Sight | None:
        """Which chunk a position is in, counted from either end."""
        return None if self.positions != "none" else Sight("chunks_both_ways", self.chunk_size)


class Model(PooledModel):
    """The whole model."""

    operators = (simulate, selective_scan)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        self.chosen, d_model = settings, settings.d_model
        self.embed = self.input_layer(d_model)
        self.embed_norm = nn.LayerNorm(d_model)
        self.positions = SinusoidalPositions() if settings.positions == "sinusoidal" else None
        # forward, backward, diagonal
        self.chunk_features = nn.ModuleList(
            ChunkFeatures(d_model, settings.num_qubits, settings.num_layers) for _ in range(3)
        )
        self.alpha, self.beta, self.gamma = (nn.Parameter(torch.rand(2)) for _ in range(3))
        self.blocks = nn.ModuleList(
            HydraBlock(d_model, settings.d_state) for _ in range(settings.num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, self.num_targets)
        self.dropout = Dropout(settings.dropout)

    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, D); inputs (B, L, C), or (B, L) tokens."""
        x = silu(self.embed_norm(self.embed(inputs)))
        return x if self.positions is None else self.positions(x)

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D), zero where an example is padded."""
        x = self.dropout(self._features(x))
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x).mean(1))

    def _features(self, x: Tensor) -> Tensor:
        """Features of chunks, (B, L, D) -> (B, chunks, D); all circuits in one call."""
        ahead, back = (chunks(way, self.chosen.chunk_size) for way in (x, x.flip(1)))
        forward, backward, diagonal = self._parts
        angles = forward.angles(ahead), backward.angles(back), diagonal.angles(ahead)
        measured = run_expectations(forward.circuit, torch.stack(angles)).unbind()
        one, two, three = (
            part.features(found) for part, found in zip(self._parts, measured, strict=True)
        )
        weights = torch.stack((self.alpha, self.beta, self.gamma)).norm(dim=-1)
        a, b, c = weights / (weights.square().sum() + EPSILON).sqrt()
        return a * one + b * two.flip(1) + c * three

    @property
    def _parts(self) -> list[ChunkFeatures]:
        """What `chunk_features` holds; torch's ModuleList forgets the type."""
        return cast(list[ChunkFeatures], list(self.chunk_features))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One circuit, in each branch of each chunk, three times."""
        runs = len(self._parts) * BRANCHES * self._num_chunks(seqlen)
        return (CircuitUse(self._parts[0].circuit, runs),)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The input, which the reversed pass reads last, and the states of both scans."""
        elements = seqlen + 2 * EXPAND * self.chosen.d_state
        return elements * self.chosen.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """The layer of each position; of each chunk features and blocks; the answer once."""
        chunk = sum(part.flops(self.chosen.chunk_size) for part in self._parts)
        flops = 2.0 * self.head.weight.numel()
        flops += self._num_chunks(seqlen) * (chunk + mixer_flops(*self.blocks))
        if isinstance(self.embed, nn.Linear):
            flops += 2 * seqlen * self.embed.weight.numel()
        return flops / seqlen

    def _num_chunks(self, seqlen: int) -> int:
        return -(-seqlen // self.chosen.chunk_size)


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of this shape."""
    return Model(settings, shape)
