"""Model 3b of the quantum_hydra study: a stack of Mamba layers, a classical control.

    x = W_e u                               each position
    x = x + mamba(norm(x))                  each layer; no MLP
    y = W_c mean_t norm(x_t)

Source: TrueClassicalMamba in JHPark9090/Quantum-Hydra-Mamba, models/TrueClassicalMamba.py. Its
layer is that of `mamba` with the settings that are the defaults there, so it is run by that.
Initial values are torch's but for steps, rates and skip weights, which are mamba-ssm's.

The head is told the order through what the states keep: they forget earlier positions, and the head
reads the mean of all positions.

Differs from the original: rates and skip weights have no weight decay.
"""

from pydantic import Field
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models import mamba
from seqgrid.models._base import linear_flops
from seqgrid.models._layers import RMSNorm
from seqgrid.models._pooled import PooledModel, linear_layers
from seqgrid.models._ssm import start_steps
from seqgrid.ops.dropout import Dropout
from seqgrid.settings import QuantumHydraSettings

NORM_EPS = 1e-5


class Settings(QuantumHydraSettings):
    """What a study may set."""

    num_layers: int = Field(2, ge=1, le=1024, description="Mamba layers")
    d_state: int = Field(16, ge=1, description="states of each channel")

    @property
    def parts(self) -> tuple[str, ...]:
        """The layer is Mamba's."""
        return ("mamba",)


class Block(nn.Module):
    """Mamba behind a norm, added to its input."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.norm = RMSNorm(settings.d_model, eps=NORM_EPS)
        self.mixer = mamba.MambaMixer(
            mamba.Settings(d_model=settings.d_model, d_state=settings.d_state)
        )
        start_steps(self.mixer.dt_proj)

    def forward(self, x: Tensor) -> Tensor:
        """One layer further; x (B, L, D) -> (B, L, D)."""
        return x + self.mixer(self.norm(x))


class Model(PooledModel):
    """Embedding, Mamba layers, the mean over positions, linear head."""

    operators = mamba.MambaMixer.operators

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        self.embedding = self.input_layer(settings.d_model)
        self.dropout = Dropout(settings.dropout)
        self.layers = nn.ModuleList(Block(settings) for _ in range(settings.num_layers))
        self.final_norm = RMSNorm(settings.d_model, eps=NORM_EPS)
        self.classifier = nn.Linear(settings.d_model, self.num_targets)

    def project(self, inputs: Tensor) -> Tensor:
        """Embedded positions, (B, L, C) -> (B, L, D)."""
        return self.dropout(self.embedding(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D)."""
        for layer in self.layers:
            x = layer(x)
        return self.classifier(self.final_norm(x).mean(1))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """States of each layer, and the running sum that the mean is of."""
        states = sum(mixer.state_bytes(seqlen, bytes_per_element) for mixer in self._mixers)
        return states + self.classifier.in_features * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Embedding, layers, and the head once."""
        flops = linear_flops(*linear_layers(self.embedding))
        flops += sum(mixer.flops_per_token(seqlen) for mixer in self._mixers)
        return flops + linear_flops(self.classifier) / seqlen

    @property
    def _mixers(self) -> list[mamba.MambaMixer]:
        return [layer for layer in self.modules() if isinstance(layer, mamba.MambaMixer)]


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The whole model."""
    return Model(settings, shape)
