"""Model 3a of the quantum_hydra study: a transformer encoder, the classical control of attention.

    x = W_e u                               each position
    y = W_c mean(encoder(x))                positions known, every position reads every other

Source: ClassicalTransformer in JHPark9090/Quantum-Hydra-Mamba, models/ClassicalTransformer.py, with
the four heads that the study gives it; the encoder is in `_qh_attention`. Initial values are
torch's.

The head is told the order: each position has its number added before it is mixed.

Its documented number of parameters counts the table of positions, which is not trained: so many
more are documented as there are positions in training times d_model.
"""

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._base import linear_flops
from seqgrid.models._pooled import PooledModel, linear_layers
from seqgrid.models._qh_attention import Encoder
from seqgrid.ops.attention import attention
from seqgrid.ops.dropout import Dropout
from seqgrid.ops.dropped_attention import dropped_attention
from seqgrid.settings import QuantumHydraSettings


class Settings(QuantumHydraSettings):
    """What a study may set."""

    num_layers: int = Field(2, ge=1, le=1024, description="layers of attention and gated MLP")
    num_heads: int = Field(4, ge=1, description="heads; each is d_model / num_heads wide")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        return self


class Model(PooledModel):
    """Embedding, encoder, linear head."""

    operators = (attention, dropped_attention)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        d_model, dropout = settings.d_model, settings.dropout
        self.embedding = self.input_layer(d_model)
        self.dropout = Dropout(dropout)
        self.encoder = Encoder(d_model, settings.num_layers, settings.num_heads, dropout)
        self.classifier = nn.Linear(d_model, self.num_targets)

    def project(self, inputs: Tensor) -> Tensor:
        """Embedded positions, (B, L, C) -> (B, L, D)."""
        return self.dropout(self.embedding(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D)."""
        return self.classifier(self.encoder(x))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Keys and values of every position in every layer."""
        return self.encoder.state_bytes(seqlen, bytes_per_element)

    def flops_per_token(self, seqlen: int) -> float:
        """Embedding, encoder, and the head once."""
        flops = linear_flops(*linear_layers(self.embedding)) + self.encoder.flops_per_token(seqlen)
        return flops + linear_flops(self.classifier) / seqlen


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The whole model."""
    return Model(settings, shape)
