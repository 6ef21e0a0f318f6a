"""What the models 4a, 4d and 4e of the quantum_hydra study share: all but the circuits.

    x_t = LayerNorm(W [c_{t-1}, c_t, c_{t+1}] + b) [+ position]     c channels or embeddings
    s_k = mean of x_t over chunk k, with weights softmax(w2 tanh(W1 x_t))
    e_k = measured(circuits(W_a s_k + b_a))
    h_k = dropout(silu(LayerNorm(W_o e_k + b_o)))
    z   = mean of h_k over chunks, with weights softmax(w4 tanh(W3 h_k))
    answer = W_c dropout(silu(W_b z + b_b)) + b_c

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumE2E.py and models/QuantumE2E_Superposition.py.
Both means forget order. What the answer can know of it: of each position its two neighbours, left
and right told apart, also across the edge of a chunk; which positions share a chunk; where the
sequence ends, by the zeros outside it and in its last chunk. Places of a chunk whose neighbours are
equal are one to it, and chunks can be exchanged where that leaves all neighbours the same. Where no
two inputs are equal, neighbourhoods that overlap could be chained to the whole order, so `sight`
promises no ceiling; but of a chunk D numbers are left. `positions: sinusoidal`, which the original
does not have, says where a position is.

The linear layers from s_k to angles are one here: they have the same input, so the same initial
distribution. Tokens are not in the original: they are embedded to d_model, then convolved as
channels are. A shorter example of a batch is zero behind its end, before and behind the
convolution, as the original fills the last chunk; chunks of zeros alone count as chunks.

B batch, L length, C channels, K chunks, D d_model, n qubits, T numbers in an answer.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._pooled import (
    AttentionPool,
    PooledModel,
    SinusoidalPositions,
    chunks,
    linear_layers,
)
from seqgrid.ops.dropout import Dropout
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings

KERNEL_SIZE = 3


class EndToEnd(PooledModel):
    """Chunks that each pass through circuits by themselves.

    Args:
        settings: width and dropout.
        shape: what goes in and what comes out.
        chunk_size: positions in a chunk.
        num_angles: numbers that the circuits of a chunk are made from.
        num_measured: numbers that are measured on them.
        positions: whether positions are added to what the convolution makes.
    """

    operators = (simulate,)

    def __init__(
        self,
        settings: QuantumHydraSettings,
        shape: Shape,
        *,
        chunk_size: int,
        num_angles: int,
        num_measured: int,
        positions: bool,
    ):
        super().__init__(settings, shape)
        D, dropout = settings.d_model, settings.dropout
        self.chunk_size = chunk_size
        self.embed = None if shape.num_channels else self.input_layer(D)
        self.input_conv = nn.Conv1d(shape.num_channels or D, D, KERNEL_SIZE, padding="same")
        self.input_norm = nn.LayerNorm(D)
        self.positions = SinusoidalPositions() if positions else None
        self.chunk_attention = AttentionPool(D, D // 4)
        self.angle_proj = nn.Linear(D, num_angles)
        self.output_proj = nn.Sequential(
            nn.Linear(num_measured, D), nn.LayerNorm(D), nn.SiLU(), Dropout(dropout)
        )
        self.seq_attention = AttentionPool(D, D // 4)
        self.classifier = nn.Sequential(
            nn.Linear(D, D // 2),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(D // 2, self.num_targets),
        )

    @abstractmethod
    def measured(self, angles: Tensor) -> Tensor:
        """What is measured on each chunk, (B, K, num_measured); angles (B, K, num_angles)."""

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Outputs of a batch; arguments of `PooledModel`."""
        x = inputs if self.embed is None else self.embed(inputs)
        if lengths is not None:  # before the convolution too, which reads one position ahead
            own = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, L)
            x = x * own[..., None]
        return super().forward(x, lengths, positions)

    def project(self, inputs: Tensor) -> Tensor:
        """Each position and its neighbours, (B, L, D); inputs (B, L, C or D)."""
        x = self.input_norm(self.input_conv(inputs.mT).mT)
        return x if self.positions is None else self.positions(x)

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D)."""
        angles = self.angle_proj(self.chunk_attention(chunks(x, self.chunk_size)))
        # half precision would end in states that are not of norm 1
        angles = angles.to(torch.promote_types(angles.dtype, torch.float32))
        return self.classifier(self.seq_attention(self.output_proj(self.measured(angles))))

    def num_chunks(self, seqlen: int) -> int:
        """Chunks of a sequence of `seqlen` positions."""
        return -(-seqlen // self.chunk_size)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Two positions for the convolution; both means with the sum of their weights."""
        read = (KERNEL_SIZE - 1) * self.input_conv.in_channels
        return (read + 2 * (self.settings.d_model + 1)) * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """The convolution and the linear layers."""
        each = self.input_conv.weight.numel() + _weights(self.chunk_attention)
        chunk = _weights(self.angle_proj, self.output_proj, self.seq_attention)
        once = _weights(self.classifier)
        return 2.0 * (each + (chunk * self.num_chunks(seqlen) + once) / seqlen)


def _weights(*modules: nn.Module) -> int:
    """Entries of the matrices of linear layers within."""
    return sum(layer.weight.numel() for layer in linear_layers(*modules))
