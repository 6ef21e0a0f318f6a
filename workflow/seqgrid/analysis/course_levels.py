"""What levels and verdicts say of a course over lengths, before any slope is looked at."""

from math import isnan, sqrt

from seqgrid.analysis import stats
from seqgrid.analysis.courses import REPORTED, Course, Point
from seqgrid.thresholds import Thresholds

MOVES, CEILING, UNKNOWN = "CEILING MOVES", "AT CEILING", "CANNOT BE TOLD"

Answer = tuple[str, str]  # outcome, and why in words

# After one of these at any length no course is read out of the scores.
VOID = {
    "CONTROL FAILED": "a control of the task failed, so no score on it can be trusted",
    "GATE FAILED": "a known model missed its band, so no score on the task can be trusted",
    "UNLEARNABLE AS SCORED": "the ceiling is chance, so no score can show learning",
    "ABOVE CEILING": "a score lies beyond the best there can be",
    "ABOVE MODEL CEILING": "a score lies beyond the best that this model is said to reach, so what "
    "is said of it is wrong",
    "NOT A NUMBER": "a score is no number",
}


def void(course: Course, limits: Thresholds) -> Answer | None:
    """A score that cannot be, or a task that cannot be trusted."""
    for verdict, why in VOID.items():
        where = [str(p.seqlen) for p in course.points if verdict in p.verdicts]
        if where:
            return UNKNOWN, f"{why} ({verdict} at {', '.join(where)})"
    if not course.numbers:
        return UNKNOWN, VOID["NOT A NUMBER"]
    void = [str(p.seqlen) for p in course.points if _unlearnable(p, limits)]
    if void:
        return UNKNOWN, f"{VOID['UNLEARNABLE AS SCORED']} (at {', '.join(void)})"
    if course.origin == REPORTED and course.related:
        slack = _slacks(course, limits)
        over = [
            str(p.seqlen)
            for p, s in zip(course.points, slack, strict=True)
            if p.share(p.values[0]) > 1 + s and not isnan(p.error)
        ]
        if over:
            return UNKNOWN, f"{VOID['ABOVE CEILING']} for this model (at {', '.join(over)})"
    return None


def _unlearnable(point: Point, limits: Thresholds) -> bool:
    """Whether the best score there can be is chance."""
    if point.chance is None or point.ceiling is None:
        return False
    return point.span <= limits.unlearnable_share * max(abs(point.chance), abs(point.ceiling))


def at_chance(course: Course, limits: Thresholds) -> Answer | None:
    """No length shows a score that chance would not have."""
    if course.origin == REPORTED:
        slack = _slacks(course, limits) if course.related else []
        below = [p.share(p.values[0]) <= s for p, s in zip(course.points, slack, strict=False)]
    else:
        below = ["AT CHANCE" in p.verdicts for p in course.points]
    if below and all(below):
        return UNKNOWN, "no score can be told from chance at any length, so there is no course"
    return None


def at_ceiling(course: Course, limits: Thresholds) -> Answer | None:
    """Every length stands at the best score there can be."""
    if course.origin == REPORTED:
        if not course.related or course.peak or any(isnan(p.error) for p in course.points):
            return None
        slack = _slacks(course, limits)
        held = [
            abs(p.share(p.values[0]) - 1) <= s for p, s in zip(course.points, slack, strict=True)
        ]
    else:
        names = {"AT CEILING", "AT MODEL CEILING"}
        held = [bool(names & p.verdicts) for p in course.points]
    if not all(held):
        return None
    # Beyond what can be scored no later value lies; but seeds without one may lie below.
    if course.missing:
        return unfinished(course)
    rough = _rough(course, limits)
    if rough:
        return UNKNOWN, (
            "at every length the score cannot be told from the best there can be, but "
            f"{rough} is more than {100 * limits.unstable_share:g} % of the way there from chance"
        )
    if _below(course, limits):
        return None
    if moved(course, limits):
        return MOVES, (
            "at every length the score cannot be told from the best there can be, and it is that "
            "which changes: no training could lift the score above it"
        )
    return CEILING, "at every length the score cannot be told from the best there can be"


def _rough(course: Course, limits: Thresholds) -> str:
    """What of the error over test examples is a distance that matters."""
    errors = _errors(course)
    where = [str(n) for n, e in zip(course.lengths, errors, strict=True)
             if e > limits.unstable_share]  # fmt: skip
    if where:
        return f"the standard error over test examples at {', '.join(where)}"
    z = stats.simultaneous_z(1, limits.confidence)
    if not all(errors) or z / sqrt(sum(e**-2 for e in errors)) <= limits.unstable_share:
        return ""
    return "half its interval over the test examples of all lengths together"


def _below(course: Course, limits: Thresholds) -> bool:
    """Whether the lengths, none of which can be told from the ceiling, lie below it together."""
    errors = [e / sqrt(len(p.values)) for e, p in zip(_errors(course), course.points, strict=True)]
    if not course.related or not all(errors):
        return False
    weights = [e**-2 for e in errors]
    means = [p.share(sum(p.values) / len(p.values)) for p in course.points]
    mean = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    half = stats.simultaneous_z(1, limits.confidence) / sqrt(sum(weights))
    return 1 - mean > limits.level_share + half


def _errors(course: Course) -> list[float]:
    """Standard error of one value over its test examples at each length, in shares; 0 unknown."""
    return [p.error / p.span if p.span > 0 and p.error > 0 else 0.0 for p in course.points]


def at_shortcut(course: Course, limits: Thresholds) -> Answer | None:
    """A score that no length shows to need the skill goes as those without it go."""
    if course.origin == REPORTED:
        slack = _slacks(course, limits) if course.related else []
        named = [
            next((n for n, v in p.shortcuts if abs(p.share(p.values[0]) - p.share(v)) <= s), "")
            for p, s in zip(course.points, slack, strict=False)
        ]
    else:
        named = [p.shortcut or "chance" * ("AT CHANCE" in p.verdicts) for p in course.points]
    if not named or not all(named):
        return None
    where = {n: [p.seqlen for p, m in zip(course.points, named, strict=True) if m == n]
             for n in dict.fromkeys(named)}  # fmt: skip
    words = "; ".join(f"{n} at {', '.join(map(str, at))}" for n, at in where.items())
    words = named[0] if len(where) == 1 else words
    return UNKNOWN, (
        "at every length the score cannot be told from one that needs none of the skill tested, "
        f"and it goes along with {words}, so no change of the model is shown"
    )


def unfinished(course: Course) -> Answer | None:
    """Values are missing, or not final."""
    if course.complete:
        return None
    where = [str(p.seqlen) for p in course.points if p.partial]
    missing = f" (at {', '.join(where)})" if where else ""
    return UNKNOWN, (
        f"not every value is there and final{missing}, and those that are may be a selection; the "
        "slope is of what there is"
    )


def moved(course: Course, limits: Thresholds) -> bool:
    """Whether the ceilings of two lengths differ by more than levels can be told apart."""
    ceilings = [p.ceiling for p in course.points if p.ceiling is not None]
    return max(ceilings) - min(ceilings) > limits.level_share * max(p.span for p in course.points)


def _slacks(course: Course, limits: Thresholds) -> list[float]:
    """How far, in shares, a reported mean may lie from a level and still stand at it."""
    z = stats.simultaneous_z(len(course.points), limits.confidence)
    errors = [0.0 if isnan(p.error) else p.error / p.span for p in course.points]
    return [limits.level_share + z * e for e in errors]
