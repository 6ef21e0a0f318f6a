"""Gated DeltaNet: the delta rule, with a decay of each head's memory that the input sets.

    q, k, v = silu(conv(W x))      q, k to unit length      beta = sigmoid(W_b x)
    g_t = -exp(A_log) softplus(W_a x_t + dt_bias)
    S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - exp(g_t) S_{t-1}^T k_t)^T
    y_t = W_o (norm(S_t^T q_t / sqrt(K)) silu(W_g x_t))

Source: Yang et al., arXiv:2412.06464, eq. 10 and section 3.4; decays start as Mamba-2's. Parameter
names, shapes and settings are those of the GatedDeltaNet layer of flash-linear-attention, so that
weights move both ways; linear layers start as everywhere in this backbone. `allow_neg_eigval`
doubles beta (Grazzi et al., arXiv:2411.12537).

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from seqgrid.models._base import Mixer
from seqgrid.models._delta import DeltaRuleMixer, initial_A_log, initial_dt_bias, log_decay
from seqgrid.ops.gated_delta_rule import gated_delta_rule
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What Gated DeltaNet adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="Weight decay 0.1, clipping at 1 and a cosine: Yang et al., arXiv:2412.06464, "
        "section 4, whose models of 1.3B parameters peak at 4e-4 after 1 of 100 billion tokens; "
        "AdamW's betas: the library's training code (fla-org/flame, flame/config_manager.py)",
    )

    num_heads: int = Field(4, ge=1, description="heads; the library's 6 are for d_model 2048")
    num_v_heads: int | None = Field(
        None, ge=1, description="heads of values, a multiple of num_heads; None: num_heads"
    )
    head_dim: int | None = Field(
        None, ge=1, description="width of a key; None: d_model / num_heads; the library's is 256"
    )
    expand_v: float = Field(2.0, gt=0, description="width of a value over that of a key")
    use_gate: bool = Field(True, description="gate the normed output of the heads")
    output_gate_activation: Literal["swish", "silu", "sigmoid"] = Field(
        "swish", description="of that gate; swish and silu are the same"
    )
    use_short_conv: bool = Field(True, description="convolve q, k, v over conv_size positions")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_bias: bool = Field(False, description="biases in the short convolutions")
    allow_neg_eigval: bool = Field(False, description="beta in (0, 2), not (0, 1)")
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
        return self

    @property
    def key_width(self) -> int:
        """Width of a key."""
        return self.head_dim or self.d_model // self.num_heads


class GatedDeltaNetMixer(DeltaRuleMixer):
    """The layer of flash-linear-attention."""

    def __init__(self, settings: Settings):
        value_heads = settings.num_v_heads or settings.num_heads
        super().__init__(
            gated_delta_rule,
            settings.d_model,
            (settings.num_heads, settings.key_width),
            (value_heads, round(settings.key_width * settings.expand_v)),
            (settings.conv_size, settings.conv_bias) if settings.use_short_conv else None,
            settings.output_gate_activation if settings.use_gate else None,
            settings.norm_eps,
        )
        self.max_beta = 2.0 if settings.allow_neg_eigval else 1.0
        self.a_proj = nn.Linear(settings.d_model, value_heads, bias=False)
        self.A_log = initial_A_log(value_heads)
        self.dt_bias = initial_dt_bias(value_heads)

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, k, v = self._heads(x)
        beta = self.max_beta * self.b_proj(x).sigmoid()
        g = log_decay(self.A_log, self.a_proj(x), self.dt_bias)
        o, _ = gated_delta_rule(q, k, v, beta, g)
        return self._answer(x, o)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return GatedDeltaNetMixer(settings)
