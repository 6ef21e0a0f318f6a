"""Whether the numbers and settings that a study's statements give can be meant."""

from collections.abc import Iterator, Mapping
from typing import Any

from seqgrid import registry
from seqgrid.metric_names import UNIT, impossible
from seqgrid.statements import Comparison
from seqgrid.study_file import unknown
from seqgrid.study_schema import SWEPT

Judged = Mapping[str, str | None]  # label of a task -> the metric it is judged by, where known


def problems(study: Any, judged: Judged) -> Iterator[str]:
    """A line for each number that its metric cannot have, and each setting that nothing has."""
    for name, entry in study.compare.items():
        metric = _compared(entry, judged)
        if metric in UNIT and (entry.margin or 0.0) >= 1:
            yield (
                f"compare.{name}.margin: {entry.margin:g} is no margin of {metric}, which lies in "
                f"0 to 1; allowed: below 1{percent(entry.margin, metric)}"
            )
    for number, claim in enumerate(study.claims):
        given = claim.expected if isinstance(claim.expected, list) else [claim.expected]
        here = f"claims.{number}.expected"
        if claim.place is not None:
            yield from _values(here, judged.get(claim.place.task), given)
        elif claim.scaling is not None:
            yield from _values(here, judged.get(claim.scaling.task), given, True)
        elif claim.compare in study.compare:
            yield from _values(here, _compared(study.compare[claim.compare], judged), given, True)
    for key, ends in (("gates", ("low", "high")), ("published", ("value", "low", "high"))):
        for number, entry in enumerate(getattr(study, key)):
            metric = entry.metric or judged.get(entry.task)
            for end in ends:
                yield from _values(f"{key}.{number}.{end}", metric, [getattr(entry, end)])
    for number, entry in enumerate(study.published):
        if entry.model in study.models and entry.task in study.tasks:
            allowed = _settings(study, entry.model, entry.task)
            for name in entry.settings:
                yield from _setting(f"published.{number}.settings.{name}", name, allowed)


def _values(where: str, metric: str | None, given: list, difference: bool = False) -> Iterator[str]:
    for value in given:
        if words := impossible(metric, value, difference):
            yield f"{where}: {words}{percent(value, metric)}"
            return


def percent(value: float, metric: str | None) -> str:
    """What to write for a value that was given in percent; empty where it cannot be one."""
    if metric not in UNIT or not 1 < abs(value) <= 100:
        return ""
    return f"; for {value:g} % write {value / 100:g}"


def _compared(entry: Comparison, judged: Judged) -> str | None:
    """The metric of a comparison; None where its tasks are not all judged by one."""
    if entry.metric is not None:
        return entry.metric
    sides = {side.task for side in (entry.a, entry.b)}
    tasks = entry.on.task or list(judged)
    names = {judged.get(task) for task in (tasks if None in sides else sides)}
    return names.pop() if len(names) == 1 else None


def _settings(study: Any, model: str, task: str) -> dict[str, list[str] | None]:
    """The settings that there are, by group; None where nobody knows."""
    found: dict[str, list[str] | None] = {g: list(r.model_fields) for g, r in SWEPT.items()}
    said = [study, study.tasks[task], study.models[model]]
    more = [name for one in said if isinstance(one.training, dict) for name in one.training]
    found["training"] = list(dict.fromkeys([*(found["training"] or ()), *more]))
    imported = hasattr(study, "origin")
    for kind, label in (("model", model), ("task", task)):
        file = getattr(getattr(study, f"{kind}s")[label], kind) or ("" if imported else label)
        known = file in registry.names(kind)
        found[kind] = list(registry.settings(kind, file).model_fields) if known else None
    return found


def _setting(where: str, name: str, allowed: dict[str, list[str] | None]) -> Iterator[str]:
    group, dot, key = name.partition(".")
    if not dot:
        return
    if group in allowed:
        names = allowed[group]
        if names is not None and key not in names:
            yield f"{where}: {unknown(key, names, f'a key of {group}')}"
    elif near := unknown(group, list(allowed), "").partition("did you mean ")[2]:
        yield f"{where}: '{group}' is no group of settings; did you mean {near}"
