"""HGRN2: gated linear attention whose keys are what the gates forget.

    q = swish(W_q x)      f = b + (1 - b) sigmoid(W_f x)      v = W_i x
    S_t = diag(f_t) S_{t-1} + (1 - f_t) v_t^T                 y_t = W_o norm(S_t^T q_t / sqrt(K))

Source: Qin et al., arXiv:2404.07904, eq. 7-9. The lower bounds b of the forget gates are trained,
and rise from layer to layer from 0 in the first: cumulative sums over the layers of a softmax.
Parameter names, shapes and settings are those of the HGRN2Attention layer of
flash-linear-attention, and of its model for the bounds, so weights move both ways; the bounds of
all layers are a parameter of the first. The library's layer norms with an eps of 1e-5 whatever its
norm_eps says; here it is a setting.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import RMSNorm, ShortConvolution
from seqgrid.ops.gla import gla
from seqgrid.ops.short_conv import short_conv
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What HGRN2 adds to the backbone."""

    common: ClassVar[tuple[str, ...]] = ("use_lower_bound",)
    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.98,
        source="Adam's betas, weight decay 0.1 and clipping at 1: the authors' script for "
        "WikiText-103 (OpenNLPLab/HGRN2, script_lm.sh) of Qin et al., arXiv:2404.07904, where the "
        "rate peaks at 5e-4 after 4,000 of 50,000 steps and falls with the inverse square root; "
        "their MQAR runs on Zoology's code (script_mqar.sh)",
    )

    num_heads: int | None = Field(
        None, ge=1, description="heads; None: d_model / expand_ratio, which must then be set"
    )
    expand_ratio: int | None = Field(
        16, ge=1, description="key width of a head; None: d_model / num_heads. 128 in the library"
    )
    use_short_conv: bool = Field(False, description="convolve q, f, i")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_bias: bool = Field(False, description="bias of the short convolution")
    use_lower_bound: bool = Field(True, description="layers behind the first forget less")
    elementwise_affine: bool = Field(True, description="weights of the norm on the output")
    norm_eps: float = Field(1e-5, gt=0, description="of the norm on the output")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if (self.num_heads is None) == (self.expand_ratio is None):
            raise ValueError("set one of num_heads and expand_ratio, and the other to null")
        for name, value in (("num_heads", self.num_heads), ("expand_ratio", self.expand_ratio)):
            if value is not None and self.d_model % value:
                raise ValueError(f"{name}={value} does not divide d_model={self.d_model}")
        return self


class HGRN2Mixer(Mixer):
    """The layer of flash-linear-attention."""

    def __init__(self, settings: Settings, layer: int):
        super().__init__()
        self.settings, self.layer = settings, layer
        d_model = settings.d_model
        if settings.num_heads is not None:
            self.num_heads = settings.num_heads
        else:
            assert settings.expand_ratio is not None
            self.num_heads = d_model // settings.expand_ratio
        self.bounded = settings.use_lower_bound and settings.num_layers > 1
        self.carries = self.bounded
        self.operators = (short_conv, gla) if settings.use_short_conv else (gla,)
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.f_proj = nn.Linear(d_model, d_model, bias=False)
        self.i_proj = nn.Linear(d_model, d_model, bias=False)
        if settings.use_short_conv:
            self.q_conv1d, self.f_conv1d, self.i_conv1d = (
                ShortConvolution(d_model, settings.conv_size, settings.conv_bias) for _ in range(3)
            )
        self.g_norm = RMSNorm(
            d_model, eps=settings.norm_eps, elementwise_affine=settings.elementwise_affine
        )
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        if self.bounded and layer == 0:
            self.lower_bounds = nn.Parameter(torch.zeros(settings.num_layers, d_model))

    def forward(self, x: Tensor, carried: dict[str, Tensor] | None = None) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, f, v = self.q_proj(x), self.f_proj(x), self.i_proj(x)
        if self.settings.use_short_conv:
            q, f, v = self.q_conv1d(q), self.f_conv1d(f), self.i_conv1d(v)
        g = F.logsigmoid(f)
        bound = self._bound(carried)
        if bound is not None:
            # log(b + (1 - b) sigmoid(f)), for gates that are all but closed too
            g = torch.logaddexp(bound.log(), torch.log1p(-bound) + g)
        q, k, v, g = (
            y.unflatten(-1, (self.num_heads, -1)) for y in (F.silu(q), -torch.expm1(g), v, g)
        )
        o, _ = gla(q, k.to(v.dtype), v, g)
        return self.o_proj(self.g_norm(o.flatten(-2)))

    def _bound(self, carried: dict[str, Tensor] | None) -> Tensor | None:
        """Least that this layer's channels keep, (D,); None for the first layer, which has none."""
        if not self.bounded or carried is None:
            return None
        if self.layer == 0:
            shares = self.lower_bounds.softmax(0)
            carried["hgrn2_lower_bounds"] = shares.cumsum(0) - shares[0]
            return None
        return carried["hgrn2_lower_bounds"][self.layer]

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrix of each head, and the positions the convolutions look back on."""
        d_model = self.settings.d_model
        elements = d_model * d_model // self.num_heads
        if self.settings.use_short_conv:
            elements += (self.settings.conv_size - 1) * 3 * d_model
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, convolutions, and a write to and a read of each head's matrix."""
        d_model = self.settings.d_model
        flops = linear_flops(self.q_proj, self.f_proj, self.i_proj, self.o_proj)
        flops += 2 * 2 * d_model * d_model / self.num_heads
        if self.settings.use_short_conv:
            flops += 2 * self.settings.conv_size * 3 * d_model
        return flops


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return HGRN2Mixer(settings, layer)
