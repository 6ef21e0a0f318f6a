"""Gated linear attention: a matrix memory whose key channels forget at rates of their own.

    S_t = diag(exp g_t) S_{t-1} + k_t v_t^T        o_t = scale S_t^T q_t        g_t <= 0

Source: Yang et al., arXiv:2312.06635, eq. 3. HGRN2 (arXiv:2404.07904) is the same operator with
k = 1 - exp g. `simple_gla` has one rate for all channels of a head.

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import NARROWEST, lower, single, widest
from seqgrid.ops._gated_tile import Tile
from seqgrid.ops._tiles import chunk_length, join, pad_to, put, split, tiles

LIMIT = 60.0  # exp(60) = 1e26: room for the product and the sums in float32, which ends at 3e38


def gla_reference(
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
        g: logarithm of what each key channel keeps (B, L, H, K), at most 0.
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
        state = g[:, t].exp().unsqueeze(-1) * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(outputs, 1), state


def gla_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    chunk: int | None = None,
    block: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks, a tile of them at a time while it is in the cache.

    Half-precision inputs are computed in float32 and the result is cast back. First derivatives
    only.

    Args:
        q: queries (B, L, H, K).
        k: keys (B, L, H, K).
        v: values (B, L, H, V).
        g: logarithm of what each key channel keeps (B, L, H, K), at most 0.
        scale: factor of the queries; K ** -0.5 where None.
        initial_state: S_0 (B, H, K, V); zero where None.
        chunk: positions of a chunk, a power of 2; None: what suits the widths.
        block: positions within which the decay is factorised, a power of 2; None: the longest that
            these gates allow, for one reduction over them (on CUDA it waits for the device).

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
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
    inputs = [pad_to(x, chunk).to(dtype) for x in (q, k, v, g)]
    if block is None:
        block = longest_block(inputs[-1], chunk)
    with torch.autocast(q.device.type, enabled=False):
        o, state = _ChunkedGLA.apply(*inputs, state, scale, chunk, min(block, chunk))
    return o[:, :L].to(v.dtype), state.view(B, H, K, V)


def longest_block(g: Tensor, chunk: int) -> int:
    """The longest power of 2 up to `chunk` over which g (B, L, ...) sums to at least -LIMIT."""
    g = g.detach()
    if chunk * float(g.min()) >= -LIMIT:
        return chunk
    sums, block = g, 1
    while block < chunk:
        sums = sums.unflatten(1, (-1, 2)).sum(2)
        if float(sums.min()) < -LIMIT:
            break
        block *= 2
    return 1 if block == 2 else block  # two positions cost more to factorise than to part


class _ChunkedGLA(torch.autograd.Function):
    """Tiles of chunks in turn; backward makes each tile again from inputs and entering states.

    Within a chunk that starts from state S and keeps D = exp of the sum of its gates:
        O = A V + (Q exp P) S        S <- D S + (K exp(sum - P))^T V
    Backward needs no derivative of an exponential: P enters o_t as a factor of q_t and the
    inverse one of k_s, so its gradient is q dq - k dk, summed from the chunk's end for g.
    """

    @staticmethod
    def forward(ctx, q, k, v, g, state, scale, chunk, block):  # (B, n c, H, K|V), (N, K, V)
        o = torch.empty_like(v)
        states = v.new_empty(v.shape[1] // chunk + 1, *state.shape)
        states[0] = state
        for at, i, m in tiles(q, v, chunk):
            tile = Tile(q[:, at], k[:, at], g[:, at], scale, chunk, block)
            values = split(v[:, at], m)
            answers = torch.bmm(tile.scores, values)
            held = states[i : i + m + 1]
            keys, values = tile.k.unflatten(0, (m, -1)), values.unflatten(0, (m, -1))
            for j in range(m):
                torch.mul(held[j], tile.keep[j], out=held[j + 1])
                held[j + 1].baddbmm_(keys[j].mT, values[j])
            answers.baddbmm_(tile.q, tile.read(held[:m]))
            put(answers, m, o[:, at])
        ctx.save_for_backward(q, k, v, g, states)
        ctx.options = scale, chunk, block
        return o, states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_o, grad_final):
        q, k, v, g, states = ctx.saved_tensors
        scale, chunk, block = ctx.options
        grad_q, grad_k, grad_v, grad_g = (torch.empty_like(x) for x in (q, k, v, g))
        H, from_end = q.shape[2], lower(chunk, q).mT
        grad_state = grad_final
        for at, i, m in reversed(tiles(q, v, chunk)):
            tile = Tile(q[:, at], k[:, at], g[:, at], scale, chunk, block)
            values, grads = split(v[:, at], m), split(grad_o[:, at], m)
            held = states[i : i + m + 1]
            # [j]: of the state that enters chunk j of the tile
            grad_states = q.new_empty(m + 1, *grad_state.shape)
            grad_states[m] = grad_state
            grad_read = torch.bmm(tile.q.mT, grads).unflatten(0, (m, -1))
            for j in reversed(range(m)):
                if tile.factorised:
                    torch.add(grad_read[j], grad_states[j + 1], out=grad_states[j])
                    grad_states[j] *= tile.keep[j]
                else:
                    torch.addcmul(
                        grad_read[j], grad_states[j + 1], tile.keep[j], out=grad_states[j]
                    )
            grad_state = grad_states[0]
            grad_left = grad_states[1:].flatten(0, 1)  # of the state each chunk leaves

            grad_values = torch.bmm(tile.scores.mT, grads).baddbmm_(tile.k, grad_left)
            put(grad_values, m, grad_v[:, at])
            dq = torch.bmm(grads, tile.read(held[:m]).mT)
            dk = torch.bmm(values, grad_left.mT)
            tile.backward(torch.bmm(grads, values.mT), dq, dk)
            by_chunk = [x[:, at].unflatten(1, (m, -1)) for x in (q, k, grad_q, grad_k, grad_g)]
            q_, k_, grad_q_, grad_k_, grad_g_ = by_chunk  # (B, m, c, H, K)
            torch.mul(join(dq, m, H), tile.inverse, out=grad_q_)
            torch.mul(join(dk, m, H), tile.decay, out=grad_k_)

            grad_sum = (held[1:] * grad_states[1:]).sum(-1)  # (m, N, K)
            grad_P = (grad_q_ * q_).addcmul_(grad_k_, k_, value=-1)
            ends = grad_P[:, :, -1]  # (B, m, H, K)
            ends += grad_sum.view(m, -1, *ends.shape[2:]).transpose(0, 1)
            grad_g_.copy_((from_end @ grad_P.flatten(3)).view_as(grad_P))
        return grad_q, grad_k, grad_v, grad_g, grad_state, None, None, None


def gla_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function on the kernel of flash-linear-attention."""
    from fla.ops.gla import chunk_gla

    dtype, state, V = v.dtype, single(initial_state), v.shape[-1]
    q, k, v = (x.contiguous() for x in widest(q, k, v))
    if V < NARROWEST:  # columns of zeros, which stay so
        v = pad(v, (0, NARROWEST - V))
        state = None if state is None else pad(state, (0, NARROWEST - V))
    o, state = chunk_gla(q, k, v, g.float().contiguous(), scale, state, output_final_state=True)
    return o[..., :V].to(dtype), state[..., :V]


gla = Operator("gla", gla_reference, gla_chunked, gla_fused, "flash-linear-attention")
