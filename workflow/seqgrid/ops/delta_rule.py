"""The delta rule: a matrix memory that overwrites what a key holds.

    S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T        o_t = scale S_t^T q_t

Source: Schlag et al., arXiv:2102.11174, eq. 24-25; the chunked form is the WY representation of
Yang et al., arXiv:2406.06484, section 3.2. With unit keys the transition I - beta k k^T has
eigenvalue 1 - beta along the key: beta in (0, 2) reaches negative ones (arXiv:2411.12537).

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import add_product, join, lower, num_chunks, product, solve, split


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
            state,
        )
    return join(o, B, L, q.dtype), state.view(B, H, K, V)


class _ChunkedDeltaRule(torch.autograd.Function):
    """WY form, with the derivative written out: half the passes over memory of autograd's.

    Within a chunk that starts from state S, with A = strictly lower (beta K) K^T:
        [U | W] = (I + A)^-1 [beta V | beta K]
        D = U - W S                 what is written, one row a position
        O = Q S + lower(Q K^T) D    S <- S + K^T D
    The solve is by substitution. The doubling series for (I + A)^-1 overflows when keys repeat.
    """

    @staticmethod
    def forward(ctx, q, k, v, beta, state):  # (n, N, c, K|V|1), (N, K, V)
        n, N, c, K = q.shape
        V = v.shape[-1]
        key_beta = k * beta
        A = product(key_beta, k.mT)  # above the diagonal never read
        solution = solve(A, torch.cat([v * beta, key_beta], -1))
        U, W = solution[..., :V], solution[..., V:]
        states = q.new_empty(n + 1, N, K, V)
        states[0] = state
        delta = torch.empty_like(v)
        for i in range(n):
            torch.baddbmm(U[i], W[i], states[i], alpha=-1, out=delta[i])
            torch.baddbmm(states[i], k[i].mT, delta[i], out=states[i + 1])
        scores = product(q, k.mT).mul_(lower(c, q))
        o = add_product(product(scores, delta), q, states[:n])
        ctx.save_for_backward(q, k, v, beta, A, solution, states, delta, scores)
        return o, states[n].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_o, grad_final):
        q, k, v, beta, A, solution, states, delta, scores = ctx.saved_tensors
        n, N, c, K = q.shape
        V = v.shape[-1]
        W = solution[..., V:]
        grad_o = grad_o.contiguous()

        grad_delta = product(scores.mT, grad_o)
        grad_states = q.new_empty(n + 1, N, K, V)  # [i]: of the state that enters chunk i
        grad_states[:n] = product(q.mT, grad_o)
        grad_states[n] = grad_final
        for i in reversed(range(n)):
            grad_delta[i].baddbmm_(k[i], grad_states[i + 1])
            grad_states[i].add_(grad_states[i + 1])
            grad_states[i].baddbmm_(W[i].mT, grad_delta[i], alpha=-1)

        grad_scores = product(grad_o, delta.mT).mul_(lower(c, q))
        grad_q = add_product(product(grad_scores, k), grad_o, states[:n].mT)
        grad_k = add_product(product(grad_scores.mT, q), delta, grad_states[1:].mT)

        grad_W = product(grad_delta, states[:n].mT).neg_()
        grad_rhs = solve(A, torch.cat([grad_delta, grad_W], -1), transposed=True)
        grad_A = product(grad_rhs, solution.mT).mul_(-lower(c, q, diagonal=-1))
        grad_value_beta = grad_rhs[..., :V]
        grad_key_beta = grad_rhs[..., V:] + product(grad_A, k)
        grad_k = add_product(grad_k, grad_A.mT, k * beta).addcmul_(grad_key_beta, beta)
        grad_beta = (grad_value_beta * v).sum(-1, keepdim=True)
        grad_beta += (grad_key_beta * k).sum(-1, keepdim=True)
        return grad_q, grad_k, grad_value_beta * beta, grad_beta, grad_states[0]


delta_rule = Operator("delta_rule", delta_rule_reference, delta_rule_chunked)
