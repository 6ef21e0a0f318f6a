"""Gated linear attention: a matrix memory whose key channels forget at rates of their own.

    S_t = diag(exp g_t) S_{t-1} + k_t v_t^T        o_t = scale S_t^T q_t        g_t <= 0

Source: Yang et al., arXiv:2312.06635, eq. 3. HGRN2 (arXiv:2404.07904) is the same operator with
k = 1 - exp g. `simple_gla` has one rate for all channels of a head.

Within a chunk, position t reads s <= t by sum_k q_tk k_sk exp(P_tk - P_sk), P the running sum of g.
As a matrix product that is (q exp P) (k exp -P)^T, which overflows where the gates are strong. So
a chunk is halved until the decay over a block is one that float32 can factorise, at most LIMIT:
within such blocks the product above, with P counted from the block's end; from block to block
exponents counted from the border between the two, which are never positive. Every exponent is a
sum of gates, never a difference of sums, and exact for any gates. Blocks of one position always do.

B batch, L length, H heads, K key width, V value width; N = B H, n chunks of c positions.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

LIMIT = 60.0  # exp(60) = 1e26: room for the product and the sums in float32, which ends at 3e38
CHUNK = 32
TILE = 2**17  # elements of a tensor that stay in a core's cache while a tile is worked on


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
        block: positions within which the decay is factorised, a power of 2; None: the longest that
            these gates allow, for one reduction over them (on CUDA it waits for the device).

    Returns:
        o (B, L, H, V) and the final state (B, H, K, V).
    """
    B, L, H, K = q.shape
    V = v.shape[-1]
    dtype = torch.promote_types(q.dtype, torch.float32)
    chunk = min(CHUNK, 1 << (L - 1).bit_length())
    padding = -L % chunk
    scale = K**-0.5 if scale is None else scale
    if initial_state is None:
        state = q.new_zeros(B * H, K, V, dtype=dtype)
    else:
        state = initial_state.to(dtype).reshape(B * H, K, V)
    # zero keys and gates: padding writes nothing and forgets nothing
    inputs = [pad(x, (0, 0, 0, 0, 0, padding)) if padding else x for x in (q, k, v, g)]
    inputs = [x.to(dtype) for x in inputs]
    if block is None:
        block = longest_block(inputs[-1].detach(), chunk)
    with torch.autocast(q.device.type, enabled=False):
        o, state = _ChunkedGLA.apply(*inputs, state, scale, chunk, min(block, chunk))
    return o[:, :L].to(q.dtype), state.view(B, H, K, V)


def longest_block(g: Tensor, chunk: int) -> int:
    """The longest power of 2 up to `chunk` whose blocks keep at least exp(-LIMIT); g (B, L, ...)."""
    if chunk * float(g.min()) >= -LIMIT:
        return chunk
    sums, block = g, 1
    while block < chunk:
        sums = sums.unflatten(1, (-1, 2)).sum(2)
        if float(sums.min()) < -LIMIT:
            break
        block *= 2
    return block


class _ChunkedGLA(torch.autograd.Function):
    """Tiles of chunks in turn; backward makes each tile again from inputs and entering states.

    Within a chunk that starts from state S and keeps D = exp of the sum of its gates:
        O = A V + (Q exp P) S        S <- D S + (K exp(sum - P))^T V
    Backward needs no derivative of an exponential: P enters o_t as a factor of q_t and the
    inverse one of k_s, so its gradient is q dq - k dk, summed from the chunk's end for g.
    """

    @staticmethod
    def forward(ctx, q, k, v, g, state, scale, chunk, block):  # (B, n c, H, K|V), (N, K, V)
        B, L, H, V = v.shape
        o = torch.empty_like(v)
        states = v.new_empty(L // chunk + 1, *state.shape)
        states[0] = state
        for at, i, m in _tiles(q, v, chunk):
            tile = _Tile(q[:, at], k[:, at], g[:, at], scale, chunk, block)
            values = tile.split(v[:, at])
            answers = torch.bmm(tile.scores, values)
            held = states[i : i + m + 1]
            keys, values = tile.k.unflatten(0, (m, -1)), values.unflatten(0, (m, -1))
            for j in range(m):
                torch.mul(held[j], tile.keep[j], out=held[j + 1])
                held[j + 1].baddbmm_(keys[j].mT, values[j])
            answers.baddbmm_(tile.q, tile.read(held[:m]))
            o[:, at] = tile.join(answers)
        ctx.save_for_backward(q, k, v, g, states)
        ctx.options = scale, chunk, block
        return o, states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_o, grad_final):
        q, k, v, g, states = ctx.saved_tensors
        scale, chunk, block = ctx.options
        grad_q, grad_k, grad_v, grad_g = (torch.empty_like(x) for x in (q, k, v, g))
        from_end = torch.ones(chunk, chunk, dtype=q.dtype, device=q.device).triu_()
        grad_state = grad_final
        for at, i, m in reversed(_tiles(q, v, chunk)):
            tile = _Tile(q[:, at], k[:, at], g[:, at], scale, chunk, block)
            values, grads = tile.split(v[:, at]), tile.split(grad_o[:, at])
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
            grad_v[:, at] = tile.join(grad_values)
            dq = torch.bmm(grads, tile.read(held[:m]).mT)
            dk = torch.bmm(values, grad_left.mT)
            tile.backward(torch.bmm(grads, values.mT), dq, dk)
            torch.mul(tile.join(dq), tile.inverse, out=grad_q[:, at])
            torch.mul(tile.join(dk), tile.decay, out=grad_k[:, at])

            grad_sum = (held[1:] * grad_states[1:]).sum(-1)  # (m, N, K)
            grad_P = grad_q[:, at] * q[:, at]
            grad_P.addcmul_(grad_k[:, at], k[:, at], value=-1)
            ends = grad_P.unflatten(1, (m, chunk))[:, :, -1]  # (B, m, H, K)
            ends += grad_sum.view(m, *ends.shape[:1], *ends.shape[2:]).transpose(0, 1)
            by_chunk = grad_P.unflatten(1, (m, chunk)).flatten(3)
            grad_g[:, at] = (from_end @ by_chunk).view_as(grad_P)
        return grad_q, grad_k, grad_v, grad_g, grad_state, None, None, None


def _tiles(q: Tensor, v: Tensor, chunk: int) -> list[tuple[slice, int, int]]:
    """Positions, first chunk and number of chunks of each tile."""
    per_chunk = chunk * max(q[:, 0].numel(), v[:, 0].numel())
    num_chunks = q.shape[1] // chunk
    size = max(1, TILE // per_chunk)
    return [
        (slice(i * chunk, min(i + size, num_chunks) * chunk), i, min(size, num_chunks - i))
        for i in range(0, num_chunks, size)
    ]


class _Tile:
    """m chunks: their scores, and queries and keys scaled to read from and write to the state.

    Attributes, with R = m N chunks of all heads:
        scores: (R, c, c), A above.
        q: (R, c, K), what reads the state; where `factorised` the state after the chunk's decay.
        k: (R, c, K), what writes to the state, decayed to the chunk's end.
        keep: (m, N, K, 1), D above.
        decay, inverse: (B, m c, H, K), from a position to its block's end, and scale over that;
            of one number where a block is one position.
    """

    def __init__(self, q, k, g, scale, chunk, block):  # (B, m c, H, K)
        B, length, H, K = q.shape
        self.shape, self.chunk, self.block = (B, length // chunk, H), chunk, block
        self.factorised = block == chunk
        self.lower = torch.ones(block, block, dtype=g.dtype, device=g.device).tril_()
        if block == 1:  # its own end
            self.decay, keep = g.new_ones(1, 1, 1, 1), g.exp()
        else:
            gates = g.reshape(B, -1, block, H * K)
            self.decay = ((1 - self.lower) @ gates).exp_().view(q.shape)
            keep = self.decay[:, ::block] * g[:, ::block].exp()
        self.inverse = scale / self.decay
        self.block_q, self.block_k = self.split(q * self.inverse), self.split(k * self.decay)
        self.block_keep = self.split(keep)  # (R, c / b, K)
        self.q, self.k, keep = self.block_q, self.block_k, self.block_keep
        self.levels = []
        if self.factorised:
            self.scores = torch.bmm(self.q, self.k.mT).mul_(self.lower)
        else:
            self.scores = q.new_zeros(len(self.q), chunk, chunk)
            _diagonal(self.scores, block).copy_(self._block_scores())
            self.q = (_blocks(self.q, block) * keep.unsqueeze(2)).view_as(self.q)
            keep = self._join_blocks(keep)
        self.keep = keep.view(self.shape[1], -1, K, 1)

    def _block_scores(self) -> Tensor:  # (R, c / b, b, b)
        q, k = _blocks(self.block_q, self.block), _blocks(self.block_k, self.block)
        if self.block == 1:
            return (q * k).sum(-1, keepdim=True)
        return (q @ k.mT).mul_(self.lower)

    def _join_blocks(self, keep: Tensor) -> Tensor:
        """Scores between neighbouring blocks, then those joined; gives what a chunk keeps."""
        span = self.block
        while span < self.chunk:
            left_keep, right_keep = _pairs(keep, 1)
            left_q, right_q = _pairs(self.q, span)
            left_k, right_k = _pairs(self.k, span)
            _corners(self.scores, span).copy_(_times(right_q, left_k.mT))
            self.levels.append((span, right_q, left_k, left_keep, right_keep))
            self.q = torch.stack([left_q, right_q * left_keep], 2).view_as(self.q)
            self.k = torch.stack([left_k * right_keep, right_k], 2).view_as(self.k)
            keep = (left_keep * right_keep).squeeze(2)
            span *= 2
        return keep

    def backward(self, grad_scores: Tensor, grad_q: Tensor, grad_k: Tensor) -> None:
        """From gradients of scores, q and k to those of block_q and block_k, in place."""
        for span, right_q, left_k, left_keep, right_keep in reversed(self.levels):
            grad = _corners(grad_scores, span).contiguous()
            right, left = _pairs(grad_q, span)[1], _pairs(grad_k, span)[0]
            right.mul_(left_keep).add_(_times(grad, left_k))
            left.mul_(right_keep).add_(_times(grad.mT, right_q))
        b = self.block
        if self.factorised:
            grad = grad_scores.mul_(self.lower)
            grad_q.baddbmm_(grad, self.block_k)
            grad_k.baddbmm_(grad.mT, self.block_q)
            return
        grad = _diagonal(grad_scores, b) * self.lower
        _blocks(grad_q, b).mul_(self.block_keep.unsqueeze(2))
        _blocks(grad_q, b).add_(_times(grad, _blocks(self.block_k, b)))
        _blocks(grad_k, b).add_(_times(grad.mT, _blocks(self.block_q, b)))

    def read(self, states: Tensor) -> Tensor:
        """What the queries read of the entering states (m, N, K, V) -> (R, K, V)."""
        return (states * self.keep if self.factorised else states).flatten(0, 1)

    def split(self, x: Tensor) -> Tensor:
        """(B, m rows, H, W) -> (R, rows, W)."""
        B, m, H = self.shape
        x = x.reshape(B, m, -1, H, x.shape[-1]).permute(1, 0, 3, 2, 4)
        return x.reshape(m * B * H, -1, x.shape[-1])

    def join(self, x: Tensor) -> Tensor:
        """(R, c, W) -> (B, m c, H, W), a view."""
        B, m, H = self.shape
        x = x.view(m, B, H, self.chunk, -1).permute(1, 0, 3, 2, 4)
        return x.reshape(B, m * self.chunk, H, -1) if m > 1 else x.squeeze(1)


def _blocks(x: Tensor, b: int) -> Tensor:
    """(R, c, W) -> (R, c / b, b, W)."""
    return x.view(len(x), -1, b, x.shape[-1])


def _pairs(x: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """First and second of neighbouring blocks: (R, rows, W) -> 2 x (R, rows / 2 span, span, W)."""
    left, right = x.view(len(x), -1, 2, span, x.shape[-1]).unbind(2)
    return left, right


def _diagonal(x: Tensor, b: int) -> Tensor:
    """The blocks on the diagonal of (R, c, c): a view (R, c / b, b, b)."""
    n = x.shape[-1] // b
    return x.view(-1, n, b, n, b).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


def _corners(x: Tensor, span: int) -> Tensor:
    """Lower left quarters of the blocks of 2 span on the diagonal: a view (R, c / 2 span, ...)."""
    return _diagonal(x, 2 * span)[..., span:, :span]


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Batched a @ b; where the shared dimension or both outer ones are 1 without a product."""
    if a.shape[-1] == 1:
        return a * b
    if a.shape[-2] == b.shape[-1] == 1:
        return (a * b.mT).sum(-1, keepdim=True)
    return a @ b
