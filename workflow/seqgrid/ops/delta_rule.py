"""The delta rule: a matrix memory that overwrites what a key holds.

    S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T        o_t = scale S_t^T q_t

Source: Schlag et al., arXiv:2102.11174, eq. 24-25; the chunked form is the WY representation of
Yang et al., arXiv:2406.06484, section 3.2. With unit keys the transition I - beta k k^T has
eigenvalue 1 - beta along the key: beta in (0, 2) reaches negative ones (arXiv:2411.12537).

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions.
"""

import torch
from torch import Tensor

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import (
    add_product,
    join,
    lower,
    num_chunks,
    once_backward,
    product,
    single,
    solve,
    split,
    widest,
)
from seqgrid.ops._decay import NOTHING, SHUT


def delta_rule_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K), of unit length for a stable recurrence.
        v: values (B, L, H, V).
        beta: writing strength (B, L, H).
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    B, L, H, K = q.shape
    q = q * (K**-0.5 if scale is None else scale)
    state = q.new_zeros(B, H, K, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        held = (k[:, t].unsqueeze(-1) * state).sum(-2)  # (B, H, V)
        delta = beta[:, t].unsqueeze(-1) * (v[:, t] - held)
        state = state + k[:, t].unsqueeze(-1) * delta.unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def delta_rule_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    max_chunk: int = 16,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks: matrix products within, one short recurrence between.

    Half-precision inputs are computed in float32 (a triangular solve has no half kernel) and the
    result is cast back. First derivatives only.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K), of unit length for a stable recurrence.
        v: values (B, L, H, V).
        beta: writing strength (B, L, H).
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.
        max_chunk: longest chunk c, positions. Work within chunks grows with c, between them with
            K V / c: on one core 16 is fastest for K = V = 16 to 64 and 3% off at 128.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    return chunked_delta_rule(q, k, v, beta, None, scale, initial_state, max_chunk)


def delta_rule_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function as a kernel of flash-linear-attention; arguments as above.

    Its kernel for this rule refuses single precision: there the gated one runs with open gates.
    """
    dtype, state = v.dtype, single(initial_state)
    q, k, v, beta = widest(q, k, v, beta)
    if q.dtype == torch.float32:
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule

        open_gates = torch.zeros_like(beta)
        o, state = chunk_gated_delta_rule(
            q, k, v, open_gates, beta, scale, state, output_final_state=True
        )
        return o.to(dtype), state
    from fla.ops.delta_rule import chunk_delta_rule

    o, state = chunk_delta_rule(q, k, v, beta, scale, state, output_final_state=True)
    return o.to(dtype), state


def chunked_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    scale: float | None,
    initial_state: Tensor | None,
    max_chunk: int,
) -> tuple[Tensor, Tensor]:
    """The delta rule with gates g (B, L, H), log decays, or without; else as above."""
    B, L, H, K = q.shape
    V = v.shape[-1]
    n = num_chunks(L, max_chunk)
    dtype = torch.promote_types(q.dtype, torch.float32)
    if initial_state is None:
        state = q.new_zeros(B * H, K, V, dtype=dtype)
    else:
        state = initial_state.to(dtype).reshape(B * H, K, V)
    with torch.autocast(q.device.type, enabled=False):
        o, state = _ChunkedDeltaRule.apply(
            split(q * (K**-0.5 if scale is None else scale), n, dtype),
            split(k, n, dtype),
            split(v, n, dtype),
            # padded keys and strengths are zero: they write nothing
            split(beta.unsqueeze(-1), n, dtype),
            None if g is None else split(g.clamp(min=SHUT).unsqueeze(-1), n, dtype),
            state,
        )
    return join(o, B, L, v.dtype), state.view(B, H, K, V)


class _Decay:
    """Gates g (n, N, c, 1) within each chunk, or none.

    Attributes:
        between: exp(g_{s+1} + ... + g_t) for s <= t, else 0; (n, N, c, c), or (c, c) without gates.
        enter: exp(g_1 + ... + g_t), (n, N, c, 1); None without gates.
        leave: exp(g_{s+1} + ... + g_c), (n, N, c, 1); None without gates.

    Each exponent is a sum of gates, none a difference of sums: nothing can overflow, and a gate
    that shuts costs those after it no precision.
    """

    def __init__(self, g: Tensor | None, like: Tensor):
        c = like.shape[2]
        self.between = lower(c, like)
        self.enter = self.leave = None
        if g is not None:
            sums = torch.matmul(self.between, g * lower(c, like, diagonal=-1))
            self.between = sums.clamp_(min=NOTHING).exp_().mul_(self.between)
            self.enter = g.cumsum(2).clamp_(min=NOTHING).exp_()
            self.leave = self.between[:, :, -1].unsqueeze(-1)

    def entered(self, x: Tensor) -> Tensor:
        """X (n, N, c, W) with the decay from the start of its chunk."""
        return x if self.enter is None else x * self.enter

    def left(self, x: Tensor) -> Tensor:
        """X (n, N, c, W) with the decay to the end of its chunk."""
        return x if self.leave is None else x * self.leave


class _ChunkedDeltaRule(torch.autograd.Function):
    """WY form, with the derivative written out: half the passes over memory of autograd's.

    Within a chunk that starts from state S, with d(t, s) the decay after s up to t, 0 for t < s,
    e and l those from the start and to the end, and A = strictly lower (beta K) K^T * d:
        [U | W] = (I + A)^-1 [beta V | e beta K]
        D = U - W S                          what is written, one row a position
        O = (e Q) S + (Q K^T * d) D          S <- e_c S + (l K)^T D
    The solve is by substitution. The doubling series for (I + A)^-1 overflows when keys repeat.
    """

    @staticmethod
    def forward(ctx, q, k, v, beta, g, state):  # (n, N, c, K|V|1), (N, K, V)
        n, N, _, K = q.shape
        V = v.shape[-1]
        decay = _Decay(g, q)
        key_beta = k * beta
        A = product(key_beta, k.mT)  # above the diagonal never read
        if g is not None:
            A.mul_(decay.between)
        solution = solve(A, torch.cat([v * beta, decay.entered(key_beta)], -1))
        U, W = solution[..., :V], solution[..., V:]
        states = q.new_empty(n + 1, N, K, V)
        states[0] = state
        delta = torch.empty_like(v)
        left = decay.left(k).mT
        for i in range(n):
            torch.baddbmm(U[i], W[i], states[i], alpha=-1, out=delta[i])
            if decay.enter is None:
                torch.baddbmm(states[i], left[i], delta[i], out=states[i + 1])
            else:
                torch.mul(states[i], decay.enter[i, :, -1:], out=states[i + 1])
                states[i + 1].baddbmm_(left[i], delta[i])
        scores = product(q, k.mT).mul_(decay.between)
        o = add_product(product(scores, delta), decay.entered(q), states[:n])
        ctx.save_for_backward(q, k, v, beta, g, A, solution, states, delta, scores)
        return o, states[n].clone()

    @staticmethod
    @once_backward
    def backward(ctx, grad_o, grad_final):
        q, k, v, beta, g, A, solution, states, delta, scores = ctx.saved_tensors
        n, N, c, K = q.shape
        V = v.shape[-1]
        W = solution[..., V:]
        grad_o = grad_o.contiguous()
        decay = _Decay(g, q)

        grad_delta = product(scores.mT, grad_o)
        grad_states = q.new_empty(n + 1, N, K, V)  # [i]: of the state that enters chunk i
        grad_states[:n] = product(decay.entered(q).mT, grad_o)
        grad_states[n] = grad_final
        left = decay.left(k)
        for i in reversed(range(n)):
            grad_delta[i].baddbmm_(left[i], grad_states[i + 1])
            if decay.enter is None:
                grad_states[i].add_(grad_states[i + 1])
            else:
                grad_states[i].addcmul_(grad_states[i + 1], decay.enter[i, :, -1:])
            grad_states[i].baddbmm_(W[i].mT, grad_delta[i], alpha=-1)

        grad_scores = product(grad_o, delta.mT).mul_(decay.between)
        grad_q = decay.entered(product(grad_o, states[:n].mT))
        add_product(grad_q, grad_scores, k)
        grad_k = decay.left(product(delta, grad_states[1:].mT))
        add_product(grad_k, grad_scores.mT, q)

        grad_W = product(grad_delta, states[:n].mT).neg_()
        grad_rhs = solve(A, torch.cat([grad_delta, grad_W], -1), transposed=True)
        grad_A = product(grad_rhs, solution.mT).mul_(-lower(c, q, diagonal=-1))
        if g is not None:
            grad_A.mul_(decay.between)
        grad_value_beta = grad_rhs[..., :V]
        grad_key_beta = decay.entered(grad_rhs[..., V:]) + product(grad_A, k)
        add_product(grad_k, grad_A.mT, k * beta)
        grad_beta = (grad_key_beta * k).sum(-1, keepdim=True)
        grad_g = None
        if g is not None:
            # all of a chunk depends on g through exp(G_t) q_t, exp(G_t) beta_t k_t (read),
            # exp(-G_s) k_s (written) and exp(G_c) at its end, G the sum of g up to a position
            grad_G = (q * grad_q).sub_(k * grad_k).sum(-1, keepdim=True).addcmul_(beta, grad_beta)
            grad_G[:, :, -1] += (states[1:] * grad_states[1:]).sum((-2, -1)).unsqueeze(-1)
            grad_g = torch.matmul(lower(c, q).mT, grad_G)
        grad_k.addcmul_(grad_key_beta, beta)
        grad_beta += (grad_value_beta * v).sum(-1, keepdim=True)
        return grad_q, grad_k, grad_value_beta * beta, grad_beta, grad_g, grad_states[0]


delta_rule = Operator(
    "delta_rule",
    delta_rule_reference,
    delta_rule_chunked,
    delta_rule_fused,
    "flash-linear-attention",
)
