"""Softmax attention, over all positions or a window of them.

    o_t = sum_s a_ts v_s        a_ts = exp(scale q_t k_s) / sum_r exp(scale q_t k_r)

Source: Vaswani et al., arXiv:1706.03762, eq. 1. Position t reads positions s with s <= t where
causal and with |t - s| < window where there is a window (Beltagy et al., arXiv:2004.05150): a
causal window is so many positions with t itself, as in flash-linear-attention. A position with
nothing to read answers zero.

B batch, L length, H heads of queries, J heads of keys and values, each shared by H / J neighbouring
heads of queries (Ainslie et al., arXiv:2305.13245); K key width, V value width.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from seqgrid.kernels import Operator

SHORTEST_BLOCK = 64  # of queries; shorter ones cost more calls than they save reads


def attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    causal: bool = True,
    window: int | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Position by position, as the equation reads.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, J, K).
        v: values (B, L, J, V).
        scale: factor of the scores; K ** -0.5 where None.
        causal: position t reads none after t.
        window: positions at this distance or more are not read; None: all are.
        lengths: (B,) int64, positions from there on are not read; None: all are.

    Returns:
        o (B, L, H, V).
    """
    L, H, K = q.shape[1:]
    scale = K**-0.5 if scale is None else scale
    k, v = (x.repeat_interleave(H // x.shape[2], 2) for x in (k, v))
    outputs = []
    for t in range(L):
        first = 0 if window is None else max(0, t - window + 1)
        last = t + 1 if causal else L if window is None else min(L, t + window)
        scores = scale * (q[:, t].unsqueeze(1) * k[:, first:last]).sum(-1)  # (B, positions, H)
        if lengths is not None:
            positions = torch.arange(first, last, device=q.device)
            own = (positions < lengths[:, None])[..., None]
            scores = scores.masked_fill(~own, -torch.inf)
            weights = scores.softmax(1).where(own.any(1, keepdim=True), 0.0)
        else:
            weights = scores.softmax(1)
        outputs.append((weights.unsqueeze(-1) * v[:, first:last]).sum(1))
    return torch.stack(outputs, 1)


def attention_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    causal: bool = True,
    window: int | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """The same function on torch's scaled_dot_product_attention, which picks a kernel by device.

    A window much shorter than the sequence is computed in blocks of queries, each with the keys
    that it can reach: L (block + window) scores, never L x L.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, J, K).
        v: values (B, L, J, V).
        scale: factor of the scores; K ** -0.5 where None.
        causal: position t reads none after t.
        window: positions at this distance or more are not read; None: all are.
        lengths: (B,) int64, positions from there on are not read; None: all are.

    Returns:
        o (B, L, H, V).
    """
    L = q.shape[1]
    if window is not None and window >= L:
        window = None
    if window is None and lengths is None:
        return _attend(q, k, v, None, scale, causal)
    if window is not None:
        block = max(SHORTEST_BLOCK, window // 2)
        span = block + (window - 1) * (1 if causal else 2)
        if 3 * span < L:  # else one masked call reads little more, and copies nothing
            return _blocks(q, k, v, block, scale, causal, window, lengths)
    s = torch.arange(L, device=q.device)
    return _attend(q, k, v, _reads(s[:, None], s, L, causal, window, lengths), scale)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float | None,
    causal: bool = False,
) -> Tensor:
    """One call of torch's kernel; mask (B, 1, L|1, L) or (L, L), true where a key is read."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    shared = q.shape[1] != k.shape[1]
    if mask is None:
        o = scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=shared)
    else:
        o = _masked(q, k, v, mask, scale, enable_gqa=shared)
    return o.transpose(1, 2)


def _masked(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float | None, **options: bool
) -> Tensor:
    """Torch's kernel, zero where nothing is read: there some kernels give NaN, others zero."""
    empty = ~mask.any(-1, keepdim=True)
    o = scaled_dot_product_attention(q, k, v, mask | empty, scale=scale, **options)
    return o.masked_fill(empty, 0.0)


def _blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block: int,
    scale: float | None,
    causal: bool,
    window: int,
    lengths: Tensor | None,
) -> Tensor:
    """A window in n blocks of queries, each with the span of keys around it."""
    B, L, H, _ = q.shape
    J = k.shape[2]
    n = -(-L // block)
    padding = n * block - L
    before, after = window - 1, 0 if causal else window - 1
    span = before + block + after

    def spans(x: Tensor) -> Tensor:  # (B, L, J, W) -> (B J, n, span, W)
        x = pad(x, (0, 0, 0, 0, before, padding + after)).unfold(1, span, block)
        return x.permute(0, 2, 1, 4, 3).reshape(B * J, n, span, -1)

    # heads that share keys stand one below the other in the rows of a block
    group = H // J
    rows = pad(q, (0, 0, 0, 0, 0, padding)).view(B, n, block, J, group, -1)
    rows = rows.permute(0, 3, 1, 4, 2, 5).reshape(B * J, n, group * block, -1)
    start = block * torch.arange(n, device=q.device)[:, None, None]
    t = start + torch.arange(block, device=q.device)[:, None]
    s = start - before + torch.arange(span, device=q.device)
    mask = _reads(t, s, L, causal, window, lengths)  # (n, block, span), or (B, ...)
    mask = mask.repeat(*(1,) * (mask.ndim - 2), group, 1)
    if lengths is not None:
        mask = mask.repeat_interleave(J, 0)
    o = _masked(rows, spans(k), spans(v), mask, scale)
    o = o.view(B, J, n, group, block, -1).permute(0, 2, 4, 1, 3, 5)
    return o.reshape(B, n * block, H, -1)[:, :L]


def _reads(
    t: Tensor, s: Tensor, seqlen: int, causal: bool, window: int | None, lengths: Tensor | None
) -> Tensor:
    """Which queries at t (..., Q, 1) read which keys at s (..., S); bool, (B, ...) with lengths."""
    reads = (s >= 0) & (s < seqlen)
    if causal:
        reads = reads & (s <= t)
    if window is not None:
        reads = reads & ((t - s).abs() < window)
    if lengths is not None:
        reads = reads & (s < lengths.view(-1, 1, 1, 1))
    return reads


attention = Operator(
    "attention",
    attention_reference,
    attention_chunked,
    path="torch scaled_dot_product_attention",
)
