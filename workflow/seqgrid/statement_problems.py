"""Statements of a study that cannot be meant: unknown labels, entries twice or at odds."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from seqgrid import expectation
from seqgrid.metric_names import STEPS
from seqgrid.statements import COMPARED, COURSES, Claim, Comparison, Side
from seqgrid.study_file import unknown

# Verdicts that exclude each other at one place.
CONTRARY = (
    {"SOLVED", "NOT SOLVED"},
    {"SOLVED", "AT CHANCE"},
    {"SOLVED", "DIVERGED"},
    {"SOLVED", "SKIPPED"},
    {"AT CHANCE", "ABOVE"},
)


def problems(study: Any) -> Iterator[str]:
    """A line for each label that the study does not have, and each entry that cannot be meant."""
    models, tasks, groups = list(study.models), list(study.tasks), list(study.groups)
    for name, members in study.groups.items():
        if name in models:
            yield f"groups.{name}: a model of this study has this label; give another"
        if not members:
            yield f"groups.{name}: has no model; allowed: {', '.join(models)}"
        for value in members:
            if value not in models:
                yield f"groups.{name}: {unknown(value, models, 'a model of this study')}"
    allowed = {"model": models, "task": tasks, "group": groups}
    for name, entry in study.compare.items():
        for side in ("a", "b"):
            yield from _labels(getattr(entry, side), f"compare.{name}.{side}", allowed)
        for task in entry.on.task or ():
            if task not in tasks:
                yield f"compare.{name}.on.task: {unknown(task, tasks, 'a task of this study')}"
        if entry.a == entry.b:
            yield f"compare.{name}: a and b are the same"
        elif shared := _shared(entry, study.groups):
            words = f"{', '.join(shared)} on both sides, which is no difference"
            yield f"compare.{name}: {words}; give a group without"
        for key in ("task", "seqlen"):
            values = getattr(entry.on, key) or []
            for value in sorted({v for v in values if values.count(v) > 1}):
                yield f"compare.{name}.on.{key}: {value} stands there more than once"
    for number, claim in enumerate(study.claims):
        here = f"claims.{number}"
        if claim.compare is not None and claim.compare not in study.compare:
            text = unknown(claim.compare, list(study.compare), "a comparison of this study")
            yield f"{here}.compare: {text}"
        elif claim.compare is not None and study.compare[claim.compare].metric == STEPS:
            yield from _of_steps(here, claim)
        elif claim.compare is not None and _untestable(claim, study.compare[claim.compare]):
            yield (
                f"{here}.is: NO DIFFERENCE is a test of a margin, and compare.{claim.compare} has "
                "none; add `margin` there, in the unit of the metric"
            )
        if problem := _word(claim):
            yield f"{here}.is: {problem}"
        for key in ("place", "scaling"):
            if entry := getattr(claim, key):
                yield from _labels(entry, f"{here}.{key}", allowed)
    for key in ("gates", "published"):
        for number, entry in enumerate(getattr(study, key)):
            yield from _labels(entry, f"{key}.{number}", allowed)
    yield from _doubled(study)
    yield from _contrary(study)


def _of_steps(here: str, claim: Claim) -> Iterator[str]:
    """What a claim on steps to solve cannot be: nothing estimates their difference."""
    if claim.verdict == "NO DIFFERENCE":
        yield f"{here}.is: steps are not tested for equivalence; allowed: A BETTER, B BETTER"
    if claim.expected is not None:
        yield f"{here}.expected: steps have an order, and no difference in numbers; leave it out"


def _untestable(claim: Claim, entry: Comparison) -> bool:
    return claim.verdict == "NO DIFFERENCE" and entry.margin is None


def _doubled(study: Any) -> Iterator[str]:
    """Entries that say what one before them says."""
    seen: dict[Any, str] = {}
    for name, entry in study.compare.items():
        sides = frozenset(_meant(side, study.groups) for side in (entry.a, entry.b))
        other = seen.setdefault((sides, entry.on.model_dump_json(), entry.metric), name)
        if other != name:
            yield (
                f"compare.{name}: the same sides at the same places as compare.{other}; the "
                "correction would count it twice; leave one of them out"
            )
    for key in ("claims", "expect", "gates", "published"):
        told: dict[str, int] = {}
        for number, entry in enumerate(getattr(study, key)):
            first = told.setdefault(entry.model_dump_json(exclude={"why"}), number)
            if first != number:
                yield f"{key}.{number}: says the same as {key}.{first}; leave one of them out"


def _meant(side: Side, groups: dict[str, list[str]]) -> tuple:
    members = [side.model] if side.model else groups.get(side.group or "", [])
    return tuple(sorted(map(str, members))), side.task, side.seqlen, side.variant


def _contrary(study: Any) -> Iterator[str]:
    """Entries that cannot hold at once; claims may, as rival hypotheses."""
    for (one, first), (other, second) in combinations(enumerate(study.expect), 2):
        names = [expectation.parse(entry.verdict)[0] for entry in (first, second)]
        same = all(getattr(first, k) == getattr(second, k) for k in ("evaluated", "test_set"))
        if same and _meet(first, second) and any(set(names) == pair for pair in CONTRARY):
            yield (
                f"expect.{other}.verdict: {second.verdict} cannot hold where expect.{one} expects "
                f"{first.verdict}"
            )
    for (one, first), (other, second) in combinations(enumerate(study.gates), 2):
        lows = [g.low for g in (first, second) if g.low is not None]
        highs = [g.high for g in (first, second) if g.high is not None]
        same = first.metric == second.metric and _meet(first, second)
        if same and lows and highs and max(lows) > min(highs):
            yield f"gates.{other}: no value lies in its band and in that of gates.{one}"


def _meet(first: Any, second: Any) -> bool:
    """Whether two entries are about one model on one task at one training length."""
    lengths = {first.seqlen, second.seqlen}
    same = (first.model, first.task) == (second.model, second.task)
    return same and (len(lengths) == 1 or None in lengths)


def _shared(entry: Comparison, groups: dict[str, list[str]]) -> list[str]:
    """Models that are on both sides of a comparison of groups at the same place."""
    sides = (entry.a, entry.b)
    places = zip(*((side.task, side.seqlen, side.variant) for side in sides), strict=True)
    apart = any(one != two and None not in (one, two) for one, two in places)
    if apart or not (entry.a.group or entry.b.group):
        return []
    a, b = ([side.model] if side.model else groups.get(side.group or "", []) for side in sides)
    return [str(model) for model in a if model in b]


def _word(claim: Claim) -> str | None:
    """What is wrong with what a claim says would support it."""
    if claim.verdict is None:
        return None
    if claim.place is not None:
        try:
            expectation.parse(claim.verdict)
        except ValueError as error:
            return str(error)
        return None
    allowed, of = (
        (COURSES, "a course over lengths") if claim.scaling else (COMPARED, "a comparison")
    )
    if claim.verdict in allowed:
        return None
    return unknown(claim.verdict, list(allowed), f"an outcome of {of}")


def _labels(entry: Any, where: str, allowed: dict[str, list[str]]) -> Iterator[str]:
    for what, known in allowed.items():
        value = getattr(entry, what, None)
        if value is not None and value not in known:
            yield f"{where}.{what}: {unknown(value, known, f'a {what} of this study')}"
