"""The mLSTM cell: a matrix memory with an exponential input gate, and its normaliser.

    C_t = exp(g_t) C_{t-1} + exp(i_t) k_t v_t^T        n_t = exp(g_t) n_{t-1} + exp(i_t) k_t
    h_t = scale C_t^T q_t / max(|scale n_t^T q_t|, 1)

Source: Beck et al., arXiv:2405.04517, eq. 19-27. exp(i) may be of any size, so all is kept in units
of exp(m_t), m_t = max(m_{t-1} + g_t, i_t) (eq. 15), which h does not depend on but for the EPS that
the authors' code adds to the denominator in those units; the derivative takes m as a constant.
The normaliser is what the memory holds for a value of 1, so the state has it as a last column.

B batch, L length, H heads, K key width, V value width.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqgrid.kernels import Operator
from seqgrid.ops._one_decay import NOTHING, Normalised, chunked
from seqgrid.ops._tiles import pad_to

EPS = 1e-6

State = tuple[Tensor, Tensor]  # (B, H, K, V + 1) in units of exp(m), and m (B, H)


def mlstm_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: State | None = None,
) -> tuple[Tensor, State]:
    """Step by step, as the equations read.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        i: logarithm of the input gate (B, L, H), of any size.
        g: logarithm of the forget gate (B, L, H), at most 0.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: [C_0, n_0] exp(-m_0) (B, H, K, V + 1), and m_0 (B, H); nothing where None.

    Returns:
        h (B, L, H, V) and the final state.
    """
    B, L, H, K = q.shape
    q = q * (K**-0.5 if scale is None else scale)
    values = pad(v, (0, 1), value=1.0)
    if initial_state is None:
        state = q.new_zeros(B, H, K, values.shape[-1])
        m = q.new_full((B, H), -torch.inf)
    else:
        state, m = initial_state
    outputs = []
    for t in range(L):
        before, m = m, torch.maximum(m + g[:, t], i[:, t]).detach()
        keep, write = (g[:, t] + before - m).exp(), (i[:, t] - m).exp()
        written = k[:, t].unsqueeze(-1) * values[:, t].unsqueeze(-2)
        state = keep[..., None, None] * state + write[..., None, None] * written
        h = (q[:, t].unsqueeze(-1) * state).sum(-2)
        outputs.append(_normalised(h, m))
    return torch.stack(outputs, 1), (state, m)


def mlstm_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: State | None = None,
) -> tuple[Tensor, State]:
    """The same function in chunks, exact for gates of any strength.

    Half-precision inputs are computed in float32 and the result is cast back. First derivatives
    only.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        i: logarithm of the input gate (B, L, H), of any size.
        g: logarithm of the forget gate (B, L, H), at most 0.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: [C_0, n_0] exp(-m_0) (B, H, K, V + 1), and m_0 (B, H); nothing where None.

    Returns:
        h (B, L, H, V) and the final state.
    """
    state, units = (None, None) if initial_state is None else initial_state
    o, state, m, units = chunked(q, k, pad(v, (0, 1), value=1.0), g, i, scale, state, units)
    assert m is not None
    assert units is not None
    return Normalised.apply(o, (-m).exp(), EPS).to(v.dtype), (state, units)


def _normalised(o: Tensor, m: Tensor) -> Tensor:
    """Memory over normaliser, both in units of exp(m); o (..., V + 1), m (...) -> (..., V)."""
    size = torch.maximum(o[..., -1].abs(), (-m).exp()) + EPS
    return o[..., :-1] / size.unsqueeze(-1)


def mlstm_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: State | None = None,
) -> tuple[Tensor, State]:
    """The same function on the kernel of the authors, in float32."""
    from mlstm_kernels.torch.chunkwise.triton_xl_chunk import mlstm_chunkwise__xl_chunk

    dtype, L, K = v.dtype, q.shape[1], q.shape[-1]
    q, k, v, i, g = (x.float() for x in (q, k, v, i, g))
    if scale is not None:  # K ** -0.5 in the kernel
        q = q * (scale * K**0.5)
    gate = g.clamp(max=-1e-37)
    gate = gate - torch.log(-torch.expm1(gate))  # the kernel takes logsigmoid of it
    # it takes 16, 32, 64 or a multiple of 128 positions: no weight and no decay for the rest
    length = next((n for n in (16, 32, 64) if n >= L), 128)
    q, k, v = (pad_to(x, length) for x in (q, k, v))
    i, gate = pad_to(i, length, NOTHING), pad_to(gate, length, 80.0)
    states = {}
    if initial_state is not None:
        state, m = initial_state
        states = {
            "c_initial": state[..., :-1].float().contiguous(),
            "n_initial": state[..., -1].float().contiguous(),
            "m_initial": m.float().unsqueeze(-1),
        }
    h, (memory, total, m) = mlstm_chunkwise__xl_chunk(
        *(x.transpose(1, 2).contiguous() for x in (q, k, v, i, gate)),
        return_last_states=True,
        eps=EPS,
        **states,
    )
    state = torch.cat([memory, total.unsqueeze(-1)], -1)
    return h.transpose(1, 2)[:, :L].to(dtype), (state, m.squeeze(-1))


mlstm = Operator("mlstm", mlstm_reference, mlstm_chunked, mlstm_fused, "mlstm-kernels")
