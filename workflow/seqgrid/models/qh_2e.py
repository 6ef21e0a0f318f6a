"""Model 2e of the quantum_hydra study: model 2d with two superpositions of three circuits a chunk.

    psi_r = sum_b c_rb V_b(W_rb s, delta) RY(theta) |0...0>,    r = 1, 2
    f = dropout(silu(norm(W <X, Y, Z of every wire of psi_1 and of psi_2>)))

The rest is model 2d, and so is what it cannot know. Source: JHPark9090/Quantum-Hydra-Mamba,
models/QuantumHydraSSM.py, QuantumHydraHydraSSM. There the second superposition reads the chunks in
reversed order and its results are put back, as in a model of two directions. But each result is
made of one chunk, so this changes nothing and is left out: the model is as order-free as 2d.
"""

from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from seqgrid.data import Shape
from seqgrid.models import qh_2d
from seqgrid.models._pooled import PooledModel
from seqgrid.settings import QuantumHydraSettings, Sight


class Settings(QuantumHydraSettings):
    """What the study sets for this model."""

    d_model: int = Field(128, ge=4, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="wires of a circuit; a ring needs two")
    num_layers: int = Field(2, ge=1, le=64, description="layers of rotations and rings")
    d_state: int = Field(16, ge=1, le=65536, description="hidden width of what sets delta")
    chunk_size: int = Field(32, ge=1, description="positions that two superpositions read")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what says where a position is; the original has nothing"
    )

    @property
    def sight(self) -> Sight | None:
        """Which positions share a chunk."""
        return None if self.positions != "none" else Sight("unordered_chunks", self.chunk_size)


class Model(qh_2d.Model):
    """The whole model."""

    num_cores: ClassVar[int] = 2


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of `shape`."""
    return Model(cast(Any, settings), shape)  # of the fields of 2d
