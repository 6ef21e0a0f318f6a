"""What models 2g, 2h and 2i of the quantum_hydra study share: a polynomial of a chunk's circuits.

Each position of a chunk gives the angles of circuit 14, these circuits are summed on ancillas and
raised to a polynomial (`seqgrid.quantum.qsvt`), a trained circuit 14 follows, and every qubit is
read in X, Y and Z. Source: ParkYeong-hyeon/Quantum-Hydra-Mamba, models/QTSTransformer_v2.py and
models/QuantumQSVTSSM.py (QSVTLCUCore).

B batch, L sequence length, D width, T chunk size, P angles of a position, q qubits.
"""

import math

import torch
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._pooled import (
    AttentionPool,
    CircuitUse,
    PooledModel,
    SinusoidalPositions,
    chunks,
    linear_layers,
)
from seqgrid.ops.dropout import Dropout
from seqgrid.quantum.ansatz import sim14
from seqgrid.quantum.lcu import num_ancillas, prepare
from seqgrid.quantum.qsvt import qsvt_expectations
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import ModelSettings


class QSVTCore(nn.Module):
    """Chunks of angles, (..., T, P) -> what is read of their qubits, (..., 3 q).

    The original also trains the phases before the first and behind the last of `degree` steps:
    they change nothing that is read, so they are 0 here and two trained numbers fewer. The last RZ
    of PREPARE changes nothing either and is kept, with a gradient of 0.
    """

    def __init__(self, num_qubits: int, num_layers: int, degree: int, chunk_size: int):
        super().__init__()
        self.degree, self.chunk_size = degree, chunk_size
        self.circuit, self.last = sim14(num_qubits, num_layers), sim14(num_qubits, 1)
        ancillas = num_ancillas(chunk_size)
        self.prepare_params = nn.Parameter(0.1 * torch.randn(ancillas, ancillas, 2))
        self.signal_angles = nn.Parameter(0.1 * torch.randn(degree - 1))
        self.qff_params = nn.Parameter(torch.rand(self.last.num_angles))

    def forward(self, angles: Tensor) -> Tensor:
        """Expectations, (..., 3 q); angles (..., T, P), radians."""
        phases = nn.functional.pad(self.signal_angles, (1, 1))
        return qsvt_expectations(
            self.circuit, angles, self.prepare_params, phases, self.last, self.qff_params
        )

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """What is simulated for one sequence; on qubits and ancillas it is one circuit a chunk.

        PREPARE is counted once, and runs once a batch.
        """
        runs = -(-seqlen // self.chunk_size)
        ancillas = num_ancillas(self.chunk_size)
        forward, backward = (self.degree + 1) // 2, self.degree // 2
        uses = (
            CircuitUse(prepare(ancillas, ancillas), 1),
            CircuitUse(self.circuit, runs * self.chunk_size * forward),
            CircuitUse(self.circuit.inverse, runs * self.chunk_size * backward),
            CircuitUse(self.last, runs * 2**ancillas),
        )
        return tuple(use for use in uses if use.runs)


class Angles(nn.Module):
    """The angles of each position, (B, L, D) -> (B, L, P): 2 pi sigmoid of a linear layer."""

    def __init__(self, width: int, num_angles: int, dropout: float):
        super().__init__()
        self.positions = SinusoidalPositions()
        self.dropout = Dropout(dropout)
        self.feature_projection = nn.Linear(width, num_angles)

    def forward(self, x: Tensor) -> Tensor:
        """Angles in 0 to 2 pi, (B, L, P); x (B, L, D)."""
        x = self.feature_projection(self.dropout(self.positions(x)))
        # half precision would end in states that are not of norm 1
        return 2 * math.pi * x.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()


class QSVTModel(PooledModel):
    """Models 2h and 2i: chunks through one core, or through a second with their positions reversed.

    Args:
        cores: 1 or 2.
    """

    operators = (simulate,)

    def __init__(self, settings: ModelSettings, shape: Shape, cores: int, **core: int):
        super().__init__(settings, shape)
        D, dropout = settings.d_model, settings.dropout
        self.input_proj = nn.Sequential(
            self.input_layer(D), nn.LayerNorm(D), nn.SiLU(), Dropout(dropout)
        )
        self.cores = nn.ModuleList(QSVTCore(**core) for _ in range(cores))
        first = self._cores[0]
        self.angles = Angles(D, first.circuit.num_angles, dropout)
        read = cores * 3 * first.circuit.num_qubits
        self.output_proj = nn.Sequential(
            nn.Linear(read, D), nn.LayerNorm(D), nn.SiLU(), Dropout(dropout)
        )
        self.seq_attention = AttentionPool(D, D // 4)
        self.classifier = nn.Sequential(
            nn.Linear(D, D // 2),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(D // 2, self.num_targets),
        )

    @property
    def _cores(self) -> list[QSVTCore]:
        return [core for core in self.cores if isinstance(core, QSVTCore)]

    def project(self, inputs: Tensor) -> Tensor:
        """The angles of each position, (B, L, P); inputs (B, L, C), or (B, L) tokens."""
        return self.angles(self.input_proj(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, targets); x (B, L, P), angles, 0 where an example is padded."""
        forward = chunks(x, self._cores[0].chunk_size)  # (B, chunks, T, P)
        ways = (forward, forward.flip(-2))
        read = [core(way) for core, way in zip(self.cores, ways, strict=False)]
        features = self.output_proj(torch.cat(read, -1))  # (B, chunks, D)
        return self.classifier(self.seq_attention(features))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """The quantum circuits it runs for one sequence of `seqlen` positions."""
        return tuple(use for core in self._cores for use in core.circuits(seqlen))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """What was read of each chunk."""
        first = self._cores[0]
        read = len(self.cores) * 3 * first.circuit.num_qubits
        return -(-seqlen // first.chunk_size) * read * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Linear layers: of each position, of each chunk, of the answer."""
        runs = -(-seqlen // self._cores[0].chunk_size)
        each = linear_layers(self.input_proj, self.angles)
        chunk = linear_layers(self.output_proj, self.seq_attention)
        flops = 2.0 * sum(layer.weight.numel() for layer in each)
        flops += 2.0 * sum(layer.weight.numel() for layer in chunk) * runs / seqlen
        return flops + 2.0 * sum(x.weight.numel() for x in linear_layers(self.classifier)) / seqlen
