"""GRU: a gated cell whose memory is one vector.

    r, z = sigmoid(W x_t + R h_{t-1} + b)         n = tanh(W_n x_t + b_n + r (R_n h_{t-1} + b'_n))
    h_t = (1 - z) n + z h_{t-1}

Source: Cho et al., arXiv:1406.1078, with the reset gate behind the matrix product as in cuDNN and
torch. The hidden state is the residual branch itself, without a projection behind it.
"""

from typing import ClassVar

from torch import Tensor, nn

from seqgrid.models._base import Mixer
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """A GRU adds nothing to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        source="Clipping the norm, if not at 1: Pascanu et al., arXiv:1211.5063"
    )


class GRUMixer(Mixer):
    """torch.nn.GRU of one layer, hidden width d_model; initial values are torch's uniform ones."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.d_model = settings.d_model
        self.core = nn.GRU(self.d_model, self.d_model, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states; x (B, L, D) -> (B, L, D)."""
        return self.core(x)[0]

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The hidden state."""
        return self.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Three gates, each of an input and a recurrent matrix."""
        return 2.0 * 3 * 2 * self.d_model**2

    @property
    def backend(self) -> dict[str, str]:
        """What torch dispatches to: its own loop on a CPU, cuDNN on CUDA."""
        return {"gru": "torch.nn.GRU"}


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return GRUMixer(settings)
