"""Gated DeltaProduct: several writes of the delta rule a position, behind one gate.

    q, k_i, v_i = silu(conv(W x))    q, k_i to unit length    beta_i = 2 sigmoid(W_bi x)    i = 1..n
    g_t = -exp(A_log) softplus(W_a x_t + dt_bias)
    S = exp(g_t) S_{t-1};    S <- S + beta_i k_i (v_i - S^T k_i)^T  for each i;    S_t = S
    y_t = W_o (norm(S_t^T q_t / sqrt(K)) silu(W_g x_t))

Source: Siems et al., arXiv:2502.10297, section 3: n reflections a position reach transitions that
one does not, such as permutations of n + 1 states. Parameter names, shapes and settings are those
of the GatedDeltaProduct layer of flash-linear-attention, so that weights move both ways; linear
layers start as everywhere in this backbone. Without `use_forget_gate` it is DeltaProduct.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from seqgrid.models._base import Mixer
from seqgrid.models._delta import DeltaRuleMixer, initial_A_log, initial_dt_bias, log_decay
from seqgrid.ops.gated_delta_rule import gated_delta_product
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What Gated DeltaProduct adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="As Gated DeltaNet, Yang et al., arXiv:2412.06464, section 4, which Siems et al., "
        "arXiv:2502.10297, extend; what they themselves train with was not found",
    )

    num_heads: int = Field(4, ge=1, description="heads; the library's 6 are for d_model 2048")
    num_v_heads: int | None = Field(
        None, ge=1, description="heads of values, a multiple of num_heads; None: num_heads"
    )
    head_dim: int | None = Field(
        None, ge=1, description="width of a key; None: d_model / num_heads; the library's is 256"
    )
    expand_v: float = Field(2.0, gt=0, description="width of a value over that of a key")
    num_householder: int = Field(2, ge=1, description="writes a position")
    use_forget_gate: bool = Field(True, description="decay the memory before it is written")
    use_output_gate: bool = Field(True, description="gate the normed output of the heads")
    use_short_conv: bool = Field(True, description="convolve q, k, v over conv_size positions")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_bias: bool = Field(False, description="biases in the short convolutions")
    allow_neg_eigval: bool = Field(True, description="beta in (0, 2), not (0, 1)")
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


class GatedDeltaProductMixer(DeltaRuleMixer):
    """The layer of flash-linear-attention."""

    def __init__(self, settings: Settings):
        value_heads = settings.num_v_heads or settings.num_heads
        super().__init__(
            gated_delta_product,
            settings.d_model,
            (settings.num_heads, settings.key_width),
            (value_heads, round(settings.key_width * settings.expand_v)),
            (settings.conv_size, settings.conv_bias) if settings.use_short_conv else None,
            "swish" if settings.use_output_gate else None,
            settings.norm_eps,
            writes=settings.num_householder,
        )
        self.max_beta = 2.0 if settings.allow_neg_eigval else 1.0
        self.use_forget_gate = settings.use_forget_gate
        if self.use_forget_gate:
            self.a_proj = nn.Linear(settings.d_model, value_heads, bias=False)
            self.A_log = initial_A_log(value_heads)
            self.dt_bias = initial_dt_bias(value_heads)

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, k, v = self._heads(x)
        beta = self.max_beta * self.b_proj(x).sigmoid()
        beta = beta.reshape(len(x), -1, self.num_v_heads)
        g = None
        if self.use_forget_gate:
            g = log_decay(self.A_log, self.a_proj(x), self.dt_bias)
        o, _ = gated_delta_product(q, k, v, beta, g)
        return self._answer(x, o)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return GatedDeltaProductMixer(settings)
