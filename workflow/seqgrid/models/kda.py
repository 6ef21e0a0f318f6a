"""Kimi delta attention: the delta rule, with a decay of each channel of the keys.

    q, k, v = silu(conv(W x))      q, k to unit length      beta = sigmoid(W_b x)
    g_t = -exp(A_log) softplus(W_f2 W_f1 x_t + dt_bias)
    S_t = (I - beta_t k_t k_t^T) diag(exp g_t) S_{t-1} + beta_t k_t v_t^T
    y_t = W_o (norm(S_t^T q_t / sqrt(K)) sigmoid(W_g2 W_g1 x_t + b))

Source: Kimi Team, arXiv:2510.26692, eq. 1 and section 4. Parameter names, shapes and settings are
those of the KimiDeltaAttention layer of flash-linear-attention, so weights move both ways; linear
layers start as everywhere in this backbone. With `safe_gate` the decay is bounded,
g = lower_bound sigmoid(exp(A_log) (f + dt_bias)). `allow_neg_eigval` doubles beta (Grazzi et al.,
arXiv:2411.12537).

B batch, L length, D d_model, H heads of keys, W of values, K and V their widths.
"""

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqgrid.models._base import Mixer
from seqgrid.models._delta import (
    DeltaRuleMixer,
    initial_A_log,
    initial_dt_bias,
    log_decay,
    undecayed,
)
from seqgrid.ops.kda import kda
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What Kimi delta attention adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="As Gated DeltaNet, Yang et al., arXiv:2412.06464, section 4, which it refines; "
        "Kimi Linear, arXiv:2510.26692, is trained by MuonClip, which is no optimiser here",
    )

    num_heads: int = Field(4, ge=1, description="heads; the library's 16 are for d_model 2048")
    num_v_heads: int | None = Field(
        None, ge=1, description="heads of values, a multiple of num_heads; None: num_heads"
    )
    head_dim: int | None = Field(
        None, ge=1, description="width of a key; None: d_model / num_heads; the library's is 128"
    )
    expand_v: float = Field(1.0, gt=0, description="width of a value over that of a key")
    use_short_conv: bool = Field(True, description="convolve q, k, v over conv_size positions")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_bias: bool = Field(False, description="biases in the short convolutions")
    allow_neg_eigval: bool = Field(False, description="beta in (0, 2), not (0, 1)")
    safe_gate: bool = Field(False, description="log decays in (lower_bound, 0), by a sigmoid")
    lower_bound: float | None = Field(
        None, lt=0, description="of log decays with safe_gate, nats a position; -5 is usual"
    )
    norm_eps: float = Field(1e-5, gt=0, description="of the norm on the output of each head")

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        if self.head_dim is None and self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads={self.num_heads} does not divide d_model={self.d_model}; set head_dim"
            )
        if (self.num_v_heads or self.num_heads) % self.num_heads:
            raise ValueError(
                f"num_v_heads={self.num_v_heads} is not a multiple of num_heads={self.num_heads}"
            )
        width = self.key_width * self.expand_v
        if width < 1 or abs(width - round(width)) > 1e-5 * width:
            raise ValueError(
                f"expand_v={self.expand_v} times the head width {self.key_width} is {width:g}, "
                "not a whole number of at least 1"
            )
        if self.safe_gate != (self.lower_bound is not None):
            raise ValueError(
                f"safe_gate={self.safe_gate} and lower_bound={self.lower_bound}: set both or none; "
                "lower_bound=-5 is usual"
            )
        return self

    @property
    def key_width(self) -> int:
        """Width of a key."""
        return self.head_dim or self.d_model // self.num_heads


class KDAMixer(DeltaRuleMixer):
    """The layer of flash-linear-attention."""

    def __init__(self, settings: Settings):
        value_heads = settings.num_v_heads or settings.num_heads
        super().__init__(
            kda,
            settings.d_model,
            (settings.num_heads, settings.key_width),
            (value_heads, round(settings.key_width * settings.expand_v)),
            (settings.conv_size, settings.conv_bias) if settings.use_short_conv else None,
            "sigmoid",
            settings.norm_eps,
        )
        self.max_beta = 2.0 if settings.allow_neg_eigval else 1.0
        self.lower_bound = settings.lower_bound
        channels = value_heads * self.head_k_dim
        self.f_proj = nn.Sequential(
            nn.Linear(settings.d_model, self.head_v_dim, bias=False),
            nn.Linear(self.head_v_dim, channels, bias=False),
        )
        if settings.safe_gate:
            self.A_log = undecayed(torch.zeros(value_heads))
        else:
            self.A_log = initial_A_log(value_heads, lowest=1.0)
        self.dt_bias = initial_dt_bias(channels)

    def _gate_projection(self, d_model: int) -> nn.Module:
        """Of rank V."""
        return nn.Sequential(
            nn.Linear(d_model, self.head_v_dim, bias=False),
            nn.Linear(self.head_v_dim, self.value_dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, k, v = self._heads(x)
        beta = self.max_beta * self.b_proj(x).sigmoid()
        heads = (self.num_v_heads, self.head_k_dim)
        f, dt_bias = self.f_proj(x).unflatten(-1, heads), self.dt_bias.view(heads)
        A_log = self.A_log.unsqueeze(-1)
        if self.lower_bound is None:
            g = log_decay(A_log, f, dt_bias)
        else:
            g = self.lower_bound * torch.sigmoid(A_log.exp() * (f + dt_bias))
        o, _ = kda(q, k, v, beta, g, lower_bound=self.lower_bound)
        return self._answer(x, o)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return KDAMixer(settings)
