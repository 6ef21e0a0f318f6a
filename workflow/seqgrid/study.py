"""A study: one question, one grid, one report. Its YAML file becomes a list of rows, each a cell."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from seqgrid import registry
from seqgrid.cell import Cell, Stopping, Training, Validation
from seqgrid.settings import Strict
from seqgrid.study_file import StudyError, explain, read_yaml, unknown

STUDIES = Path("config/studies")
LABEL = r"^[A-Za-z0-9][A-Za-z0-9 ._+=-]*$"


def _seeds(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value)):
        return list(range(int(match[1]), int(match[2]) + 1))
    if isinstance(value, str):
        raise ValueError("seeds are a list of integers or a range such as 0..4")
    return value


Label = Annotated[str, Field(pattern=LABEL)]
Length = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[list[Seed], BeforeValidator(_seeds, json_schema_input_type=list[int] | str)]


class ModelEntry(Strict):
    """One model of the study; its label is the key it stands under."""

    model: str | None = Field(None, description="file in models/; the label where left out")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of that file")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides for this model")


class TaskEntry(Strict):
    """One task of the study; its label is the key it stands under."""

    task: str | None = Field(None, description="file in tasks/; the label where left out")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of that file")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    validation: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    stopping: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    lengths: list[Length] | None = Field(None, min_length=1, description="instead of the study's")
    evaluation_lengths: list[Length] | None = Field(None, description="instead of the study's")


class Evaluated(Strict):
    """What the test split looks like. Changing it evaluates again and never trains again."""

    examples: int = Field(1000, ge=2, description="test examples at each length")
    lengths: list[Length] = Field(
        default_factory=list, description="sequence lengths besides the training length, tokens"
    )


class Match(Strict):
    """Cells to leave out: those that agree with every key given."""

    model: str | None = None
    task: str | None = None
    seqlen: int | None = None
    seed: int | None = None


class Extra(Strict):
    """Cells to add beside the product of the axes."""

    model: str
    task: str
    lengths: list[Length] = Field(min_length=1)
    seeds: Seeds = Field(min_length=1)


class Study(Strict):
    """The content of config/studies/NAME.yaml."""

    question: str = Field(description="what the study asks, in one sentence")
    models: dict[Label, ModelEntry] = Field(min_length=1)
    tasks: dict[Label, TaskEntry] = Field(min_length=1)
    lengths: list[Length] = Field(min_length=1, description="training sequence lengths, tokens")
    seeds: Seeds = Field(min_length=1, description="a list, or a range such as 0..4")
    training: Training = Training()
    validation: Validation = Validation()
    stopping: Stopping = Stopping()
    evaluation: Evaluated = Evaluated()
    sweep: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="settings to vary, such as training.learning_rate: [1e-3, 3e-3]; the best is "
        "selected on validation",
    )
    exclude: list[Match] = Field(default_factory=list)
    include: list[Extra] = Field(default_factory=list)
    part_seconds: float | None = Field(
        None, gt=0, description="training time of one job; what is left is resumed by the next"
    )
    checkpoint_seconds: float = Field(
        60.0, gt=0, description="time between checkpoints: what a killed job loses at most"
    )


@dataclass(frozen=True)
class Evaluation:
    """Which test examples a part is evaluated on; its name is part of the result's file name."""

    lengths: tuple[int, ...]
    examples: int

    @property
    def name(self) -> str:
        """Such as L64+128-n1000."""
        return f"L{'+'.join(map(str, self.lengths))}-n{self.examples}"

    @classmethod
    def parse(cls, name: str) -> "Evaluation":
        """The evaluation of a name; a suffix -againN counts the repetitions and is dropped.

        Raises:
            ValueError: the name is not one of ours.
        """
        match = re.fullmatch(r"L(\d+(?:\+\d+)*)-n(\d+)(?:-again\d+)?", name)
        if not match:
            raise ValueError(f"'{name}' is not an evaluation, such as L64+128-n1000")
        return cls(tuple(int(length) for length in match[1].split("+")), int(match[2]))


@dataclass(frozen=True)
class Row:
    """A cell under the labels of a study."""

    model: str
    task: str
    variant: str
    cell: Cell
    evaluation: Evaluation


def available() -> list[str]:
    """Names of the studies there are."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load(name: str) -> tuple[Study, list[Row]]:
    """The study config/studies/`name`.yaml and its grid.

    Raises:
        StudyError: something is wrong with it; one line a problem.
    """
    if name not in available():
        raise StudyError([f"study: {unknown(str(name), available(), f'a file in {STUDIES}')}"])
    path = STUDIES / f"{name}.yaml"
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise StudyError([f"{path}: a study is a mapping with the keys {_keys(Study)}"])
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, Study, f"{path}: ")) from error
    return study, _Grid(study, str(path)).rows()


def _keys(model: type[Strict]) -> str:
    return ", ".join(model.model_fields)


class _Grid:
    """Expands a study; collects every problem before it complains."""

    def __init__(self, study: Study, where: str) -> None:
        self.study, self.where = study, where
        self.problems: list[str] = []

    def rows(self) -> list[Row]:
        """All rows in the order of the study: model, task, variant, length, seed."""
        models, tasks = self._files("model"), self._files("task")
        self._fail()
        templates = self._templates(models, tasks)
        self._fail()
        rows = [row for row in self._product(templates) if not self._excluded(row)]
        rows += self._included(templates)
        self._check(rows)
        self._fail()
        return rows

    def _fail(self) -> None:
        if self.problems:
            raise StudyError(list(dict.fromkeys(f"{self.where}: {p}" for p in self.problems)))

    def _files(self, kind: registry.Kind) -> dict[str, str]:
        entries = self.study.models if kind == "model" else self.study.tasks
        files = {}
        for label, entry in entries.items():
            name = getattr(entry, kind) or label
            if name in registry.names(kind):
                files[label] = name
            else:
                key = f"{kind}s.{label}" + (f".{kind}" if getattr(entry, kind) else "")
                allowed = registry.names(kind)
                self.problems.append(f"{key}: {unknown(name, allowed, f'a {kind}')}")
        return files

    def _validated(self, record: type[Any], values: dict[str, Any], key: str) -> Any:
        try:
            return record.model_validate(values)
        except ValidationError as error:
            self.problems += explain(error, record, key)
            return None

    def _templates(
        self, model_files: dict[str, str], task_files: dict[str, str]
    ) -> dict[tuple[str, str, str], Cell]:
        """A cell for each (model, task, variant), at length 1 and seed 0."""
        templates = {}
        for label, task_label in itertools.product(model_files, task_files):
            model, task = self.study.models[label], self.study.tasks[task_label]
            for variant, swept in self._variants():
                groups: dict[str, dict[str, Any]] = {
                    "model": dict(model.settings),
                    "task": dict(task.settings),
                    "training": self._dump("training") | task.training | model.training,
                    "validation": self._dump("validation") | task.validation,
                    "stopping": self._dump("stopping") | task.stopping,
                }
                for key, value in swept.items():
                    group, _, name = key.partition(".")
                    groups[group][name] = value
                made = {
                    "model": self._validated(
                        registry.settings("model", model_files[label]),
                        groups["model"],
                        f"models.{label}.settings",
                    ),
                    "task": self._validated(
                        registry.settings("task", task_files[task_label]),
                        groups["task"],
                        f"tasks.{task_label}.settings",
                    ),
                }
                for record in (Training, Validation, Stopping):
                    group = record.__name__.lower()
                    owner = self._owner(label, task_label, group, swept)
                    made[group] = self._validated(record, groups[group], owner)
                if None not in made.values():
                    templates[label, task_label, variant] = Cell(
                        model=model_files[label],
                        model_settings=made["model"].model_dump(),
                        task=task_files[task_label],
                        task_settings=made["task"].model_dump(),
                        seqlen=1,
                        seed=0,
                        **{group: made[group] for group in ("training", "validation", "stopping")},
                    )
        return templates

    def _dump(self, group: str) -> dict[str, Any]:
        return getattr(self.study, group).model_dump()

    def _owner(self, label: str, task_label: str, group: str, swept: dict[str, Any]) -> str:
        """The place in the file a group's values most likely come from."""
        if any(key.startswith(f"{group}.") for key in swept):
            return f"sweep.{group}"
        if group == "training" and self.study.models[label].training:
            return f"models.{label}.{group}"
        return f"tasks.{task_label}.{group}"

    def _variants(self) -> Iterator[tuple[str, dict[str, Any]]]:
        groups = ("model", "task", "training", "validation", "stopping")
        for key, values in self.study.sweep.items():
            if key.partition(".")[0] not in groups or "." not in key:
                allowed = ", ".join(f"{group}.<key>" for group in groups)
                self.problems.append(f"sweep.{key}: what is swept is one of {allowed}")
                return
            if not values:
                self.problems.append(f"sweep.{key}: an empty list leaves no cell")
        keys = list(self.study.sweep)
        for values in itertools.product(*self.study.sweep.values()):
            swept = dict(zip(keys, values, strict=True))
            text = ", ".join(f"{key.partition('.')[2]}={value}" for key, value in swept.items())
            yield text, swept

    def _row(self, key: tuple[str, str, str], template: Cell, seqlen: int, seed: int) -> Row:
        task = self.study.tasks[key[1]]
        beyond = task.evaluation_lengths
        lengths = self.study.evaluation.lengths if beyond is None else beyond
        evaluation = Evaluation(tuple(sorted({seqlen, *lengths})), self.study.evaluation.examples)
        cell = template.model_copy(update={"seqlen": seqlen, "seed": seed})
        return Row(key[0], key[1], key[2], cell, evaluation)

    def _product(self, templates: dict[tuple[str, str, str], Cell]) -> Iterator[Row]:
        for key, template in templates.items():
            lengths = self.study.tasks[key[1]].lengths or self.study.lengths
            for seqlen, seed in itertools.product(lengths, self.study.seeds):
                yield self._row(key, template, seqlen, seed)

    def _excluded(self, row: Row) -> bool:
        values = {
            "model": row.model, "task": row.task, "seqlen": row.cell.seqlen, "seed": row.cell.seed
        }  # fmt: skip
        return any(
            all(values[k] == v for k, v in match.model_dump(exclude_none=True).items())
            for match in self.study.exclude
        )

    def _included(self, templates: dict[tuple[str, str, str], Cell]) -> list[Row]:
        rows = []
        for number, extra in enumerate(self.study.include):
            found = [k for k in templates if k[:2] == (extra.model, extra.task)]
            for what, entries in (("model", self.study.models), ("task", self.study.tasks)):
                if getattr(extra, what) not in entries:
                    text = unknown(getattr(extra, what), list(entries), f"a {what} of this study")
                    self.problems.append(f"include.{number}.{what}: {text}")
            for key, seqlen, seed in itertools.product(found, extra.lengths, extra.seeds):
                rows.append(self._row(key, templates[key], seqlen, seed))
        return rows

    def _check(self, rows: list[Row]) -> None:
        for number, match in enumerate(self.study.exclude):
            for what, entries in (("model", self.study.models), ("task", self.study.tasks)):
                value = getattr(match, what)
                if value is not None and value not in entries:
                    text = unknown(value, list(entries), f"a {what} of this study")
                    self.problems.append(f"exclude.{number}.{what}: {text}")
            if match == Match():
                self.problems.append(f"exclude.{number}: give at least one of {_keys(Match)}")
        if not rows and not self.problems:
            self.problems.append("exclude: it leaves no cell at all")
        seen: dict[str, Row] = {}
        for row in rows:
            other = seen.setdefault(row.cell.path, row)
            if other is not row:
                self.problems.append(
                    f"duplicated cell: {_describe(other)} and {_describe(row)} are the same "
                    f"training ({row.cell.path})"
                )
        possible: dict[tuple[str, int], str | None] = {}
        for row in rows:
            for seqlen in row.evaluation.lengths:
                key = (row.task, seqlen)
                if key not in possible:
                    record = registry.settings("task", row.cell.task)
                    possible[key] = record(**row.cell.task_settings).impossible(seqlen)
                if reason := possible[key]:
                    trained = row.cell.seqlen == seqlen
                    source = "lengths" if trained else "evaluation.lengths"
                    self.problems.append(
                        f"{source}: {row.task} does not exist at length {seqlen}: {reason}; leave "
                        f"the length out, or set tasks.{row.task}."
                        f"{'lengths' if trained else 'evaluation_lengths'}"
                    )


def _describe(row: Row) -> str:
    parts = [row.model, row.task, f"L{row.cell.seqlen}", f"seed {row.cell.seed}", row.variant]
    return " ".join(part for part in parts if part)
