"""What can be told of marked values from their chunks, when nobody says which chunk came when.

A model that pools chunks of `size` positions without order, and then the chunks without order,
knows which values stood together and not where. That is more than a bag: of the chunks with 7 and
with 1 of 8 marked values, the single one came first or last. All orders of the chunks are alike but
for a shorter last chunk, which its padding gives away. With p_ig the probability, over these
orders, that the i-th marked value stands in chunk g with n_g of them, the best guess of it is
sum over g of p_ig x (the mean of g), and of K values of equal variance it explains

    R2 = (1/K) sum over i of E[sum over g of p_ig^2 / n_g].

B batch, K markers.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from math import comb, factorial

import torch
from torch import Tensor

MOST_MARKERS = 16  # the ways to deal them to chunks are partitions, 231 of 16 and 37,338 of 40


@cache
def unordered_r2(seqlen: int, markers: int, size: int) -> float:
    """The best R2, exactly."""
    full, last = divmod(seqlen, size)
    explained = 0.0
    for at_end in range(min(last, markers) + 1):
        for counts in _partitions(markers - at_end, size):
            if len(counts) <= full:
                share = 1.0 if at_end else 0.0  # known to be the last at_end, as a bag
                for place, own in enumerate(counts):
                    before = _before(counts[:place] + counts[place + 1 :])
                    for i in range(markers - at_end):
                        p = sum(before.get(s, 0.0) for s in range(i - own + 1, i + 1))
                        share += p**2 / own
                explained += share * _probability(counts, at_end, seqlen, size)
    return explained / markers


def unordered_guess(values: Tensor, chunk: Tensor, last_chunk: int | None) -> Tensor:
    """The best guess of every marked value, (B, K).

    Args:
        values: (B, K), in their order, of which the guess knows nothing.
        chunk: (B, K) int64, the chunk that each stands in, rising.
        last_chunk: the one that is shorter; None: there is none.
    """
    begins = torch.ones_like(chunk, dtype=torch.bool)
    begins[:, 1:] = chunk[:, 1:] != chunk[:, :-1]
    at_end = chunk == (-1 if last_chunk is None else last_chunk)
    return torch.einsum("bji,bj->bi", _weights(begins, at_end).to(values.dtype), values)


def _weights(begins: Tensor, at_end: Tensor) -> Tensor:
    """[b, j, i]: how much of the guess of the i-th marked value the j-th has.

    Args:
        begins: (B, K) bool, first of its chunk.
        at_end: (B, K) bool, in the chunk that is shorter.
    """
    B, K = begins.shape
    group = begins.cumsum(1)
    same = group[:, :, None] == group[:, None, :]
    count = same.sum(2)  # (B, K), markers in the chunk of each
    leads = begins & ~at_end  # one marker a chunk of full length
    # ways[b, j, k, s]: sets of k chunks besides that of marker j, with s markers together
    ways = torch.zeros(B, K, K + 1, K + 1, dtype=torch.float64, device=begins.device)
    ways[:, :, 0, 0] = 1
    s = torch.arange(K + 1, device=begins.device)
    for h in range(K):
        rest = s - count[:, h, None]  # (B, K + 1), markers of a set besides those of h's chunk
        taken = (leads[:, h, None] & ~same[:, h])[..., None] & (rest >= 0)[:, None]  # (B, j, s)
        index = rest.clamp(min=0)[:, None, None].expand(B, K, K, K + 1)
        more = ways[:, :, :-1].gather(3, index) * taken[:, :, None]
        ways[:, :, 1:] += more
    before = torch.einsum("bjks,bk->bjs", ways, _orders(K, ways)[leads.sum(1)])
    rank = torch.arange(K, device=begins.device)[:, None]  # over s
    inside = (s <= rank) & (rank < s + count[..., None, None])  # (B, j, i, s)
    p = (before[:, :, None] * inside).sum(3)  # (B, j, i)
    ends = rank[:, 0] >= K - at_end.sum(1, keepdim=True)  # (B, i)
    p = torch.where(at_end[..., None], ends[:, None].to(p.dtype), p)
    return p / count[..., None]


def _orders(K: int, like: Tensor) -> Tensor:
    """[m, k]: share of the orders of m chunks in which a given k of them are all before one."""
    found = torch.zeros(K + 1, K + 1, dtype=like.dtype, device=like.device)
    for m in range(1, K + 1):
        for k in range(m):
            found[m, k] = factorial(k) * factorial(m - 1 - k) / factorial(m)
    return found


def _before(others: tuple[int, ...]) -> dict[int, float]:
    """How many markers stand before a chunk, as a distribution over the orders of it and others."""
    ways: dict[tuple[int, int], int] = {(0, 0): 1}
    for count in others:
        for (k, s), number in list(ways.items()):
            ways[k + 1, s + count] = ways.get((k + 1, s + count), 0) + number
    m, found = len(others) + 1, defaultdict(float)
    for (k, s), number in ways.items():
        found[s] += number * factorial(k) * factorial(m - 1 - k) / factorial(m)
    return found


def _partitions(markers: int, largest: int) -> Iterator[tuple[int, ...]]:
    """The ways to write a number as a sum of falling numbers."""
    if markers == 0:
        yield ()
    for first in range(min(markers, largest), 0, -1):
        for rest in _partitions(markers - first, first):
            yield (first, *rest)


def _probability(counts: tuple[int, ...], at_end: int, seqlen: int, size: int) -> float:
    """That full chunks hold these counts of markers, in any order, and the last chunk at_end."""
    full, last = divmod(seqlen, size)
    ways = factorial(full) // factorial(full - len(counts)) * comb(last, at_end)
    for count in set(counts):
        ways //= factorial(counts.count(count))
    for count in counts:
        ways *= comb(size, count)
    return ways / comb(seqlen, at_end + sum(counts))
