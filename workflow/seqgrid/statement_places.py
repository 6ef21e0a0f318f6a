"""Whether a study's grid has the places that its comparisons and claims are about."""

from collections.abc import Iterator
from typing import Any

from seqgrid.metric_names import BETTER, SOLVING
from seqgrid.rows import Row
from seqgrid.statements import Comparison, Place, Side
from seqgrid.study_file import unknown


def misplaced(study: Any, rows: list[Row]) -> Iterator[str]:
    """A line for each place in these entries that the study's grid does not have."""
    metrics = [*BETTER, *SOLVING]
    for name, entry in study.compare.items():
        if entry.metric not in (None, *metrics):
            yield f"compare.{name}.metric: {unknown(entry.metric, metrics, 'a metric')}"
        yield from _apart(study, rows, name, entry)
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


def _apart(study: Any, rows: list[Row], name: str, entry: Comparison) -> Iterator[str]:
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
    for seqlen in entry.on.seqlen or ():
        if seqlen not in (lengths := sorted({at for _, at in wanted})):
            yield f"compare.{name}.on.seqlen: {_length(seqlen, 'both are trained', lengths)}"
    if not places:
        yield f"compare.{name}: the sides do not run at any place that they share"
        return
    rows = [r for _, _, here in grids for r in here if (r.task, r.cell.seqlen) in wanted]
    evaluated = _evaluated(rows)
    if rows and entry.on.evaluated not in (None, *evaluated):
        words = _length(entry.on.evaluated, "both are evaluated", evaluated)
        yield f"compare.{name}.on.evaluated: {words}"


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
