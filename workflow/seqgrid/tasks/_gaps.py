"""The gaps of MQAR: how far after the context a query stands, and what that gives away.

P pairs.
"""

from functools import cache

import torch
from torch import Tensor

from seqgrid.seeds import derive
from seqgrid.streams import Stream


def gap_weights(num_gaps: int, power_a: float) -> Tensor:
    """The power law P(g) ~ (g + 1)^(power_a - 1) of the gaps, (gaps,) float64."""
    # to 30 bits of the largest: the last bit of a power differs between C libraries
    weights = [place ** (power_a - 1) for place in range(1, num_gaps + 1)]
    scale = 2.0**30 / max(weights)
    return torch.tensor([max(1, round(w * scale)) for w in weights], dtype=torch.float64)


@cache
def likeliest_pair(pairs: int, num_gaps: int, power_a: float, trials: int) -> tuple[Tensor, float]:
    """The pair likeliest to be asked for at each gap, (gaps,) int64, and how often it is.

    trials: draws of all P gaps that each of two halves counts; a long sequence may have few of
    a gap.
    """
    weights = gap_weights(num_gaps, power_a)
    # two independent counts: choosing and judging by one would flatter the guess
    counts = torch.zeros(2, pairs * num_gaps, dtype=torch.int64)
    for half, count in enumerate(counts):
        for some in torch.arange(trials).split(1024):  # long sequences would fill the memory
            stream = Stream(derive("mqar positions", half), some)
            gaps = stream.choose_weighted(pairs, weights)  # (1024, P)
            cells = gaps + num_gaps * torch.arange(pairs)
            count += cells.flatten().bincount(minlength=pairs * num_gaps)
    counts = counts.view(2, pairs, num_gaps)
    best = counts[0].argmax(0)  # (gaps,)
    return best, counts[1].gather(0, best[None]).sum().item() / (trials * pairs)
