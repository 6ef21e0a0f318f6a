"""Linear attention with one decay a head: retention, and gates from the input.

    S_t = exp(g_t) S_{t-1} + k_t v_t^T        o_t = scale S_t^T q_t        g_t <= 0

Source: Sun et al., arXiv:2307.08621 (retention), eq. 5 and 6, where g is a constant of the head;
Yang et al., arXiv:2312.06635, table 1, for a g of each position.

B batch, L length, H heads, K key width, V value width.
"""

import torch
from torch import Tensor

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import single, widest
from seqgrid.ops._one_decay import chunked


def simple_gla_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        g: logarithm of what each head keeps, at most 0: (B, L, H), or (H,) constants.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    B, L, H, K = q.shape
    q = q * (K**-0.5 if scale is None else scale)
    keep = g.exp().expand(B, L, H)[..., None, None]
    state = q.new_zeros(B, H, K, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        state = keep[:, t] * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def simple_gla_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks, exact for gates of any strength.

    Half-precision inputs are computed in float32 and the result is cast back. First derivatives
    only.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        g: logarithm of what each head keeps, at most 0: (B, L, H), or (H,) constants.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    if g.dim() == 1:
        g = g.expand(1, q.shape[1], -1)
    o, state, _, _ = chunked(q, k, v, g, scale=scale, initial_state=initial_state)
    return o.to(v.dtype), state


def simple_gla_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function on the kernel of flash-linear-attention, which keeps constants constant."""
    from fla.ops.simple_gla import chunk_simple_gla

    dtype = v.dtype
    q, k, v = (x.contiguous() for x in widest(q, k, v))
    constant = g.dim() == 1 and not g.requires_grad
    g = g.float()
    gates = {"g_gamma": g} if constant else {"g": g.expand(q.shape[:3]).contiguous()}
    state = single(initial_state)
    o, state = chunk_simple_gla(
        q, k, v, **gates, scale=scale, initial_state=state, output_final_state=True
    )
    return o.to(dtype), state


simple_gla = Operator(
    "simple_gla",
    simple_gla_reference,
    simple_gla_chunked,
    simple_gla_fused,
    "flash-linear-attention",
)
