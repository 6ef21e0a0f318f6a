"""Whether a cell that was cut short is worth resuming: one rule after the other, first come.

The validation curve alone decides. A curve inside the chance band is never given up: a plateau at
chance is how most of these tasks begin, and nothing in it says when it will break.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, isfinite, isnan

from seqgrid.analysis import stats
from seqgrid.analysis.extrapolation import Forecast, forecast
from seqgrid.analysis.groups import Cell, Group, short
from seqgrid.analysis.levels import Levels
from seqgrid.metric_names import BOUNDS
from seqgrid.thresholds import Thresholds

RESUME, LEAVE, OPEN = "resume", "do not resume", "cannot be told"
Point = tuple[int, float, float]  # steps, goodness, its standard error

RULES = {
    "UNLEARNABLE AS SCORED": "do not resume: chance is the ceiling, so no score can show learning.",
    "SOLVED": "do not resume: a validation reached the solved level, which no shortcut does; what "
    "is left would only make the value final.",
    "AT CHANCE": "cannot be told: no validation so far can be told from chance, with the interval "
    "that holds for all of them together; such a plateau may break at any step.",
    "AT CEILING": "do not resume: the best validation cannot be told from the ceiling, is closer "
    "to it than `worth_share` of the span, and no solved level lies between.",
    "AT MODEL CEILING": "do not resume: the best validation cannot be told from the best score of "
    "any model that sees as little of the order of positions, and is as close to it.",
    "COLLAPSED": "cannot be told: the last validation lies far below the best, and saturating "
    "curves know of no collapse.",
    "TOO FEW VALIDATIONS": "cannot be told: fewer validations than a curve needs.",
    "IMPROVING": "resume: the curve, extrapolated to the end of the budget, reaches the solved "
    "level or gains at least `worth_share` of the span.",
    "PLATEAU": "do not resume: even the upper end of the extrapolation gains less than "
    "`worth_share` of the span and reaches neither the next shortcut nor the solved level, and the "
    "curve has been flat for longer than any curve of the task was that rose later.",
    "PLATEAU MAY BREAK": "cannot be told: as PLATEAU, but another curve of the task was flat for "
    "as long and rose later, or no curve of the task has risen yet, or chance is not known.",
    "WIDE INTERVAL": "cannot be told: the interval of the extrapolation holds gains that are worth "
    "the cost, and its middle is not.",
}


@dataclass(frozen=True)
class Judged:
    """What to do with a cut cell; gains are of the best validation, in the unit of the metric.

    high: of the interval; the way to the ceiling, where a plateau may break.
    """

    action: str
    rule: str
    reason: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None


def judge(
    cell: Cell, group: Group, thresholds: Thresholds, broken: int | None, fell: bool = False
) -> Judged:
    """Whether to resume a cell.

    Args:
        cell: with its history and budget.
        group: its group at the training length, with levels and the model's ceiling.
        thresholds: of the study.
        broken: steps of the longest plateau of the task known to have broken; None: none is.
        fell: whether the rule COLLAPSED fired.
    """
    levels = group.levels
    if levels.unlearnable:
        return Judged(LEAVE, "UNLEARNABLE AS SCORED", "no score can show learning")
    if cell.solved_step is not None and not levels.sufficient:
        words = f"solved on validation at step {cell.solved_step:,}"
        return Judged(LEAVE, "SOLVED", words)
    points = points_of(cell.history, levels) or _known(cell, levels)
    if not points:
        return Judged(OPEN, "TOO FEW VALIDATIONS", "no validation is known")
    best = max(points, key=lambda point: point[1])
    bar = _solved(levels)
    if not cell.history and bar is not None and best[1] >= bar:
        return Judged(LEAVE, "SOLVED", f"best validation {_value(best[1], levels)}")
    # Where no error is known, what is close to chance is taken for chance.
    reach = stats.simultaneous_z(len(points)) * best[2] or thresholds.level_share * levels.span
    if levels.chance is not None and best[1] - reach <= levels.goodness(levels.chance):
        words = f"best validation {_value(best[1], levels)}, inside the chance band"
        return Judged(OPEN, "AT CHANCE", f"{words}: a plateau there may still break")
    if at := _at_ceiling(best, reach, group, thresholds):
        return at
    if fell:
        return Judged(OPEN, "COLLAPSED", "the validation has collapsed from its best")
    if len(points) < thresholds.window_points or not cell.budget:
        words = f"best validation {_value(best[1], levels)}; {len(points)} known, "
        words += f"{thresholds.window_points} needed"
        return Judged(OPEN, "TOO FEW VALIDATIONS", words)
    return _by_curve(cell, points, group, thresholds, broken)


def _at_ceiling(best: Point, reach: float, group: Group, thresholds: Thresholds) -> Judged | None:
    levels, model = group.levels, group.model_ceiling
    known = [("AT MODEL CEILING", model.value)] if model else []
    known += [("AT CEILING", levels.ceiling)] if levels.ceiling is not None else []
    for rule, ceiling in known:
        chance = ceiling if levels.chance is None else levels.chance
        perfect = ceiling == (1.0 if levels.better == "higher" else 0.0)
        slack = 0.0 if perfect else thresholds.level_share * abs(ceiling - chance)
        solved = _solved(levels)
        between = solved is not None and best[1] < solved <= levels.goodness(ceiling)
        left = levels.goodness(ceiling) - best[1]
        # Without chance no share of the way is known, and the errors alone must do.
        worth = levels.span > 0 and left > thresholds.worth_share * levels.span
        if left <= reach + slack and not between and not worth:
            words = f"best validation {_value(best[1], levels)}, ceiling {short(ceiling)}"
            return Judged(LEAVE, rule, words)
    return None


def _by_curve(
    cell: Cell, points: list[Point], group: Group, thresholds: Thresholds, broken: int | None
) -> Judged:
    levels = group.levels
    best, last = max(p[1] for p in points), points[-1][0]
    found = to_the_end(points, max(cell.budget or 0, last), group, thresholds)
    gains = tuple(v - best for v in (found.value, found.low, found.high))
    worth = thresholds.worth_share * levels.span or stats.median([p[2] for p in points])
    solved = _solved(levels)
    left = f"{max((cell.budget or 0) - last, 0):,} steps left"
    words = (
        f"best validation {_value(best, levels)}, {left}: {short(gains[0])} more expected, "
        f"{short(gains[1])} to {short(gains[2])}"
    )
    most = highest(found, points, group, thresholds, broken) - best
    said = (*gains[:2], most)
    if most > gains[2]:
        words += f", or up to {short(most)} should a plateau break, which no curve shows before"
    if gains[0] >= worth or (solved is not None and best < solved <= found.value):
        return Judged(RESUME, "IMPROVING", words, *said)
    above = [levels.goodness(value) for _, value in levels.shortcuts]
    above += [] if solved is None else [solved]
    reachable = any(best < level <= found.high for level in above)
    if gains[2] >= worth or reachable:
        return Judged(OPEN, "WIDE INTERVAL", words, *said)
    flat = flat_steps(points, tolerance(levels, thresholds, points))
    known = "none of the task broke so far" if broken is None else f"one broke after {broken:,}"
    words += f"; flat for {flat:,} steps, {known}"
    if levels.chance is None:
        words += "; chance is not known"
    if broken is None or flat <= broken or levels.chance is None:
        return Judged(OPEN, "PLATEAU MAY BREAK", words, *said)
    return Judged(LEAVE, "PLATEAU", words, *said)


def to_the_end(
    points: Sequence[Point], horizon: int, group: Group, thresholds: Thresholds
) -> Forecast:
    """The best goodness by a step, below the ceiling of the task and of the model."""
    steps, goodness, errors = (list(column) for column in zip(*points, strict=True))
    return forecast(steps, goodness, errors, horizon, _top(group), thresholds.confidence)


def highest(
    found: Forecast,
    points: Sequence[Point],
    group: Group,
    thresholds: Thresholds,
    broken: int | None,
) -> float:
    """The upper end of a forecast; where a plateau may break, the ceiling that it may reach.

    broken: as for `judge`; a curve that has been flat for longer is taken to stay.
    """
    flat = flat_steps(points, tolerance(group.levels, thresholds, points))
    top = _top(group)
    if broken is None or flat > broken or top is None:
        return found.high
    return max(found.high, top)


def _top(group: Group) -> float | None:
    """The lowest ceiling, of the task, the model and the metric; None where none is known."""
    levels, model = group.levels, group.model_ceiling
    worst, best = BOUNDS.get(group.metric, (-inf, inf))
    perfect = best if levels.better == "higher" else worst
    ceilings = (levels.ceiling, model.value if model else None, perfect)
    limits = [levels.goodness(v) for v in ceilings if v is not None and isfinite(v)]
    return min(limits, default=None)


def points_of(history: Sequence[Point], levels: Levels) -> list[Point]:
    """Validations turned so that more is better; unknown errors are 0."""
    return [
        (step, levels.goodness(value), 0.0 if isnan(error) else error)
        for step, value, error in history
        if not isnan(value)
    ]


def _known(cell: Cell, levels: Levels) -> list[Point]:
    """The best validation of a cell whose curve is not known, or what its checkpoint scored."""
    value = cell.value if cell.origin == "validation" else cell.best_validation
    if value is None or isnan(value):
        return []
    known = cell.low is not None and cell.high is not None and cell.value == value
    error = abs(cell.high - cell.low) / 2 / stats.simultaneous_z(1) if known else 0.0
    return [(cell.step or 0, levels.goodness(value), error)]


def flat_steps(points: Sequence[Point], slack: float) -> int:
    """Steps since the curve first came within the tolerance of its best."""
    best = max(point[1] for point in points)
    reached = next(point[0] for point in points if point[1] >= best - slack)
    return points[-1][0] - reached


def longest_broken(curves: Iterable[tuple[Sequence[Point], float]], rise: float) -> int | None:
    """Steps of the longest plateau that broke: flat within the tolerance, then `rise` above it.

    curves: validations and tolerance of each cell of a task.
    """
    found = []
    for points, slack in curves:
        best = list(accumulate((goodness for _, goodness, _ in points), max))
        for start, level in enumerate(best):
            after = bisect_right(best, level + slack)
            if after < len(best) and best[-1] >= level + slack + rise:
                found.append(points[after][0] - points[start][0])
    return max(found, default=None)


def tolerance(levels: Levels, thresholds: Thresholds, points: Sequence[Point]) -> float:
    """Gains up to this are none: `plateau_share` of the span, or one standard error."""
    return max(thresholds.plateau_share * levels.span, stats.median([p[2] for p in points]))


def _solved(levels: Levels) -> float | None:
    """The solved level, where it shows the skill: no shortcut reaches it."""
    return None if levels.bar is None else levels.goodness(levels.bar)


def _value(goodness: float, levels: Levels) -> str:
    return short(goodness if levels.better == "higher" else -goodness)
