"""QuantumTSTransformer: a mean over chunks of a polynomial of their circuits; 2g of quantum_hydra.

    theta_t = 2 pi sigmoid(W dropout(x_t + p_t))        x_t the channels, p_t sinusoidal positions
    e_c = expectations of X, Y, Z of every qubit behind QSVT(theta of chunk c) and a circuit 14
    y = head(mean over c of e_c)

QSVT: `seqgrid.quantum.qsvt`, whose unitaries are circuits 14 with the angles of a chunk's
positions; missing positions of the last chunk have angles 0. Source:
ParkYeong-hyeon/Quantum-Hydra-Mamba, models/QTSTransformer_v2.py (QuantumTSTransformer).

What differs from its name: there is no attention and no transformer layer. Within a chunk positions
interfere, their order enters by the weight of each place and by p_t; chunks do not. Channels are
not projected: where there are two, the positions are added to two. The original has the whole
sequence as one chunk if nothing is said; here chunks are those of 2h and 2i. Two of its 259
trained numbers for two channels and two classes, the first and last phase, change nothing and are
left out. Tokens, which the original cannot read, get vectors of d_model in place of channels.
"""

from pydantic import Field
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse, PooledModel, chunks
from seqgrid.models._qsvt import Angles, QSVTCore
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings


class Settings(QuantumHydraSettings):
    """Sizes of the circuits and of the chunks."""

    d_model: int = Field(128, ge=1, le=65536, description="width of a token; channels have theirs")
    num_qubits: int = Field(6, ge=2, le=10, description="qubits that are read; a ring needs two")
    num_layers: int = Field(2, ge=1, le=16, description="layers of a position's circuit")
    degree: int = Field(2, ge=1, le=16, description="degree of the polynomial")
    chunk_size: int = Field(32, ge=1, le=1024, description="positions of a chunk")


class Model(PooledModel):
    """The whole model."""

    operators = (simulate,)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        self.embed = nn.Identity() if shape.num_channels else self.input_layer(settings.d_model)
        self.core = QSVTCore(
            settings.num_qubits, settings.num_layers, settings.degree, settings.chunk_size
        )
        width = shape.num_channels or settings.d_model
        self.angles = Angles(width, self.core.circuit.num_angles, settings.dropout)
        self.output_ff = nn.Linear(3 * settings.num_qubits, self.num_targets)

    def project(self, inputs: Tensor) -> Tensor:
        """The angles of each position, (B, L, P); inputs (B, L, C), or (B, L) tokens."""
        return self.angles(self.embed(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, targets); x (B, L, P), angles, 0 where an example is padded."""
        read = self.core(chunks(x, self.core.chunk_size))  # (B, chunks, 3 q)
        return self.output_ff(read.mean(1))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """The quantum circuits it runs for one sequence of `seqlen` positions."""
        return self.core.circuits(seqlen)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The sum of what was read of the chunks."""
        return self.output_ff.in_features * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Linear layers: of each position and of the answer."""
        each, last = self.angles.feature_projection.weight, self.output_ff.weight
        return 2.0 * (each.numel() + last.numel() / seqlen)


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of this shape."""
    return Model(settings, shape)
