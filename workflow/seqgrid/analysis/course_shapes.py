"""What a straight line through a course hides: that it bends, and that training had not ended.

A slope through three lengths or more is one number. A score that rises and then falls has one, too,
and so has one that would have gone on rising where training was cut. docs/length-and-convergence.md
has the rules.
"""

from itertools import combinations

from seqgrid.analysis import stats
from seqgrid.analysis.courses import SEEDS, Course
from seqgrid.analysis.groups import short
from seqgrid.analysis.slopes import difference
from seqgrid.thresholds import Thresholds

Pair = tuple[int, int, float, float]  # two points by number, interval of later less earlier


def doubts(course: Course, sign: int, limits: Thresholds) -> str:
    """Why a slope with this sign, though shown, is not said to be one; '' where nothing is.

    sign: of the share, or of the metric where no ceiling is known.
    """
    if other := _one(course, -sign, limits):
        words = f"a straight line {'rises' if sign > 0 else 'falls'}, but {_goes(course, other)}"
        return f"{words}: the course is no line"
    return _improving(course, sign)


def bent(course: Course, limits: Thresholds) -> str:
    """The pairs of lengths between which it goes one way and the other; '' where it does not."""
    up, down = (_one(course, sign, limits) for sign in (1, -1))
    return f"{_goes(course, up)} and {_goes(course, down)}" if up and down else ""


def apart(course: Course) -> float:
    """How far the share of any length may lie from that of another; each pair has its interval.

    All pairs must be close, so none needs a correction for their number (Berger, Technometrics 24
    (1982) 295).
    """
    return max(max(abs(low), abs(high)) for *_, low, high in _pairs(course, course.coverage))


def _pairs(course: Course, coverage: float) -> list[Pair]:
    values, errors = course.followed
    return [
        (i, j, *difference(values[i], values[j], (errors[i], errors[j]), coverage))
        for i, j in combinations(range(len(values)), 2)
    ]


def _one(course: Course, sign: int, limits: Thresholds) -> Pair | None:
    """The pair of lengths that most surely goes in a direction, if any is shown to.

    Not corrected for the number of courses: it withholds a statement and makes none.
    """
    least = limits.level_share if course.related else 0.0
    shown = [
        pair
        for pair in _pairs(course, limits.confidence)
        if (pair[2] > 0 if sign > 0 else pair[3] < 0) and abs(pair[2] + pair[3]) / 2 > least
    ]
    return max(shown, key=lambda pair: pair[2] if sign > 0 else -pair[3], default=None)


def _goes(course: Course, pair: Pair) -> str:
    first, second, low, high = pair
    means = [sum(course.followed[0][k]) / len(course.followed[0][k]) for k in (first, second)]
    ends = [f"{100 * mean:.0f}%" if course.related else short(mean) for mean in means]
    word = "rises" if low + high > 0 else "falls"
    at = course.lengths
    unit = 100 if course.related else 1
    interval = f"[{unit * low:+.3g}, {unit * high:+.3g}]{' %' if course.related else ''}"
    words = f"from {ends[0]} at {at[first]:,} to {ends[1]} at {at[second]:,}"
    return f"its mean {word} {words} (interval {interval})"


def _improving(course: Course, sign: int) -> str:
    """Whether the change hangs on seeds whose training was cut while it still helped.

    They are taken to have come as far as the best length; the change must be shown all the same.
    """
    if course.origin != SEEDS:
        return ""
    values, _ = course.followed
    better = min if not course.related and course.better == "lower" else max
    best = better(stats.median(v, "higher") for v in values)
    reached = [
        tuple(better(v, best) if grows else v for v, grows in zip(seeds, p.improving, strict=True))
        if p.improving else seeds
        for seeds, p in zip(values, course.points, strict=True)
    ]  # fmt: skip
    if reached == values:
        return ""
    fit = course.refitted(reached)
    if fit is not None and fit.sign == sign:
        return ""
    where = ", ".join(str(p.seqlen) for p in course.points if any(p.improving))
    return (
        f"a change is shown at this budget only: seeds were still improving when it ended (at "
        f"{where}), and had they come as far as the best length, none would be"
    )
