"""Success rates of two sides, compared seed by seed: the share of seeds that solve the task.

A run has solved the task where its test score says so, as in SOLVED; one that diverged or scored no
number has not. A pair in which both or neither have says nothing of which side does more often:
of those in which one side alone has, each side is as likely to be it where the rates are equal.

Sources: McNemar, Psychometrika 12 (1947) 153, exact by the binomial distribution as in Conover,
Practical Nonparametric Statistics, 3rd ed., section 3.5; Clopper & Pearson, Biometrika 26 (1934)
404, for the bound that equivalence rests on; Tango, Stat. Med. 17 (1998) 891, for the interval.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from math import inf

import numpy as np
import pyarrow as pa

from seqgrid.analysis import paired, stats
from seqgrid.analysis.groups import Group
from seqgrid.analysis.paired import Paired
from seqgrid.analysis.pairs import Pairs
from seqgrid.analysis.sides import Side
from seqgrid.analysis.stats import Interval
from seqgrid.analysis.summary import Study


class Groups:
    """Finds the groups of models in the metric of their task."""

    def __init__(self, read: dict[str, pa.Table]):
        self.read = read

    @cached_property
    def found(self) -> dict[tuple, Group]:
        """Every group in its task's metric, by key, evaluated length and test set."""
        study = Study(self.read)
        return {
            (*key, group.evaluated_seqlen, group.test_set): group
            for key in study.keys
            for weights, group in study.groups(key)
            if weights == "best" and group.metric == study.primary.get(group.task, "")
            if not group.slice
        }

    def of(self, sides: Sequence[Side], where: tuple[int, int, str]) -> list[Group]:
        """The groups of the first models; where: evaluated length of a and of b, test set.

        Of a model that has no score there it is that of its training length: none of its runs has
        solved the task there.
        """
        found = []
        for side, evaluated in zip(sides, where[:2], strict=True):
            key = side.members[0].key
            trained = self.found[*key, side.seqlen, ""]
            found.append(self.found.get((*key, evaluated, where[2]), trained))
        return found


def pairs(found: Pairs, groups: Sequence[Group]) -> Pairs:
    """The pairs with 1 for a run that has solved the task and 0 for one that ended without.

    groups: of a and of b, at the place of the pairs. A run beyond the solved level without an
    interval may or may not have solved it, and leaves its seed without a partner.
    """
    solved = [{cell.seed for cell in group.solved} for group in groups]
    open_ = [{cell.seed for cell in group.undecided if cell.final} for group in groups]
    values, never = {}, list(found.never)
    for seed in found.values:
        unknown = [side for side, seeds in zip("ab", open_, strict=True) if seed in seeds]
        never += [f"seed {seed} of {side}: its score has no interval" for side in unknown]
        if not unknown:
            values[seed] = (float(seed in solved[0]), float(seed in solved[1]))
    unpaired = found.unpaired + 2 * (len(found.values) - len(values))
    return replace(found, values=values, unpaired=unpaired, never=never, better="higher")


def compare(differences: Sequence[float], margin: float | None = None, waiting: int = 0) -> Paired:
    """McNemar's exact test of differences 1, 0 and -1 between paired runs, and of equivalence.

    margin: a share of seeds. Rates that differ by so much need as large a share of seeds that one
        side alone solves, and that is what a binomial test excludes, whatever the other side does.
    waiting: pairs to come; p-values are the largest that these can make them.
    """
    share = min(margin or 1.0, 1.0)
    found = paired.compare(differences, "higher", margin, waiting, share=share)
    less, more = sorted(sum(d == side for d in differences) for side in (1.0, -1.0))
    each = [
        min(1.0, 2 * paired.tail(against, less + more + waiting))
        for against in (less + waiting, less)
    ]
    return replace(found, p_value=each[0], best=each[1])


def interval(found: Paired, outcome: str, coverage: float) -> Interval:
    """Interval of the difference of the rates; pairs to come may go either way, and widen it.

    outcome: of the test at this coverage. Where the exact test rejects that the rates are equal
    the interval ends at zero at the latest; where it does not, zero is in it.
    """
    n, waiting = found.asked, found.waiting
    if not found.differences or n < 2:
        return Interval(-inf, inf, "none", 0.0)
    only_a, only_b = (sum(d == side for d in found.differences) for side in (1.0, -1.0))
    low = paired_rates(only_a, only_b + waiting, n, coverage)
    high = paired_rates(only_a + waiting, only_b, n, coverage)
    ends = {"A BETTER": (0.0, inf), "B BETTER": (-inf, 0.0)}.get(outcome)
    least, most = (
        (max(low.low, ends[0]), min(high.high, ends[1]))
        if ends
        else (min(low.low, 0.0), max(high.high, 0.0))
    )
    return Interval(
        least, most, f"{low.method}; with zero as McNemar's exact test has it", coverage
    )


def paired_rates(only_a: int, only_b: int, n: int, coverage: float = stats.CONFIDENCE) -> Interval:
    """Score interval of the difference of two success rates a - b over the same n >= 1 units.

    only_a, only_b: units in which that side alone succeeds. The differences that a score test does
    not reject, each with the rate of `only_b` that is likeliest under it (Tango, equations 9 to
    13). Its coverage is nominal: `score` is asymptotic, though sound where both rates are 0 or 1.
    """
    from scipy.optimize import brentq

    z, value = stats.simultaneous_z(1, coverage), (only_a - only_b) / n

    def score(difference: float) -> float:
        middle = (2 * n - only_a + only_b) * difference - only_a - only_b
        last = -only_b * difference * (1 - difference)
        rate = (np.sqrt(middle**2 - 8 * n * last) - middle) / (4 * n)  # of only_b
        variance = n * (2 * rate + difference * (1 - difference))
        return (only_a - only_b - n * difference) / np.sqrt(max(variance, 1e-300))

    edge = 1 - 1e-9  # at 1 itself there is no variance
    low = -1.0 if score(-edge) <= z else brentq(lambda d: score(d) - z, -edge, min(value, edge))
    high = 1.0 if score(edge) >= -z else brentq(lambda d: score(d) + z, max(value, -edge), edge)
    return Interval(float(low), float(high), "Tango 1998, score, nominal", coverage)


def listed(values: Sequence[tuple[float, float]], coverage: float) -> str:
    """Rates of a and b over pairs of 1 and 0, each with its Wilson interval, and who was alone."""
    n, told = len(values), []
    for side in (0, 1):
        count = int(sum(pair[side] for pair in values))
        ends = stats.wilson(count, n, coverage)
        told.append(f"{count} of {n} runs ({ends.low:.2f} to {ends.high:.2f})")
    alone = [sum(pair == only for pair in values) for only in ((1.0, 0.0), (0.0, 1.0))]
    return (
        f"a solved it in {told[0]}, b in {told[1]}, {coverage * 100:.4g}% Wilson intervals of the "
        f"rates; a alone in {alone[0]}, b alone in {alone[1]}"
    )
