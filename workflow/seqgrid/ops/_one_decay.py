"""Chunks of a matrix memory with one decay and one input weight a head.

    S_t = exp(g_t) S_{t-1} + exp(i_t) k_t v_t^T        o_t = scale exp(-m_t) S_t^T q_t

g_t <= 0 or absent. Beside it may be an input weight i, of any size; where it is there, everything
is kept in units that never overflow (arXiv:2405.04517, eq. 15): the state in exp(M), the output in
exp(m_t), where m_t is the largest logarithm of a weight in its sum. Without it M = m = 0.

Every exponent is a sum of gates within a chunk, not a difference of running sums, which would be
wrong by what float32 rounds off the larger ones.

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions, of which
m make a tile, with rows R = m N.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.ops._chunks import lower
from seqgrid.ops._tiles import chunk_length, pad_to, put, split, tiles

NOTHING = -1e30  # logarithm of the weight of padding, and of what a shut gate keeps


def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    i: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    initial_units: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The equations above; computed, and o given, in float32 at least. First derivatives only.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        g: log decay (B, L, H), or (1, L, H) where it is the same for all of the batch.
        i: log input weight (B, L, H), beside a g of the whole batch.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 exp(-M_0) (B, H, K, V); zero where None.
        initial_units: M_0 (B, H), where there is i and an initial state.
        chunk: positions of a chunk; None: what suits the widths.

    Returns:
        o (B, L, H, V), the final state exp(-M_L) S_L (B, H, K, V), and where there is i, else None,
        m (B, L, H) and M_L (B, H), which count as constants in the derivative.
    """
    B, L, H, K = q.shape
    V = v.shape[-1]
    dtype = torch.promote_types(q.dtype, torch.float32)
    chunk = chunk_length(L, K, V) if chunk is None else chunk
    scale = K**-0.5 if scale is None else scale
    if initial_state is None:
        state = q.new_zeros(B * H, K, V, dtype=dtype)
    else:
        state = initial_state.to(dtype).reshape(B * H, K, V)
    # zero keys and gates: padding writes nothing and forgets nothing
    q, k, v = (pad_to(x, chunk).to(dtype) for x in (q, k, v))
    # infinity times the zero of a mask is not a number
    g = None if g is None else pad_to(g.to(dtype).clamp(min=NOTHING), chunk)
    units = None
    if i is not None:
        i = pad_to(i, chunk, NOTHING).to(dtype)
        with torch.no_grad():
            assert g is not None
            units = _units(g, i, initial_units, chunk)
    with torch.autocast(q.device.type, enabled=False):
        o, state, m = _Chunked.apply(q, k, v, g, i, units, state, scale, chunk)
    state = state.view(B, H, K, V)
    if units is None:
        return o[:, :L], state, None, None
    return o[:, :L], state, m[:, :L], units[-1].view(B, H)


def _units(g: Tensor, i: Tensor, first: Tensor | None, chunk: int) -> Tensor:
    """M at the borders of chunks, (n + 1, B, H), from gates (B, n c, H)."""
    gates, weights = g.unflatten(1, (-1, chunk)), i.unflatten(1, (-1, chunk))  # (B, n, c, H)
    peaks = (weights + lower(chunk, g, -1).mT @ gates).amax(2)
    units = [torch.full_like(peaks[:, 0], -torch.inf) if first is None else first.to(i.dtype)]
    for rest, peak in zip(gates.sum(2).unbind(1), peaks.unbind(1), strict=True):
        units.append(torch.maximum(units[-1] + rest, peak))
    return torch.stack(units)


class _Factors(NamedTuple):
    """What a tile multiplies with, each (m, B or 1, H, rows, columns); None: 1."""

    scores: Tensor  # c x c, zero above the diagonal
    read: Tensor | float  # c x 1, of queries, from the entering state
    write: Tensor | None  # c x 1, of keys, to the state that is left
    keep: Tensor | None  # 1 x 1, of the state
    units: Tensor | None  # c, m_t


def _factors(g, i, units, m: int, chunk: int, scale: float, like: Tensor) -> _Factors:
    """Of a tile with gates g (B or 1, m c, H), i (B, m c, H) and M (m + 1, B, H) at its borders."""
    mask = lower(chunk, like)
    if g is None:
        return _Factors(mask * scale, scale, None, None, None)

    def by_head(x):  # (B, m c, H) -> (m, B, H, c)
        return x.view(len(x), m, chunk, -1).permute(1, 0, 3, 2).contiguous()

    steps = by_head(g)
    # [t, s]: the sum of gates after s up to t
    log_scores = mask @ (steps.unsqueeze(-1) * lower(chunk, like, -1))
    log_read = log_scores[..., 0] + steps[..., :1]
    log_write = log_scores[..., -1, :].clone()
    log_keep = log_read[..., -1:]
    if i is None:
        return _Factors(
            log_scores.exp_().mul_(mask * scale),
            log_read.exp().mul_(scale).unsqueeze(-1),
            log_write.exp().unsqueeze(-1),
            log_keep.exp().unsqueeze(-1),
            None,
        )
    weight = by_head(i)
    entering, left = units[:-1].unsqueeze(-1), units[1:].unsqueeze(-1)  # (m, B, H, 1)
    log_scores = (log_scores + weight.unsqueeze(-2)).masked_fill_(mask == 0, -torch.inf)
    log_read = log_read + entering
    top = torch.maximum(log_scores.amax(-1), log_read)
    return _Factors(
        (log_scores - top.unsqueeze(-1)).exp_().mul_(scale),
        (log_read - top).exp_().mul_(scale).unsqueeze(-1),
        (log_write + weight - left).exp_().unsqueeze(-1),
        (log_keep + entering - left).exp_().unsqueeze(-1),
        top,
    )


class _Chunked(torch.autograd.Function):
    """All chunks in turn, a tile at a time.

    Within a chunk that starts from state S, with F the factors and * by element:
        O = (Q K^T * F_scores) V + (F_read * Q) S        S <- F_keep S + (F_write * K)^T V

    The running sum of g enters o_t as a factor of q_t and its inverse as one of k_s, and i as one
    of k_s: their gradients are q dq - k dk and k dk, without a derivative of an exponential.
    """

    @staticmethod
    def forward(ctx, q, k, v, g, i, units, state, scale, chunk):
        H = v.shape[2]
        o = torch.empty_like(v)
        tops = None if i is None else torch.empty_like(i)
        states = v.new_empty(v.shape[1] // chunk + 1, *state.shape)
        states[0] = state
        for at, j, m in tiles(q, v, chunk):
            factors = _factors(*_cut(g, i, units, at, j, m), m, chunk, scale, q)
            queries, keys, values = split(q[:, at], m), split(k[:, at], m), split(v[:, at], m)
            answers = torch.bmm(_scores(queries, keys, factors, H), values)
            written = torch.bmm(_times(keys, factors.write, H).mT, values)
            held = states[j : j + m + 1].unflatten(1, (-1, H))
            for n, write in enumerate(written.view_as(held[1:])):
                torch.add(write, _kept(held[n], factors, n), out=held[n + 1])
            answers.baddbmm_(_times(queries, factors.read, H), held[:m].flatten(0, 2))
            put(answers, m, o[:, at])
            if tops is not None and factors.units is not None:
                _put_row(factors.units.flatten(0, 2), m, tops[:, at])
        ctx.save_for_backward(q, k, v, g, i, units, states)
        ctx.options = scale, chunk
        if tops is not None:
            ctx.mark_non_differentiable(tops)
        return o, states[-1].clone(), tops

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_o, grad_final, _):
        q, k, v, g, i, units, states = ctx.saved_tensors
        scale, chunk = ctx.options
        B, _, H, _ = q.shape
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
        constant = g is None or not ctx.needs_input_grad[3]
        grad_g = None if constant else torch.empty_like(q[..., 0])
        grad_i = None if i is None else torch.empty_like(i)
        until = lower(chunk, q)
        grad_state = grad_final.unflatten(0, (B, H))
        for at, j, m in reversed(tiles(q, v, chunk)):
            factors = _factors(*_cut(g, i, units, at, j, m), m, chunk, scale, q)
            queries, keys, values = split(q[:, at], m), split(k[:, at], m), split(v[:, at], m)
            grads = split(grad_o[:, at], m)
            held = states[j : j + m + 1]
            # [n]: of the state that enters chunk n of the tile
            grad_states = q.new_empty(m + 1, *grad_state.shape)
            grad_states[m] = grad_state
            grad_read = torch.bmm(_times(queries, factors.read, H).mT, grads)
            grad_read = grad_read.view_as(grad_states[1:])
            for n in reversed(range(m)):
                kept = _kept(grad_states[n + 1], factors, n)
                torch.add(grad_read[n], kept, out=grad_states[n])
            grad_state = grad_states[0]
            grad_left = grad_states[1:].flatten(0, 2)  # of the state each chunk leaves

            grad_values = torch.bmm(_scores(queries, keys, factors, H).mT, grads)
            grad_values.baddbmm_(_times(keys, factors.write, H), grad_left)
            put(grad_values, m, grad_v[:, at])
            grad_scores = _times(torch.bmm(grads, values.mT), factors.scores, H)
            dq = _times(torch.bmm(grads, held[:m].flatten(0, 1).mT), factors.read, H)
            dk = _times(torch.bmm(values, grad_left.mT), factors.write, H)
            dq.baddbmm_(grad_scores, keys)
            dk.baddbmm_(grad_scores.mT, queries)
            put(dq, m, grad_q[:, at])
            put(dk, m, grad_k[:, at])

            if grad_g is None and grad_i is None:
                continue
            grad_write = dk.mul_(keys).sum(-1)  # (R, c)
            if grad_i is not None:
                _put_row(grad_write, m, grad_i[:, at])
            if grad_g is not None:
                grad_P = dq.mul_(queries).sum(-1) - grad_write
                left = held[1:].view_as(grad_states[1:])
                grad_P[:, -1] += (left * grad_states[1:]).sum((-1, -2)).flatten()
                _put_row(grad_P @ until, m, grad_g[:, at])
        if grad_g is not None:
            grad_g = grad_g.sum_to_size(g.shape)
        grad_state = grad_state.flatten(0, 1)
        return grad_q, grad_k, grad_v, grad_g, grad_i, None, grad_state, None, None


class Normalised(torch.autograd.Function):
    """Memory over normaliser, its last column, in half of autograd's passes over memory.

    o (..., V + 1) -> (..., V), divided by the last column + eps; where there is a `least` (...) by
    the larger of the size of that column and it, + eps.
    """

    @staticmethod
    def forward(ctx, o, least, eps):
        size = o[..., -1]
        size = size + eps if least is None else torch.maximum(size.abs(), least).add_(eps)
        inverse = size.reciprocal_().unsqueeze(-1)
        h = o[..., :-1] * inverse
        if least is None:
            slope = None
        else:
            slope = o[..., -1:].sign() * (o[..., -1:].abs() >= least.unsqueeze(-1))
        ctx.save_for_backward(h, inverse, slope)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h):
        h, inverse, slope = ctx.saved_tensors
        grad_o = h.new_empty(*h.shape[:-1], h.shape[-1] + 1)
        torch.mul(grad_h, inverse, out=grad_o[..., :-1])
        grad_size = (grad_h * h).sum(-1, keepdim=True).mul_(inverse).neg_()
        grad_o[..., -1:] = grad_size if slope is None else grad_size.mul_(slope)
        return grad_o, None, None


def _cut(g, i, units, at, j, m):
    """Gates of a tile, and M at its borders."""
    return (
        None if g is None else g[:, at],
        None if i is None else i[:, at],
        None if units is None else units[j : j + m + 1],
    )


def _put_row(x: Tensor, m: int, out: Tensor) -> None:
    """(R, c) into a tile (B, m c, H)."""
    put(x.unsqueeze(-1), m, out.unsqueeze(-1))


def _times(x: Tensor, factor: Tensor | float | None, H: int) -> Tensor:
    """(R, c, W) times (m, B or 1, H, c, W or 1)."""
    if factor is None:
        return x
    if not isinstance(factor, Tensor):
        return x * factor
    m = len(factor) if factor.dim() == 5 else 1
    return (x.view(m, -1, H, *x.shape[1:]) * factor).view_as(x)


def _kept(state: Tensor, factors: _Factors, n: int) -> Tensor:
    """What chunk n of a tile leaves of a state (B, H, K, V)."""
    return state if factors.keep is None else state * factors.keep[n]


def _scores(q: Tensor, k: Tensor, factors: _Factors, H: int) -> Tensor:  # (R, c, c)
    return _times(torch.bmm(q, k.mT), factors.scores, H)
