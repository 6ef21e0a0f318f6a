"""Model 4a of the quantum_hydra study: one circuit a chunk, called a quantum transformer.

    e_k = <X>, <Y>, <Z> of every qubit in F(theta) RY(pi tanh(a)) |0>    a, theta = W_a s_k + b_a

F are 2 num_layers layers of RX, RY, RZ on each qubit, a ring of CRX forward and one backward; what
comes before and after the circuit, and what order the answer can know: `_qh_end_to_end`.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumE2E.py, QuantumTransformerE2E, with the
arguments of scripts/run_synthetic_benchmark.py. There is no attention between chunks, and nothing
else that passes from one to another: the second half of the layers is called attention there, and
its gates are those of the first. The circuit sees a chunk as one vector, so it mixes no positions.

B batch, K chunks, n qubits.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse, PooledModel
from seqgrid.models._qh_end_to_end import EndToEnd
from seqgrid.quantum import run_expectations
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.settings import QuantumHydraSettings


class Settings(QuantumHydraSettings):
    """The circuit and its chunks."""

    d_model: int = Field(128, ge=4, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="qubits, two or more to make a ring")
    num_layers: int = Field(2, ge=1, le=64, description="layers of features, and of mixing")
    chunk_size: int = Field(16, ge=1, description="positions that make one state")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what says where a position is; the original has nothing"
    )


class Model(EndToEnd):
    """One circuit a chunk."""

    def __init__(self, settings: Settings, shape: Shape):
        n = settings.num_qubits
        circuit = embedding(n).then(rings(n, 2 * settings.num_layers))
        super().__init__(
            settings,
            shape,
            chunk_size=settings.chunk_size,
            num_angles=circuit.num_angles,
            num_measured=3 * n,
            positions=settings.positions != "none",
        )
        self.circuit = circuit

    def measured(self, angles: Tensor) -> Tensor:
        """Expectations, (B, K, 3 n); angles (B, K, P)."""
        n = self.circuit.num_qubits
        encoded = torch.pi * angles[..., :n].tanh()
        return run_expectations(self.circuit, torch.cat((encoded, angles[..., n:]), -1))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One run a chunk."""
        return (CircuitUse(self.circuit, self.num_chunks(seqlen)),)


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model."""
    return Model(settings, shape)
