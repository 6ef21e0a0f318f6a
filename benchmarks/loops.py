"""Generators as the tasks' originals have them: one example at a time, in Python and numpy.

Written anew from the definitions, with the same loops and the same calls of numpy's generator that
the public code makes for each example. Each takes (generator, length) and gives (inputs, targets).
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

Made = tuple[np.ndarray, np.ndarray]
IGNORE = -100


def adding_problem(rng: Generator, seqlen: int) -> Made:
    """JHPark9090/Quantum-Hydra-Mamba: a loop over samples."""
    values, markers = rng.random(seqlen), np.zeros(seqlen)
    places = rng.choice(seqlen, 2, replace=False)
    for place in places:
        markers[place] = 1
    return np.stack([values, markers]), np.array([values[places].sum()])


def selective_copy(rng: Generator, seqlen: int) -> Made:
    """JHPark9090/Quantum-Hydra-Mamba: a loop over samples."""
    values, markers = rng.random(seqlen), np.zeros(seqlen)
    places = np.sort(rng.choice(seqlen, 8, replace=False))
    for place in places:
        markers[place] = 1
    return np.stack([values, markers]), np.array([values[place] for place in places])


def mqar(rng: Generator, seqlen: int, vocab_size: int = 256, pairs: int = 4) -> Made:
    """HazyResearch/zoology: numpy's choice example by example (apply_along_axis)."""
    keys = rng.choice(np.arange(1, vocab_size // 2), pairs, replace=False)
    values = rng.choice(np.arange(vocab_size // 2, vocab_size), pairs, replace=False)
    space = (seqlen - 2 * pairs) // 2
    power = 0.01 * np.arange(1, space + 1) ** (0.01 - 1)
    gaps = rng.choice(space, pairs, replace=False, p=power / power.sum())
    inputs, targets = np.zeros(seqlen, dtype=np.int64), np.full(seqlen, IGNORE)
    inputs[0 : 2 * pairs : 2], inputs[1 : 2 * pairs : 2] = keys, values
    inputs[2 * pairs + 2 * gaps] = keys
    targets[2 * pairs + 2 * gaps] = values
    return inputs, targets


GENERATORS: dict[str, Callable[[Generator, int], Made]] = {
    "adding_problem": adding_problem,
    "selective_copy": selective_copy,
    "mqar": mqar,
}
