"""Softmax attention, the transformer: every position reads all before it.

    o_t = sum_s softmax_s(q_t k_s / sqrt(d)) v_s        s <= t where causal

Source: Vaswani et al., arXiv:1706.03762; rotary positions: Su et al., arXiv:2104.09864, eq. 34,
which turns neighbouring channels together.

B batch, L length, D d_model, H heads, d = D / H head width.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from seqgrid.data import Shape
from seqgrid.models._base import Mixer, linear_flops
from seqgrid.settings import ModelSettings, Recipe


class Settings(ModelSettings):
    """What attention adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="AdamW's betas, weight decay 0.1, clipping at 1 and a cosine: GPT-3, Brown et al., "
        "arXiv:2005.14165, appendix B, and LLaMA, Touvron et al., arXiv:2302.13971, section 2.3",
    )

    num_heads: int = Field(4, ge=1, description="heads; each is d_model / num_heads wide")
    positions: Literal["rope", "learned", "none"] = Field(
        "rope", description="rotary phases, a learned table, or only what the causal mask gives"
    )
    causal: bool = Field(True, description="position t reads none after t")
    rope_theta: float = Field(10000.0, gt=0, description="longest rotary wavelength over 2 pi")
    max_seqlen: int | None = Field(
        None, ge=1, description="rows of the learned table, tokens; None: the training length"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
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
    """Multi-head attention on torch's scaled_dot_product_attention."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.d_model, self.num_heads = settings.d_model, settings.num_heads
        self.head_dim = self.d_model // self.num_heads
        self.causal = settings.causal
        self.rope_theta = settings.rope_theta if settings.positions == "rope" else None
        self.q_proj = nn.Linear(self.d_model, self.d_model, bias=False)
        self.k_proj = nn.Linear(self.d_model, self.d_model, bias=False)
        self.v_proj = nn.Linear(self.d_model, self.d_model, bias=False)
        self.o_proj = nn.Linear(self.d_model, self.d_model, bias=False)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Attended values; x (B, L, D) -> (B, L, D); keys from `lengths` on, (B,), are not read."""
        B, L, D = x.shape
        heads = (B, L, self.num_heads, self.head_dim)
        q, k, v = (p(x).view(heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        if self.rope_theta is not None:
            phases = rotary_phases(L, self.head_dim, self.rope_theta, x.device)
            q, k = rotate(q, phases), rotate(k, phases)
        own = None
        if lengths is not None and not self.causal:  # padding comes after whatever is causal
            own = (torch.arange(L, device=x.device) < lengths[:, None])[:, None, None]
        o = scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), own, is_causal=self.causal
        )
        return self.o_proj(o.transpose(1, 2).reshape(B, L, D))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The cache of keys and values; all of the input where not causal, which is as much."""
        return 2 * seqlen * self.d_model * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Four projections, then scores and sums over the positions read."""
        num_read = (seqlen + 1) / 2 if self.causal else seqlen
        projections = linear_flops(self.q_proj, self.k_proj, self.v_proj, self.o_proj)
        return projections + 2 * 2 * self.d_model * num_read

    @property
    def backend(self) -> dict[str, str]:
        """Torch picks the kernel by device, type and shape."""
        return {"attention": "torch scaled_dot_product_attention"}


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
