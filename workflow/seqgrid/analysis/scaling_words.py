"""What is said of a course over lengths: the metric, its ceiling, the share, the answer."""

from seqgrid.analysis.courses import REPORTED, Course
from seqgrid.analysis.groups import short
from seqgrid.analysis.slopes import Fit


def statement(course: Course, outcome: str, why: str, raw: Fit | None, share: Fit | None) -> str:
    """What is known of a course, in words: the metric, its ceiling, the share, the answer."""
    parts = []
    if len(course.points) > 1:
        parts.append(_metric_goes(course))
    if len(course.points) > 1 and course.related:
        parts += [_ceiling_goes(course), _share_goes(course, share)]
    elif raw:
        parts.append(
            f"Its slope is {short(raw.value)} a doubling, [{short(raw.low)}, {short(raw.high)}]"
            f"{f' ({course.correction})' if course.correction else ''}."
        )
    parts.append(f"{outcome}: {why}.")
    if course.unequal:
        parts.append(f"Note: {'; '.join(course.unequal)}.")
    return " ".join(parts)


def _metric_goes(course: Course) -> str:
    first, last = course.medians[0], course.medians[-1]
    kind = "as reported" if course.origin == REPORTED else "the median"
    return (
        f"{course.metric} ({kind}) goes from {short(first)} at {course.lengths[0]:,} tokens to "
        f"{short(last)} at {course.lengths[-1]:,}{_percent(course.change)}."
    )


def _ceiling_goes(course: Course) -> str:
    first, last = (p.ceiling or 0.0 for p in (course.points[0], course.points[-1]))
    named = course.ceiling_name
    if first == last:
        return f"The best there can be ({named}) is {short(first)} at both."
    change = course.medians[-1] - course.medians[0]
    chance = course.points[-1].chance or 0.0
    carried = chance + course.shares[0] * (last - chance)
    told = ""
    if change and (carried - course.medians[0]) * change > 0:
        part = (carried - course.medians[0]) / change
        told = f", {100 * part:.0f}% of the change"
        if part >= 1:
            behind = course.shares[-1] < course.shares[0]
            words = "has fallen behind" if behind else "held up better"
            told = f", more than the change: the score {words}"
    return (
        f"The best there can be ({named}) goes from {short(first)} to {short(last)}"
        f"{_percent(course.ceiling_change)}; with the share of the first length the score would "
        f"come to {short(carried)}{told}."
    )


def _share_goes(course: Course, share: Fit | None) -> str:
    shown = ", ".join(f"{100 * s:.0f}%" for s in course.shares)
    how = "; ".join(filter(None, [share.method if share else "", course.correction]))
    slope = (
        f"; slope {100 * share.value:+.1f}% a doubling, {percents(share)} ({how})" if share else ""
    )
    return f"Of the way from chance to that it covers {shown}{slope}."


def percents(fit: Fit) -> str:
    """The interval of a share in a statement."""
    return f"[{100 * fit.low:+.1f}%, {100 * fit.high:+.1f}%]"


def _percent(change: float | None) -> str:
    return "" if change is None else f" ({100 * change:+.0f}%)"
