"""From a study to its rows: each a cell, under the labels the study gives it."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from seqgrid import expectation, registry
from seqgrid.cell import Cell
from seqgrid.rows import Evaluation, Row
from seqgrid.settings import Strict
from seqgrid.study_file import StudyError, explain, unknown
from seqgrid.study_schema import SWEPT, Match, Study

LONGEST_NAME = 200  # bytes in an evaluation's name; file systems allow 255 in a file's
Key = tuple[str, str, str]  # labels of model and task, and the variant


@dataclass
class _Values:
    """Values of one group of settings, and where in the file each was written."""

    owner: str  # key path of the group
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def update(self, values: dict[str, Any], origin: str) -> None:
        """Values that win over those before; `origin` is the key path of the mapping."""
        self.values |= values
        self.origins |= {key: f"{origin}.{key}" for key in values}

    def place(self, location: list[Any]) -> str:
        """Key path in the file of a location inside the group."""
        if not location:
            return self.owner
        first = self.origins.get(location[0], f"{self.owner}.{location[0]}")
        return ".".join([first, *map(str, location[1:])])


class Grid:
    """Expands a study; collects every problem before it complains."""

    def __init__(self, study: Study, where: str) -> None:
        self.study, self.where = study, where
        self.problems: list[str] = []

    def rows(self) -> list[Row]:
        """All rows in the order of the study: model, task, variant, length, seed.

        Raises:
            StudyError: the grid is empty, doubled or impossible somewhere.
        """
        files = {kind: self._files(kind) for kind in ("model", "task")}
        self._check_labels()
        self._fail()
        variants = self._variants()
        self._fail()
        templates = self._templates(files["model"], files["task"], variants)
        self._fail()
        rows = self._product(templates)
        self._check_excluded(rows)
        # A row and the key path that its length was written under.
        kept = [(row, origin) for row, origin in rows if not self._excluded(row)]
        kept += self._included(templates)
        if not kept and not self.problems:
            self.problems.append("exclude: it leaves no cell at all")
        self._check_doubled([row for row, _ in kept])
        self._check_lengths(kept)
        self.problems += expectation.misplaced(self.study.expect, [row for row, _ in kept])
        self._fail()
        return [row for row, _ in kept]

    def _fail(self) -> None:
        if self.problems:
            raise StudyError(list(dict.fromkeys(f"{self.where}: {p}" for p in self.problems)))

    def _files(self, kind: registry.Kind) -> dict[str, str]:
        """Label -> file, for the models or tasks of the study."""
        entries = self.study.models if kind == "model" else self.study.tasks
        files = {}
        for label, entry in entries.items():
            name = getattr(entry, kind) or label
            key = f"{kind}s.{label}" + (f".{kind}" if getattr(entry, kind) else "")
            allowed = registry.names(kind)
            if name not in allowed:
                self.problems.append(f"{key}: {unknown(name, allowed, f'a {kind}')}")
                continue
            try:
                registry.settings(kind, name)
                files[label] = name
            except registry.RegistryError as error:
                self.problems.append(f"{key}: {error}")
        return files

    def _variants(self) -> list[tuple[str, dict[str, Any]]]:
        """Every combination of swept settings, with the words for it."""
        # Not tasks: each has levels of its own, and selecting the easier of two is no selection.
        groups = ("model", *SWEPT)
        for key, values in self.study.sweep.items():
            group, _, name = key.partition(".")
            if group not in groups or not name:
                allowed = ", ".join(f"{group}.KEY" for group in groups)
                self.problems.append(f"sweep.{key}: what is swept is one of {allowed}")
            elif group in SWEPT and name not in SWEPT[group].model_fields:
                allowed = list(SWEPT[group].model_fields)
                self.problems.append(f"sweep.{key}: {unknown(name, allowed, f'a key of {group}')}")
            if not values:
                self.problems.append(f"sweep.{key}: an empty list leaves no cell")
            for value in values:
                if values.count(value) > 1:
                    self.problems.append(f"sweep.{key}: {value!r} stands there more than once")
        keys = list(self.study.sweep)
        found = []
        for values in itertools.product(*self.study.sweep.values()):
            swept = dict(zip(keys, values, strict=True))
            text = ", ".join(f"{key.partition('.')[2]}={value}" for key, value in swept.items())
            found.append((text, swept))
        return found

    def _templates(
        self,
        model_files: dict[str, str],
        task_files: dict[str, str],
        variants: list[tuple[str, dict[str, Any]]],
    ) -> dict[Key, Cell]:
        """A cell for each (model, task, variant), at length 1 and seed 0."""
        templates = {}
        extra = {(entry.model, entry.task) for entry in self.study.include}
        for label, task_label in itertools.product(model_files, task_files):
            if not self._runs(label, task_label) and (label, task_label) not in extra:
                continue
            files = {"model": model_files[label], "task": task_files[task_label]}
            records = {kind: registry.settings(kind, name) for kind, name in files.items()} | SWEPT
            for variant, swept in variants:
                groups = self._groups(label, task_label)
                for key, value in swept.items():
                    group, _, name = key.partition(".")
                    who = {"model": f" for {label}", "task": f" for {task_label}"}.get(group, "")
                    groups[group].values[name] = value
                    groups[group].origins[name] = f"sweep.{key}{who}"
                made = {name: self._made(records[name], groups[name]) for name in groups}
                if made["task"] and made["model"]:
                    self._check_sight(label, task_label, made["model"], made["task"])
                if None not in made.values():
                    templates[label, task_label, variant] = Cell(
                        model=files["model"],
                        model_settings=made["model"].model_dump(),
                        task=files["task"],
                        task_settings=made["task"].model_dump(),
                        seqlen=1,
                        seed=0,
                        **{group: made[group] for group in SWEPT},
                    )
        return templates

    def _check_sight(self, label: str, task_label: str, model: Any, task: Any) -> None:
        if task.next_token and model.reads_ahead:
            self.problems.append(
                f"models.{label}.settings: a model that reads ahead sees the answers of "
                f"{task_label}, which are the tokens after; make it causal, or leave it out with "
                f"tasks.{task_label}.models"
            )

    def _groups(self, label: str, task_label: str) -> dict[str, _Values]:
        """The settings of a model on a task: the study's, then the task's, then the model's."""
        model, task = self.study.models[label], self.study.tasks[task_label]
        here, there = f"models.{label}", f"tasks.{task_label}"
        found = {"model": _Values(f"{here}.settings"), "task": _Values(f"{there}.settings")}
        found["model"].update(model.settings, f"{here}.settings")
        found["task"].update(task.settings, f"{there}.settings")
        for group in SWEPT:
            found[group] = _Values(group)
            found[group].update(getattr(self.study, group).model_dump(), group)
            found[group].update(getattr(task, group), f"{there}.{group}")
        for group in ("training", "compute"):
            found[group].update(getattr(model, group), f"{here}.{group}")
        return found

    def _made(self, record: type[Strict], group: _Values) -> Any:
        try:
            return record.model_validate(group.values)
        except ValidationError as error:
            self.problems += explain(error, record, group.place)
            return None

    def _row(self, key: Key, template: Cell, seqlen: int, seed: int) -> Row:
        beyond = self.study.tasks[key[1]].evaluation_lengths
        lengths = self.study.evaluation.lengths if beyond is None else beyond
        evaluation = Evaluation(tuple(sorted({seqlen, *lengths})), self.study.evaluation.examples)
        cell = template.model_copy(update={"seqlen": seqlen, "seed": seed})
        return Row(*key, cell, evaluation)

    def _product(self, templates: dict[Key, Cell]) -> list[tuple[Row, str]]:
        rows = []
        for key, template in templates.items():
            if not self._runs(*key[:2]):
                continue
            task = self.study.tasks[key[1]]
            origin = f"tasks.{key[1]}.lengths" if task.lengths else "lengths"
            lengths, seeds = task.lengths or self.study.lengths, task.seeds or self.study.seeds
            for seqlen, seed in itertools.product(lengths, seeds):
                rows.append((self._row(key, template, seqlen, seed), origin))
        return rows

    def _runs(self, model: str, task: str) -> bool:
        """Whether a model runs on a task, by label."""
        return model in (self.study.tasks[task].models or self.study.models)

    def _excluded(self, row: Row) -> bool:
        return any(_matches(match, row) for match in self.study.exclude)

    def _included(self, templates: dict[Key, Cell]) -> Iterator[tuple[Row, str]]:
        for number, extra in enumerate(self.study.include):
            found = [key for key in templates if key[:2] == (extra.model, extra.task)]
            for key, seqlen, seed in itertools.product(found, extra.lengths, extra.seeds):
                yield self._row(key, templates[key], seqlen, seed), f"include.{number}.lengths"

    # -- mistakes ------------------------------------------------------------------------------

    def _check_labels(self) -> None:
        models, tasks = list(self.study.models), list(self.study.tasks)
        for label, task in self.study.tasks.items():
            for value in sorted({*(task.models or ())} - {*models}):
                text = unknown(value, models, "a model of this study")
                self.problems.append(f"tasks.{label}.models: {text}")
        self.problems += expectation.problems(self.study.expect, models, tasks)
        for key in ("include", "exclude"):
            for number, entry in enumerate(getattr(self.study, key)):
                for what, allowed in (("model", self.study.models), ("task", self.study.tasks)):
                    value = getattr(entry, what)
                    if value is not None and value not in allowed:
                        text = unknown(value, list(allowed), f"a {what} of this study")
                        self.problems.append(f"{key}.{number}.{what}: {text}")

    def _check_excluded(self, rows: list[tuple[Row, str]]) -> None:
        for number, match in enumerate(self.study.exclude):
            if match == Match():
                allowed = ", ".join(Match.model_fields)
                self.problems.append(f"exclude.{number}: give at least one of {allowed}")
            elif not any(_matches(match, row) for row, _ in rows):
                given = ", ".join(
                    f"{k} {v}" for k, v in match.model_dump(exclude_none=True).items()
                )
                self.problems.append(
                    f"exclude.{number}: no cell of the study has {given}; leave the entry out"
                )

    def _check_doubled(self, rows: list[Row]) -> None:
        seen: dict[str, Row] = {}
        doubled: dict[tuple[Key, Key], list[Row]] = defaultdict(list)
        for row in rows:
            other = seen.setdefault(row.cell.path, row)
            if other is not row:
                doubled[_key(other), _key(row)].append(row)
        for (first, second), found in doubled.items():
            if first == second:
                key = "include"
            elif first[0] != second[0]:
                key = f"models.{second[0]}"
            else:
                key = f"tasks.{second[1]}" if first[1] != second[1] else "sweep"
            one, two = (" ".join(filter(None, labels)) for labels in (first, second))
            example = f"L{found[0].cell.seqlen} seed {found[0].cell.seed}"
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            text = (
                f"is there twice ({example}{more})"
                if first == second
                else (f"and {one} are the same training ({example}{more}); leave one of them out")
            )
            self.problems.append(f"{key}: duplicated cell: {two} {text}")

    def _check_lengths(self, rows: list[tuple[Row, str]]) -> None:
        possible: dict[tuple[str, str, int], str | None] = {}
        for row, origin in rows:
            if len(row.evaluation.name) > LONGEST_NAME:
                self.problems.append(f"{self._beyond(row)}: too many lengths for a file's name")
            others = sorted({*row.evaluation.lengths} - {row.cell.seqlen})
            if others and not registry.settings("task", row.cell.task).any_length:
                self.problems.append(
                    f"{self._beyond(row)}: a model of {row.task} is of one length, and cannot be "
                    f"tested at {', '.join(map(str, others))}; set "
                    f"tasks.{row.task}.evaluation_lengths: []"
                )
            for seqlen in row.evaluation.lengths:
                key = (row.task, row.variant, seqlen)
                if key not in possible:
                    record = registry.settings("task", row.cell.task)
                    try:
                        possible[key] = record(**row.cell.task_settings).impossible(seqlen)
                    except Exception as error:
                        words = f"its Settings.impossible fails ({type(error).__name__}: {error})"
                        possible[key] = (
                            f"{words}; it may use only {', '.join(sorted(registry.LIGHT))}"
                        )
                if reason := possible[key]:
                    trained = row.cell.seqlen == seqlen
                    remedy = f"tasks.{row.task}.{'lengths' if trained else 'evaluation_lengths'}"
                    self.problems.append(
                        f"{origin if trained else self._beyond(row)}: {row.task} does not exist "
                        f"at length {seqlen}: {reason}; or leave the length out, or set {remedy}"
                    )

    def _beyond(self, row: Row) -> str:
        """Where the lengths of a row's evaluation are written."""
        own = self.study.tasks[row.task].evaluation_lengths is not None
        return f"tasks.{row.task}.evaluation_lengths" if own else "evaluation.lengths"


def _key(row: Row) -> Key:
    return row.model, row.task, row.variant


def _matches(match: Match, row: Row) -> bool:
    values = {
        "model": row.model, "task": row.task, "seqlen": row.cell.seqlen, "seed": row.cell.seed
    }  # fmt: skip
    given = match.model_dump(exclude_none=True)
    return all(values[key] == value for key, value in given.items())
