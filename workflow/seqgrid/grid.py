"""From a study to its rows: each a cell, under the labels the study gives it."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from seqgrid import (
    expectation,
    registry,
    sizing,
    statement_problems,
    statement_values,
    task_metrics,
)
from seqgrid.cell import Cell
from seqgrid.rows import Evaluation, Row
from seqgrid.statement_places import Scores, Spot, misplaced
from seqgrid.statement_variants import respell
from seqgrid.study_file import StudyError, unknown
from seqgrid.study_schema import Match, Study
from seqgrid.templates import Key, Templates, runs

LONGEST_NAME = 200  # bytes in an evaluation's name; file systems allow 255 in a file's


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
        made = Templates(self.study, files, self.problems)
        made.check()
        self._fail()
        templates = made.cells()
        self._fail()
        rows = self._product(templates)
        self._check_excluded(rows)
        # A row and the key path that its length was written under.
        kept = [(row, origin) for row, origin in rows if not self._excluded(row)]
        kept += self._included(templates)
        if not kept and not self.problems:
            self.problems.append("exclude: it leaves no cell at all")
        self._check_lengths(kept)
        spots = list(dict.fromkeys(Spot.of(row) for row, _ in kept))
        if respell(self.study, spots):  # sides may turn out to be the same
            self.problems += statement_problems.problems(self.study)
        self.problems += misplaced(
            self.study,
            spots,
            {task: Scores.of(name) for task, name in files["task"].items()},
        )
        rows = self._sized([row for row, _ in kept])
        self._check_doubled(rows)
        self._fail()
        return rows

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

    def _row(self, key: Key, template: Cell, seqlen: int, seed: int) -> Row:
        beyond = self.study.tasks[key[1]].evaluation_lengths
        lengths = self.study.evaluation.lengths if beyond is None else beyond
        evaluation = Evaluation(tuple(sorted({seqlen, *lengths})), self.study.evaluation.examples)
        cell = template.model_copy(update={"seqlen": seqlen, "seed": seed})
        return Row(*key, cell, evaluation)

    def _product(self, templates: dict[Key, Cell]) -> list[tuple[Row, str]]:
        rows = []
        for key, template in templates.items():
            if not runs(self.study, *key[:2]):
                continue
            task = self.study.tasks[key[1]]
            origin = f"tasks.{key[1]}.lengths" if task.lengths else "lengths"
            lengths, seeds = task.lengths or self.study.lengths, task.seeds or self.study.seeds
            for seqlen, seed in itertools.product(lengths, seeds):
                rows.append((self._row(key, template, seqlen, seed), origin))
        return rows

    def _sized(self, rows: list[Row]) -> list[Row]:
        """The rows with the models of `size_to` at their size; nothing where there are mistakes."""
        wanted = {m: e.size_to for m, e in self.study.models.items() if e.size_to}
        if self.problems:
            return [row for row in rows if row.model not in wanted]
        sizes, found = sizing.Sizes(), []
        for row in rows:
            if size_to := wanted.get(row.model):
                try:
                    settings = sizes.settings(row.cell, size_to)
                except sizing.Unreachable as error:
                    where = f"{row.task} at length {row.cell.seqlen}"
                    self.problems.append(f"models.{row.model}.size_to: on {where} {error}")
                    continue
                row = replace(row, cell=row.cell.model_copy(update={"model_settings": settings}))
            found.append(row)
        sizes.save()
        return found

    def _excluded(self, row: Row) -> bool:
        return any(_matches(match, row) for match in self.study.exclude)

    def _included(self, templates: dict[Key, Cell]) -> Iterator[tuple[Row, str]]:
        for number, extra in enumerate(self.study.include):
            found = [key for key in templates if key[:2] == (extra.model, extra.task)]
            for key, seqlen, seed in itertools.product(found, extra.lengths, extra.seeds):
                yield self._row(key, templates[key], seqlen, seed), f"include.{number}.lengths"

    # -- mistakes ------------------------------------------------------------------------------

    def _check_labels(self) -> None:
        models, tasks = list(self.study.models), self.study.tasks
        for label, task in tasks.items():
            for value in sorted({*(task.models or ())} - {*models}):
                text = unknown(value, models, "a model of this study")
                self.problems.append(f"tasks.{label}.models: {text}")
        self.problems += expectation.problems(self.study.expect, models, list(tasks))
        self.problems += statement_problems.problems(self.study)
        judged = {label: task_metrics.judged(t.task or label) for label, t in tasks.items()}
        self.problems += statement_values.problems(self.study, judged)
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
