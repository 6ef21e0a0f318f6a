"""QuantumMambaSSM: chunks through quantum circuits, then Mamba blocks; 1b of quantum_hydra.

    x = silu(LayerNorm(W_in inputs)) [+ positions]
    f = dropout(features of each chunk of x)               `_qh_chunks`
    f = f + block_i(f),   state_i starts where state_{i-1} ended      `_qh_ssm`
    outputs = head(dropout(relu(W mean over chunks of LayerNorm(f))))

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumSSM.py, class QuantumMambaSSM.

Odd in it: a chunk is a weighted mean of its positions, so without `positions` it has no order
within. Zeros that fill the last chunk take part in its mean. The last state of a block is the first
of the next, so that a block has seen the end of the sequence before its first chunk: it is not
causal. Left out are parameters that nothing depends on, 512 of the documented 422,633 in LayerNorms
of the blocks and 3 imaginary parts that stay 0.

B batch, L positions, C channels, D d_model.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu, silu

from seqgrid.data import Shape
from seqgrid.models._pooled import CircuitUse, PooledModel, SinusoidalPositions, chunks
from seqgrid.models._qh_chunks import BRANCHES, ChunkFeatures
from seqgrid.models._qh_ssm import EXPAND, MambaBlock, mixer_flops
from seqgrid.ops.dropout import Dropout
from seqgrid.ops.selective_scan import selective_scan_from_state
from seqgrid.ops.short_conv import short_conv
from seqgrid.quantum.simulate import simulate
from seqgrid.settings import QuantumHydraSettings, Sight


class Settings(QuantumHydraSettings):
    """What the model adds to those of its study."""

    d_model: int = Field(
        128, ge=8, le=65536, description="width of a position and of a chunk, channels"
    )
    num_qubits: int = Field(6, ge=2, le=10, description="qubits of a circuit; a ring needs two")
    num_layers: int = Field(
        2, ge=1, le=1024, description="layers of a circuit, and as many Mamba blocks"
    )
    d_state: int = Field(16, ge=1, description="states of each channel of a Mamba block")
    chunk_size: int = Field(32, ge=1, description="positions of a chunk")
    positions: Literal["none", "sinusoidal"] = Field(
        "none", description="what tells the order within a chunk; none, as in the original: nothing"
    )

    @property
    def sight(self) -> Sight | None:
        """Which chunk a position is in."""
        return None if self.positions != "none" else Sight("chunks", self.chunk_size)


class Model(PooledModel):
    """The whole model."""

    operators = (simulate, short_conv, selective_scan_from_state)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        self.chosen, d_model = settings, settings.d_model
        self.embed = self.input_layer(d_model)
        self.embed_norm = nn.LayerNorm(d_model)
        self.positions = SinusoidalPositions() if settings.positions == "sinusoidal" else None
        self.chunk_features = ChunkFeatures(d_model, settings.num_qubits, settings.num_layers)
        self.blocks = nn.ModuleList(
            MambaBlock(d_model, settings.d_state) for _ in range(settings.num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.hidden = nn.Linear(d_model, d_model)
        self.head = nn.Linear(d_model, self.num_targets)
        self.dropout = Dropout(settings.dropout)

    def project(self, inputs: Tensor) -> Tensor:
        """What each position is by itself, (B, L, D); inputs (B, L, C), or (B, L) tokens."""
        x = silu(self.embed_norm(self.embed(inputs)))
        return x if self.positions is None else self.positions(x)

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D), zero where an example is padded."""
        x = self.dropout(self.chunk_features(chunks(x, self.chosen.chunk_size)))
        state = None
        for block in self.blocks:
            mixed, state = block(x, state)
            x = x + mixed
        return self.head(self.dropout(relu(self.hidden(self.norm(x).mean(1)))))

    def circuits(self, seqlen: int) -> tuple[CircuitUse, ...]:
        """One circuit, in each branch of each chunk."""
        return (CircuitUse(self.chunk_features.circuit, BRANCHES * self._num_chunks(seqlen)),)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """All chunks, as a block starts where the one before has ended, and its states."""
        elements = self._num_chunks(seqlen) + EXPAND * self.chosen.d_state
        return elements * self.chosen.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """The layer of each position; of each chunk features and blocks; the answer once."""
        flops = 2.0 * (self.hidden.weight.numel() + self.head.weight.numel())
        blocks = mixer_flops(*self.blocks)
        flops += self._num_chunks(seqlen) * (
            self.chunk_features.flops(self.chosen.chunk_size) + blocks
        )
        if isinstance(self.embed, nn.Linear):
            flops += 2 * seqlen * self.embed.weight.numel()
        return flops / seqlen

    def _num_chunks(self, seqlen: int) -> int:
        return -(-seqlen // self.chosen.chunk_size)


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The model for a problem of this shape."""
    return Model(settings, shape)
