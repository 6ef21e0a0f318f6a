"""LSTM: a gated cell whose memory is two vectors.

    i, f, o = sigmoid(W x_t + R h_{t-1} + b)      g = tanh(W_g x_t + R_g h_{t-1} + b_g)
    c_t = f c_{t-1} + i g                         h_t = o tanh(c_t)

Source: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000. The hidden state is
the residual branch itself, without a projection behind it.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqgrid.models._base import Mixer
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What an LSTM adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        source="Greff et al., arXiv:1503.04069, draw learning rates from 1e-6 to 1e-2 and find "
        "that nothing matters more; Beck et al., arXiv:2405.04517, appendix on associative recall, "
        "train LSTMs with the rates, decay, warm-up and cosine of this row. Clipping the norm, if "
        "not at 1: Pascanu et al., arXiv:1211.5063",
    )

    forget_bias: float = Field(
        1.0, description="initial bias of the forget gate; 1 after Jozefowicz et al. 2015, 0: none"
    )


class LSTMMixer(Mixer):
    """torch.nn.LSTM of one layer, hidden width d_model."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.d_model = settings.d_model
        self.core = nn.LSTM(self.d_model, self.d_model, batch_first=True)
        # Weights keep torch's uniform +-d_model**-0.5. Both biases enter as a sum: one holds the
        # forget bias, the other starts at zero.
        with torch.no_grad():
            self.core.get_parameter("bias_hh_l0").zero_()
            bias = self.core.get_parameter("bias_ih_l0").zero_()
            bias[self.d_model : 2 * self.d_model] = settings.forget_bias

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states; x (B, L, D) -> (B, L, D)."""
        return self.core(x)[0]

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The hidden state and the cell state."""
        return 2 * self.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Four gates, each of an input and a recurrent matrix."""
        return 2.0 * 4 * 2 * self.d_model**2

    @property
    def backend(self) -> dict[str, str]:
        """What torch dispatches to: oneDNN on a CPU, cuDNN on CUDA."""
        return {"lstm": "torch.nn.LSTM"}


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return LSTMMixer(settings)
