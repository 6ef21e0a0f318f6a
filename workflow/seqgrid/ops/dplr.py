"""A matrix memory with diagonal plus low-rank transitions, as RWKV-7 uses it.

    S_t = (diag(exp g_t) + b_t a_t^T) S_{t-1} + k_t v_t^T        o_t = scale S_t^T q_t

Source: Peng et al., arXiv:2503.14456 (RWKV-7), eq. 16-17, there with S transposed; the chunked form
is the WY representation of Yang et al., arXiv:2406.06484, section 3.2, with the decays of `_decay`.

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions.
"""

import warnings

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import (
    NARROWEST,
    add_product,
    join,
    once_backward,
    product,
    single,
    solve,
    split,
    widest,
)
from seqgrid.ops._decay import (
    SHUT,
    Level,
    before,
    choose_base,
    enter_and_leave,
    gate_gradient,
    levels,
)

CHUNK = 16  # positions; work within chunks grows with it, between them with K V / c


def dplr_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    lower_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        a: what reads the state that b is written with (B, L, H, K).
        b: where that is written (B, L, H, K).
        g: log of each channel's decay, at most 0 (B, L, H, K).
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.
        lower_bound: what g is known not to go below; a hint for faster paths.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    B, L, H, K = q.shape
    q = q * (K**-0.5 if scale is None else scale)
    state = q.new_zeros(B, H, K, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        read = (a[:, t].unsqueeze(-1) * state).sum(-2, keepdim=True)  # (B, H, 1, V)
        state = g[:, t].exp().unsqueeze(-1) * state + b[:, t].unsqueeze(-1) * read
        state = state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def dplr_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    lower_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks: matrix products within, one short recurrence between.

    Safe for any g <= 0, -inf included: how the decays are factorised follows from the strongest of
    them, found by one reduction. Half-precision inputs are computed in float32 and the result is
    cast back. First derivatives only.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        a: what reads the state that b is written with (B, L, H, K).
        b: where that is written (B, L, H, K).
        g: log of each channel's decay, at most 0 (B, L, H, K).
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.
        lower_bound: what g is known not to go below; a hint for faster paths.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    return chunked_low_rank(q, k, v, a, b, g, scale, initial_state, lower_bound)


def dplr_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    lower_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function as a kernel of flash-linear-attention; arguments as above."""
    from fla.ops.generalized_delta_rule import chunk_dplr_delta_rule

    dtype, state, K, V = v.dtype, single(initial_state), q.shape[-1], v.shape[-1]
    scale = K**-0.5 if scale is None else scale
    q, k, v, a, b, g = widest(q, k, v, a, b, g)
    # channels of zeros hold nothing and answer nothing
    keys, values = max(0, NARROWEST - K), max(0, NARROWEST - V)
    if keys or values:
        q, k, a, b, g = (pad(x, (0, keys)) for x in (q, k, a, b, g))
        v = pad(v, (0, values))
        state = None if state is None else pad(state, (0, values, 0, keys))
    with warnings.catch_warnings():
        # it advises half precision, which would be another function than the one asked for
        warnings.filterwarnings("ignore", message=".*does not support float32 on some platforms")
        o, state = chunk_dplr_delta_rule(
            q, k, v, a, b, g, scale, state, True, lower_bound=lower_bound
        )
    return o[..., :V].to(dtype), state[:, :, :K, :V]


def chunked_low_rank(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    scale: float | None,
    initial_state: Tensor | None,
    lower_bound: float | None,
) -> tuple[Tensor, Tensor]:
    """What `_ChunkedLowRank` computes, from and to (B, L, H, W); k may be None as said there."""
    B, L, H, K = q.shape
    dtype = torch.promote_types(q.dtype, torch.float32)
    # blocks that meet in pairs need a power of two
    c = min(CHUNK, 1 << (L - 1).bit_length())
    padding = -L % c

    def chunks(x: Tensor) -> Tensor:
        x = pad(x, (0, 0, 0, 0, 0, padding)) if padding else x
        return split(x, (L + padding) // c, dtype)

    if initial_state is None:
        state = q.new_zeros(B * H, K, v.shape[-1], dtype=dtype)
    else:
        state = initial_state.to(dtype).reshape(B * H, K, -1)
    g = chunks(g.clamp(min=SHUT))
    with torch.autocast(q.device.type, enabled=False):
        o, state = _ChunkedLowRank.apply(
            chunks(q * (K**-0.5 if scale is None else scale)),
            None if k is None else chunks(k),
            chunks(v),
            chunks(a),
            chunks(b),
            g,
            state,
            choose_base(g, lower_bound),
        )
    return join(o, B, L, v.dtype), state.view(B, H, K, -1)


class _ChunkedLowRank(torch.autograd.Function):
    """Chunks in WY form, with the derivative written out.

    P(x, y) are the products with the decay in between. From S at the start of a chunk, with e and
    l the decays from the start to a position and from it to the end:
        U = (I - lower P(a, b))^-1 (lower P(a, k) V + (e a) S)       lower: strictly, s < t
        O = P(q, k) V + P(q, b) U + (e q) S
        S <- diag(decay of the chunk) S + (l k)^T V + (l b)^T U
    With k, a reads what was there before its position's decay. Without (None, the gated delta
    rule), a reads it after, and U = (I - lower P(a, b))^-1 (V + (e a) S) is all that is written.
    """

    @staticmethod
    def forward(ctx, q, k, v, a, b, g, state, base):  # (n, N, c, K|V), (N, K, V)
        n, N, c, K = q.shape
        V = v.shape[-1]
        scores = None
        for level in levels(base, g):
            reads, writes, _ = _scaled(level, q, k, a, b, g)
            part = product(reads, writes.mT).mul_(_mask(level, k))
            scores = part if scores is None else scores.add_(part)
        assert scores is not None
        enter, leave = enter_and_leave(g)
        A = scores[:, :, c:, -c:].neg()
        rhs = q.new_empty(n, N, c, V + K)
        rhs[..., :V] = v if k is None else product(scores[:, :, c:, :c], v)
        torch.mul(a, enter if k is None else before(enter, c), out=rhs[..., V:])
        solution = solve(A, rhs)
        U, W = solution[..., :V], solution[..., V:]

        keep, left = enter[:, :, -1].unsqueeze(-1), (b * leave).mT
        states = q.new_empty(n + 1, N, K, V)
        states[0] = state
        if k is not None:
            states[1:] = product((k * leave).mT, v)
        u = torch.empty_like(v)
        for i in range(n):
            torch.baddbmm(U[i], W[i], states[i], out=u[i])
            if k is None:
                torch.mul(states[i], keep[i], out=states[i + 1])
            else:
                states[i + 1].addcmul_(states[i], keep[i])
            states[i + 1].baddbmm_(left[i], u[i])
        written = u if k is None else torch.cat([v, u], 2)
        o = add_product(product(scores[:, :, :c], written), q * enter, states[:n])
        ctx.save_for_backward(q, k, v, a, b, g, scores, A, solution, states, u)
        ctx.base = base
        return o, states[n].clone()

    @staticmethod
    @once_backward
    def backward(ctx, grad_o, grad_final):
        q, k, v, a, b, g, scores, A, solution, states, u = ctx.saved_tensors
        n, N, c, K = q.shape
        V = v.shape[-1]
        grad_o = grad_o.contiguous()
        enter, leave = enter_and_leave(g)
        enter_a = enter if k is None else before(enter, c)
        keep, left = enter[:, :, -1].unsqueeze(-1), b * leave
        W = solution[..., V:]

        grad_u = product(scores[:, :, :c, -c:].mT, grad_o)
        grad_states = q.new_empty(n + 1, N, K, V)  # [i]: of the state that enters chunk i
        grad_states[:n] = product((q * enter).mT, grad_o)
        grad_states[n] = grad_final
        for i in reversed(range(n)):
            grad_u[i].baddbmm_(left[i], grad_states[i + 1])
            grad_states[i].addcmul_(grad_states[i + 1], keep[i])
            grad_states[i].baddbmm_(W[i].mT, grad_u[i])

        grad_rhs = torch.cat([grad_u, product(grad_u, states[:n].mT)], -1)
        grad_rhs = solve(A, grad_rhs, transposed=True)
        grad_U = grad_rhs[..., :V].contiguous()
        grad_scores = torch.empty_like(scores)
        grad_scores[:, :, :c, -c:] = product(grad_o, u.mT)
        grad_scores[:, :, c:, -c:] = product(grad_rhs, solution.mT)
        grad_q = product(grad_o, states[:n].mT).mul_(enter)
        grad_a = grad_rhs[..., V:] * enter_a
        grad_b = product(u, grad_states[1:].mT).mul_(leave)
        grad_k, grad_v = None, grad_U
        if k is not None:
            both = torch.cat([grad_o, grad_U], 2)
            grad_scores[..., :c] = product(both, v.mT)
            grad_v = product(scores[..., :c].mT, both)
            add_product(grad_v, k * leave, grad_states[1:])
            grad_k = product(v, grad_states[1:].mT).mul_(leave)

        for level in levels(ctx.base, g):
            reads, writes, (read, read_a, write) = _scaled(level, q, k, a, b, g)
            part = grad_scores * _mask(level, k)
            grad_reads, grad_writes = product(part, writes), product(part.mT, reads)
            grad_q.addcmul_(grad_reads[:, :, :c], read)
            grad_a.addcmul_(grad_reads[:, :, c:], read_a)
            grad_b.addcmul_(grad_writes[:, :, -c:], write)
            if grad_k is not None:
                grad_k.addcmul_(grad_writes[:, :, :c], write)

        end = (states[1:] * grad_states[1:]).sum(-1).unsqueeze(2)
        now, earlier = (q * grad_q).addcmul_(b, grad_b, value=-1), None
        if k is None:
            now.addcmul_(a, grad_a)
        else:
            now.addcmul_(k, grad_k, value=-1)
            earlier = a * grad_a
        grad_g = gate_gradient(now, earlier, end)
        return grad_q, grad_k, grad_v, grad_a, grad_b, grad_g, grad_states[0], None


def _scaled(
    level: Level, q: Tensor, k: Tensor | None, a: Tensor, b: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """What reads and what writes, scaled for a level's product, and the factors of q, a, (k, b)."""
    read, write = level.factors(g)
    read_a = read if k is None else before(read, level.size)
    reads = torch.cat([q * read, a * read_a], 2)
    writes = b * write if k is None else torch.cat([k * write, b * write], 2)
    return reads, writes, (read, read_a, write)


def _mask(level: Level, k: Tensor | None) -> Tensor:
    """Ones where a level has pairs; q reads its own position, a only earlier ones."""
    rows = torch.cat([level.mask, level.mask.tril(-1)])
    return rows if k is None else torch.cat([rows, rows], 1)


dplr = Operator("dplr", dplr_reference, dplr_chunked, dplr_fused, "flash-linear-attention")
