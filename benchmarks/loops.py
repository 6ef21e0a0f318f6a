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


def flip_flop(rng: Generator, seqlen: int, ignore: float = 0.8) -> Made:
    """The data set's generator: token by token."""
    inputs, targets, bit = [], np.full(seqlen, IGNORE), 0
    for place in range(seqlen // 2):
        first, last = place == 0, place == seqlen // 2 - 1
        share = (1 - ignore) / 2
        what = 0 if first else 1 if last else rng.choice(3, p=[share, share, ignore])
        if what == 1:
            targets[2 * place] = 3 + bit
        else:
            shown = int(rng.integers(2))
            bit = shown if what == 0 else bit
        inputs += [what, 3 + (bit if what == 1 else shown)]
    return np.array(inputs), targets


def in_context_recall(rng: Generator, seqlen: int, noise: float = 0.0, vocab: int = 16) -> Made:
    """athms/mad-lab: pair by pair, with a dictionary that grows."""
    keys, values = np.arange(vocab // 2), np.arange(vocab // 2, vocab)
    known: dict[int, int] = {}
    inputs, targets = [], []
    for _ in range(seqlen // 2):
        if noise and rng.random() < noise:
            inputs += list(rng.choice(np.arange(vocab, 2 * vocab), 2))
            targets += [IGNORE, IGNORE]
            continue
        key = int(rng.choice(keys))
        seen = key in known
        known.setdefault(key, int(rng.choice(values)))
        inputs += [key, known[key]]
        targets += [known[key] if seen else IGNORE, IGNORE]
    return np.array(inputs), np.array(targets)


def noisy_in_context_recall(rng: Generator, seqlen: int) -> Made:
    """athms/mad-lab: as above, each slot noise with probability 0.2."""
    return in_context_recall(rng, seqlen, noise=0.2)


def fuzzy_in_context_recall(rng: Generator, seqlen: int, vocab: int = 16, most: int = 3) -> Made:
    """athms/mad-lab: keys and values of several tokens, until the length is reached."""
    keys, values = np.arange(vocab // 2), np.arange(vocab // 2, vocab)
    known: dict[tuple, tuple] = {}
    inputs: list[int] = []
    while len(inputs) < seqlen:
        key = tuple(rng.choice(keys, rng.integers(1, most + 1), replace=False))
        if key not in known:
            known[key] = tuple(rng.choice(values, rng.integers(1, most + 1), replace=False))
        inputs += [*key, *known[key]]
    return np.array(inputs[:seqlen]), np.array([*inputs[1:seqlen], IGNORE])


def memorization(rng: Generator, seqlen: int, vocab: int = 256) -> Made:
    """athms/mad-lab: key by key from a dictionary that is made for each example."""
    half = vocab // 2
    order = np.random.default_rng(12345).permutation(half)
    known = dict(zip(range(half), half + order, strict=True))
    inputs, targets = [], []
    for _ in range(seqlen // 2):
        key = int(rng.choice(half))
        inputs += [key, vocab]
        targets += [IGNORE, known[key]]
    return np.array(inputs), np.array(targets)


def compression(rng: Generator, seqlen: int, vocab: int = 16) -> Made:
    """athms/mad-lab: one call of choice for each example."""
    inputs = rng.choice(np.arange(vocab - 1), seqlen - 1)
    return np.concatenate([inputs, [vocab - 1]]), inputs


def selective_copying(rng: Generator, seqlen: int, vocab: int = 16, tokens: int = 16) -> Made:
    """athms/mad-lab: blanks inserted one by one."""
    copied = rng.choice(np.arange(vocab - 2), tokens)
    inputs = copied.copy()
    for place in rng.integers(0, tokens, seqlen - 2 * tokens - 1):
        inputs = np.insert(inputs, place, vocab - 2)
    inputs = np.concatenate([inputs, [vocab - 1], np.full(tokens, vocab - 2)])
    return inputs, np.concatenate([np.full(seqlen - tokens, IGNORE), copied])


def induction_heads(rng: Generator, seqlen: int, vocab: int = 16) -> Made:
    """As in HazyResearch/safari: one example at a time."""
    inputs = rng.integers(0, vocab, seqlen)
    place = rng.integers(0, seqlen - 2)
    inputs[place] = inputs[-1] = vocab
    targets = np.full(seqlen, IGNORE)
    targets[-1] = inputs[place + 1]
    return inputs, targets


def knapsack(rng: Generator, seqlen: int) -> Made:
    """ebaenamar/yoon-kim-hack: the optimum by dynamic programming in Python."""
    capacity, items = int(rng.integers(10, 50)), int(rng.integers(5, 15))
    weights = [int(w) for w in rng.integers(1, capacity // 2, items)]
    values = [int(v) for v in rng.integers(1, 100, items)]
    best = [0] * (capacity + 1)
    for weight, value in zip(weights, values, strict=True):
        for room in range(capacity, weight - 1, -1):
            best[room] = max(best[room], best[room - weight] + value)
    pairs = [x for pair in zip(weights, values, strict=True) for x in pair]
    inputs = np.zeros(seqlen, dtype=np.int64)
    inputs[: 2 * items + 2] = [capacity, *pairs, -1]
    return inputs, np.array([best[capacity]])


def word_problem(rng: Generator, seqlen: int) -> Made:
    """jopetty/word-problem: products one after another, here of permutations of five."""
    inputs = [tuple(rng.permutation(5)) for _ in range(seqlen)]
    running, targets = tuple(range(5)), []
    for element in inputs:
        running = tuple(element[i] for i in running)
        targets.append(running)
    return np.array(inputs), np.array(targets)


def forrelation(rng: Generator, seqlen: int, bits: int = 6) -> Made:
    """JHPark9090/Quantum-Hydra-Mamba: a transform and a draw for each example."""
    size = 1 << bits
    signs = np.array([[(-1) ** bin(x & y).count("1") for x in range(size)] for y in range(size)])
    f = rng.choice([-1, 1], size)
    g = np.sign(signs @ f + 1e-9) if rng.random() < 0.5 else rng.choice([-1, 1], size)
    rows = []
    for _ in range(seqlen):
        x, y = rng.integers(size), rng.integers(size)
        rows.append([*((x >> k) & 1 for k in range(bits)), f[x],
                     *((y >> k) & 1 for k in range(bits)), g[y]])  # fmt: skip
    return np.array(rows, dtype=np.float32), np.array([int((f @ signs @ g) > 0)])


GENERATORS: dict[str, Callable[[Generator, int], Made]] = {
    make.__name__: make
    for make in (
        adding_problem, selective_copy, mqar, flip_flop, in_context_recall,
        noisy_in_context_recall, fuzzy_in_context_recall, memorization, compression,
        selective_copying, induction_heads, knapsack, word_problem, forrelation,
    )
}  # fmt: skip
