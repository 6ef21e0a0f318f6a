"""Whether a study's grid has the places and metrics that its statements are about."""

from collections.abc import Iterable, Iterator
from typing import Any

from seqgrid import task_metrics
from seqgrid.metric_names import BETTER, SOLVED, SOLVING, STEPS
from seqgrid.rows import Row
from seqgrid.statements import Comparison, Place, Side
from seqgrid.study_file import unknown


def misplaced(study: Any, rows: list[Row]) -> Iterator[str]:
    """A line for each place in these entries that the study's grid does not have."""
    files = {row.task: row.cell.task for row in rows}
    for name, entry in study.compare.items():
        yield from _solving(study, f"compare.{name}", entry)
        yield from _apart(study, rows, name, entry, files)
    for key in ("gates", "published"):
        for number, entry in enumerate(getattr(study, key)):
            yield from _metric(f"{key}.{number}.metric", entry.metric, [entry.task], files)
    for number, claim in enumerate(study.claims):
        if (place := claim.place) is not None:
            here = [r for r in rows if (r.model, r.task) == (place.model, place.task)]
            yield from _place(f"claims.{number}.place", place, here, f"{place.model}")
        if (along := claim.scaling) is not None:
            lengths = {
                r.cell.seqlen for r in rows if (r.model, r.task) == (along.model, along.task)
            }
            if len(lengths) < 2:
                yield (
                    f"claims.{number}.scaling: {along.model} is trained at {len(lengths)} lengths "
                    f"on {along.task}; a course needs two at least"
                )


def _place(where: str, place: Place, here: list[Row], who: str) -> Iterator[str]:
    """What is wrong with the lengths of a place whose rows are `here`."""
    if not here:
        yield f"{where}: {who} does not run on {place.task} in this study; leave the entry out"
        return
    trained = sorted({row.cell.seqlen for row in here})
    if place.seqlen not in (None, *trained):
        yield f"{where}.seqlen: {_length(place.seqlen, f'{who} is trained', trained)}"
        return
    evaluated = _evaluated([r for r in here if place.seqlen in (None, r.cell.seqlen)])
    if place.evaluated not in (None, *evaluated):
        yield f"{where}.evaluated: {_length(place.evaluated, f'{who} is evaluated', evaluated)}"


def _apart(
    study: Any, rows: list[Row], name: str, entry: Comparison, files: dict[str, str]
) -> Iterator[str]:
    """What a comparison asks for and no side, or not both, can have."""
    grids = []
    for which in ("a", "b"):
        side = getattr(entry, which)
        models = [side.model] if side.model else study.groups.get(side.group, [])
        here = [r for r in rows if r.model in models]
        if side.task is not None:
            here = [r for r in here if r.task == side.task]
        variants = sorted({r.variant for r in here})
        if side.variant is not None and here and side.variant not in variants:
            yield (
                f"compare.{name}.{which}.variant: "
                f"{unknown(side.variant, variants, 'a variant of these models')}"
            )
            return
        lengths = sorted({r.cell.seqlen for r in here})
        if side.seqlen is not None and side.seqlen not in lengths:
            words = _length(side.seqlen, "this side is trained", lengths)
            yield f"compare.{name}.{which}.seqlen: {words}"
            return
        # Where all of its models run, as tasks and lengths that the other side can have, too.
        each = [{(r.task, r.cell.seqlen) for r in here if r.model == model} for model in models]
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
    yield from _metric(where, entry.metric, tasks, files, SOLVING, f"compare.{name}.on.task")
    for seqlen in entry.on.seqlen or ():
        if seqlen not in (lengths := sorted({at for _, at in wanted})):
            yield f"compare.{name}.on.seqlen: {_length(seqlen, 'both are trained', lengths)}"
    if not places:
        yield f"compare.{name}: the sides do not run at any place that they share"
        return
    wanted = {p for p in wanted if entry.on.seqlen is None or p[1] in entry.on.seqlen}
    rows = [r for _, _, here in grids for r in here if (r.task, r.cell.seqlen) in wanted]
    evaluated = _evaluated(rows)
    if rows and entry.on.evaluated not in (None, *evaluated):
        words = _length(entry.on.evaluated, "both are evaluated", evaluated)
        yield f"compare.{name}.on.evaluated: {words}"


def _metric(
    where: str,
    metric: str | None,
    tasks: list[str],
    files: dict[str, str],
    more: Iterable[str] = (),
    remedy: str = "",
) -> Iterator[str]:
    """Whether there is such a metric, and each of these tasks is scored in it.

    files: label of a task -> its file; more: what is no metric, and allowed as well; remedy: the
    key that can leave tasks out.
    """
    if metric is None or metric in more:
        return
    if metric not in BETTER:
        yield f"{where}: {unknown(metric, [*BETTER, *more], 'a metric')}"
        return
    known = {task: task_metrics.metrics(files[task]) for task in tasks if task in files}
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
    if entry.metric == SOLVED and (entry.margin or 0.0) >= 1:
        yield f"{where}.margin: a share of seeds, less than 1, is needed, got {entry.margin:g}"
    if entry.metric == STEPS and (entry.on.evaluated is not None or entry.on.test_set):
        key = "test_set" if entry.on.test_set else "evaluated"
        yield f"{where}.on.{key}: steps are of training, at its own length; leave it out"


def _shared(grids: list[tuple[Side, set[tuple[str, int]], list[Row]]]) -> set[tuple[str, int]]:
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


def _evaluated(rows: list[Row]) -> list[int]:
    return sorted(set.intersection(*(set(r.evaluation.lengths) for r in rows))) if rows else []


def _length(value: int | None, how: str, allowed: list[int]) -> str:
    shown = ", ".join(map(str, allowed)) or "none"
    return f"{value} is not a length at which {how}; allowed: {shown}"
