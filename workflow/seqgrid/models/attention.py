"""Softmax attention, the transformer: every position reads all before it.

    o_t = sum_s softmax_s(q_t k_s / sqrt(d)) v_s        s <= t where causal, |t - s| < window_size

Source: Vaswani et al., arXiv:1706.03762; rotary positions: Su et al., arXiv:2104.09864, eq. 34,
which turns neighbouring channels together. Parameters are those of flash-linear-attention's
`Attention`, which turns the two halves of a head together (`rope_interleaved: false`), is always
causal and always rotary.

B batch, L length, D d_model, H heads, J heads of keys and values, d = D / H head width.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqgrid.data import Shape
from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import RMSNorm
from seqgrid.ops.attention import attention
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What attention adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="AdamW's betas, weight decay 0.1, clipping at 1 and a cosine: GPT-3, Brown et al., "
        "arXiv:2005.14165, appendix B, and LLaMA, Touvron et al., arXiv:2302.13971, section 2.3. "
        "Their warm-up is 0.1 % of 300 billion tokens and 2,000 steps; a tenth of the steps is "
        "that of Beck et al., arXiv:2405.04517, for Llama on recall. At 0.02 and this size it may "
        "fail without: 200 steps mended it (docs/initialisation.md), a tenth of 2,000",
    )

    num_heads: int = Field(4, ge=1, description="heads; each is d_model / num_heads wide")
    positions: Literal["rope", "learned", "none"] = Field(
        "rope", description="rotary phases, a learned table, or only what the causal mask gives"
    )
    causal: bool = Field(True, description="position t reads none after t")
    rope_theta: float = Field(10000.0, ge=1, description="longest rotary wavelength over 2 pi")
    max_seqlen: int | None = Field(
        None, ge=1, description="rows of the learned table, tokens; None: the training length"
    )
    rope_interleaved: bool = Field(
        True,
        description="rotary pairs are neighbouring channels; false: channel i and i + d / 2, as in "
        "GPT-NeoX and flash-linear-attention",
    )
    window_size: int | None = Field(
        None, ge=1, description="positions at this distance or more are not read; None: all are"
    )
    num_kv_heads: int | None = Field(
        None, ge=1, description="heads of keys and values, each shared by a group; None: num_heads"
    )
    qkv_bias: bool = Field(False, description="biases of queries, keys and values")
    qk_norm: bool = Field(False, description="RMSNorm of each head's queries and keys")
    norm_eps: float = Field(1e-5, gt=0, description="epsilon of that norm")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        if self.num_kv_heads is not None and self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}"
            )
        if self.positions == "rope" and self.d_model // self.num_heads % 2:
            raise ValueError(
                f"rope needs an even head width; d_model={self.d_model} over "
                f"num_heads={self.num_heads} is {self.d_model // self.num_heads}"
            )
        if self.positions != "learned" and self.max_seqlen is not None:
            raise ValueError(f"max_seqlen is for learned positions, not {self.positions!r}")
        return self

    @property
    def reads_ahead(self) -> bool:
        """Where the mask is not causal."""
        return not self.causal

    def unable(self, seqlen: int) -> str | None:
        """Why a learned table that ends before `seqlen` tokens cannot serve; else None."""
        if self.max_seqlen is not None and seqlen > self.max_seqlen:
            return f"learned positions end at {self.max_seqlen} tokens, {seqlen} asked"
        return None


class LearnedPositions(nn.Module):
    """One trained vector a position, added to the embedding; (B, L, D) -> (B, L, D)."""

    def __init__(self, max_seqlen: int, d_model: int):
        super().__init__()
        self.max_seqlen = max_seqlen
        self.table = nn.Embedding(max_seqlen, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Embedded input with positions; x (B, L, D) -> (B, L, D).

        Raises:
            ValueError: the table is shorter than the sequence.
        """
        if x.shape[1] > self.max_seqlen:
            raise ValueError(
                f"learned positions end at {self.max_seqlen} tokens, {x.shape[1]} asked; "
                "set max_seqlen to the longest length to evaluate, or positions to rope or none"
            )
        return x + self.table.weight[: x.shape[1]]


class AttentionMixer(Mixer):
    """Multi-head attention with as many heads of keys and values, or fewer."""

    operators = (attention,)

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        self.d_model, self.num_heads = settings.d_model, settings.num_heads
        self.num_kv_heads = settings.num_kv_heads or settings.num_heads
        self.head_dim = self.d_model // self.num_heads
        self.kv_dim = self.num_kv_heads * self.head_dim
        self.causal = settings.causal
        self.q_proj = nn.Linear(self.d_model, self.d_model, bias=settings.qkv_bias)
        self.k_proj = nn.Linear(self.d_model, self.kv_dim, bias=settings.qkv_bias)
        self.v_proj = nn.Linear(self.d_model, self.kv_dim, bias=settings.qkv_bias)
        self.o_proj = nn.Linear(self.d_model, self.d_model, bias=False)
        if settings.qk_norm:
            self.q_norm = RMSNorm(self.head_dim, eps=settings.norm_eps)
            self.k_norm = RMSNorm(self.head_dim, eps=settings.norm_eps)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Attended values; x (B, L, D) -> (B, L, D); keys from `lengths` on, (B,), are not read."""
        B, L, D = x.shape
        q, k, v = (
            p(x).view(B, L, -1, self.head_dim) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.settings.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.settings.positions == "rope":
            if not self.settings.rope_interleaved:
                # scores do not mind the order of channels, as long as q and k have the same
                q, k = (y.unflatten(-1, (2, -1)).mT.flatten(-2) for y in (q, k))
            phases = rotary_phases(L, self.head_dim, self.settings.rope_theta, x.device)
            q, k = rotate(q, phases), rotate(k, phases)
        o = attention(
            q,
            k,
            v,
            causal=self.causal,
            window=self.settings.window_size,
            # padding comes after whatever is causal
            lengths=None if self.causal else lengths,
        )
        return self.o_proj(o.reshape(B, L, D))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The cache of keys and values that a window can still reach; all without a window.

        Where not causal that is all of the input, or what lies within the window on both sides.
        """
        window = self.settings.window_size or seqlen
        num_kept = min(seqlen, window if self.causal else 2 * window - 1)
        return 2 * num_kept * self.kv_dim * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Four projections, then scores and sums over the positions read."""
        window = min(seqlen, self.settings.window_size or seqlen)
        missing = window * (window - 1) / 2 / seqlen  # at an end of the sequence
        num_read = window - missing if self.causal else 2 * (window - missing) - 1
        projections = linear_flops(self.q_proj, self.k_proj, self.v_proj, self.o_proj)
        return projections + 2 * 2 * self.d_model * num_read


def rotary_phases(seqlen: int, dim: int, theta: float, device: torch.device) -> Tensor:
    """exp(i position frequency), complex64 (L, 1, dim/2); as cheap as a cache of it."""
    exponents = torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim
    positions = torch.arange(seqlen, device=device, dtype=torch.float32)
    angles = torch.outer(positions, theta**-exponents).unsqueeze(1)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, phases: Tensor) -> Tensor:
    """Each pair (2 i, 2 i + 1) turned by its phase; x (B, L, H, d) -> (B, L, H, d)."""
    wide = torch.promote_types(x.dtype, torch.float32)  # complex numbers have no half
    # one complex product: a third of the passes over memory of the real form
    pairs = torch.view_as_complex(x.to(wide).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * phases).flatten(-2).to(x.dtype)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return AttentionMixer(settings)


def positions(settings: Settings, shape: Shape) -> nn.Module | None:
    """What is added to the embedded input.

    Raises:
        ValueError: the learned table ends before the training length.
    """
    if reason := settings.unable(shape.seqlen):
        raise ValueError(reason)
    if settings.positions != "learned":
        return None
    return LearnedPositions(settings.max_seqlen or shape.seqlen, settings.d_model)
