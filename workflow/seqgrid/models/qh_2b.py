"""Model 2b of the quantum_hydra study: a recurrence over chunks through measured circuits.

Equations and what is odd in them: `_qh_recurrence`. Each layer runs one recurrence, from the first
chunk to the last, and starts it with the h in which the layer before has ended; the first starts at
h = 0. So from the second layer on each chunk can know of all: the model is not causal.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumMixingSSM.py, ClassicalMambaQuantumSSM, with
as many layers as its circuit has, as in scripts/run_ablation_eeg.py. Of Mamba it has the rank and
initial values of step sizes. It is not among the models that the study runs on its synthetic tasks.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse, PooledModel
from seqgrid.models._qh_recurrence import ChunkMixer, Core, recur, recurrent_circuit
from seqgrid.settings import QuantumHydraSettings, Sight


class Settings(QuantumHydraSettings):
    """What the study sets for this model."""

    d_model: int = Field(128, ge=16, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="wires of a circuit; a ring needs two")
    num_layers: int = Field(2, ge=1, le=64, description="recurrences, and layers of their circuit")
    chunk_size: int = Field(16, ge=1, description="positions that are one step of a recurrence")

    @property
    def sight(self) -> Sight | None:
        """Which chunk a position is in."""
        return Sight("chunks", self.chunk_size)


class Model(ChunkMixer):
    """The whole model."""

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape, settings.chunk_size)
        n, num_layers = settings.num_qubits, settings.num_layers
        self.circuit = recurrent_circuit(n, num_layers)
        self.layers = nn.ModuleList(
            Core(settings.d_model, n, num_layers) for _ in range(num_layers)
        )

    def mixed(self, x: Tensor) -> Tensor:
        """Chunks behind all layers, (B, K, D); x (B, K, D)."""
        h = torch.zeros(len(x), self.circuit.num_qubits, device=x.device)
        for layer in self.layers:
            assert isinstance(layer, Core)
            measured, h = recur(self.circuit, h, layer.angles(x))
            x = x + layer.output(measured, x)
        return x

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One circuit a chunk and layer."""
        return (CircuitUse(self.circuit, len(self.layers) * self.num_chunks(seqlen)),)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """All chunks, as a layer starts where the one before has ended, and h."""
        elements = self.num_chunks(seqlen) * self.settings.d_model + self.circuit.num_qubits
        return elements * bytes_per_element


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of `shape`."""
    return Model(settings, shape)
