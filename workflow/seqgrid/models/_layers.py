"""Layers that several models use; B batch, L sequence length, D channels."""

from typing import Literal

import torch
from torch import Tensor, nn

from seqgrid.ops.short_conv import short_conv


class ShortConvolution(nn.Conv1d):
    """Causal depthwise convolution; (B, L, D) -> (B, L, D).

    Shape, name and initial values of the weight (D, 1, size) and of a bias (D,) are those of
    torch.nn.Conv1d and of flash-linear-attention's layer of this name.
    """

    def __init__(
        self, dim: int, size: int, bias: bool = False, activation: Literal["silu"] | None = None
    ):
        super().__init__(dim, dim, size, groups=dim, bias=bias)
        self.activation: Literal["silu"] | None = activation

    def forward(self, input: Tensor) -> Tensor:
        """Convolved channels, activated; input (B, L, D) -> (B, L, D)."""
        return short_conv(input, self.weight, self.bias, activation=self.activation)


class RMSNorm(nn.RMSNorm):
    """torch's; under autocast a half-precision input is normed in the precision of the weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Normed over the last dimension, in the shape of x."""
        return super().forward(x.to(torch.promote_types(x.dtype, torch.float32)))


class MLP(nn.Module):
    """Two linear layers with a GELU between; (B, L, D) -> (B, L, D)."""

    def __init__(self, d_model: int, hidden_dim: int):
        super().__init__()
        self.up_proj = nn.Linear(d_model, hidden_dim, bias=False)
        self.activation = nn.GELU()
        self.down_proj = nn.Linear(hidden_dim, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Position-wise; x (B, L, D) -> (B, L, D)."""
        return self.down_proj(self.activation(self.up_proj(x)))
