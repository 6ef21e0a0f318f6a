"""The control studies, from the `controls` that task files declare; this imports all of them.

Controls that are the same training become one cell with several expectations, and trainings with
all but the model in common one task of the study.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from seqgrid import expectation, registry, study
from seqgrid.controls import STUDIES
from seqgrid.study_file import StudyError, explain, unknown
from seqgrid.study_schema import LABEL, SWEPT
from seqgrid.tasks._base import Control, Task

HEAD = """\
# Made by `python -m seqgrid.controls` from what the files in workflow/seqgrid/tasks declare as
# `controls`: change it there.
"""
# Where in a control the settings of a group are written; the others stand inside `training`.
PLACES = {"training": "training", "task": "task_settings", "model": "settings"}
MOST_SEEN = 0.5  # share of test examples seen in training that a positive control may have
QUESTIONS = {
    "controls": "Can every task be learned as it is posed, and does what lacks the skill fail?",
    "controls_gpu": "The same, for controls that need a GPU",
}


def write() -> None:
    """Write the control studies; one without controls is removed.

    Raises:
        StudyError: a control is wrong; one line a problem.
    """
    for name, text in texts().items():
        path = study.STUDIES / f"{name}.yaml"
        if text:
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


def texts() -> dict[str, str]:
    """The YAML of every control study, '' where it would hold none.

    Raises:
        StudyError: a control is wrong; one line a problem.
    """
    declared = [
        _Declared(name, number, control)
        for name in registry.names("task")
        for number, control in enumerate(registry.task_class(name).controls)
    ]
    if problems := [line for one in declared for line in one.problems()]:
        raise StudyError(problems)
    found = {}
    for name in STUDIES:
        chosen = [d for d in declared if (d.control.cpu_minutes is None) == (name != "controls")]
        found[name] = _text(name, chosen) if chosen else ""
    return found


@dataclass(frozen=True)
class _Declared:
    """One control of a task file."""

    task: str
    number: int
    control: Control

    @property
    def written(self) -> dict[str, dict[str, Any]]:
        """Its settings by the key of a study they stand under."""
        control = self.control
        training = dict(control.training)
        nested = {name: training.pop(name, {}) for name in SWEPT if name != "training"}
        named = {"task": control.task_settings, "model": control.settings}
        return {"training": training} | nested | named

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """The same without those that are defaults."""
        return {
            name: self._record(name).model_validate(values).model_dump(
                mode="json", exclude_defaults=True
            )
            for name, values in self.written.items()
        }  # fmt: skip

    def _record(self, group: str) -> Any:
        if group == "model":
            return registry.settings("model", self.control.model)
        return registry.settings("task", self.task) if group == "task" else SWEPT[group]

    def problems(self) -> list[str]:
        """What is wrong with it, a line a problem."""
        where = f"{registry.FOLDERS['task'].name}/{self.task}.py: controls.{self.number}"
        models = registry.names("model")
        if self.control.model not in models:
            return [f"{where}.model: {unknown(self.control.model, models, 'a model')}"]
        found = []
        for name, values in self.written.items():
            record, place = self._record(name), f"{where}.{PLACES.get(name, f'training.{name}')}"
            try:
                record.model_validate(values)
            except ValidationError as error:
                found += explain(error, record, lambda at, p=place: ".".join([p, *map(str, at)]))
        return found or [f"{where}.{line}" for line in self._misplaced()]

    def _misplaced(self) -> Iterator[str]:
        """Lengths, test set and level that the task does not have."""
        control = self.control
        at = control.at or control.seqlen
        try:
            rule, level = expectation.parse(control.expect)
            registry.make_task(self.task, control.task_settings, control.seqlen)
            sets = registry.make_task(self.task, control.task_settings, at).test_sets()
        except ValueError as error:
            yield f"expect, seqlen, at: {error}"
            return
        if control.test_set not in sets:
            names = [name for name in sets if name]
            yield f"test_set: {unknown(control.test_set, names, 'a further test set')}"
            return
        kinds = ("shortcut",) if rule == "AT SHORTCUT" else ("chance", "shortcut")
        task = sets[control.test_set]
        names = {v.name for v in task.levels() if v.kind in kinds and v.metric == task.metric}
        if level and level not in names:
            yield f"expect: {unknown(level, sorted(names), f'a level at {at} tokens')}"
        if rule == "SOLVED":
            yield from self._solved_by_less(task, at)

    def _solved_by_less(self, task: Task, at: int) -> Iterator[str]:
        """What lacks the skill and would be called solved at that place, too.

        task: as it is tested there.
        """
        sign = 1 if task.better == "higher" else -1
        levels = [v for v in task.levels() if v.metric == task.metric and not v.slice]
        solved = max((sign * v.value for v in levels if v.kind == "solved"), default=math.inf)
        for shortcut in levels:
            if shortcut.kind == "shortcut" and sign * shortcut.value >= solved:
                yield (
                    f"expect: SOLVED says nothing at {at} tokens: the shortcut {shortcut.name} "
                    f"scores {shortcut.value:.4g} and solved is {sign * solved:.4g}; "
                    "use other task_settings"
                )
        # the bound overstates where inputs are not alike in probability
        seen = self._seen(task) if (at, self.control.test_set) == (self.control.seqlen, "") else 0
        if seen > MOST_SEEN:
            yield (
                f"expect: SOLVED says nothing at {at} tokens: up to {seen:.0%} of the test "
                "examples are seen in training; use task_settings with more inputs, another "
                "place or fewer steps"
            )

    def _seen(self, task: Task) -> float:
        """Expected share of test examples seen in training, at the most."""
        training = self._record("training").model_validate(self.written["training"])
        drawn = training.steps * training.batch_size
        alike = 2.0 ** -task.settings.log2_inputs(task.seqlen)  # that two inputs are the same
        return 1 - (1 - alike) ** min(drawn, training.examples or drawn)


@dataclass
class _Training:
    """What several controls may have in common: one model trained on one task."""

    declared: _Declared
    groups: dict[str, dict[str, Any]]
    seeds: int = 0
    expected: list[Control] = field(default_factory=list)

    @property
    def without_model(self) -> str:
        """What trainings of one task of the study have in common."""
        shared = {name: values for name, values in self.groups.items() if name != "model"}
        return _key(self.declared.task, shared, self.declared.control.seqlen, self.seeds)


def _text(name: str, declared: list[_Declared]) -> str:
    trainings: dict[str, _Training] = {}
    for one in declared:
        groups = one.groups
        key = _key(one.task, groups, one.control.seqlen, one.control.model)
        training = trainings.setdefault(key, _Training(one, groups))
        training.seeds = max(training.seeds, one.control.seeds)
        training.expected.append(one.control)
    tasks: dict[str, list[_Training]] = {}
    for training in trainings.values():
        tasks.setdefault(training.without_model, []).append(training)
    content = _Content()
    for together in tasks.values():
        content.add(together)
    body = _dump({"question": QUESTIONS[name], **content.study()}, None)
    body += _dump({"expect": content.expect}, False)
    minutes = sum(max(c.cpu_minutes or 0 for c in t.expected) for t in trainings.values())
    cost = f"# About {minutes:.0f} minutes of one thread.\n" if minutes >= 1 else ""
    return f"{HEAD}{cost}{body}"


class _Content:
    """Grows into the content of a study."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.expect: list[dict[str, Any]] = []

    def add(self, trainings: list[_Training]) -> None:
        """Add trainings that are one task of the study."""
        first = trainings[0]
        file, groups = first.declared.task, first.groups
        number = 1 + sum(entry["task"] == file for entry in self.tasks.values())
        label = file if number == 1 else f"{file} {number}"
        beyond = sorted({c.at for t in trainings for c in t.expected if c.at} - {0})
        entry: dict[str, Any] = {"task": file, "models": []}
        if groups["task"]:
            entry["settings"] = groups["task"]
        entry |= {
            "lengths": [first.declared.control.seqlen],
            "seeds": list(range(first.seeds)),
        }
        if beyond:
            entry["evaluation_lengths"] = beyond
        entry |= {name: groups[name] for name in SWEPT if groups[name]}
        self.tasks[label] = entry
        for training in trainings:
            model = self._model(training.declared.control.model, training.groups["model"])
            entry["models"].append(model)
            for control in training.expected:
                self.expect.append(_expectation(model, label, control))

    def _model(self, file: str, settings: dict[str, Any]) -> str:
        """The label of a model: its file and what it is set to."""
        words = " ".join([file, *(f"{key}={value}" for key, value in sorted(settings.items()))])
        label = re.sub(r"[^A-Za-z0-9 ._+=-]", "", words)
        assert LABEL.fullmatch(label), label
        entry = {"model": file, **({"settings": settings} if settings else {})}
        if self.models.setdefault(label, entry) != entry:
            raise StudyError([f"two controls of {file} would have the label '{label}'"])
        return label

    def study(self) -> dict[str, Any]:
        """The content of the study but its question; every task has its own lengths and seeds."""
        return {
            "models": self.models,
            "tasks": self.tasks,
            "lengths": [min(length for e in self.tasks.values() for length in e["lengths"])],
            "seeds": [0],
        }


def _expectation(model: str, task: str, control: Control) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": model, "task": task}
    if control.at not in (None, control.seqlen):
        entry["evaluated"] = control.at
    if control.test_set:
        entry["test_set"] = control.test_set
    return entry | {"verdict": control.expect, "why": " ".join(control.why.split())}


def _dump(content: dict[str, Any], flow: bool | None) -> str:
    """YAML; flow None: settings on one line."""
    return yaml.safe_dump(content, sort_keys=False, width=100, default_flow_style=flow)


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)
