"""What a median of paired differences hides, and so holds back a claim that rests on it.

A sign test finds which side is ahead in most seeds, by however little, and is blind to by how much
the others fall behind. A side that wins most seeds narrowly and collapses in the others is not
better, and two sides whose medians are close may solve the task in unlike shares of seeds.
"""

from collections.abc import Sequence
from math import inf, isfinite
from typing import NamedTuple

import numpy as np

from seqgrid.analysis import successes
from seqgrid.analysis.groups import Group, short
from seqgrid.analysis.paired import Judged, Paired
from seqgrid.analysis.pairs import Pairs

DIFFER = ("A BETTER", "B BETTER")
UNSTABLE = "UNSTABLE ACROSS SEEDS"


class Spread(NamedTuple):
    """The pairs of a row beside their median.

    differences: a - b of each seed, with what is worse than chance as chance, as for a mean.
    unstable: in words, the models that are UNSTABLE ACROSS SEEDS.
    unlike: in words, what else stands against equivalence.
    """

    differences: tuple[float, ...]
    unstable: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """The mean difference; NaN where it is infinite on both sides."""
        with np.errstate(invalid="ignore"):
            return float(np.mean(self.differences)) if self.differences else 0.0

    @property
    def caveat(self) -> str:
        """Whose seeds no median stands for; '' where it stands for all."""
        if not self.unstable:
            return ""
        verb, them = ("is", "it") if len(self.unstable) == 1 else ("are", "them")
        sides = " and ".join(self.unstable)
        return f"{sides} {verb} {UNSTABLE}, so no median stands for {them}"


def pooled(mean: Sequence[float], places: Sequence[tuple[str, Spread]]) -> Spread:
    """That of all places together, from the mean of each seed and that of each place."""
    unstable = tuple(f"{word} on {where}" for where, one in places for word in one.unstable)
    unlike = tuple(f"{where}: {line}" for where, one in places for line in one.unlike)
    return Spread(tuple(mean), unstable, unlike)


def outweighed(spread: Spread, found: Paired, judged: Judged) -> list[str]:
    """Why a difference of the median is not claimed: losses in other seeds may outweigh it.

    Nothing where the other side is nowhere ahead by more than the median; else Student's interval
    of the mean, at the level of the test, must lie on the same side of zero.
    """
    if judged.outcome not in DIFFER:
        return []
    gains = np.asarray(spread.differences) * found.favours
    if not (gains < -abs(float(np.median(found.differences)))).any():
        return []
    low, high = mean_interval(gains.tolist(), judged.coverage)
    if low > 0:
        return []
    ends = sorted((found.favours * low, found.favours * high))
    mean = spread.mean
    words = (
        "cannot be told"
        if not isfinite(mean)
        else f"{short(mean)} ({judged.coverage:.1%} interval {short(ends[0])} to {short(ends[1])})"
    )
    worse = "b" if judged.outcome == "A BETTER" else "a"
    return [
        f"{worse} is ahead by up to {short(-float(gains.min()))} in other seeds, more than the "
        f"median, and the mean difference {words} does not show the same"
    ]


def apart(spread: Spread, margin: float | None) -> str:
    """Why no equivalence is claimed, whatever the median; '' where nothing stands against it."""
    found = [*spread.unlike]
    if spread.unstable:
        found.insert(0, spread.caveat)
    if margin is not None and not abs(spread.mean) < margin:
        words = f", {short(spread.mean)}, is beyond" if isfinite(spread.mean) else " may be beyond"
        found.append(f"the mean difference{words} the margin")
    return "; ".join(found)


def solving(found: Pairs, groups: Sequence[Group], level: float) -> tuple[str, ...]:
    """In words, shares of seeds that solve the task and differ: McNemar's test, not corrected.

    groups: of a and of b. level: a p-value; nothing is claimed of it.
    """
    if any(group.levels.bar is None for group in groups):
        return ()
    solved = successes.pairs(found, groups)
    p = successes.compare(list(solved.differences.values())).p_value
    if p > level:
        return ()
    a, b = (int(sum(pair[side] for pair in solved.values.values())) for side in (0, 1))
    n = len(solved.values)
    return (f"a solved the task in {a} of {n} seeds, b in {b} (p {short(p)})",)


def coarse(examples: float, margin: float | None) -> tuple[str, ...]:
    """In words, test sets so small that one example exceeds the margin.

    examples: the fewest scored outputs of a value; infinite where they are not known.
    """
    if margin is None or 1 / examples <= margin:
        return ()
    return (f"one of {examples:g} test examples is {short(1 / examples)}, more than the margin",)


def mean_interval(values: Sequence[float], coverage: float) -> tuple[float, float]:
    """Student's interval of the mean; unbounded for fewer than two values, or an infinite one."""
    if len(values) < 2 or not np.isfinite(values).all():
        return -inf, inf
    from scipy.stats import t

    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(t.ppf(0.5 + coverage / 2, len(values) - 1)) * error
    return float(np.mean(values)) - half, float(np.mean(values)) + half
