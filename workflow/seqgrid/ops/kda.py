"""Kimi delta attention: the delta rule with a gate for each channel of the keys.

    S_t = (I - beta_t k_t k_t^T) diag(exp g_t) S_{t-1} + beta_t k_t v_t^T     o_t = scale S_t^T q_t

Source: Kimi Team, arXiv:2510.26692, eq. 1. One implementation with `dplr`, which it is a case of:
what is written goes where the state is read, so half of the products are enough.

B batch, L length, H heads, K key width, V value width.
"""

import torch
from torch import Tensor

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import single, widest
from seqgrid.ops.dplr import chunked_low_rank


def kda_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    lower_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K), of unit length for a stable recurrence.
        v: values (B, L, H, V).
        beta: writing strength (B, L, H).
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
        state = g[:, t].exp().unsqueeze(-1) * state
        held = (k[:, t].unsqueeze(-1) * state).sum(-2)  # (B, H, V)
        delta = beta[:, t].unsqueeze(-1) * (v[:, t] - held)
        state = state + k[:, t].unsqueeze(-1) * delta.unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def kda_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    lower_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks, safe for any g <= 0 as `dplr_chunked` is; arguments as above."""
    beta = beta.unsqueeze(-1).to(torch.promote_types(beta.dtype, torch.float32))
    o, state = chunked_low_rank(
        q, None, v * beta, k * -beta, k, g, scale, initial_state, lower_bound
    )
    return o.to(v.dtype), state


def kda_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    lower_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function as a kernel of flash-linear-attention; arguments as above."""
    from fla.ops.kda import chunk_kda

    bounded = lower_bound is not None and lower_bound >= -5  # as its faster path asks
    dtype, state = v.dtype, single(initial_state)
    q, k, v, beta = widest(q, k, v, beta)
    o, state = chunk_kda(
        q, k, v, g.float(), beta, scale, state, output_final_state=True, safe_gate=bounded
    )
    return o.to(dtype), state


kda = Operator("kda", kda_reference, kda_chunked, kda_fused, "flash-linear-attention")
