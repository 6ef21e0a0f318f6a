"""DeltaNet: a matrix memory a head, written by the delta rule.

    q, k, v = silu(conv(W x))      q, k to unit length      beta = sigmoid(W_b x)
    S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T      y_t = W_o norm(S_t^T q_t / sqrt(K))

Source: Yang et al., arXiv:2406.06484. Parameter names, shapes and settings are those of the
DeltaNet layer of flash-linear-attention, so weights move both ways.
`allow_neg_eigval` doubles beta (Grazzi et al., arXiv:2411.12537): parity needs it.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from seqgrid.models._base import Mixer
from seqgrid.models._delta import DeltaRuleMixer, unit
from seqgrid.ops.delta_rule import delta_rule
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What DeltaNet adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        weight_decay=0.01,
        beta2=0.95,
        source="AdamW's betas, weight decay 0.01, clipping at 1 and a cosine: the training script "
        "of the authors' library (sustcsonglin/flash-linear-attention, training/train.sh), with a "
        "rate of 3e-4; Yang et al., arXiv:2406.06484",
    )

    num_heads: int = Field(4, ge=1, description="heads")
    expand_k: float = Field(1.0, gt=0, description="width of all keys over d_model")
    expand_v: float = Field(1.0, gt=0, description="width of all values over d_model")
    use_beta: bool = Field(True, description="writing strength from the input; else always 1")
    use_gate: bool = Field(False, description="gate the normed output of the heads")
    use_short_conv: bool = Field(True, description="convolve q, k, v over conv_size positions")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_bias: bool = Field(False, description="biases in the short convolutions")
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


class DeltaNetMixer(DeltaRuleMixer):
    """The layer of flash-linear-attention."""

    def __init__(self, settings: Settings):
        heads = settings.num_heads
        super().__init__(
            delta_rule,
            settings.d_model,
            (heads, int(settings.d_model * settings.expand_k) // heads),
            (heads, int(settings.d_model * settings.expand_v) // heads),
            (settings.conv_size, settings.conv_bias) if settings.use_short_conv else None,
            "swish" if settings.use_gate else None,
            settings.norm_eps,
            use_beta=settings.use_beta,
            qk_silu=settings.qk_activation == "silu",
        )
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, k, v = self._heads(x)
        if self.settings.use_beta:
            beta = self.b_proj(x).sigmoid()
        else:
            beta = x.new_ones(*x.shape[:2], self.num_heads)
        if self.settings.allow_neg_eigval:
            beta = beta * 2
        o, _ = delta_rule(q, k, v, beta)
        return self._answer(x, o)

    def _prepare(self, x: Tensor) -> Tensor:
        """Activated and normed queries or keys; x (B, L, H K) -> (B, L, H, K)."""
        match self.settings.qk_activation:
            case "relu":
                x = F.relu(x)
            case "elu":
                x = F.elu(x) + 1
        x = x.view(*x.shape[:2], self.num_heads, self.head_k_dim)
        return x / x.sum(-1, keepdim=True) if self.settings.qk_norm == "sum" else unit(x)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return DeltaNetMixer(settings)
