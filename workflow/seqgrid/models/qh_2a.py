"""ClassicalQuantumAttention: chunks as states that are summed, one circuit on; 2a of quantum_hydra.

    x_t = dropout(W_in input_t) [+ positions]
    m = dropout(sum_t a_t x_t),  a = softmax(w2 tanh(W1 x_t))      each chunk, without order
    psi_j = rings(sigmoid(W m_j + b)) |0...0>                      chunk j
    psi = sum_j c_j psi_j, of norm 1                               a linear combination of unitaries
    f = <X>, <Y>, <Z> of each qubit of rings(angles) psi           one layer, the same for all
    outputs = head(dropout(relu(W LayerNorm(W_out f + b_out))))

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumMixingSSM.py, class ClassicalQuantumAttention.
Initial values are torch's; real and imaginary parts of c are uniform in [0, 1), the angles of the
last circuit normal with a std of 0.1.

The head is told which chunk is which by the coefficients c, and not the order within a chunk, but
with `positions`.

Odd in it: it is called attention, but coefficients do not depend on the input. There are as many of
them as chunks in training: fewer chunks take the first, more are refused. Angles lie between 0 and
1 radian. Zeros that fill the last chunk take part in its mean.

Differs from the original: c is kept as real numbers (chunks, 2), which counts each twice, and the
last circuit runs on all states at once.

B batch, L positions, C channels, D d_model, n qubits, P = 5 n layers angles of a circuit.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

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
from seqgrid.ops.dropout import Dropout
from seqgrid.quantum import run, run_expectations
from seqgrid.quantum.ansatz import rings
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings, Sight

EPSILON = 1e-8  # as in the original, as is that of the norm
NORM_EPSILON = 1e-9


class Settings(QuantumHydraSettings):
    """What the model adds to those of its study."""

    # below two the hidden layer that weighs positions would be empty
    d_model: int = Field(128, ge=2, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="qubits of a circuit; a ring needs two")
    num_layers: int = Field(2, ge=1, le=1024, description="layers of the circuit of a chunk")
    chunk_size: int = Field(16, ge=1, description="positions of a chunk")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what tells the order within a chunk; none, as in the original: nothing"
    )

    @property
    def sight(self) -> Sight | None:
        """Which chunk a position is in."""
        return None if self.positions != "none" else Sight("chunks", self.chunk_size)


class SummedStates(nn.Module):
    """What is read of a sum of states, one of each chunk; (B, chunks, D) -> (B, D)."""

    def __init__(self, d_model: int, num_qubits: int, num_layers: int, num_chunks: int):
        super().__init__()
        self.of_chunk, self.of_sum = rings(num_qubits, num_layers), rings(num_qubits, 1)
        self.angle_proj = nn.Linear(d_model, self.of_chunk.num_angles)
        self.coefficients = nn.Parameter(torch.rand(num_chunks, 2))  # real, imaginary
        self.angles = nn.Parameter(torch.randn(self.of_sum.num_angles) * 0.1)
        self.out_proj = nn.Linear(3 * num_qubits, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Features of sequences, (B, chunks, D) -> (B, D)."""
        angles = self.angle_proj(x)
        # half precision would end in states that are not of norm 1
        angles = angles.to(torch.promote_types(angles.dtype, torch.float32)).sigmoid()
        states = run(self.of_chunk, angles)  # (B, chunks, 2^n)
        c = torch.view_as_complex(self.coefficients[: x.shape[1]])
        state = (c / (c.abs().sum() + EPSILON)) @ states
        state = state / (state.norm(dim=-1, keepdim=True) + NORM_EPSILON)
        return self.out_proj(run_expectations(self.of_sum, self.angles, state))


class Model(PooledModel):
    """The whole model.

    Attributes:
        max_seqlen: where the coefficients of chunks end.
    """

    operators = (simulate,)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        self.chunk_size, d_model = settings.chunk_size, settings.d_model
        num_chunks = self._num_chunks(shape.seqlen)
        self.max_seqlen = num_chunks * self.chunk_size
        self.embed = self.input_layer(d_model)
        self.positions = SinusoidalPositions() if settings.positions == "sinusoidal" else None
        self.pool = AttentionPool(d_model, d_model // 2)
        self.mixer = SummedStates(d_model, settings.num_qubits, settings.num_layers, num_chunks)
        self.norm = nn.LayerNorm(d_model)
        self.hidden = nn.Linear(d_model, d_model)
        self.head = nn.Linear(d_model, self.num_targets)
        self.dropout = Dropout(settings.dropout)

    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, D); inputs (B, L, C), or (B, L) tokens."""
        x = self.dropout(self.embed(inputs))
        return x if self.positions is None else self.positions(x)

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D), zero where an example is padded.

        Raises:
            ValueError: the sequence is longer than those in training.
        """
        if x.shape[1] > (self.max_seqlen or 0):
            raise ValueError(
                f"coefficients of chunks end at {self.max_seqlen} positions, {x.shape[1]} asked; "
                "train at the longest length to evaluate"
            )
        x = self.mixer(self.dropout(self.pool(chunks(x, self.chunk_size))))
        return self.head(self.dropout(relu(self.hidden(self.norm(x)))))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One circuit for each chunk, and one on their sum."""
        mixer = self.mixer
        return CircuitUse(mixer.of_chunk, self._num_chunks(seqlen)), CircuitUse(mixer.of_sum, 1)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The sum of states, complex, and the positions of the present chunk."""
        elements = 2 * 2**self.mixer.of_sum.num_qubits
        elements += min(seqlen, self.chunk_size) * self.hidden.in_features
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """The layer of each position, its weight and its chunk's angles; the answer once."""
        mixer = self.mixer
        of_chunk = linear_flops(mixer.angle_proj)
        of_chunk += self.chunk_size * linear_flops(*linear_layers(self.pool))
        once = linear_flops(mixer.out_proj, self.hidden, self.head)
        flops = self._num_chunks(seqlen) * of_chunk + once
        return linear_flops(*linear_layers(self.embed)) + flops / seqlen

    def _num_chunks(self, seqlen: int) -> int:
        return -(-seqlen // self.chunk_size)


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of this shape."""
    return Model(settings, shape)
