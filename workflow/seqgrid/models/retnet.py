"""RetNet: a matrix memory a head that forgets at a fixed rate, with rotary positions.

    S_t = gamma_h S_{t-1} + k_t v_t^T      gamma_h = 1 - 2^(-5 - h), h = 0, 1, ...
    y_t = W_o (norm(S_t^T q_t / sqrt(K)) swish(W_g x))

Source: Sun et al., arXiv:2307.08621, eq. 5-8, queries and keys turned by rotary phases
(arXiv:2104.09864). Parameter names, shapes and settings are those of the MultiScaleRetention layer
of flash-linear-attention, so weights move both ways; as there, the phases turn the two halves of a
head against each other, the norm is over each head, and there is no xPos.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from seqgrid.models._base import Mixer
from seqgrid.models._gated_heads import GatedHeads
from seqgrid.ops.simple_gla import simple_gla
from seqgrid.settings import BackboneSettings, Recipe

ROTARY_BASE = 10000.0


class Settings(BackboneSettings):
    """What RetNet adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.98,
        weight_decay=0.05,
        schedule="linear",
        gradient_clip=2.0,
        source="AdamW's betas and a linear decay: Sun et al., arXiv:2307.08621, section 3.1, which "
        "has a weight decay of 0.05 where table 7 has 0.01; clipping at 2: table 7. Their models "
        "of 1.3B parameters and more warm up in 375 of 25,000 steps",
    )

    num_heads: int = Field(4, ge=1, description="heads, each with a rate of its own")
    num_kv_heads: int | None = Field(
        None, ge=1, description="heads of keys and values, each shared; None: num_heads"
    )
    expand_k: float = Field(1.0, gt=0, description="width of all keys over d_model")
    expand_v: float = Field(2.0, gt=0, description="width of all values over d_model")
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
        head_dim = round(self.d_model * self.expand_k) // self.num_heads
        if head_dim % 2:
            raise ValueError(
                f"rotary phases need an even head width; d_model * expand_k over "
                f"num_heads={self.num_heads} is {head_dim}"
            )
        return self


class RetNetMixer(GatedHeads):
    """The layer of flash-linear-attention."""

    log_gamma: Tensor

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.operators = (*self.convolutions(), simple_gla)
        rates = 1 - 2.0 ** (-5.0 - torch.arange(self.num_heads, dtype=torch.float32))
        self.register_buffer("log_gamma", rates.log(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        q, k, v = self.project(x)
        q, k = rotate_halves(q), rotate_halves(k)
        o, _ = simple_gla(q, self.shared(k), self.shared(v), self.log_gamma)
        return self.answer(x, o)


def rotate_halves(x: Tensor) -> Tensor:
    """Channel i turned with channel i + K / 2 by their rotary phase; x (B, L, H, K)."""
    L, K = x.shape[1], x.shape[-1]
    exponents = torch.arange(0, K, 2, device=x.device, dtype=torch.float32) / K
    positions = torch.arange(L, device=x.device, dtype=torch.float32)
    angles = torch.outer(positions, ROTARY_BASE**-exponents).unsqueeze(1)  # (L, 1, K / 2)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, -1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
    return turned.to(x.dtype)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return RetNetMixer(settings)
