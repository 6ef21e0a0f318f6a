"""The table `scaling`: how scores go with the training length, against the ceiling at each.

A score can rise with the length while the model does nothing better: the best that there can be
rises. So a course is judged by the share of the way from chance to the model's own ceiling at each
length, and the raw metric stands beside it. docs/length-and-convergence.md has the rules.
"""

import json
from math import hypot, isnan

import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis import stats
from seqgrid.analysis.course_tables import of_reported, of_seeds
from seqgrid.analysis.courses import REPORTED, Course, Point
from seqgrid.analysis.scaling_words import percents, statement
from seqgrid.analysis.slopes import Fit
from seqgrid.analysis.summary import meta
from seqgrid.thresholds import Thresholds

RISES, FALLS, FLAT = "RISES", "FALLS", "FLAT"
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


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `scaling` of a study from summary, verdicts, evaluations, levels and reported."""
    about = meta(read["cells"])
    limits = thresholds.of(about)
    courses = of_seeds(
        *(built[name].to_pylist() for name in ("summary", "verdicts")),
        *(read[name].to_pylist() for name in ("evaluations", "cells")),
    )
    reported = of_reported(*(read[name].to_pylist() for name in ("reported", "levels")))
    told = {(c.model, c.task) for c in reported}
    # What only its report says of a foreign study needs no second row without a value.
    courses = [c for c in courses if c.points or (c.model, c.task) not in told] + reported
    rows = [row(course, limits) for course in courses]
    return tables.from_rows("scaling", rows, {"seqgrid.study": json.dumps(about)})


def row(course: Course, limits: Thresholds) -> dict:
    """One row of `scaling`."""
    raw, share = course.slope(limits.confidence), course.share_slope(limits.confidence)
    outcome, why = judge(course, limits)
    return {
        "model": course.model,
        "task": course.task,
        "variant": course.variant,
        "metric": course.metric,
        "better": course.better,
        "origin": course.origin,
        "lengths": course.lengths,
        "medians": course.medians,
        "chances": [p.chance for p in course.points],
        "ceilings": [p.ceiling for p in course.points],
        "ceiling_name": course.ceiling_name if course.points else None,
        "shares": course.shares if course.related else [None for _ in course.points],
        "finals": [len(p.values) for p in course.points],
        "values": sum(len(p.values) for p in course.points),
        "complete": course.complete,
        **({"slope": raw.value, "low": raw.low, "high": raw.high} if raw else {}),
        **(
            {"share_slope": share.value, "share_low": share.low, "share_high": share.high}
            if share
            else {}
        ),
        "interval": (share or raw or (_BARE if course.bare else _NONE)).method,
        "change": course.change,
        "ceiling_change": course.ceiling_change,
        "outcome": outcome,
        "statement": statement(course, outcome, why, raw, share),
    }


_NONE = Fit(0.0, 0.0, 0.0, "none: fewer than three lengths with values")
_BARE = Fit(0.0, 0.0, 0.0, "none: means without standard errors, or peaks")


def judge(course: Course, limits: Thresholds) -> Answer:
    """The outcome of a course, by the first rule that applies, and why."""
    if len(course.points) < 3:
        return UNKNOWN, f"{len(course.points)} lengths have final values, three are needed"
    for rule in (_void, _at_chance, _at_ceiling, _too_few, _bare):
        if answer := rule(course, limits):
            return answer
    share = course.share_slope(limits.confidence)
    if share is None:
        return _unfinished(course) or _raw(course, limits)
    # Levels may be estimates: a change smaller than they can be told apart is none.
    large = abs(share.value) * course.doublings > limits.level_share
    interval = f"the interval of its slope, {percents(share)} a doubling,"
    if share.sign and large:
        word = "towards" if share.sign > 0 else "away from"
        words = f"the share moves {word} the ceiling: {interval} excludes zero"
        return _unfinished(course) or ((RISES if share.sign > 0 else FALLS), words)
    within = f"the share is not shown to change: {interval} holds zero"
    if share.sign:
        within = "the share changes by less than levels can be told apart"
    along = _along(course, limits)
    if course.complete and _surely_small(course, share, limits):
        most = (
            f"{100 * limits.flat_share:g} % of the way from chance to the ceiling over all lengths"
        )
        words = f"the share changes by no more than {most}: {interval} says so"
        return (MOVES, f"the score goes along with its ceiling, and {words}") if along else (
            FLAT, words
        )  # fmt: skip
    words = f"{within}, and a change that would matter is not excluded either"
    answer = _unfinished(course) or (UNKNOWN, words)
    return answer[0], answer[1] + _beside(course, limits)


def _along(course: Course, limits: Thresholds) -> bool:
    """Whether the ceiling moves and the metric is shown to change in its direction."""
    return _moved(course, limits) and _goes_along(course, limits)


def _beside(course: Course, limits: Thresholds) -> str:
    """What the ceiling does, where no change of the share is shown."""
    if not course.related or not _moved(course, limits) or not course.ceiling_change:
        return ""
    word = "rises" if course.ceiling_change > 0 else "falls"
    by = f"{100 * abs(course.ceiling_change):.0f}%"
    return f"; the ceiling itself {word} by {by}, so no change of the model is shown"


def _surely_small(course: Course, share: Fit, limits: Thresholds) -> bool:
    return max(abs(share.low), abs(share.high)) * course.doublings <= limits.flat_share


def _void(course: Course, limits: Thresholds) -> Answer | None:
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


def _at_chance(course: Course, limits: Thresholds) -> Answer | None:
    if course.origin == REPORTED:
        slack = _slacks(course, limits) if course.related else []
        below = [p.share(p.values[0]) <= s for p, s in zip(course.points, slack, strict=False)]
    else:
        below = ["AT CHANCE" in p.verdicts for p in course.points]
    if below and all(below):
        return UNKNOWN, "no score can be told from chance at any length, so there is no course"
    return None


def _at_ceiling(course: Course, limits: Thresholds) -> Answer | None:
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
        return _unfinished(course)
    rough = _rough(course, limits)
    if rough:
        return UNKNOWN, (
            "at every length the score cannot be told from the best there can be, but the standard "
            f"error over test examples is more than {100 * limits.unstable_share:g} % of the way "
            f"there from chance (at {', '.join(map(str, rough))})"
        )
    if _moved(course, limits):
        return MOVES, (
            "at every length the score cannot be told from the best there can be, and it is that "
            "which changes: no training could lift the score above it"
        )
    return CEILING, "at every length the score cannot be told from the best there can be"


def _rough(course: Course, limits: Thresholds) -> list[int]:
    """Lengths at which one standard error is a distance that matters."""
    return [p.seqlen for p in course.points if p.error > limits.unstable_share * p.span > 0]


def _bare(course: Course, limits: Thresholds) -> Answer | None:
    """Of a mean without a standard error nobody knows how far it could be off."""
    if not course.bare:
        return None
    words = "no standard error of the reported means is known, so no change of them is shown"
    if course.peak:
        words = "a peak is the best of several looks, so no change of them is shown"
    return UNKNOWN, words + _beside(course, limits)


def _unfinished(course: Course) -> Answer | None:
    if course.complete:
        return None
    where = [str(p.seqlen) for p in course.points if p.partial]
    missing = f" (at {', '.join(where)})" if where else ""
    return UNKNOWN, (
        f"not every value is there and final{missing}, and those that are may be a selection; the "
        "slope is of what there is"
    )


def _too_few(course: Course, limits: Thresholds) -> Answer | None:
    if course.origin == REPORTED:
        return None
    few = [f"{len(p.values)} at {p.seqlen}" for p in course.points
           if len(p.values) < limits.enough_seeds]  # fmt: skip
    if not few:
        return None
    return UNKNOWN, f"{', '.join(few)} final seeds, {limits.enough_seeds} needed at each length"


def _raw(course: Course, limits: Thresholds) -> Answer:
    """Without chance and ceiling only the metric itself can be followed."""
    raw = course.slope(limits.confidence)
    if raw is None or not raw.sign:
        return UNKNOWN, "no ceiling is known, and the metric is not shown to change"
    word = "rises" if raw.sign > 0 else "falls"
    words = f"no ceiling is known, so this is about {course.metric} itself, which {word}; what can "
    words += "be reached at each length may do the same"
    return (RISES if raw.sign > 0 else FALLS), words


def _moved(course: Course, limits: Thresholds) -> bool:
    """Whether the ceilings of two lengths differ by more than levels can be told apart."""
    ceilings = [p.ceiling for p in course.points if p.ceiling is not None]
    return max(ceilings) - min(ceilings) > limits.level_share * max(p.span for p in course.points)


def _goes_along(course: Course, limits: Thresholds) -> bool:
    """Whether the metric is shown to change, and in the direction of its ceiling."""
    ends = course.points[0], course.points[-1]
    ceiling = (ends[1].ceiling or 0.0) - (ends[0].ceiling or 0.0)
    if course.origin == REPORTED:
        change = course.medians[-1] - course.medians[0]
        noise = stats.simultaneous_z(1, limits.confidence) * hypot(*(p.error for p in ends))
        return abs(change) > noise and change * ceiling > 0
    raw = course.slope(limits.confidence)
    return raw is not None and raw.sign * ceiling > 0


def _slacks(course: Course, limits: Thresholds) -> list[float]:
    """How far, in shares, a reported mean may lie from a level and still stand at it."""
    z = stats.simultaneous_z(len(course.points), limits.confidence)
    errors = [0.0 if isnan(p.error) else p.error / p.span for p in course.points]
    return [limits.level_share + z * e for e in errors]
