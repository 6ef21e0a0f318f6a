"""sLSTM: the scalar memory of xLSTM, with exponential gates and recurrent heads.

    x' = silu(conv(x))       (i, f) = (W_i x', W_f x')       (z, o) = (W_z x, W_o x)
    h  = slstm((i, f, z, o) + bias)      see ops/slstm.py    y = norm(h), head by head

Source: Beck et al., arXiv:2405.04517, section 2.2 and figure 10. Parameters are those of NX-AI's
`sLSTMLayer` with `backend="vanilla"`; its CUDA backend keeps the same numbers in another order.
As in that layer all matrices are block-diagonal, one block a head, nothing is projected behind the
norm, and the input gate is made by the weights named `fgate`, the forget gate by `igate`: the names
are swapped there, and weights move only if they are swapped here.

B batch, L length, D d_model, H heads, d = D / H head width.
"""

import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from seqgrid.models._base import Mixer
from seqgrid.ops.short_conv import short_conv
from seqgrid.ops.slstm import slstm
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What an sLSTM adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="Rates, weight decay 0.1, warm-up in a tenth of the steps, a cosine: Beck et al., "
        "arXiv:2405.04517, appendix on associative recall; AdamW's betas: its general training "
        "procedure for language",
    )

    num_heads: int = Field(4, ge=1, description="heads; each is d_model / num_heads wide")
    conv1d_kernel_size: int = Field(
        4, ge=0, description="positions that input and forget gate read; 0: no convolution"
    )
    group_norm_weight: bool = Field(True, description="whether the norm of the heads has weights")
    bias_init: Literal["powerlaw_blockdependent", "small_init", "standard", "zeros"] = Field(
        "powerlaw_blockdependent",
        description="biases of the forget gates at the start: 5 down to -7 over the channels of a "
        "head, faster in earlier layers; 3 to 6; uniform for all gates; none",
    )
    recurrent_weight_init: Literal["zeros", "standard"] = Field(
        "zeros", description="recurrent weights at the start; standard: uniform, +-d_model**-0.5"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        return self


class Headwise(nn.Module):
    """A block-diagonal linear layer, one block a head; (B, L, D) -> (B, L, H, d)."""

    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        width = d_model // num_heads
        self.weight = nn.Parameter(torch.empty(num_heads, width, width))
        # Nguyen & Salazar, arXiv:1910.05895, as the library's stack of blocks starts its layers
        nn.init.normal_(self.weight, std=math.sqrt(2 / (5 * d_model)))

    def forward(self, x: Tensor) -> Tensor:
        """Each head by its own block; x (B, L, D) -> (B, L, H, d)."""
        heads = x.unflatten(-1, (self.weight.shape[0], -1))
        return torch.einsum("blhd,hod->blho", heads, self.weight)


class Convolution(nn.Module):
    """Causal depthwise convolution with a bias, under the names of the library."""

    def __init__(self, d_model: int, size: int):
        super().__init__()
        self.conv = nn.Conv1d(d_model, d_model, size, groups=d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Convolved channels; x (B, L, D) -> (B, L, D)."""
        return short_conv(x, self.conv.weight, self.conv.bias)


class Cell(nn.Module):
    """Recurrent weights and biases; gates i, f, z, o from first to last."""

    def __init__(self, settings: Settings, depth: float):
        super().__init__()
        H, D = settings.num_heads, settings.d_model
        bound = D**-0.5
        self._recurrent_kernel_ = nn.Parameter(torch.zeros(H, 4 * D // H, D // H))
        self._bias_ = nn.Parameter(torch.zeros(4 * D))
        with torch.no_grad():
            if settings.recurrent_weight_init == "standard":
                self._recurrent_kernel_.uniform_(-bound, bound)
            forget = self._bias_.view(4, H, D // H)[1]
            if settings.bias_init == "powerlaw_blockdependent":
                channel = torch.arange(D // H) / max(1, D // H - 1)
                forget.copy_(5 - 12 * channel ** (0.3 + 1.3 * depth))
            elif settings.bias_init == "small_init":
                forget.copy_(torch.linspace(3.0, 6.0, D // H))
            elif settings.bias_init == "standard":
                self._bias_.uniform_(-bound, bound)

    def forward(self, gates: Tensor) -> Tensor:
        """Outputs of all heads; gates (B, L, 4, H, d) -> (B, L, H, d)."""
        return slstm(gates + self._bias_.view(gates.shape[2:]), self._recurrent_kernel_)[0]


class GroupNorm(nn.Module):
    """Layer norm of each head whose factors are 1 + weight; (B, L, H, d) -> (B, L, D)."""

    def __init__(self, d_model: int, weighted: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d_model)) if weighted else None

    def forward(self, x: Tensor) -> Tensor:
        """Normed heads side by side; x (B, L, H, d) -> (B, L, D)."""
        B, L, H, _ = x.shape
        factors = None if self.weight is None else 1 + self.weight
        return group_norm(x.reshape(B * L, -1), H, factors, eps=1e-5).view(B, L, -1)


class SLSTMMixer(Mixer):
    """The sLSTM layer of xLSTM."""

    residual_weights = ()  # the norm writes into the residual stream itself

    def __init__(self, settings: Settings, layer: int = 0):
        super().__init__()
        D, H = settings.d_model, settings.num_heads
        self.d_model, self.num_heads = D, H
        self.conv_size = settings.conv1d_kernel_size
        self.operators = (short_conv, slstm) if self.conv_size else (slstm,)
        if self.conv_size:
            self.conv1d = Convolution(D, self.conv_size)
        self.fgate, self.igate = Headwise(D, H), Headwise(D, H)
        self.zgate, self.ogate = Headwise(D, H), Headwise(D, H)
        self.slstm_cell = Cell(settings, layer / max(1, settings.num_layers - 1))
        self.group_norm = GroupNorm(D, settings.group_norm_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normed outputs of the cells; x (B, L, D) -> (B, L, D)."""
        conv = silu(self.conv1d(x)) if self.conv_size else x
        gates = [self.fgate(conv), self.igate(conv), self.zgate(x), self.ogate(x)]
        return self.group_norm(self.slstm_cell(torch.stack(gates, 2)))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Output, cell and normaliser, and the positions the convolution looks back on.

        The paper's stabiliser would be a fourth vector; it only splits the normaliser in two.
        """
        return (3 + max(0, self.conv_size - 1)) * self.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Four gates, each of an input and a recurrent block a head, and the convolution."""
        blocks = 4 * 2 * self.d_model * self.d_model // self.num_heads
        return 2.0 * (blocks + self.conv_size * self.d_model)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return SLSTMMixer(settings, layer)
