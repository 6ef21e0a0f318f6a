"""QuantumQSVTMambaSSM: a polynomial of each chunk's circuits; 2h of quantum_hydra.

    x_t = dropout(silu(norm(W_in u_t))) + p_t               p_t sinusoidal positions
    theta_t = 2 pi sigmoid(W dropout(x_t))
    e_c = expectations of X, Y, Z of every qubit behind QSVT(theta of chunk c) and a circuit 14
    f_c = dropout(silu(norm(W_out e_c)));    y = MLP(sum_c softmax_c(a(f)) f_c)

QSVT: `seqgrid.quantum.qsvt`, whose unitaries are circuits 14 with the angles of a chunk's
positions; missing positions of the last chunk have angles 0. a is W2 tanh(W1 f).

What differs from its name: there is no state space model and no recurrence. Within a chunk
positions interfere, their order enters by the weight of each place and by p_t; chunks are averaged
by attention that does not know their order. No amplitude outlasts a chunk. The original's d_state
does nothing; three of its 22,144 trained numbers for two channels and two classes change nothing
and are left out: the first and the last phase, and a bias in the softmax.

Source: ParkYeong-hyeon/Quantum-Hydra-Mamba, models/QuantumQSVTSSM.py (QuantumQSVTMambaSSM).
"""

from pydantic import Field

from seqgrid.data import Shape
from seqgrid.models._pooled import PooledModel
from seqgrid.models._qsvt import QSVTModel
from seqgrid.settings import QuantumHydraSettings


class Settings(QuantumHydraSettings):
    """Sizes of the circuits and of the chunks."""

    d_model: int = Field(128, ge=4, le=65536, description="width of a position, channels")
    num_qubits: int = Field(6, ge=2, le=10, description="qubits that are read; a ring needs two")
    num_layers: int = Field(2, ge=1, le=16, description="layers of a position's circuit")
    degree: int = Field(2, ge=1, le=16, description="degree of the polynomial")
    chunk_size: int = Field(32, ge=1, le=1024, description="positions of a chunk")


class Model(QSVTModel):
    """The whole model."""

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(
            settings, shape, cores=1, num_qubits=settings.num_qubits,
            num_layers=settings.num_layers, degree=settings.degree, chunk_size=settings.chunk_size,
        )  # fmt: skip


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of this shape."""
    return Model(settings, shape)
