"""What the layers on a delta rule share: projections, short convolutions, heads, norm and gate.

Names and shapes are those of flash-linear-attention's layers. Grouped values: where there are more
heads of values than of keys, as many of them as fit share the queries and keys of one head.

B batch, L length, D d_model, H heads of keys, W heads of values, K and V widths in a head, n writes
a position.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.kernels import Operator
from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import RMSNorm, ShortConvolution
from seqgrid.ops.short_conv import short_conv

L2_EPS = 1e-6  # of flash-linear-attention's l2norm


class GatedRMSNorm(nn.Module):
    """RMSNorm times an activated gate; weight (V,)."""

    def __init__(self, dim: int, eps: float, activation: str):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.activate = F.sigmoid if activation == "sigmoid" else F.silu

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Normed and gated; x and gate (..., V) -> (..., V)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps) * self.activate(gate)


class DeltaRuleMixer(Mixer):
    """A layer on a delta rule; what it does with gates and keys is its subclass's.

    Args:
        operator: the rule.
        d_model: D.
        key_heads: H and K.
        value_heads: W and V.
        conv: positions and whether there is a bias, of the short convolutions; None: none.
        gate: activation of the output gate; None: no gate.
        norm_eps: of the norm on the output of each head.
        writes: n.
        qk_silu: whether that is the activation of queries and keys, else `_prepare` has another.
        use_beta: whether the strength of a write comes from the input.
    """

    def __init__(
        self,
        operator: Operator,
        d_model: int,
        key_heads: tuple[int, int],
        value_heads: tuple[int, int],
        conv: tuple[int, bool] | None,
        gate: str | None,
        norm_eps: float,
        writes: int = 1,
        use_beta: bool = True,
        qk_silu: bool = True,
    ):
        super().__init__()
        self.operator = operator
        self.operators = (operator,) if conv is None else (short_conv, operator)
        self.num_heads, self.head_k_dim = key_heads
        self.num_v_heads, self.head_v_dim = value_heads
        self.key_dim = self.num_heads * self.head_k_dim
        self.value_dim = self.num_v_heads * self.head_v_dim
        self.conv_size = 0 if conv is None else conv[0]
        self.qk_silu = qk_silu
        self.q_proj = nn.Linear(d_model, self.key_dim, bias=False)
        self.k_proj = nn.Linear(d_model, self.key_dim * writes, bias=False)
        self.v_proj = nn.Linear(d_model, self.value_dim * writes, bias=False)
        if use_beta:
            self.b_proj = nn.Linear(d_model, self.num_v_heads * writes, bias=False)
        if conv is not None:
            of_keys = "silu" if qk_silu else None
            self.q_conv1d = ShortConvolution(self.key_dim, *conv, of_keys)
            self.k_conv1d = ShortConvolution(self.key_dim * writes, *conv, of_keys)
            self.v_conv1d = ShortConvolution(self.value_dim * writes, *conv, "silu")
        self.o_norm: nn.Module
        if gate is None:
            self.o_norm = RMSNorm(self.head_v_dim, eps=norm_eps)
        else:
            self.g_proj = self._gate_projection(d_model)
            self.o_norm = GatedRMSNorm(self.head_v_dim, norm_eps, gate)
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)

    def _gate_projection(self, d_model: int) -> nn.Module:
        """What the output gate comes from."""
        return nn.Linear(d_model, self.value_dim, bias=False)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q (B, L, W, K) and k (B, L n, W, K) of unit length, v (B, L n, W, V); x (B, L, D)."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.conv_size:
            q, k, v = self.q_conv1d(q), self.k_conv1d(k), self.v_conv1d(v)
        else:
            q, k = (F.silu(q), F.silu(k)) if self.qk_silu else (q, k)
            v = F.silu(v)
        q, k = self._prepare(q), self._prepare(k)
        v = v.reshape(len(x), -1, self.num_v_heads, self.head_v_dim)
        group = self.num_v_heads // self.num_heads
        if group > 1:
            q, k = (heads.repeat_interleave(group, 2) for heads in (q, k))
        return q, k, v

    def _prepare(self, x: Tensor) -> Tensor:
        """Normed queries or keys; x (B, L, n H K) -> (B, L n, H, K)."""
        return unit(x.reshape(len(x), -1, self.num_heads, self.head_k_dim))

    def _answer(self, x: Tensor, o: Tensor) -> Tensor:
        """Normed, gated and projected; x (B, L, D), o (B, L, W, V) -> (B, L, D)."""
        if isinstance(self.o_norm, GatedRMSNorm):
            o = self.o_norm(o, self.g_proj(x).view(o.shape))
        else:
            o = self.o_norm(o)
        return self.o_proj(o.reshape(*x.shape[:2], self.value_dim))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrix of each head, and the positions the convolutions look back on."""
        elements = self.num_v_heads * self.head_k_dim * self.head_v_dim
        return (elements + max(0, self.conv_size - 1) * self._convolved) * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, convolutions, an answer of each head's matrix, and a read a write."""
        layers = [module for module in self.modules() if isinstance(module, nn.Linear)]
        writes = self.k_proj.out_features // self.key_dim
        matrices = self.num_v_heads * self.head_k_dim * self.head_v_dim
        flops = linear_flops(*layers) + 2 * (1 + 2 * writes) * matrices
        return flops + 2 * self.conv_size * self._convolved

    @property
    def _convolved(self) -> int:
        """Channels of the three convolutions."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        return sum(projection.out_features for projection in projections)


def unit(x: Tensor) -> Tensor:
    """X (..., K) to length 1, as flash-linear-attention does; in float32 at least.

    A length rounded to halves is 5e-3 off, and 1 - beta |k|^2 with beta near 2 below -1: what is
    read and written over again would grow without bound.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + L2_EPS)


def undecayed(value: Tensor) -> nn.Parameter:
    """A parameter that no weight decay pulls to zero, marked as the libraries mark it."""
    parameter = nn.Parameter(value)
    parameter._no_weight_decay = True  # ty: ignore[missing-attribute]
    return parameter


def initial_A_log(heads: int, lowest: float = 0.0) -> nn.Parameter:
    """Log of rates drawn from (lowest, 16), (heads,)."""
    return undecayed(torch.empty(heads).uniform_(lowest, 16).log())


def initial_dt_bias(size: int) -> nn.Parameter:
    """What softplus makes into steps between 0.001 and 0.1, uniform in their log; (size,)."""
    dt = torch.empty(size).uniform_(math.log(0.001), math.log(0.1)).exp()
    return undecayed(dt + (-torch.expm1(-dt)).log())


def log_decay(A_log: Tensor, x: Tensor, dt_bias: Tensor) -> Tensor:
    """-exp(A_log) softplus(x + dt_bias), single precision at least; all broadcast."""
    return -A_log.exp() * F.softplus(x + dt_bias)
