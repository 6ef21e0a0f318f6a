"""Gated linear attention: a matrix memory a head, each key channel of which forgets by the input.

    q, k, v = W x      g = logsigmoid(W_2 W_1 x + b) / gate_logit_normalizer
    S_t = diag(exp g_t) S_{t-1} + k_t v_t^T      y_t = W_o (norm(S_t^T q_t / sqrt(K)) swish(W_g x))

Source: Yang et al., arXiv:2312.06635, section 4. Parameter names, shapes and settings are those of
the GatedLinearAttention layer of flash-linear-attention, so weights move both ways.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer
from seqgrid.models._gated_heads import GatedHeads
from seqgrid.ops.gla import gla
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What GLA adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        weight_decay=0.01,
        beta2=0.95,
        source="Weight decay 0.01, clipping at 1 and a cosine: Yang et al., arXiv:2312.06635, "
        "section 5.1, whose models of 340M and 1.3B parameters peak at 3e-4 after 0.5 of 15 and 1 "
        "of 100 billion tokens; AdamW's betas: the training script of the authors' library "
        "(sustcsonglin/flash-linear-attention, training/train.sh)",
    )

    num_heads: int = Field(4, ge=1, description="heads")
    num_kv_heads: int | None = Field(
        None, ge=1, description="heads of keys, values and gates, each shared; None: num_heads"
    )
    expand_k: float = Field(0.5, gt=0, description="width of all keys over d_model")
    expand_v: float = Field(1.0, gt=0, description="width of all values over d_model")
    feature_map: Literal["relu", "silu", "sigmoid"] | None = Field(
        None, description="on queries and keys"
    )
    use_short_conv: bool = Field(False, description="convolve q, k, v, with a silu behind")
    conv_size: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_bias: bool = Field(False, description="bias of the short convolution")
    use_output_gate: bool = Field(True, description="gate what the memory gives by the input")
    gate_fn: Literal["swish", "sigmoid", "relu"] = Field("swish", description="of the output gate")
    elementwise_affine: bool = Field(True, description="weights of the norm on each head's output")
    norm_eps: float = Field(1e-5, gt=0, description="of the norm on each head's output")
    gate_logit_normalizer: float = Field(
        16.0, gt=0, description="log forget gates are divided by it: larger forgets less"
    )
    gate_low_rank_dim: int = Field(16, ge=1, description="rank of the projection to the gates")
    clamp_min: float | None = Field(None, lt=0, description="least log forget gate; None: none")

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        for name, expand in (("expand_k", self.expand_k), ("expand_v", self.expand_v)):
            dim = self.d_model * expand
            if not math.isclose(dim, round(dim)) or round(dim) % self.num_heads or dim < 1:
                raise ValueError(
                    f"num_heads={self.num_heads} does not divide d_model * {name} = {dim:g}"
                )
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}"
            )
        return self


class GLAMixer(GatedHeads):
    """The layer of flash-linear-attention."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.operators = (*self.convolutions(), gla)
        self.clamp_min = settings.clamp_min
        self.gate_logit_normalizer = settings.gate_logit_normalizer
        self.gk_proj = nn.Sequential(
            nn.Linear(settings.d_model, settings.gate_low_rank_dim, bias=False),
            nn.Linear(settings.gate_low_rank_dim, self.key_dim // self.groups),
        )

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, k, v = self.project(x)
        g = F.logsigmoid(self.gk_proj(x)) / self.gate_logit_normalizer
        if self.clamp_min is not None:
            g = g.clamp(min=self.clamp_min)
        k, v, g = self.shared(k), self.shared(v), self.shared(self.by_head(g, self.head_k_dim))
        o, _ = gla(q, k, v, g)
        return self.answer(x, o)

    @property
    def memories(self) -> int:
        """Matrices that differ: heads that share keys, values and gates hold the same one."""
        return self.num_heads // self.groups


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return GLAMixer(settings)
