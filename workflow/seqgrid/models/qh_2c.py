"""Model 2c of the quantum_hydra study: recurrences over chunks in both directions, measured.

    mix(s) = W_o (a f(s) + b flip(g(flip(s))) + c (W s + w)) / (|a| + |b| + |c|)

with f and g recurrences of `_qh_recurrence`, which says what is odd in them; each starts at h = 0
in every layer. The weights a, b, c are real and begin at 1, 1 and 1/2.

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumMixingSSM.py, ClassicalHydraQuantumSSM, with
as many layers as its circuit has, as in scripts/run_ablation_eeg.py. "Hydra" is here a weighted sum
of two scans and a linear layer, not the mixer of arXiv:2407.09941 (model `hydra`). It is not among
the models that the study runs on its synthetic tasks. Here both directions are one batch.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse, PooledModel
from seqgrid.models._qh_recurrence import ChunkMixer, Core, recur, recurrent_circuit
from seqgrid.quantum.circuit import Circuit
from seqgrid.settings import QuantumHydraSettings, Sight


class Settings(QuantumHydraSettings):
    """What the study sets for this model."""

    d_model: int = Field(128, ge=16, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="wires of a circuit; a ring needs two")
    num_layers: int = Field(2, ge=1, le=64, description="layers of both, and of their circuits")
    chunk_size: int = Field(16, ge=1, description="positions that are one step of a recurrence")

    @property
    def sight(self) -> Sight | None:
        """Which chunk a position is in."""
        return Sight("chunks", self.chunk_size)


class Directions(nn.Module):
    """Two recurrences and a linear layer, in a weighted sum."""

    def __init__(self, d_model: int, num_qubits: int, num_layers: int):
        super().__init__()
        self.forward_ssm = Core(d_model, num_qubits, num_layers)
        self.backward_ssm = Core(d_model, num_qubits, num_layers)
        self.diagonal = nn.Linear(d_model, d_model)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0, 0.5]))
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, circuit: Circuit, x: Tensor) -> Tensor:
        """mix(x), (B, K, D); chunks x (B, K, D)."""
        # what depends on a chunk alone need not be computed in the order of its recurrence
        angles = torch.stack((self.forward_ssm.angles(x), self.backward_ssm.angles(x).flip(1)))
        start = torch.zeros(2, len(x), circuit.num_qubits, device=x.device)
        onward, back = recur(circuit, start, angles)[0]
        a, b, c = self.weights / (self.weights.abs().sum() + 1e-8)
        y = a * self.forward_ssm.output(onward, x) + b * self.backward_ssm.output(back.flip(1), x)
        return self.out_proj(y + c * self.diagonal(x))


class Model(ChunkMixer):
    """The whole model."""

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape, settings.chunk_size)
        n, num_layers = settings.num_qubits, settings.num_layers
        self.circuit = recurrent_circuit(n, num_layers)
        self.layers = nn.ModuleList(
            Directions(settings.d_model, n, num_layers) for _ in range(num_layers)
        )

    def mixed(self, x: Tensor) -> Tensor:
        """Chunks behind all layers, (B, K, D); x (B, K, D)."""
        for layer in self.layers:
            x = x + layer(self.circuit, x)
        return x

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One circuit a chunk, layer and direction."""
        return (CircuitUse(self.circuit, 2 * len(self.layers) * self.num_chunks(seqlen)),)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """All chunks, of which one direction reads the first at the end, and h of both."""
        elements = self.num_chunks(seqlen) * self.settings.d_model + 2 * self.circuit.num_qubits
        return elements * bytes_per_element


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of `shape`."""
    return Model(settings, shape)
