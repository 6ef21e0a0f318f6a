"""DeltaNet: a matrix memory a head, written by the delta rule.

    q, k, v = silu(conv(W x))      q, k to unit length      beta = sigmoid(W_b x)
    S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T      y_t = W_o norm(S_t^T q_t / sqrt(K))

Source: Yang et al., arXiv:2406.06484. Parameter names, shapes and settings are those of the
DeltaNet layer of flash-linear-attention without its output gate, so weights move both ways.
`allow_neg_eigval` doubles beta (Grazzi et al., arXiv:2411.12537): parity needs it.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer, ShortConvolution, linear_flops
from seqgrid.ops.delta_rule import delta_rule
from seqgrid.ops.short_conv import short_conv
from seqgrid.settings import ModelSettings, Recipe


class Settings(ModelSettings):
    """What DeltaNet adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        weight_decay=0.01,
        source="Weight decay 0.01, clipping at 1 and a cosine: Yang et al., arXiv:2406.06484, "
        "whose models of 340M and 1.3B parameters peak at 3e-4",
    )

    num_heads: int = Field(4, ge=1, description="heads")
    expand_k: float = Field(1.0, gt=0, description="width of all keys over d_model")
    expand_v: float = Field(1.0, gt=0, description="width of all values over d_model")
    use_beta: bool = Field(True, description="writing strength from the input; else always 1")
    use_short_conv: bool = Field(True, description="convolve q, k, v over conv_size positions")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    allow_neg_eigval: bool = Field(False, description="beta in (0, 2), not (0, 1)")
    qk_activation: Literal["silu", "relu", "elu", "identity"] = Field(
        "silu", description="on queries and keys; elu is elu + 1"
    )
    qk_norm: Literal["l2", "sum"] = Field(
        "l2", description="queries and keys to unit length, or to sum 1 (elu only)"
    )
    norm_eps: float = Field(1e-5, gt=0, description="of the norm on the output of each head")

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        for name, expand in (("expand_k", self.expand_k), ("expand_v", self.expand_v)):
            dim = int(self.d_model * expand)
            if dim == 0 or dim % self.num_heads:
                raise ValueError(
                    f"num_heads={self.num_heads} does not divide d_model * {name} = {dim}"
                )
        if self.qk_norm == "sum" and self.qk_activation != "elu":
            raise ValueError("qk_norm=sum divides by a sum that only qk_activation=elu keeps > 0")
        return self


class DeltaNetMixer(Mixer):
    """The layer of flash-linear-attention on the chunked delta rule."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        self.operators = (short_conv, delta_rule) if settings.use_short_conv else (delta_rule,)
        d_model, self.num_heads = settings.d_model, settings.num_heads
        self.key_dim = int(d_model * settings.expand_k)
        self.value_dim = int(d_model * settings.expand_v)
        self.head_k_dim = self.key_dim // self.num_heads
        self.head_v_dim = self.value_dim // self.num_heads
        self.q_proj = nn.Linear(d_model, self.key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, self.key_dim, bias=False)
        self.v_proj = nn.Linear(d_model, self.value_dim, bias=False)
        if settings.use_beta:
            self.b_proj = nn.Linear(d_model, self.num_heads, bias=False)
        if settings.use_short_conv:
            self.q_conv1d = ShortConvolution(self.key_dim, settings.conv_size)
            self.k_conv1d = ShortConvolution(self.key_dim, settings.conv_size)
            self.v_conv1d = ShortConvolution(self.value_dim, settings.conv_size)
        self.o_norm = nn.RMSNorm(self.head_v_dim, eps=settings.norm_eps)
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        B, L, _ = x.shape
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.settings.use_short_conv:
            q, k, v = self.q_conv1d(q), self.k_conv1d(k), self.v_conv1d(v)
        q, k = self._prepare(q), self._prepare(k)
        v = F.silu(v).view(B, L, self.num_heads, self.head_v_dim)
        if self.settings.use_beta:
            beta = self.b_proj(x).sigmoid()
        else:
            beta = x.new_ones(B, L, self.num_heads)
        if self.settings.allow_neg_eigval:
            beta = beta * 2
        o, _ = delta_rule(q, k, v, beta)
        return self.o_proj(self.o_norm(o).reshape(B, L, self.value_dim))

    def _prepare(self, x: Tensor) -> Tensor:
        """Activated and normed queries or keys; x (B, L, H K) -> (B, L, H, K)."""
        match self.settings.qk_activation:
            case "silu":
                x = F.silu(x)
            case "relu":
                x = F.relu(x)
            case "elu":
                x = F.elu(x) + 1
        x = x.view(*x.shape[:2], self.num_heads, self.head_k_dim)
        if self.settings.qk_norm == "sum":
            return x / x.sum(-1, keepdim=True)
        return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)  # eps of fla's l2norm

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrix of each head, and the positions the convolutions look back on."""
        elements = self.num_heads * self.head_k_dim * self.head_v_dim
        if self.settings.use_short_conv:
            elements += (self.settings.conv_size - 1) * (2 * self.key_dim + self.value_dim)
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, convolutions, and a read, a write and an answer of each head's matrix."""
        layers = [self.q_proj, self.k_proj, self.v_proj, self.o_proj]
        if self.settings.use_beta:
            layers.append(self.b_proj)
        flops = linear_flops(*layers)
        flops += 2 * 3 * self.num_heads * self.head_k_dim * self.head_v_dim
        if self.settings.use_short_conv:
            flops += 2 * self.settings.conv_size * (2 * self.key_dim + self.value_dim)
        return flops


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return DeltaNetMixer(settings)
