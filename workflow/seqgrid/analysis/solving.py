"""Steps to solve of two sides, compared by log-rank, paired by seed and exact.

A run has solved the task where its test score says so, at its first validation at the solved level.
One that has not by its end is right-censored there: it would take longer, and a
mean over those that finished would favour the side that fails more often. Log-rank compares the
runs solved with those expected at each time. It is a sum of one score a run, so that exchanging the
sides within a pair gives its exact distribution however few the pairs are.

Sources: Mantel, Cancer Chemother. Rep. 50 (1966) 163 (log-rank); Peto & Peto, J. R. Stat. Soc. A
135 (1972) 185 (its scores); Good, Permutation Tests, 2nd ed., section 3.2 (exchange in pairs).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seqgrid.analysis import paired, survival
from seqgrid.analysis.groups import Group
from seqgrid.analysis.paired import Paired
from seqgrid.analysis.sides import FINAL, NEVER, WAITING

EXACT_PAIRS = 16  # 2^16 exchanges; for more, so many are drawn
DRAWN = 9_999

Time = tuple[int, bool]  # steps, and whether the task was solved then


def times(group: Group) -> dict[int, tuple[str, Time | None]]:
    """Seed -> how its cell stands, and its time as in the table `survival`.

    group: at its training length, in the metric its task is judged by. The time is None while it
    can still become another, and where nobody knows whether the seed has solved the task.
    """
    found: dict[int, tuple[str, Time | None]] = {}
    for cell in group.cells:
        time = survival.time_of(cell, cell in group.solved)
        if cell.outcome == "skipped" or (cell.final and cell in group.undecided):
            found[cell.seed] = (NEVER, None)
        elif cell.outcome != "diverged" and not cell.final:
            found[cell.seed] = (NEVER if cell.evaluated else WAITING, None)
        else:
            found[cell.seed] = (NEVER, None) if time is None else (FINAL, (time.steps, time.solved))
    return found


def unknown(sides: Sequence[Group]) -> list[str]:
    """Why nobody can say which of two sides solves sooner; empty where their times are known."""
    found = [
        f"{len(seeds)} runs of {name} solved the task before their last step, but nobody knows "
        "when: no history has their validations up to there"
        for name, group in zip("ab", sides, strict=True)
        if (seeds := survival.untimed(group))
    ]
    spaced = [max(map(survival.spacing, group.cells), default=0) for group in sides]
    if all(spaced) and spaced[0] != spaced[1]:
        one, two = (f"{steps:,}" for steps in spaced)
        found.append(
            f"up to {one} steps between validations of a, {two} of b: times are that much too late"
        )
    return found


def scores(runs: Sequence[Time]) -> np.ndarray:
    """Log-rank scores of all runs together, (runs,): solved, less the expected up to its time.

    Their sum over one side is its observed less its expected number of runs solved.
    """
    at = np.array([t for t, _ in runs], dtype=float)
    solved = np.array([s for _, s in runs], dtype=bool)
    when = np.unique(at[solved])
    hazard = [(solved & (at == t)).sum() / (at >= t).sum() for t in when]
    expected = [sum(h for t, h in zip(when, hazard, strict=True) if t <= end) for end in at]
    return solved.astype(float) - np.array(expected, dtype=float)


def compare(
    a: Sequence[Time], b: Sequence[Time], generator: np.random.Generator, waiting: int = 0
) -> Paired:
    """Log-rank of paired runs: the i-th of a with the i-th of b.

    A positive difference of scores says that a solved sooner. While pairs are to come nothing is
    told apart, and p is 1.
    """
    both = scores([*a, *b])
    differences = both[: len(a)] - both[len(a) :]
    found = paired.compare(differences.tolist(), "higher", waiting=waiting)
    total = float(differences.sum())
    favours = 0 if abs(total) < 1e-12 else int(np.sign(total))
    if waiting:
        return replace(found, p_value=1.0, best=found.least, favours=favours)
    p_value = _exchange(differences, generator) if favours else 1.0
    return replace(found, p_value=p_value, best=p_value, favours=favours)


def listed(runs: Sequence[Time]) -> str:
    """Times in order, equal ones counted; `>` before those at which the task was not solved."""
    found = Counter(sorted(runs, key=lambda run: (not run[1], run[0])))
    words = [f"{'' if s else '>'}{t}{f' ({n}x)' if n > 1 else ''}" for (t, s), n in found.items()]
    return ", ".join(words) or "none"


def _exchange(differences: np.ndarray, generator: np.random.Generator) -> float:
    """Two-sided p-value of the sum, over exchanges of the sides within pairs."""
    from scipy.stats import permutation_test

    few = len(differences) <= EXACT_PAIRS
    if len(differences) < 2:
        return 1.0
    found = permutation_test(
        (differences,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_PAIRS if few else DRAWN,
        alternative="two-sided",
        rng=generator,
    )
    return float(min(1.0, found.pvalue))
