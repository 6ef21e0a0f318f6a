"""Whether a study has the places, metrics, test sets and levels that its statements are about."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seqgrid import expectation, task_metrics
from seqgrid.metric_names import BETTER, SOLVING, STEPS
from seqgrid.rows import Row
from seqgrid.statements import Comparison, Side
from seqgrid.study_file import unknown

COURSE = 3  # training lengths, for any course over them


@dataclass(frozen=True)
class Spot:
    """A model on a task at one training length, and the lengths it is evaluated at, tokens."""

    model: str
    task: str
    variant: str
    seqlen: int
    evaluated: tuple[int, ...]

    @classmethod
    def of(cls, row: Row) -> "Spot":
        """Where a row of a study's grid stands."""
        return cls(row.model, row.task, row.variant, row.cell.seqlen, row.evaluation.lengths)


@dataclass(frozen=True)
class Scores:
    """What a task is scored by.

    test_sets: names of the further ones; None: not known. levels: all names that a level may have.
    closed: whether there are no other levels than these.
    """

    metrics: tuple[str, ...]
    test_sets: tuple[str, ...] | None
    levels: frozenset[str]
    closed: bool = False

    @classmethod
    def of(cls, file: str) -> "Scores":
        """What the text of a task's file says."""
        known = (task_metrics.metrics(file), task_metrics.test_sets(file), task_metrics.words(file))
        return cls(*known)


def misplaced(study: Any, spots: list[Spot], scores: Mapping[str, Scores]) -> Iterator[str]:
    """A line for each place, test set, metric and level in these entries that there is not.

    spots: of the study's grid; scores: by label of a task.
    """
    for name, entry in study.compare.items():
        yield from _solving(study, f"compare.{name}", entry)
        yield from _apart(study, spots, name, entry, scores)
    for number, entry in enumerate(study.expect):
        yield from _place(f"expect.{number}", entry, spots)
        yield from _named(f"expect.{number}", entry, entry.verdict, scores)
    for key in ("gates", "published"):
        for number, entry in enumerate(getattr(study, key)):
            yield from _metric(f"{key}.{number}.metric", entry.metric, [entry.task], scores)
            yield from _place(f"{key}.{number}", entry, spots)
            yield from _named(f"{key}.{number}", entry, None, scores)
    for number, claim in enumerate(study.claims):
        if (place := claim.place) is not None:
            yield from _place(f"claims.{number}.place", place, spots)
            yield from _named(f"claims.{number}.place", place, None, scores)
            yield from _level(f"claims.{number}.is", place.task, claim.verdict, scores)
        if (along := claim.scaling) is not None:
            lengths = {r.seqlen for r in spots if (r.model, r.task) == (along.model, along.task)}
            if len(lengths) < COURSE:
                yield (
                    f"claims.{number}.scaling: {along.model} is trained at {len(lengths)} "
                    f"length{'s' * (len(lengths) != 1)} on {along.task}; a course needs {COURSE} "
                    "at least"
                )


def _place(where: str, place: Any, spots: list[Spot]) -> Iterator[str]:
    """What is wrong with the lengths of an entry with model, task and lengths."""
    here, who = [r for r in spots if (r.model, r.task) == (place.model, place.task)], place.model
    if not here:
        yield f"{where}: {who} does not run on {place.task} in this study; leave the entry out"
        return
    on, trained = f" on {place.task}", sorted({spot.seqlen for spot in here})
    if place.seqlen not in (None, *trained):
        yield f"{where}.seqlen: {_length(place.seqlen, f'{who} is trained{on}', trained)}"
        return
    evaluated = _evaluated([r for r in here if place.seqlen in (None, r.seqlen)])
    wanted = getattr(place, "evaluated", None)
    if wanted not in (None, *evaluated):
        yield f"{where}.evaluated: {_length(wanted, f'{who} is evaluated{on}', evaluated)}"


def _named(
    where: str, entry: Any, verdict: str | None, scores: Mapping[str, Scores]
) -> Iterator[str]:
    """What is wrong with an entry's test set, and the level that its verdict names."""
    yield from _test_set(f"{where}.test_set", getattr(entry, "test_set", ""), [entry.task], scores)
    yield from _level(f"{where}.verdict", entry.task, verdict, scores)


def _test_set(
    where: str, name: str, tasks: Iterable[str], scores: Mapping[str, Scores]
) -> Iterator[str]:
    for task in tasks if name else ():
        allowed = scores[task].test_sets if task in scores else None
        if allowed is not None and name not in allowed:
            yield f"{where}: {unknown(name, list(allowed), f'a test set of {task}')}"


def _level(
    where: str, task: str, verdict: str | None, scores: Mapping[str, Scores]
) -> Iterator[str]:
    """Whether the level that a verdict names can be one of the task's."""
    try:
        name = expectation.parse(verdict)[1] if verdict else ""
    except ValueError:  # said elsewhere
        return
    known = scores.get(task)
    if not name or known is None or name in known.levels:
        return
    if known.closed:
        yield f"{where}: {unknown(name, sorted(known.levels), f'a level of {task}')}"
        return
    near = difflib.get_close_matches(name, known.levels, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    yield f"{where}: '{name}' is not a level of {task}; docs/tasks has the page of each task{hint}"


def _apart(
    study: Any, spots: list[Spot], name: str, entry: Comparison, scores: Mapping[str, Scores]
) -> Iterator[str]:
    """What a comparison asks for and no side, or not both, can have."""
    grids = []
    for which in ("a", "b"):
        side = getattr(entry, which)
        models = [side.model] if side.model else study.groups.get(side.group, [])
        here = [r for r in spots if r.model in models]
        if side.task is not None:
            here = [r for r in here if r.task == side.task]
        variants = sorted({r.variant for r in here})
        if side.variant is not None and here and side.variant not in variants:
            words = unknown(side.variant, variants, "a variant of these models")
            yield f"compare.{name}.{which}.variant: {words}"
            return
        lengths = sorted({r.seqlen for r in here})
        if side.seqlen is not None and side.seqlen not in lengths:
            words = _length(side.seqlen, "this side is trained", lengths)
            yield f"compare.{name}.{which}.seqlen: {words}"
            return
        # Where all of its models run, as tasks and lengths that the other side can have, too.
        each = [{(r.task, r.seqlen) for r in here if r.model == model} for model in models]
        both = set.intersection(*each) if each else set()
        grids.append((side, both, here))
    places = _shared(grids)
    for task in entry.on.task or ():
        if task in study.tasks and task not in {t for t, _ in places}:
            allowed = ", ".join(sorted({t for t, _ in places})) or "none"
            yield (
                f"compare.{name}.on.task: the sides do not both run on {task}; allowed: {allowed}"
            )
    wanted = {p for p in places if entry.on.task is None or p[0] in entry.on.task}
    scored = {side.task or task for side, _, _ in grids for task, _ in wanted}
    tasks = [task for task in study.tasks if task in scored]
    where = f"compare.{name}.metric"
    yield from _metric(where, entry.metric, tasks, scores, SOLVING, f"compare.{name}.on.task")
    yield from _test_set(f"compare.{name}.on.test_set", entry.on.test_set, tasks, scores)
    for seqlen in entry.on.seqlen or ():
        if seqlen not in (lengths := sorted({at for _, at in wanted})):
            yield f"compare.{name}.on.seqlen: {_length(seqlen, 'both are trained', lengths)}"
    if not places:
        yield f"compare.{name}: the sides do not run at any place that they share"
        return
    wanted = {p for p in wanted if entry.on.seqlen is None or p[1] in entry.on.seqlen}
    spots = [r for _, _, here in grids for r in here if (r.task, r.seqlen) in wanted]
    evaluated = _evaluated(spots)
    if spots and entry.on.evaluated not in (None, *evaluated):
        words = _length(entry.on.evaluated, "both are evaluated", evaluated)
        yield f"compare.{name}.on.evaluated: {words}"


def _metric(
    where: str,
    metric: str | None,
    tasks: list[str],
    scores: Mapping[str, Scores],
    more: Iterable[str] = (),
    remedy: str = "",
) -> Iterator[str]:
    """Whether there is such a metric, and each of these tasks is scored in it.

    more: what is no metric, and allowed as well; remedy: the
    key that can leave tasks out.
    """
    if metric is None or metric in more:
        return
    known = {task: scores[task].metrics for task in tasks if task in scores}
    there = {name for scored in known.values() for name in scored}
    if metric not in {*BETTER, *there}:
        yield f"{where}: {unknown(metric, [*BETTER, *more], 'a metric')}"
        return
    having = [task for task, scored in known.items() if metric in scored]
    hint = f"; or set {remedy}: [{', '.join(having)}]" if remedy and having else ""
    for task, scored in known.items():
        if task not in having:
            yield f"{where}: {unknown(metric, [*scored, *more], f'a metric of {task}')}{hint}"


def _solving(study: Any, where: str, entry: Comparison) -> Iterator[str]:
    """What a comparison of when, or whether, a task is solved cannot have."""
    if entry.metric not in SOLVING:
        return
    for which in ("a", "b"):
        members = study.groups.get(getattr(entry, which).group, [])
        if len(members) > 1:
            yield (
                f"{where}.{which}: {entry.metric} is compared model by model; give one of "
                f"{', '.join(members)}"
            )
    if entry.metric == STEPS and entry.margin is not None:
        yield f"{where}.margin: steps are not tested for equivalence; leave it out"
    if entry.metric == STEPS and (entry.on.evaluated is not None or entry.on.test_set):
        key = "test_set" if entry.on.test_set else "evaluated"
        yield f"{where}.on.{key}: steps are of training, at its own length; leave it out"


def _shared(grids: list[tuple[Side, set[tuple[str, int]], list[Spot]]]) -> set[tuple[str, int]]:
    """Tasks and lengths of `on` at which both sides run; a side's own task or length is any's."""
    found = []
    for side, places, _ in grids:
        others = next(other for one, other, _ in grids if one is not side)
        tasks = {t for t, _ in others | places} if side.task else {t for t, _ in places}
        lengths = {n for _, n in others | places} if side.seqlen else {n for _, n in places}
        fixed = {
            (t, n) for t in tasks for n in lengths if (side.task or t, side.seqlen or n) in places
        }
        found.append(fixed)
    return found[0] & found[1]


def _evaluated(spots: list[Spot]) -> list[int]:
    return sorted(set.intersection(*(set(r.evaluated) for r in spots))) if spots else []


def _length(value: int | None, how: str, allowed: list[int]) -> str:
    shown = ", ".join(map(str, allowed)) or "none"
    return f"{value} is not a length at which {how}; allowed: {shown}"
