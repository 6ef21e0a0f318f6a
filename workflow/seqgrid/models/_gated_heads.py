"""What GLA and RetNet share: projections into heads, and a gated norm behind the memory.

Parameter names, shapes and settings are those of the layers of flash-linear-attention.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import RMSNorm, ShortConvolution
from seqgrid.ops.short_conv import short_conv

ACTIVATIONS = {"relu": F.relu, "silu": F.silu, "swish": F.silu, "sigmoid": torch.sigmoid}


class GatedHeads(Mixer):
    """Everything of such a layer but the memory, from the settings of either model."""

    def __init__(self, settings: Any):
        super().__init__()
        self.settings = settings
        d_model, self.num_heads = settings.d_model, settings.num_heads
        self.groups = self.num_heads // (settings.num_kv_heads or self.num_heads)
        self.key_dim = round(d_model * settings.expand_k)
        self.value_dim = round(d_model * settings.expand_v)
        self.head_k_dim = self.key_dim // self.num_heads
        self.head_v_dim = self.value_dim // self.num_heads
        widths = (self.key_dim, self.key_dim // self.groups, self.value_dim // self.groups)
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(d_model, width, bias=False) for width in widths
        )
        if settings.use_short_conv:
            self.q_conv1d, self.k_conv1d, self.v_conv1d = (
                ShortConvolution(width, settings.conv_size, settings.conv_bias) for width in widths
            )
        if settings.use_output_gate:
            self.g_proj = nn.Linear(d_model, self.value_dim, bias=False)
        norm = RMSNorm(
            self.head_v_dim, eps=settings.norm_eps, elementwise_affine=settings.elementwise_affine
        )
        # the library names the norm by whether one kernel does norm and gate
        if settings.use_output_gate and settings.gate_fn == "swish":
            self.g_norm_swish_gate = norm
        else:
            self.g_norm = norm
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, L, H, K), and keys and values of the heads that have them, from x."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.settings.use_short_conv:
            q, k, v = self.q_conv1d(q), self.k_conv1d(k), self.v_conv1d(v)
            q, k, v = F.silu(q), F.silu(k), F.silu(v)
        q, k = self.by_head(q, self.head_k_dim), self.by_head(k, self.head_k_dim)
        if self.settings.feature_map is not None:
            feature = ACTIVATIONS[self.settings.feature_map]
            q, k = feature(q), feature(k)
        return q, k, self.by_head(v, self.head_v_dim)

    def by_head(self, x: Tensor, width: int) -> Tensor:
        """(B, L, heads width) -> (B, L, heads, width)."""
        return x.unflatten(-1, (-1, width))

    def shared(self, x: Tensor) -> Tensor:
        """Each head of keys or values for all heads of queries that share it; (B, L, H, W)."""
        return x if self.groups == 1 else x.repeat_interleave(self.groups, 2)

    def answer(self, x: Tensor, o: Tensor) -> Tensor:
        """What the memory gave, normed and gated by the input, into the residual stream.

        x (B, L, D), o (B, L, H, V) -> (B, L, D)
        """
        settings = self.settings
        fused = settings.use_output_gate and settings.gate_fn == "swish"
        o = (self.g_norm_swish_gate if fused else self.g_norm)(o).flatten(-2)
        if settings.use_output_gate:
            o = o * ACTIVATIONS[settings.gate_fn](self.g_proj(x))
        return self.o_proj(o)

    @property
    def memories(self) -> int:
        """Matrices that differ: one a head, where heads that share their writes decay apart."""
        return self.num_heads

    def convolutions(self) -> tuple:
        """The operator of the short convolutions, where there are any."""
        return (short_conv,) if self.settings.use_short_conv else ()

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrices, and the positions the convolutions look back on."""
        elements = self.memories * self.head_k_dim * self.head_v_dim
        if self.settings.use_short_conv:
            elements += (self.settings.conv_size - 1) * self._convolved
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, convolutions, a write to each matrix and a read by each head."""
        flops = linear_flops(*(m for m in self.modules() if isinstance(m, nn.Linear)))
        flops += 2 * (self.memories + self.num_heads) * self.head_k_dim * self.head_v_dim
        if self.settings.use_short_conv:
            flops += 2 * self.settings.conv_size * self._convolved
        return flops

    @property
    def _convolved(self) -> int:
        """Channels that are convolved."""
        return self.key_dim + (self.key_dim + self.value_dim) // self.groups
