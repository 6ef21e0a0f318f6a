"""Reading a mapping file, and what is wrong with it beyond the types of its keys."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

from pydantic import ValidationError

from seqgrid import expectation, registry, statement_problems, statement_values, task_metrics
from seqgrid.foreign.mapping import LevelEntry, Mapping, TaskEntry
from seqgrid.metric_names import BETTER, impossible
from seqgrid.study_file import StudyError, explain, read_yaml, unknown

# Kinds of levels -> those that they may not lie beyond, at the same place.
BELOW = {("chance", "solved"), *((kind, "ceiling") for kind in ("chance", "shortcut", "solved"))}


def read(path: Path) -> Mapping:
    """The mapping file, checked.

    Raises:
        StudyError: something is wrong with it; one line a problem.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise StudyError([f"{path}: a mapping with the keys {', '.join(Mapping.model_fields)}"])

    def place(location: list) -> str:
        return ": ".join(filter(None, [str(path), ".".join(map(str, location))]))

    try:
        found = Mapping.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, Mapping, place)) from error
    if problems := [f"{path}: {line}" for line in _problems(found)]:
        raise StudyError(problems)
    return found


def _problems(mapping: Mapping) -> Iterator[str]:
    models, tasks = list(mapping.models), list(mapping.tasks)
    for label, entry in mapping.models.items():
        yield from _settings("model", label, entry.model, entry.settings)
    for label, entry in mapping.tasks.items():
        here = f"tasks.{label}"
        yield from _settings("task", label, entry.task, entry.settings)
        if entry.task is None and entry.metric is None:
            yield f"{here}.metric: this key is needed where no task file is named"
        for key, metric in (("metric", entry.metric), *_level_metrics(entry)):
            if metric and metric not in BETTER and not (entry.better and metric == entry.metric):
                text = unknown(metric, list(BETTER), "a metric known here")
                yield f"{here}.{key}: {text}; of another one say also `better: higher` or `lower`"
        for number, level in enumerate(entry.levels):
            metric = _metric(entry, level)
            if words := impossible(metric, level.value):
                hint = statement_values.percent(level.value, metric)
                yield f"{here}.levels.{number}.value: {level.level}: {words}{hint}"
        yield from (f"{here}.levels: {line}" for line in _out_of_order(entry))
        for model in entry.models or ():
            if model not in models:
                yield f"{here}.models: {unknown(model, models, 'a model of this study')}"
        if not entry.task and not entry.levels:
            yield f"{here}: name a task file, or give levels with where they come from"
    yield from statement_problems.problems(mapping)
    judged = {
        label: entry.metric or task_metrics.judged(entry.task or "")
        for label, entry in mapping.tasks.items()
    }
    yield from statement_values.problems(mapping, judged)
    yield from expectation.problems(mapping.expect, models, tasks)


def _out_of_order(entry: TaskEntry) -> Iterator[str]:
    """Levels that hold at one place and cannot: a worse one beyond a better one."""
    for worse, better in permutations(entry.levels, 2):
        metric = _metric(entry, worse)
        if (worse.kind, better.kind) not in BELOW or metric != _metric(entry, better):
            continue
        together = worse.lengths is None or better.lengths is None
        together = together or bool({*(worse.lengths or ())} & {*(better.lengths or ())})
        known = entry.better if entry.better and metric == entry.metric else BETTER.get(metric)
        if worse.test_set != better.test_set or not together or known is None:
            continue
        if (worse.value > better.value) if known == "higher" else (worse.value < better.value):
            yield (
                f"{worse.kind} {worse.level} {worse.value:g} lies beyond {better.kind} "
                f"{better.level} {better.value:g}: {metric}, {known} is better"
            )


def _metric(entry: TaskEntry, level: LevelEntry) -> str:
    """The metric of a level, by default the task's; '' where its file is unknown."""
    if metric := level.metric or entry.metric:
        return metric
    known = entry.task in registry.names("task")
    return registry.task_class(str(entry.task)).metric if known else ""


def _level_metrics(entry: TaskEntry) -> list[tuple[str, str | None]]:
    return [(f"levels.{number}.metric", level.metric) for number, level in enumerate(entry.levels)]


def _settings(kind: registry.Kind, label: str, file: str | None, given: dict) -> Iterator[str]:
    here = f"{kind}s.{label}"
    if file is None:
        return
    if file not in registry.names(kind):
        yield f"{here}.{kind}: {unknown(file, registry.names(kind), f'a file in {kind}s/')}"
        return
    record = registry.settings(kind, file)
    try:
        record(**given)
    except ValidationError as error:
        prefix = f"{here}.settings"
        yield from explain(
            error, record, lambda where: ".".join([prefix, *(str(part) for part in where)])
        )
