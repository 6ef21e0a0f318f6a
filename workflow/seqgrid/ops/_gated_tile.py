"""Scores and state factors of a tile of gated linear attention, for gates of any strength.

Within a chunk, position t reads s <= t by sum_k q_tk k_sk exp(P_tk - P_sk), P the running sum of g.
As a matrix product that is (q exp P) (k exp -P)^T, which overflows where the gates are strong. So
a chunk is halved until the decay over a block is one that float32 can factorise, at most LIMIT:
within such blocks the product above, with P counted from the block's end; from block to block
exponents counted from the border between the two, which are never positive. Every exponent is a
sum of gates, never a difference of sums, and exact for any gates. Blocks of one position always do.

R chunks of c positions of all heads, K key width, b positions in a block.
"""

import torch
from torch import Tensor

from seqgrid.ops._chunks import lower
from seqgrid.ops._tiles import split


class Tile:
    """m chunks: their scores, and queries and keys scaled to read from and write to the state.

    Attributes, with R = m N chunks of all heads:
        scores: (R, c, c), A above.
        q: (R, c, K), what reads the state; where `factorised` the state after the chunk's decay.
        k: (R, c, K), what writes to the state, decayed to the chunk's end.
        keep: (m, N, K, 1), D above.
        decay, inverse: (B, m, c, H, K), from a position to its block's end, and scale over that;
            of one number where a block is one position.
    """

    def __init__(self, q, k, g, scale, chunk, block):  # (B, m c, H, K)
        B, _, H, K = q.shape
        self.chunk, self.block = chunk, block
        self.factorised = block == chunk
        self.lower = lower(block, g)
        q, k, g = (x.unflatten(1, (-1, chunk)) for x in (q, k, g))
        if block == 1:  # its own end
            self.decay, keep = g.new_ones(1, 1, 1, 1, 1), g.exp()
        else:
            gates = g.reshape(B, -1, block, H * K)
            self.decay = ((1 - self.lower) @ gates).exp_().view(g.shape)
            keep = self.decay[:, :, ::block] * g[:, :, ::block].exp()
        self.inverse = scale / self.decay
        m = q.shape[1]
        self.block_q, self.block_k = split(q * self.inverse, m), split(k * self.decay, m)
        self.block_keep = split(keep, m)  # (R, c / b, K)
        self.q, self.k, keep = self.block_q, self.block_k, self.block_keep
        self.levels = []
        if self.factorised:
            self.scores = torch.bmm(self.q, self.k.mT).mul_(self.lower)
        else:
            self.scores = q.new_zeros(len(self.q), chunk, chunk)
            _diagonal(self.scores, block).copy_(self._block_scores())
            self.q = (_blocks(self.q, block) * keep.unsqueeze(2)).view_as(self.q)
            keep = self._join_blocks(keep)
        self.keep = keep.view(m, -1, K, 1)

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
            right_q, left_k = _pairs(self.q, span)[1], _pairs(self.k, span)[0]
            _corners(self.scores, span).copy_(_times(right_q, left_k.mT))
            self.levels.append((span, right_q, left_k, left_keep, right_keep))
            self.q, self.k = self.q.clone(), self.k.clone()
            _pairs(self.q, span)[1].mul_(left_keep)
            _pairs(self.k, span)[0].mul_(right_keep)
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
