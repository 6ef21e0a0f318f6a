"""mLSTM: the matrix memory of xLSTM, with exponential input gates, between two projections.

    u, z = W_up x      c = silu(conv(u))      q, k = W_q c, W_k c      v = W_v u
    i, f = W_i [q, k, v] + b_i, W_f [q, k, v] + b_f
    C_t = sigmoid(f_t) C_{t-1} + exp(i_t) k_t v_t^T      n_t the same of k_t alone
    h_t = C_t^T q_t / max(|n_t^T q_t|, 1)                y = W_down ((norm(h) + skip * c) silu(z))

Source: Beck et al., arXiv:2405.04517, eq. 19-27 and figure 10. W_q, W_k, W_v are block-diagonal.
Parameter names, shapes, settings and initial values of gates and blocks are those of mLSTMLayer in
the authors' package xlstm, so weights move both ways; `embedding_dim` is d_model here.

B batch, L length, D d_model, I inner width, H heads.
"""

import math
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer
from seqgrid.models._layers import ShortConvolution
from seqgrid.ops.mlstm import mlstm
from seqgrid.ops.short_conv import short_conv
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What mLSTM adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="Rates, weight decay 0.1, warm-up in a tenth of the steps, a cosine: Beck et al., "
        "arXiv:2405.04517, appendix on associative recall; AdamW's betas: its general training "
        "procedure for language",
    )

    num_heads: int = Field(4, ge=1, description="heads; each is inner_dim / num_heads wide")
    proj_factor: float = Field(
        2.0, gt=0, le=64, description="inner width over d_model, before rounding"
    )
    round_proj_up_to_multiple_of: int = Field(
        16, ge=1, description="the inner width is a multiple of it; 64 in the library"
    )
    round_proj_up_dim_up: bool = Field(True, description="round up to the multiple; else down")
    conv1d_kernel_size: int = Field(4, ge=0, description="positions the convolution reads; 0: none")
    qkv_proj_blocksize: int = Field(4, ge=1, description="width of the blocks of W_q, W_k, W_v")
    bias: bool = Field(False, description="biases of all projections")

    @property
    def inner_dim(self) -> int:
        """Width between the projections, channels."""
        multiples = self.proj_factor * self.d_model / self.round_proj_up_to_multiple_of
        whole = math.ceil(multiples) if self.round_proj_up_dim_up else math.floor(multiples)
        return whole * self.round_proj_up_to_multiple_of

    @model_validator(mode="after")
    def _blocks_divide_width(self) -> Self:
        inner = self.inner_dim
        if inner == 0:
            raise ValueError(
                f"proj_factor={self.proj_factor} times d_model={self.d_model} is below "
                f"round_proj_up_to_multiple_of={self.round_proj_up_to_multiple_of}; "
                "set round_proj_up_dim_up"
            )
        for name in ("num_heads", "qkv_proj_blocksize"):
            if inner % getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} does not divide the inner width {inner}, "
                    "proj_factor * d_model rounded to round_proj_up_to_multiple_of"
                )
        return self


class BlockDiagonal(nn.Module):
    """A linear layer of square blocks, weight (blocks, out, in); (..., I) -> (..., I)."""

    def __init__(self, width: int, blocksize: int, bias: bool):
        super().__init__()
        num_blocks = width // blocksize
        self.weight = nn.Parameter(torch.empty(num_blocks, blocksize, blocksize))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        # products of blocks of 4 are slow: four of them as one of 16 take half the time
        self.joined = math.gcd(num_blocks, max(1, 16 // blocksize))

    def forward(self, x: Tensor) -> Tensor:
        """Each block of channels by itself; x (..., I) -> (..., I)."""
        num_blocks, size, _ = self.weight.shape
        n, j = num_blocks // self.joined, self.joined
        weight = self.weight.new_zeros(n, j, size, j, size)
        own = self.weight.view(n, j, size, size).permute(0, 2, 3, 1)
        weight.diagonal(dim1=1, dim2=3).copy_(own)
        weight = weight.view(n, j * size, j * size)
        y = torch.einsum("...ni,noi->...no", x.unflatten(-1, (n, -1)), weight).flatten(-2)
        return y if self.bias is None else y + self.bias


class CausalConv1d(nn.Module):
    """The short convolution under the name the library gives it."""

    def __init__(self, dim: int, size: int):
        super().__init__()
        self.conv = ShortConvolution(dim, size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolved channels; x (B, L, I) -> (B, L, I)."""
        return self.conv(x)


class HeadNorm(nn.Module):
    """Layer norm over each head, weights kept as what they differ from 1."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))

    def forward(self, h: Tensor) -> Tensor:
        """Normed; h (B, L, H, V) -> (B, L, H V)."""
        normed = F.layer_norm(h, h.shape[-1:], eps=1e-5)  # the library's, not settable there
        return normed.flatten(-2) * (1 + self.weight)


class Cell(nn.Module):
    """Gates, memory and norm."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.igate = nn.Linear(3 * dim, num_heads)
        self.fgate = nn.Linear(3 * dim, num_heads)
        self.outnorm = HeadNorm(dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the memory answers; q, k, v (B, L, I) -> (B, L, I)."""
        cell_input = torch.cat([q, k, v], -1)
        weight = torch.cat([self.igate.weight, self.fgate.weight])  # one pass over the input
        bias = torch.cat([self.igate.bias, self.fgate.bias])
        i, f = F.linear(cell_input, weight, bias).chunk(2, -1)
        g = F.logsigmoid(f)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)) for x in (q, k, v))
        h, _ = mlstm(q, k, v, i, g)
        return self.outnorm(h)


class MLSTMMixer(Mixer):
    """The layer of the package xlstm."""

    residual_weights = ("proj_down",)

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        d_model, inner, bias = settings.d_model, settings.inner_dim, settings.bias
        self.operators = (short_conv, mlstm) if settings.conv1d_kernel_size else (mlstm,)
        self.proj_up = nn.Linear(d_model, 2 * inner, bias=bias)
        blocksize = settings.qkv_proj_blocksize
        self.q_proj = BlockDiagonal(inner, blocksize, bias)
        self.k_proj = BlockDiagonal(inner, blocksize, bias)
        self.v_proj = BlockDiagonal(inner, blocksize, bias)
        if settings.conv1d_kernel_size:
            self.conv1d = CausalConv1d(inner, settings.conv1d_kernel_size)
        self.mlstm_cell = Cell(inner, settings.num_heads)
        self.learnable_skip = nn.Parameter(torch.ones(inner))
        self.proj_down = nn.Linear(inner, d_model, bias=bias)

    @torch.no_grad()
    def initialise(self, std: float, residual_std: float) -> None:
        """Gates that start open to the past, whatever the input, as in the library's cell.py.

        The blocks start as in its layer.py: sqrt(2 / (5 D)), Nguyen & Salazar, arXiv:1910.05895.
        """
        super().initialise(std, residual_std)
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(projection.weight, std=math.sqrt(2 / (5 * self.settings.d_model)))
        cell = self.mlstm_cell
        nn.init.zeros_(cell.fgate.weight)
        cell.fgate.bias.copy_(torch.linspace(3.0, 6.0, cell.num_heads))
        nn.init.zeros_(cell.igate.weight)
        nn.init.normal_(cell.igate.bias, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D)."""
        u, z = self.proj_up(x).chunk(2, -1)
        c = F.silu(self.conv1d(u)) if self.settings.conv1d_kernel_size else u
        h = self.mlstm_cell(self.q_proj(c), self.k_proj(c), self.v_proj(u))
        return self.proj_down((h + self.learnable_skip * c) * F.silu(z))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """Matrix, normaliser and units of each head, and what the convolution looks back on."""
        inner, heads = self.settings.inner_dim, self.settings.num_heads
        elements = inner * inner // heads + inner + heads
        elements += max(self.settings.conv1d_kernel_size - 1, 0) * inner
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections and gates, the convolution, and a write to and a read of each matrix."""
        inner, heads = self.settings.inner_dim, self.settings.num_heads
        d_model = self.settings.d_model
        products = 3 * inner * d_model + 3 * inner * self.settings.qkv_proj_blocksize
        products += 2 * 3 * inner * heads + inner * self.settings.conv1d_kernel_size
        return 2 * (products + 2 * (inner * inner / heads + inner))


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return MLSTMMixer(settings)
