"""Differences paired by seed: the sign test, its interval, equivalence, and Holm's correction.

The sign test takes nothing for granted but that pairs are independent. Seeds are often bimodal, and
a test of means or of ranks takes differences for symmetric, which those of unlike models then are
not. The interval of the median difference has its ends among the ordered differences and excludes
zero exactly where the test rejects. A difference of zero counts against either side, so that equal
values never make a small p.

Sources: Conover, Practical Nonparametric Statistics, 3rd ed., sections 3.4 (sign test) and 3.2
(interval of a quantile); Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657 (two one-sided
tests); Holm, Scand. J. Stat. 6 (1979) 65.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, inf, log2

import numpy as np

from seqgrid.analysis import stats
from seqgrid.analysis.stats import Interval

OUTCOMES = (
    "A BETTER",
    "B BETTER",
    "NO DIFFERENCE",
    "NO DIFFERENCE SHOWN",
    "NOT COMPARABLE",
    "TOO FEW PAIRS",
    "NOT TESTABLE YET",
)
EFFECT = "Cohen's d_z"
EFFECT_MIN_PAIRS = 6  # of fewer the standard deviation can be off by any factor


@dataclass(frozen=True)
class Paired:
    """The paired differences of one comparison, and the p-values that rest on them alone.

    differences: a - b in the unit of the metric; infinite where one side diverged.
    waiting: pairs still to come; p-values are the largest that these can make them.
    p_value: two-sided, of a median difference of zero.
    p_equivalent: of a median difference at or beyond the margin; None without one.
    best, best_equivalent: the smallest that the waiting pairs can make them.
    favours: 1 where larger a - b are more, -1 where smaller ones are, 0 where neither.
    share: least share of pairs beyond the margin that equivalence excludes; half for a median.
    """

    differences: tuple[float, ...]
    better: str = "higher"
    margin: float | None = None
    waiting: int = 0
    p_value: float = 1.0
    best: float = 1.0
    p_equivalent: float | None = None
    best_equivalent: float | None = None
    favours: int = 0
    share: float = 0.5

    @property
    def asked(self) -> int:
        """Pairs there are or will be."""
        return len(self.differences) + self.waiting

    @property
    def least(self) -> float:
        """The smallest p-value that so many pairs can give, whatever their values."""
        return least_p(self.asked)

    @property
    def least_equivalent(self) -> float:
        """The same of equivalence, where there is a margin."""
        return tail(0, self.asked, self.share)


@dataclass(frozen=True)
class Judged:
    """What became of one comparison among all of its study.

    outcome: as the differences alone have it; what else stands against it is not known here.
    interval: of the median difference; where it reaches `coverage`, it excludes zero exactly if
        `p_corrected` is at most 1 - confidence.
    coverage: what is asked of the interval, from Holm's step.
    tests: how many tests were corrected for.
    pairs_needed: with so many, all on one side, the difference can be claimed whatever the other
        tests of the study come to.
    """

    outcome: str
    p_corrected: float
    p_equivalent_corrected: float | None
    interval: Interval
    coverage: float
    tests: int
    pairs_needed: int


def compare(
    differences: Sequence[float],
    better: str = "higher",
    margin: float | None = None,
    waiting: int = 0,
    without: int = 0,
    share: float = 0.5,
) -> Paired:
    """The sign test of paired differences a - b, and of equivalence within a margin.

    differences: one a pair; NaN is not allowed, infinities are.
    better: whether 'higher' or 'lower' values of the metric are better.
    margin: in the unit of the metric; None: no test of equivalence.
    waiting: pairs still to come.
    without: pairs among the differences, as zero, that have a number on neither side: nobody
        knows how far apart those are, so that they count as beyond any margin.
    share: of pairs as far apart as the margin, which equivalence excludes; with half it is one of
        the median difference.

    Raises:
        ValueError: a difference is NaN.
    """
    d = np.asarray(differences, dtype=float)
    if np.isnan(d).any():
        raise ValueError("a difference is NaN: give an infinite one for a side without a value")
    n = len(d) + waiting
    against = min(int((d <= 0).sum()), int((d >= 0).sum()))
    favours = int(np.sign((d > 0).sum() - (d < 0).sum()))
    p_value, best = (min(1.0, 2 * tail(k, n)) for k in (against + waiting, against))
    if margin is None:
        return Paired(tuple(d.tolist()), better, None, waiting, p_value, best, favours=favours)
    beyond = max(int((d >= margin).sum()), int((d <= -margin).sum())) + without
    p_equivalent, best_equivalent = (tail(k, n, share) for k in (beyond + waiting, beyond))
    found = (p_value, best, p_equivalent, best_equivalent, favours)
    return Paired(tuple(d.tolist()), better, margin, waiting, *found, share=share)


def judge(found: Sequence[Paired], confidence: float = stats.CONFIDENCE) -> list[Judged]:
    """Outcomes of all comparisons of a study, corrected for their number.

    Every comparison is one test, and one more where it has a margin; those that wait for pairs
    count, too, so that a result does not change its meaning as others come in. The chance that any
    of the outcomes A BETTER, B BETTER and NO DIFFERENCE is false is at most 1 - confidence.
    """
    alpha = 1 - confidence
    p = [one.p_value for one in found]
    p += [one.p_equivalent for one in found if one.p_equivalent is not None]
    corrected, levels = holm(p, alpha)
    second = iter(range(len(found), len(p)))  # the place of each test of equivalence

    def possible(p_value: float, at: int) -> bool:
        """Whether such a p-value there would be one to claim, the others being as they are."""
        return holm([*p[:at], p_value, *p[at + 1 :]], alpha)[0][at] <= alpha

    judged = []
    for i, one in enumerate(found):
        j = next(second) if one.p_equivalent is not None else None
        ever = possible(one.least, i) or (j is not None and possible(one.least_equivalent, j))
        yet = possible(one.best, i) or (j is not None and possible(one.best_equivalent or 0.0, j))
        if corrected[i] <= alpha:
            up = one.favours == (1 if one.better == "higher" else -1)
            outcome = "A BETTER" if up else "B BETTER"
        elif j is not None and corrected[j] <= alpha:
            outcome = "NO DIFFERENCE"
        elif not ever:
            outcome = "TOO FEW PAIRS"
        else:
            outcome = "NOT TESTABLE YET" if one.waiting and yet else "NO DIFFERENCE SHOWN"
        interval = median_interval(one, 1 - levels[i])
        equivalent = None if j is None else corrected[j]
        needed = pairs_needed(alpha / len(p))
        about = (interval, 1 - levels[i], len(p), needed)
        judged.append(Judged(outcome, corrected[i], equivalent, *about))
    return judged


def median_interval(paired: Paired, coverage: float) -> Interval:
    """Interval of the median difference; pairs to come may lie anywhere, and widen it."""
    d, waiting = list(paired.differences), paired.waiting
    low = stats.median_interval([*d, *[-inf] * waiting], "higher", coverage)
    high = stats.median_interval([*d, *[inf] * waiting], "lower", coverage)
    few = low.coverage and low.coverage < coverage
    method = f"{low.method}: short of {coverage:.1%}" if few else low.method
    return Interval(low.low, high.high, method, low.coverage)


def holm(p_values: Sequence[float], alpha: float) -> tuple[list[float], list[float]]:
    """Corrected p-values, and the level at which each test was made in the end.

    Not by statsmodels' multipletests, which collects the garbage of the whole process at every
    call, while `judge` asks many times what a p-value could still become.

    A test is rejected exactly where its own p-value is at most its level, so that an interval of
    coverage 1 - level agrees with the corrected decision.
    """
    k = len(p_values)
    order = sorted(range(k), key=lambda i: p_values[i])
    corrected, levels, largest, rejected = [0.0] * k, [0.0] * k, 0.0, 0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (k - rank) * p_values[i]))
        corrected[i] = largest
        rejected += largest <= alpha
    for rank, i in enumerate(order):
        levels[i] = alpha / (k - min(rank, rejected, k - 1))
    return corrected, levels


def least_p(pairs: int) -> float:
    """The smallest two-sided p-value that so many pairs can give: 0.25 for three."""
    return min(1.0, 2.0 ** (1 - pairs))


def pairs_needed(level: float) -> int:
    """The fewest pairs that can give a two-sided p-value up to `level`: 6 for 0.05."""
    return ceil(1 - log2(level))


def effect_size(differences: Sequence[float], noise: float = 0.0) -> float | None:
    """Cohen's d_z: mean over standard deviation of the differences.

    noise: standard error of a difference over test examples, in the unit of the metric; a spread
        below it is one of seeds that are closer than the test can tell.

    None below six pairs, without spread beyond the noise, or with an infinite difference.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < EFFECT_MIN_PAIRS or not np.isfinite(d).all():
        return None
    spread = float(d.std(ddof=1))
    least = max(noise, 1e-12 * max(1e-300, abs(d).max()))
    return float(d.mean()) / spread if spread > least else None


def tail(k: int, n: int, share: float = 0.5) -> float:
    """P(Binomial(n, share) <= k), from whole numbers; 1 for no pairs."""
    up, of = share.as_integer_ratio()
    return sum(comb(n, i) * up**i * (of - up) ** (n - i) for i in range(min(k, n) + 1)) / of**n
