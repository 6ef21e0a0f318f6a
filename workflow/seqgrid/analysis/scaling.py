"""The table `scaling`: how scores go with the training length, against the ceiling at each.

A score can rise with the length while the model does nothing better: the best that there can be
rises. So a course is judged by the share of the way from chance to the model's own ceiling at each
length, and the raw metric stands beside it. docs/length-and-convergence.md has the rules.
"""

import json
from dataclasses import replace
from math import hypot

import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis import stats
from seqgrid.analysis.course_levels import (
    MOVES,
    UNKNOWN,
    Answer,
    at_ceiling,
    at_chance,
    at_shortcut,
    moved,
    unfinished,
    void,
)
from seqgrid.analysis.course_shapes import apart, bent, doubts
from seqgrid.analysis.course_tables import of_reported, of_seeds
from seqgrid.analysis.courses import REPORTED, Course
from seqgrid.analysis.paired import holm
from seqgrid.analysis.scaling_words import percents, statement
from seqgrid.analysis.slopes import Fit
from seqgrid.analysis.summary import meta
from seqgrid.thresholds import Thresholds

RISES, FALLS, FLAT = "RISES", "FALLS", "FLAT"


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
    rows = [row(course, limits) for course in corrected(courses, limits.confidence)]
    return tables.from_rows("scaling", rows, {"seqgrid.study": json.dumps(about)})


def corrected(courses: list[Course], confidence: float) -> list[Course]:
    """The same courses, with the coverage that they are judged by.

    Of all courses of a study together at most 1 - confidence say a change that there is none of
    (Holm, Scand. J. Stat. 6 (1979) 65). Those that wait for values count, so that none changes its
    meaning as others come in; those of which nothing can ever be said do not.
    """
    tested = [course for course in courses if not course.bare]
    if len(tested) < 2:
        return [replace(course, coverage=confidence) for course in courses]
    levels = iter(holm([course.p_value for course in tested], 1 - confidence)[1])
    words = "{:.4g} % after Holm over " + f"{len(tested)} courses"
    coverages = [confidence if course.bare else 1 - next(levels) for course in courses]
    return [
        replace(c, coverage=each, correction="" if c.bare else words.format(100 * each))
        for c, each in zip(courses, coverages, strict=True)
    ]


def row(course: Course, limits: Thresholds) -> dict:
    """One row of `scaling`."""
    raw, share = course.slope(), course.share_slope()
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
        "coverage": course.coverage if share or raw else None,
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
    for rule in (void, at_chance, at_ceiling, at_shortcut, _too_few, _bare, _barred):
        if answer := rule(course, limits):
            return answer
    share = course.share_slope()
    if share is None:
        return unfinished(course) or _raw(course, limits)
    # Levels may be estimates: a change smaller than they can be told apart is none.
    large = abs(share.value) * course.doublings > limits.level_share
    interval = f"the interval of its slope, {percents(share)} a doubling,"
    if share.sign and large:
        word = "towards" if share.sign > 0 else "away from"
        words = f"the share moves {word} the ceiling: {interval} excludes zero"
        doubt = doubts(course, share.sign, limits)
        said = (UNKNOWN, doubt) if doubt else ((RISES if share.sign > 0 else FALLS), words)
        return unfinished(course) or said
    within = f"the share is not shown to change: {interval} holds zero"
    if share.sign:
        within = "the share changes by less than levels can be told apart"
    along = _along(course, limits)
    if course.complete and _surely_small(course, share, limits):
        if course.mostly_improving:
            where = ", ".join(map(str, course.mostly_improving))
            words = f"half of the seeds or more were still improving at {where}"
            return UNKNOWN, f"the share is the same at this budget, but {words}"
        most = f"{100 * limits.flat_share:g} % of the way from chance to the ceiling"
        words = (
            f"no two lengths differ by more than {most}: the intervals of their differences say so"
        )
        return (MOVES, f"the score goes along with its ceiling, and {words}") if along else (
            FLAT, words
        )  # fmt: skip
    words = f"{within}, and a change that would matter is not excluded either"
    if bend := bent(course, limits):
        words = f"{bend}, so that no one direction can be said: the course is no line"
    answer = unfinished(course) or (UNKNOWN, words)
    return answer[0], answer[1] + _beside(course, limits)


def _along(course: Course, limits: Thresholds) -> bool:
    """Whether the ceiling moves and the metric is shown to change in its direction."""
    return moved(course, limits) and _goes_along(course)


def _beside(course: Course, limits: Thresholds) -> str:
    """What the ceiling does, where no change of the share is shown."""
    if not course.related or not moved(course, limits) or not course.ceiling_change:
        return ""
    word = "rises" if course.ceiling_change > 0 else "falls"
    by = f"{100 * abs(course.ceiling_change):.0f}%"
    return f"; the ceiling itself {word} by {by}, so no change of the model is shown"


def _surely_small(course: Course, share: Fit, limits: Thresholds) -> bool:
    small = max(abs(share.low), abs(share.high)) * course.doublings <= limits.flat_share
    return small and apart(course) <= limits.flat_share


def _barred(course: Course, limits: Thresholds) -> Answer | None:
    """Something else goes with the length."""
    if not course.barring:
        return None
    return UNKNOWN, f"{'; '.join(course.barring)}: a change may come of that, or be hidden by it"


def _bare(course: Course, limits: Thresholds) -> Answer | None:
    """Of a mean without a standard error nobody knows how far it could be off."""
    if not course.bare:
        return None
    words = "no standard error of the reported means is known, so no change of them is shown"
    if course.peak:
        words = "a peak is the best of several looks, so no change of them is shown"
    return UNKNOWN, words + _beside(course, limits)


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
    raw = course.slope()
    if raw is None or not raw.sign:
        return UNKNOWN, "no ceiling is known, and the metric is not shown to change"
    if doubt := doubts(course, raw.sign, limits):
        return UNKNOWN, f"no ceiling is known, and {doubt}"
    word = "rises" if raw.sign > 0 else "falls"
    words = f"no ceiling is known, so this is about {course.metric} itself, which {word}; what can "
    words += "be reached at each length may do the same"
    return (RISES if raw.sign > 0 else FALLS), words


def _goes_along(course: Course) -> bool:
    """Whether the metric is shown to change, and in the direction of its ceiling."""
    ends = course.points[0], course.points[-1]
    ceiling = (ends[1].ceiling or 0.0) - (ends[0].ceiling or 0.0)
    if course.origin == REPORTED:
        change = course.medians[-1] - course.medians[0]
        noise = stats.simultaneous_z(1, course.coverage) * hypot(*(p.error for p in ends))
        return abs(change) > noise and change * ceiling > 0
    raw = course.slope()
    return raw is not None and raw.sign * ceiling > 0
