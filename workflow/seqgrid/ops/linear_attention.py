"""Linear attention: a matrix memory that never forgets.

    S_t = S_{t-1} + k_t v_t^T        z_t = z_{t-1} + k_t        o_t = scale S_t^T q_t
    normalised:  o_t / (scale z_t^T q_t + 1e-10)

Source: Katharopoulos et al., arXiv:2006.16236, eq. 9-12; k and q are features of keys and queries.
The normaliser is what the memory holds for a value of 1, so the state has it as a last column.

B batch, L length, H heads, K key width, V value width.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import single, widest
from seqgrid.ops._one_decay import Normalised, chunked

EPS = 1e-10  # as in flash-linear-attention


def linear_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        q: features of queries (B, L, H, K).
        k: features of keys (B, L, H, K).
        v: values (B, L, H, V).
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V), and z_0 behind it, (B, H, K, V + 1), where normalised; zero
            where None.
        normalize: whether o is normalised.

    Returns:
        o (B, L, H, V) and the final state, in the layout of the initial one.
    """
    B, L, H, K = q.shape
    q = q * (K**-0.5 if scale is None else scale)
    values = pad(v, (0, 1), value=1.0) if normalize else v
    state = q.new_zeros(B, H, K, values.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        state = state + k[:, t].unsqueeze(-1) * values[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    o = torch.stack(outputs, 1)
    return (o[..., :-1] / (o[..., -1:] + EPS) if normalize else o), state


def linear_attention_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks.

    Half-precision inputs are computed in float32 and the result is cast back. First derivatives
    only.

    Args:
        q: features of queries (B, L, H, K).
        k: features of keys (B, L, H, K).
        v: values (B, L, H, V).
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V), and z_0 behind it, (B, H, K, V + 1), where normalised; zero
            where None.
        normalize: whether o is normalised.

    Returns:
        o (B, L, H, V) and the final state, in the layout of the initial one.
    """
    values = pad(v, (0, 1), value=1.0) if normalize else v
    o, state, _, _ = chunked(q, k, values, scale=scale, initial_state=initial_state)
    if normalize:
        o = Normalised.apply(o, None, EPS)
    return o.to(v.dtype), state


def linear_attention_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """The same function on the kernel of flash-linear-attention."""
    from fla.ops.linear_attn import chunk_linear_attn

    dtype, state = v.dtype, single(initial_state)
    q, k, v = (x.contiguous() for x in widest(q, k, v))
    if not normalize:
        o, state = chunk_linear_attn(
            q, k, v, scale, state, output_final_state=True, normalize=False
        )
        return o.to(dtype), state
    pair = state if state is None else (state[..., :-1].contiguous(), state[..., -1].unsqueeze(1))
    o, (memory, total) = chunk_linear_attn(q, k, v, scale, pair, output_final_state=True)
    return o.to(dtype), torch.cat([memory, total.squeeze(1).unsqueeze(-1)], -1)


linear_attention = Operator(
    "linear_attention",
    linear_attention_reference,
    linear_attention_chunked,
    linear_attention_fused,
    "flash-linear-attention",
)
