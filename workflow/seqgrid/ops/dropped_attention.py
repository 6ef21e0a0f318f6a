"""Softmax attention over all positions, with some of its weights dropped.

    o_t = 1 / (1 - p) sum_s kept_ts a_ts v_s        a_ts = exp(q_t k_s / sqrt(K)) / sum_r ...

Source: Vaswani et al., arXiv:1706.03762, eq. 1, with the dropout of their code (tensor2tensor).

B batch, L length, H heads, K key width, V value width.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from seqgrid.kernels import Operator
from seqgrid.ops.dropout import kept_values

BLOCK = 1 << 18  # weights done at a time, which fit into the processor's cache


def attention_with_dropout(q: Tensor, k: Tensor, v: Tensor, p: float) -> Tensor:
    """Attention that drops weights with probability p < 1; torch has kernels of it but for CPUs.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        p: to 16 bits on a CPU.

    Returns:
        o (B, L, H, V).
    """
    if q.device.type != "cpu":
        heads = (x.transpose(1, 2) for x in (q, k, v))
        return scaled_dot_product_attention(*heads, dropout_p=p).transpose(1, 2)
    B, L, H, _ = q.shape
    kept, share = kept_values((B, H, L, L), p)
    return dropped_attention(q, k, v, kept, share)


def dropped_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, kept: Tensor, share: float
) -> Tensor:
    """As the equation reads.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        kept: bool (B, H, L, L), the weights that are not dropped.
        share: what the others are divided by, 1 - p.

    Returns:
        o (B, L, H, V).
    """
    weights = torch.einsum("bthk,bshk->bhts", q, k).mul(q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("bhts,bshv->bthv", weights * kept / share, v)


def dropped_attention_chunked(
    q: Tensor, k: Tensor, v: Tensor, kept: Tensor, share: float
) -> Tensor:
    """The same function, a few heads at a time, whose weights the backward pass finds again.

    Half precision is computed in float32 and cast back. First derivatives only. Arguments are those
    of `dropped_attention_reference`.
    """
    B, _, H, K = q.shape
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        scaled = (q.to(dtype) * K**-0.5, k.to(dtype), v.to(dtype) / share)
        heads = (x.transpose(1, 2).flatten(0, 1) for x in scaled)  # (B H, L, K|V)
        o = _Dropped.apply(*heads, kept.flatten(0, 1))
    return o.unflatten(0, (B, H)).transpose(1, 2).to(q.dtype)


class _Dropped(torch.autograd.Function):
    """The derivative written out; a the weights, g the gradient of o, with v / share and scaled q.

    dv = (a kept)' g      da = kept (g v')      ds = a (da - g . o)      dq = ds k      dk = ds' q
    """

    @staticmethod
    def forward(ctx, q, k, v, kept):
        dropped = ~kept
        o = torch.empty_like(v)
        for rows in _blocks(dropped):
            weights = _weights(q[rows], k[rows]).masked_fill_(dropped[rows], 0.0)
            torch.bmm(weights, v[rows], out=o[rows])
        ctx.save_for_backward(q, k, v, dropped, o)
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_o):
        q, k, v, dropped, o = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
        read = (grad_o * o).sum(-1, keepdim=True)  # (B H, L, 1)
        for rows in _blocks(dropped):
            weights, gone = _weights(q[rows], k[rows]), dropped[rows]
            scores = torch.bmm(grad_o[rows], v[rows].mT).masked_fill_(gone, 0.0)
            scores.sub_(read[rows]).mul_(weights)
            torch.bmm(weights.masked_fill_(gone, 0.0).mT, grad_o[rows], out=grad_v[rows])
            torch.bmm(scores, k[rows], out=grad_q[rows])
            torch.bmm(scores.mT, q[rows], out=grad_k[rows])
        return grad_q, grad_k, grad_v, None


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return torch.bmm(q, k.mT).softmax(-1)


def _blocks(weights: Tensor) -> Iterator[slice]:
    """A few heads at a time on a CPU; all on other devices."""
    heads, *scores = weights.shape
    each = max(1, math.prod(scores))
    size = max(1, BLOCK // each) if weights.device.type == "cpu" else heads
    return (slice(start, start + size) for start in range(0, len(weights), size))


dropped_attention = Operator(
    "dropped_attention",
    reference=dropped_attention_reference,
    chunked=dropped_attention_chunked,
    path="torch",
)
