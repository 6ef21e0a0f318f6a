"""The delta rule with a gate: the memory of a head fades before it is written.

    S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - exp(g_t) S_{t-1}^T k_t)^T       o_t = scale S_t^T q_t

Source: Yang et al., arXiv:2412.06464, eq. 10. One implementation with `delta_rule`, whose gates are
open. The gated delta product (Siems et al., arXiv:2502.10297, section 3) writes several keys a
position, one after another; the gate comes before the first and the query reads after the last.

B batch, L length, H heads, K key width, V value width, n keys a position.
"""

import torch
from torch import Tensor

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import single, widest
from seqgrid.ops.delta_rule import (
    chunked_delta_rule,
    delta_rule_chunked,
    delta_rule_fused,
)


def gated_delta_rule_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K), of unit length for a stable recurrence.
        v: values (B, L, H, V).
        beta: writing strength (B, L, H).
        g: log of the decay, at most 0 (B, L, H).
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
        state = g[:, t].exp()[..., None, None] * state
        held = (k[:, t].unsqueeze(-1) * state).sum(-2)  # (B, H, V)
        delta = beta[:, t].unsqueeze(-1) * (v[:, t] - held)
        state = state + k[:, t].unsqueeze(-1) * delta.unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def gated_delta_rule_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    max_chunk: int = 16,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks of at most `max_chunk` positions; arguments as above.

    Exact for any g <= 0, -inf included, at no extra cost. Half-precision inputs are computed in
    float32 and the result is cast back. First derivatives only.
    """
    return chunked_delta_rule(q, k, v, beta, g, scale, initial_state, max_chunk)


def gated_delta_rule_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function as a kernel of flash-linear-attention; arguments as above."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    dtype, state = v.dtype, single(initial_state)
    q, k, v, beta = widest(q, k, v, beta)
    o, state = chunk_gated_delta_rule(
        q, k, v, g.float(), beta, scale, state, output_final_state=True
    )
    return o.to(dtype), state


def gated_delta_product_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step: a gate, the writes of a position, a read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L n, H, K), the n of a position together.
        v: values (B, L n, H, V).
        beta: writing strength (B, L n, H).
        g: log of the decay, at most 0 (B, L, H); None: no gate.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    B, L, H, K = q.shape
    n = k.shape[1] // L
    q = q * (K**-0.5 if scale is None else scale)
    state = q.new_zeros(B, H, K, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        if g is not None:
            state = g[:, t].exp()[..., None, None] * state
        for i in range(t * n, (t + 1) * n):
            held = (k[:, i].unsqueeze(-1) * state).sum(-2)
            delta = beta[:, i].unsqueeze(-1) * (v[:, i] - held)
            state = state + k[:, i].unsqueeze(-1) * delta.unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def gated_delta_product_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function as a (gated) delta rule over n L positions; arguments as above."""
    return _interleaved(
        delta_rule_chunked, gated_delta_rule_chunked, q, k, v, beta, g, scale, initial_state
    )


def gated_delta_product_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same on kernels of flash-linear-attention; arguments as above.

    Its kernel for the product refuses single precision: there the one of the gated delta rule
    runs over n L positions, as the library itself does it when it decodes.
    """
    dtype, state = v.dtype, single(initial_state)
    q, k, v, beta = widest(q, k, v, beta)
    if q.dtype == torch.float32:
        o, state = _interleaved(
            delta_rule_fused, gated_delta_rule_fused, q, k, v, beta, g, scale, state
        )
        return o.to(dtype), state
    from fla.ops.gated_delta_product import chunk_gated_delta_product

    n = k.shape[1] // q.shape[1]
    g = None if g is None else g.float()
    o, state = chunk_gated_delta_product(q, k, v, g, beta, n, scale, state, output_final_state=True)
    return o.to(dtype), state


def _interleaved(plain, gated, q, k, v, beta, g, scale, initial_state):
    """Rules over n L positions: the gate at the first of each n, the query at the last."""
    n = k.shape[1] // q.shape[1]
    q = torch.nn.functional.pad(q.unsqueeze(2), (0, 0, 0, 0, n - 1, 0)).flatten(1, 2)
    if g is None:
        o, state = plain(q, k, v, beta, scale=scale, initial_state=initial_state)
    else:
        g = torch.nn.functional.pad(g.unsqueeze(2), (0, 0, 0, n - 1)).flatten(1, 2)
        o, state = gated(q, k, v, beta, g, scale=scale, initial_state=initial_state)
    return o[:, n - 1 :: n], state


gated_delta_rule = Operator(
    "gated_delta_rule",
    gated_delta_rule_reference,
    gated_delta_rule_chunked,
    gated_delta_rule_fused,
    "flash-linear-attention",
)
gated_delta_product = Operator(
    "gated_delta_product",
    gated_delta_product_reference,
    gated_delta_product_chunked,
    gated_delta_product_fused,
    "flash-linear-attention",
)
