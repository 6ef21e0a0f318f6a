"""Model 2d of the quantum_hydra study: each chunk sets the angles of three superposed circuits.

    x = dropout(silu(norm(W input)))                          each position
    s = mean of a chunk's positions with weights softmax(w2 tanh(W1 x))
    theta = pi tanh(W s),    delta = sigmoid(MLP(s)),    phi_b = W_b s,    b = 1, 2, 3
    |psi> = sum_b c_b V_b(phi_b, delta) RY(theta) |0...0>     then normalised; c_b complex
    f = dropout(silu(norm(W <X, Y, Z of every wire>)))
    answer = MLP(mean of f over chunks with weights softmax(w2 tanh(W1 f)))

V_1 is `rings` with its rotations, but not its CRX, multiplied by delta; V_2 is `reversed_rings`
with the same; V_3 is `rings` as it is. Source: JHPark9090/Quantum-Hydra-Mamba,
models/QuantumHydraSSM.py, QuantumMambaHydraSSM.

No order: the head sees a set of chunks, and of each chunk 3 n numbers that depend on a weighted
mean of its positions. Positions of a chunk can be exchanged, and so can chunks, and nothing
changes; only the last chunk shows which it is, by the zeros that fill it, where the length is no
multiple of the chunk. Nothing is carried from chunk to chunk: this is no state space model, and
delta no step of one. `positions: sinusoidal`, which the original does not have, adds the place in
the sequence to x: then a chunk's mean, and so the head, can know it.

Here the projections of the three branches are one layer, which starts as theirs. `reversed_rings`
is `rings` with the wires counted from the other end, so that the three branches are one batch of
one circuit: the second reads theta backwards, and its state is put into the order of the others.
The original divides c by its length first, which the division of psi undoes: the common size and
phase of c_1, c_2, c_3 have no effect. What is superposed are vectors of amplitudes; a quantum
computer would need more wires for it, and would succeed with a probability.

B batch, L length, K chunks, D d_model, n qubits, P angles of the rings, R cores.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

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
from seqgrid.models._qh_superposition import NUM_BRANCHES, superposed
from seqgrid.ops.dropout import Dropout
from seqgrid.quantum import pauli_expectations, run
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings, Sight


class Settings(QuantumHydraSettings):
    """What the study sets for this model."""

    d_model: int = Field(128, ge=4, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="wires of a circuit; a ring needs two")
    num_layers: int = Field(2, ge=1, le=64, description="layers of rotations and rings")
    d_state: int = Field(16, ge=1, le=65536, description="hidden width of what sets delta")
    chunk_size: int = Field(32, ge=1, description="positions that one circuit reads")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what says where a position is; the original has nothing"
    )

    @property
    def sight(self) -> Sight | None:
        """Which positions share a chunk."""
        return None if self.positions != "none" else Sight("unordered_chunks", self.chunk_size)


class Model(PooledModel):
    """The whole model.

    Attributes:
        num_cores: superpositions of three circuits a chunk.
    """

    operators = (simulate,)
    num_cores: ClassVar[int] = 1

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        d_model, n, layers = settings.d_model, settings.num_qubits, settings.num_layers
        self.chunk_size, cores = settings.chunk_size, self.num_cores
        self.circuit = embedding(n).then(rings(n, layers))
        self.input_proj = nn.Sequential(
            self.input_layer(d_model),
            nn.LayerNorm(d_model),
            nn.SiLU(),
            Dropout(settings.dropout),
        )
        self.positions = SinusoidalPositions() if settings.positions != "none" else nn.Identity()
        self.chunk_attention = AttentionPool(d_model, d_model // 4)
        self.param_proj = nn.Linear(d_model, cores * NUM_BRANCHES * 5 * n * layers)
        self.encoding_proj = nn.Linear(d_model, n)
        self.dt_proj = nn.Sequential(
            nn.Linear(d_model, settings.d_state),
            nn.SiLU(),
            nn.Linear(settings.d_state, 1),
            nn.Sigmoid(),
        )
        # of each branch the real and the imaginary part
        start = torch.tensor([NUM_BRANCHES**-0.5, 0.0]).expand(cores, NUM_BRANCHES, 2)
        self.coefficients = nn.Parameter(start.clone())
        self.output_proj = nn.Sequential(
            nn.Linear(cores * 3 * n, d_model),
            nn.LayerNorm(d_model),
            nn.SiLU(),
            Dropout(settings.dropout),
        )
        self.seq_attention = AttentionPool(d_model, d_model // 4)
        self.classifier = nn.Sequential(
            nn.Linear(d_model, d_model // 2),
            nn.SiLU(),
            Dropout(settings.dropout),
            nn.Linear(d_model // 2, self.num_targets),
        )
        rotation = torch.arange(5 * n) < 3 * n  # of a layer's angles
        branches = torch.tensor([True, True, False])[:, None]
        self.modulated: Tensor
        self.register_buffer("modulated", branches & rotation.repeat(layers), persistent=False)

    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, D)."""
        return self.positions(self.input_proj(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D)."""
        summary = self.chunk_attention(chunks(x, self.chunk_size))  # (B, K, D)
        features = self.output_proj(pauli_expectations(self._superposed(summary)).flatten(-2))
        return self.classifier(self.seq_attention(features))

    def _superposed(self, summary: Tensor) -> Tensor:
        """The state of each core, (B, K, R, 2^n); summary of each chunk (B, K, D)."""
        theta = self.encoding_proj(summary).tanh() * math.pi
        theta = torch.stack((theta, theta.flip(-1), theta), -2)[:, :, None]  # (B, K, 1, 3, n)
        phi = self.param_proj(summary)
        phi = phi.unflatten(-1, (self.num_cores, NUM_BRANCHES, -1))  # (B, K, R, 3, P)
        delta = self.dt_proj(summary)[..., None, None]
        phi = phi * torch.where(self.modulated, delta, 1.0)
        angles = torch.cat((theta.expand(*phi.shape[:-1], -1), phi), -1)
        # half precision would end in states that are not of norm 1
        angles = angles.to(torch.promote_types(angles.dtype, torch.float32))
        return superposed(run(self.circuit, angles), self.coefficients)

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """Three branches of every core and chunk."""
        num_chunks = -(-seqlen // self.chunk_size)
        return (CircuitUse(self.circuit, NUM_BRANCHES * self.num_cores * num_chunks),)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The running means of a chunk and of chunks, each with the sum and maximum of weights."""
        return 2 * (self.settings.d_model + 2) * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Linear layers: of positions, of chunks, of the answer."""
        num_chunks = -(-seqlen // self.chunk_size)
        of_chunks = (
            self.param_proj,
            self.encoding_proj,
            self.dt_proj,
            self.output_proj,
            self.seq_attention,
        )
        flops = seqlen * linear_flops(*linear_layers(self.input_proj))
        flops += num_chunks * self.chunk_size * linear_flops(*linear_layers(self.chunk_attention))
        flops += num_chunks * linear_flops(*linear_layers(*of_chunks))
        return (flops + linear_flops(*linear_layers(self.classifier))) / seqlen


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of `shape`."""
    return Model(settings, shape)
