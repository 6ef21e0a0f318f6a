"""The delta rule: a matrix memory that overwrites what a key holds.

    S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T        o_t = scale S_t^T q_t

Source: Schlag et al., arXiv:2102.11174, eq. 24-25; the chunked form is the WY representation of
Yang et al., arXiv:2406.06484, section 3.2. With unit keys the transition I - beta k k^T has
eigenvalue 1 - beta along the key: beta in (0, 2) reaches negative ones (arXiv:2411.12537).

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions.
`delta_rule_chunked` runs on any device torch has; a fused kernel comes beside it as one more
function of the same signature, chosen by the layer and named in its `backend`.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad


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
    # equal chunks: 17 positions become 2 x 9, not 16 + 1 padded to 32
    num_chunks = -(-L // max_chunk)
    chunk = -(-L // num_chunks)
    padding = num_chunks * chunk - L
    dtype = torch.promote_types(q.dtype, torch.float32)

    def split(x: Tensor) -> Tensor:  # (B, L, H, W) -> (n, N, c, W)
        # padded keys and strengths are zero: they write nothing
        x = pad(x, (0, 0, 0, 0, 0, padding)) if padding else x
        x = x.to(dtype).view(B, num_chunks, chunk, H, -1).permute(1, 0, 3, 2, 4)
        # a view of a transposed input would put every product below on torch's slow path
        return x.reshape(num_chunks, B * H, chunk, -1).contiguous()

    if initial_state is None:
        state = q.new_zeros(B * H, K, V, dtype=dtype)
    else:
        state = initial_state.to(dtype).reshape(B * H, K, V)
    with torch.autocast(q.device.type, enabled=False):
        o, state = _ChunkedDeltaRule.apply(
            split(q * (K**-0.5 if scale is None else scale)),
            split(k),
            split(v),
            split(beta.unsqueeze(-1)),
            state,
        )
    o = o.view(num_chunks, B, H, chunk, V).permute(1, 0, 3, 2, 4).reshape(B, -1, H, V)
    return o[:, :L].to(q.dtype), state.view(B, H, K, V)


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
        A = _product(key_beta, k.mT)  # above the diagonal never read
        solution = _solve(A, torch.cat([v * beta, key_beta], -1))
        U, W = solution[..., :V], solution[..., V:]
        states = q.new_empty(n + 1, N, K, V)
        states[0] = state
        delta = torch.empty_like(v)
        for i in range(n):
            torch.baddbmm(U[i], W[i], states[i], alpha=-1, out=delta[i])
            torch.baddbmm(states[i], k[i].mT, delta[i], out=states[i + 1])
        scores = _product(q, k.mT).mul_(_lower(c, q))
        o = _add_product(_product(scores, delta), q, states[:n])
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

        grad_delta = _product(scores.mT, grad_o)
        grad_states = q.new_empty(n + 1, N, K, V)  # [i]: of the state that enters chunk i
        grad_states[:n] = _product(q.mT, grad_o)
        grad_states[n] = grad_final
        for i in reversed(range(n)):
            grad_delta[i].baddbmm_(k[i], grad_states[i + 1])
            grad_states[i].add_(grad_states[i + 1])
            grad_states[i].baddbmm_(W[i].mT, grad_delta[i], alpha=-1)

        grad_scores = _product(grad_o, delta.mT).mul_(_lower(c, q))
        grad_q = _add_product(_product(grad_scores, k), grad_o, states[:n].mT)
        grad_k = _add_product(_product(grad_scores.mT, q), delta, grad_states[1:].mT)

        grad_W = _product(grad_delta, states[:n].mT).neg_()
        grad_rhs = _solve(A, torch.cat([grad_delta, grad_W], -1), transposed=True)
        grad_A = _product(grad_rhs, solution.mT).mul_(-_lower(c, q, diagonal=-1))
        grad_value_beta = grad_rhs[..., :V]
        grad_key_beta = grad_rhs[..., V:] + _product(grad_A, k)
        grad_k = _add_product(grad_k, grad_A.mT, k * beta).addcmul_(grad_key_beta, beta)
        grad_beta = (grad_value_beta * v).sum(-1, keepdim=True)
        grad_beta += (grad_key_beta * k).sum(-1, keepdim=True)
        return grad_q, grad_k, grad_value_beta * beta, grad_beta, grad_states[0]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b over the two leading dimensions (n, N)."""
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Total + a @ b, in place."""
    total.flatten(0, 1).baddbmm_(a.flatten(0, 1), b.flatten(0, 1))
    return total


def _lower(c: int, like: Tensor, diagonal: int = 0) -> Tensor:
    """(c, c) ones on and below the diagonal; a product with it is 5 times faster than tril."""
    return torch.ones(c, c, dtype=like.dtype, device=like.device).tril_(diagonal)


def _solve(A: Tensor, rhs: Tensor, transposed: bool = False) -> Tensor:
    """(I + strictly lower A)^-1 rhs, or with its transpose; A (..., c, c), rhs (..., c, W)."""
    # X^T (I + A)^T = rhs^T: seen from the right, row-major tensors need no copy to LAPACK's layout
    A = A if transposed else A.mT
    return torch.linalg.solve_triangular(
        A, rhs.mT, upper=not transposed, left=False, unitriangular=True
    ).mT
