"""Model 4e of the quantum_hydra study: 4d with two superpositions a chunk.

    e_k = [measured(psi(s_k)), measured(psi'(s_k))]

psi and psi' share the angles of their inputs and the step, and have parameters and weights of their
own; the states are in `_qh_superposition`, what comes before and after them, and what order the
answer can know, in `_qh_end_to_end`.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumE2E_Superposition.py,
QuantumHydraE2E_Superposition, with the arguments of scripts/run_synthetic_benchmark.py.
Called a bidirectional quantum Hydra, it has no directions: for psi' the original puts the chunks in
reverse order and its results back, and as nothing passes from a chunk to another, that computes the
same as leaving them where they are, which is done here.
"""

from typing import Literal

from pydantic import Field

from seqgrid.data import Shape
from seqgrid.models._pooled import PooledModel
from seqgrid.models._qh_superposition import SuperposedEndToEnd
from seqgrid.settings import QuantumHydraSettings


class Settings(QuantumHydraSettings):
    """The circuits and their chunks."""

    d_model: int = Field(128, ge=4, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="qubits, two or more to make a ring")
    num_layers: int = Field(2, ge=1, le=64, description="layers of features, and of each branch")
    chunk_size: int = Field(16, ge=1, description="positions that make one state")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what says where a position is; the original has nothing"
    )


class Model(SuperposedEndToEnd):
    """Two superpositions a chunk."""

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(
            settings,
            shape,
            chunk_size=settings.chunk_size,
            num_qubits=settings.num_qubits,
            num_layers=settings.num_layers,
            heads=2,
            positions=settings.positions != "none",
        )


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model."""
    return Model(settings, shape)
