"""Random numbers as a pure function of (key, example, draw): the same on every machine and device.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a counter
and a key into four random 32-bit words. The counter here is (block of the draw, number of the draw,
example index), so an example is the same whatever batch it is drawn in, and no generator state has
to be saved. Words are held in int64 tensors; nothing rounds differently from one device to another.

B examples, n numbers per example.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from seqgrid.seeds import derive

WORD = 0xFFFFFFFF  # 32 bits
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # Salmon et al. 2011, table 2
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, ibid.
ROUNDS = 10
CHUNK = 16384  # counters worked on at once: their buffers stay in a core's cache

SPLITS = ("train", "validation", "test")


def split_key(data_seed: int, split: str) -> int:
    """The key of one split's examples: splits are disjoint streams, not ranges of one stream.

    Raises:
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {list(SPLITS)}")
    return derive("split", data_seed, split)


def epoch_order(n: int, order_seed: int, epoch: int) -> Tensor:
    """The order, (n,) int64, in which epoch `epoch` visits a training set of n examples.

    Sorts 63 random bits per example, so the permutations are uniform but for ties, which fewer than
    one in 10^9 permutations of 100,000 examples has.
    """
    words = Stream(derive("order", order_seed, epoch), torch.zeros(1, dtype=torch.int64)).words(
        2 * n
    )
    bits = (words[0, :n] << 31) | (words[0, n:] >> 1)  # (n,)
    return bits.argsort(stable=True)


@lru_cache(maxsize=64)
def _constants(key: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Round keys (ROUNDS, 2, 1) and multipliers (2, 2, 1), in the row order `philox` works in."""
    words = (key & WORD, key >> 32 & WORD)
    keys = [[(words[h] + r * WEYL[h]) & WORD for h in (0, 1)] for r in range(ROUNDS)]
    # round r yields the words (2, 0) where r is even and (0, 2) where it is odd
    rows = [[pair[1 - r % 2], pair[r % 2]] for r, pair in enumerate(keys)]
    return (
        torch.tensor(rows, device=device)[..., None],
        torch.tensor([MULTIPLIERS, MULTIPLIERS[::-1]], device=device)[..., None],
    )


def philox(counter: Tensor, key: int) -> Tensor:
    """Philox4x32-10 of counters (4, N), 32-bit words in int64, under a 64-bit key: words (4, N).

    Each round multiplies words 0 and 2 and swaps them, so the pair is kept as two rows whose order
    alternates, which halves the number of tensor operations.
    """
    keys, multipliers = _constants(key, counter.device)
    pair = counter[0::2].clone()  # (2, N) words 0 and 2
    product = counter[1::2].clone()  # (2, N) words 1 and 3
    spare = torch.empty_like(pair)
    for r in range(ROUNDS):
        # the signed product wraps around, which leaves its 64 bits as those of the unsigned one
        torch.mul(pair, multipliers[r % 2], out=spare)
        torch.bitwise_right_shift(spare, 32, out=pair)
        pair[0].bitwise_xor_(product[1])
        pair[1].bitwise_xor_(product[0])
        # the mask also drops the sign bits of the shift and the high half of the last product
        pair.bitwise_xor_(keys[r]).bitwise_and_(WORD)
        product, spare = spare, product
    product.bitwise_and_(WORD)
    return torch.stack((pair[0], product[0], pair[1], product[1]))


class Stream:
    """The random numbers of some examples.

    Draws are numbered in the order of the calls, so a task that makes the same calls for every
    batch draws the same example at the same index.
    """

    def __init__(self, key: int, indices: Tensor):
        """Numbers of the examples `indices`, (B,) int64 and not negative, under a 63-bit key."""
        if indices.dtype != torch.int64 or indices.ndim != 1:
            raise TypeError(f"indices must be int64 (B,), not {indices.dtype} {indices.shape}")
        self.key = key
        self.indices = indices
        self.device = indices.device
        self.draws = 0

    def __len__(self) -> int:
        return self.indices.shape[0]

    def words(self, n: int) -> Tensor:
        """(B, n) int64, uniform on 32 bits; every other draw is made of these."""
        size, blocks = len(self), -(-n // 4)
        counter = torch.empty((4, size, blocks), dtype=torch.int64, device=self.device)
        counter[0] = torch.arange(blocks, device=self.device)
        counter[1] = self.draws
        counter[2] = (self.indices & WORD)[:, None]
        counter[3] = (self.indices >> 32)[:, None]
        self.draws += 1
        parts = [philox(part, self.key) for part in counter.flatten(1).split(CHUNK, dim=1)]
        words = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]  # (4, B * blocks)
        return words.T.reshape(size, 4 * blocks)[:, :n]

    def uniform(self, n: int) -> Tensor:
        """(B, n) float32 in [0, 1): multiples of 2^-24, which float32 holds exactly."""
        return (self.words(n) >> 8).to(torch.float32) * 2.0**-24

    def integers(self, n: int, high: int | Tensor) -> Tensor:
        """(B, n) int64 in [0, high); `high`, at most 2^31, may differ by column or example.

        A word is scaled and its fraction dropped: one integer is likelier than another by a factor
        of at most 1 + high / 2^32.
        """
        return self.words(n) * high >> 32

    def choose(self, n: int, population: int) -> Tensor:
        """(B, n) distinct integers of [0, population), every order of every subset alike.

        Raises:
            ValueError: n is not from 1 to the population.
        """
        if not 0 < n <= population:
            raise ValueError(f"cannot choose {n} distinct integers out of {population}")
        if n * n > 4 * population:  # where sorting all is the cheaper way
            return self.words(population).argsort(dim=1, stable=True)[:, :n]
        return _shuffled(self.integers(n, population - torch.arange(n, device=self.device)))

    def choose_weighted(self, n: int, weights: Tensor) -> Tensor:
        """(B, n) distinct integers drawn one after another, each in proportion to its weight.

        weights: (P,) or (B, P) float64, positive, or 0 of what comes after all others. An
        exponential race: integer i arrives after a time -log(u) / weight, and the n first are those
        of successive draws without replacement (Efraimidis and Spirakis 2006, "Weighted random
        sampling with a reservoir").
        """
        weights = weights.to(self.device)
        u = (self.words(weights.shape[-1]).to(torch.float64) + 0.5) * 2.0**-32  # (B, P)
        return (_minus_log(u) / weights).argsort(dim=1, stable=True)[:, :n]


def _shuffled(steps: Tensor) -> Tensor:
    """The first n entries of a Fisher-Yates shuffle of 0, 1, 2, ... without the array it swaps in.

    steps: (B, n) int64; step i swaps slot i with slot i + steps[i]. Returns (B, n).
    """
    n = steps.shape[1]
    own = torch.arange(n, device=steps.device)
    slot = steps + own  # (B, n)
    earlier = torch.ones(n, n, dtype=torch.bool, device=steps.device).tril(-1)

    def last_touch(slots: Tensor) -> Tensor:
        """The last step before i that swapped slots[i], or -1: (B, n)."""
        return torch.where((slot[:, None] == slots) & earlier, own, -1).amax(2)

    # what step i finds in slot i came from the slot of an earlier step, and so on down to a slot
    # that still holds its own number: follow the links in doubling strides
    touch = last_touch(own[:, None])
    origin = torch.where(touch >= 0, touch, own)
    for _ in range((n - 1).bit_length()):
        origin = origin.gather(1, origin)
    touch = last_touch(slot[..., None])
    return torch.where(touch >= 0, origin.gather(1, touch.clamp(min=0)), slot)


def _minus_log(u: Tensor) -> Tensor:
    """-log(u) of float64 u in (0, 1), within 1e-9.

    By basic arithmetic, which IEEE 754 fixes to the last bit: libraries' logarithms differ there.
    """
    mantissa, exponent = torch.frexp(u)  # u = mantissa * 2^exponent, mantissa in [1/2, 1)
    s = (mantissa - math.sqrt(0.5)) / (mantissa + math.sqrt(0.5))  # |s| < 0.172
    q = s * s
    series = (((q / 9 + 1 / 7) * q + 1 / 5) * q + 1 / 3) * q + 1  # atanh(s) / s
    return (0.5 - exponent.to(u.dtype)) * math.log(2) - series * s * 2
