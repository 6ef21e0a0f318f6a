"""Products of two vectors of one chunk whose channels decay in between, without overflow.

    P[t, s] = sum_i x_i[t] y_i[s] exp(g_i[s + 1] + ... + g_i[t])        s <= t, g <= 0

As one matrix product this needs exp(G_t - m) and exp(m - G_s), G the sum of g up to a position and
m half of G at the end: the second grows without bound as gates get strong. So the pairs (t, s) are
covered in levels. The diagonal blocks of `base` positions are such a product; above, two
neighbouring blocks of s positions meet at their border, and both exponents, from the border to t
and from s to the border, are sums of g and therefore never above 0. `choose_base` picks the
largest block that cannot overflow: the whole chunk where gates are mild, which is one product in
all, and single positions, where nothing is factorised, at worst.

Every exponent is a sum of gates (a product with a matrix of 0, 1 and +-1/2), not a difference of
sums: a position that forgets everything costs those after it no precision.

n chunks of c positions (a power of two), N = B H, K channels.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

LIMIT = 60.0  # nats within a block; exp(60) is far from the largest float32
# nats; exp(-43) is nothing even to double precision, and the product of two is still a normal
# float32: with smaller numbers a processor takes up to ten times as long
NOTHING = -43.0
# nats; infinity times the zero of a mask is not a number
SHUT = -1e4


class Level(NamedTuple):
    """One level of pairs.

    Attributes:
        size: positions of a block; the pairs of a level lie in one block (base) or in two.
        read: (c, c), its product with g is the log of what scales x.
        inverse: whether y is scaled with the inverse; else with the same as x.
        mask: (c, c) ones at the pairs (t, s) of this level.
    """

    size: int
    read: Tensor
    inverse: bool
    mask: Tensor

    def factors(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """What scales x and what scales y, from the log decays g (n, N, c, K)."""
        read = _decayed(self.read, g)
        return read, read.reciprocal() if self.inverse else read


@cache
def _levels(c: int, base: int, dtype: torch.dtype, device: torch.device) -> tuple[Level, ...]:
    t = torch.arange(c, device=device)
    t, s = t[:, None], t[None]
    lower = s <= t
    same, first = t // base == s // base, s % base == 0
    # the gate of a block's first position lies between no pair of it
    half = torch.where(lower, 0.5, -0.5) * (same & ~first)
    levels = [Level(base, half.to(dtype), True, (same & lower).to(dtype))]
    size = base
    while size < c:
        same, late = t // size == s // size, t // size % 2 == 1
        to_border = same & torch.where(late, lower, ~lower)
        pairs = (t // (2 * size) == s // (2 * size)) & late & (s // size % 2 == 0)
        levels.append(Level(size, to_border.to(dtype), False, pairs.to(dtype)))
        size *= 2
    return tuple(levels)


def levels(base: int, g: Tensor) -> tuple[Level, ...]:
    """The levels that cover the chunks of g (n, N, c, K), from diagonal blocks of `base` up."""
    return _levels(g.shape[2], base, g.dtype, g.device)


def choose_base(g: Tensor, lower_bound: float | None = None) -> int:
    """The largest block of g (n, N, c, K) that is safe as one product.

    One reduction of g finds it, none where a known bound of g already says that all of a chunk is.
    """
    c = g.shape[2]
    if lower_bound is not None and (c - 1) * lower_bound >= -LIMIT:
        return c
    while c > 1:
        inside = g.unflatten(2, (-1, c))[:, :, :, 1:].sum(3)
        if inside.numel() == 0 or inside.amin() >= -LIMIT:
            break
        c //= 2
    return c


def before(x: Tensor, size: int) -> Tensor:
    """Factors x (n, N, c, K) up to the position before; 1 at the start of each block."""
    x = x.roll(1, 2)
    x[:, :, ::size] = 1
    return x


def enter_and_leave(g: Tensor) -> tuple[Tensor, Tensor]:
    """Decay from the chunk's start to each position, that one included, and from it to the end."""
    lower = torch.ones(g.shape[2], g.shape[2], dtype=g.dtype, device=g.device).tril_()
    return _decayed(lower, g), _decayed(1 - lower, g)


def _decayed(sums: Tensor, g: Tensor) -> Tensor:
    """Exponentials of sums of gates; (c, c), (n, N, c, K) -> (n, N, c, K)."""
    return torch.matmul(sums, g).clamp_(min=NOTHING).exp_()


def gate_gradient(read: Tensor, earlier: Tensor | None, end: Tensor) -> Tensor:
    """The gradient of g, from those of what it scales.

    All of a chunk depends on g through x[t] exp(G_t), y[s] exp(-G_s) and exp(G) at its end, so
    that x dx - y dy is the gradient of G; g reaches every later G.

    Args:
        read: sum of x dx - y dy, (n, N, c, K).
        earlier: x dx of what is scaled with the decay up to the position before; None: nothing.
        end: final state times its gradient, summed over values, (n, N, 1, K).
    """
    upper = torch.ones(read.shape[2], read.shape[2], dtype=read.dtype, device=read.device).triu_()
    total = torch.matmul(upper, read).add_(end)
    if earlier is not None:
        total.add_(torch.matmul(upper.triu(1), earlier))
    return total
