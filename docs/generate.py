"""`python docs/generate.py`: write the reference parts of the pages anew.

Whatever stands above the marker of a page is written by hand and stays.
"""

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import model_pages
import task_pages
import verdict_examples
from pydantic import BaseModel
from record_tables import section, table

from seqgrid import (
    cell,
    deaths,
    expectation,
    registry,
    settings,
    statements,
    study_schema,
    tables,
    thresholds,
)

DOCS = Path(__file__).parent
TESTS = DOCS.parent / "tests"
MARKER = "<!-- from here on: python docs/generate.py -->\n"

# Heading, record, and where in the file its keys stand.
RECORDS: list[tuple[str, type[BaseModel], str]] = [
    ("The file", study_schema.Study, "at the top"),
    ("models", study_schema.ModelEntry, "under `models.LABEL`"),
    ("size_to", study_schema.SizeTo, "under `models.LABEL.size_to`"),
    ("tasks", study_schema.TaskEntry, "under `tasks.LABEL`"),
    ("training", cell.Training, "under `training`, and as overrides under a model or task"),
    ("validation", cell.Validation, "under `validation`, and as overrides under a task"),
    ("stopping", cell.Stopping, "under `stopping`, and as overrides under a task"),
    ("compute", cell.Compute, "under `compute`, and as overrides under a model or task"),
    ("evaluation", study_schema.Evaluated, "under `evaluation`"),
    ("include", study_schema.Extra, "in each entry of `include`"),
    ("exclude", study_schema.Match, "in each entry of `exclude`"),
    ("expect", expectation.Expectation, "in each entry of `expect`"),
    ("compare", statements.Comparison, "under `compare.NAME`"),
    ("a side of a comparison", statements.Side, "under `compare.NAME.a` and `.b`"),
    ("where a comparison is made", statements.On, "under `compare.NAME.on`"),
    ("claims", statements.Claim, "in each entry of `claims`"),
    ("the place of a claim", statements.Place, "under `place` of an entry of `claims`"),
    ("the course of a claim", statements.Along, "under `scaling` of an entry of `claims`"),
    ("gates", statements.Gate, "in each entry of `gates`"),
    ("published", statements.Published, "in each entry of `published`"),
    ("thresholds", thresholds.Thresholds, "under `thresholds`"),
]
TABLES = {
    "cells": "One row a cell: how it stands, what it cost, where it comes from.",
    "parts": "One row a part of a cell's training.",
    "history": "One row a validation during training.",
    "evaluations": "One row a metric, evaluated length and set of weights of a cell.",
    "levels": "What a score means: chance, shortcuts, ceiling and the threshold of success.",
    "summary": "One row a model, task, length and metric, over seeds.",
    "verdicts": "One row a statement of the report, with its rule and its evidence.",
    "expectations": "One row a verdict that the study expects: whether it was met.",
    "gates": "One row a gate of the study and length: whether a known model is in its band.",
    "controls": "One row a control of the task files that the study uses: whether it passed.",
    "inventory": "Of a study run elsewhere: one row a run, as the study itself speaks of it.",
    "reported": "Of a study run elsewhere: one row a number that only its report has.",
    "across": "One row a model: the interquartile mean over all tasks and lengths.",
    "comparisons": "One row a declared comparison and place, and one for all its places.",
    "scaling": "One row a model and task: how scores go with the length, against the ceiling.",
    "survival": "Kaplan-Meier curves of steps to solve: one row a step at which a seed ended.",
    "convergence": "One row a model, task and length, and one for all models there.",
    "claims": "One row a claim of the study: whether it is supported.",
    "published": "One row a number from elsewhere, beside ours.",
    "advice": "One row a piece of advice, with the rule that fired and the command.",
    "history_file": "`part*/history.parquet` of a cell: one row a validation.",
    "evaluation_file": "`part*/evaluation-*.parquet` of a cell: one row a test example.",
}


def main() -> int:
    """Entry point; returns the exit status."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    task_pages.FOLDER.mkdir(exist_ok=True)
    for name in task_pages.names():
        (task_pages.FOLDER / f"{name}.md").write_text(task_page(name), encoding="utf-8")
        (task_pages.FOLDER / f"{name}.svg").write_bytes(task_pages.svg(name))
    return 0


def pages() -> dict[Path, str]:
    """The pages as they should be."""
    found = {}
    made = {
        "study.md": study_reference(),
        "tables.md": tables_reference(),
        "verdicts.md": verdict_examples.reference(),
        "outcomes.md": deaths_reference(),
        "faults.md": faults_reference(),
        "tasks.md": tasks_reference(),
        "models.md": models_reference(),
    }
    for name, lines in made.items():
        path = DOCS / name
        head, marker, _ = path.read_text(encoding="utf-8").partition(MARKER)
        if not marker:
            raise ValueError(f"{path}: lacks the line {MARKER.strip()}")
        found[path] = head + marker + "\n".join(["", *lines]) + "\n"
    return found


def task_page(name: str) -> str:
    """The page of a task."""
    record = registry.settings("task", name)
    where = f"Keys under `tasks.LABEL.settings` of a study that names {name}."
    return task_pages.page(name, [*section("", where, record, ())])


def tasks_reference() -> Iterator[str]:
    """The index of the tasks."""
    rows = []
    for name in registry.names("task"):
        about = ast.get_docstring(ast.parse((registry.FOLDERS["task"] / f"{name}.py").read_text()))
        rows.append((f"[{name}](tasks/{name}.md)", (about or "").splitlines()[0]))
    yield from table(("task", "what it asks"), rows)


def models_reference() -> Iterator[str]:
    """The card of every model."""
    base = set(settings.BackboneSettings.model_fields)
    for name in registry.names("model"):
        record = registry.settings("model", name)
        besides = issubclass(record, settings.BackboneSettings)
        where = f"Settings{' besides those of [the backbone](study.md)' * besides}:"
        known = base if besides else set()
        yield from model_pages.card(name, [*section("", where, record, known)])


def study_reference() -> Iterator[str]:
    """Every key of a study, record by record."""
    for title, record, where in RECORDS:
        yield from section(f"### {title}", f"Keys {where}.", record, ())
    base = settings.BackboneSettings
    where = (
        "Keys under `models.LABEL.settings` that every model on the shared backbone has; "
        "those with a whole model of their own list all of theirs."
    )
    yield from section("### Settings of every model", where, base, ())
    for kind in ("model", "task"):
        for name in registry.names(kind):
            record = registry.settings(kind, name)
            known = set(base.model_fields) if issubclass(record, base) else set()
            where = f"Keys under `{kind}s.LABEL.settings`" + (" besides those." if known else ".")
            yield from section(f"### Settings of the {kind} {name}", where, record, known)


def tables_reference() -> Iterator[str]:
    """Every column of every table."""
    for name, columns in tables.TABLES.items():
        yield from (f"## {name}", "", TABLES[name], "")
        yield from table(
            ("column", "type", "meaning"), [(f"`{n}`", str(t), about) for n, t, about in columns]
        )
        yield ""


def deaths_reference() -> Iterator[str]:
    """How many deaths in a row are enough, kind by kind."""
    rows = [
        (kind.name, ", ".join(f"`{s}`" for s in kind.states), str(kind.limit), kind.advice)
        for kind in deaths.POLICY
    ]
    yield from ("## How many deaths are enough", "")
    yield from table(("kind", "states", "in a row without a step of progress", "then"), rows)


def faults_reference() -> Iterator[str]:
    """Every row of the fault table, as the tests assert it."""
    sys.path.insert(0, str(TESTS))
    rows = [
        row
        for name in ("faults", "faults_slurm")
        for row in runpy.run_path(str(TESTS / f"{name}.py"))["ROWS"]
    ]
    titles = {"process": "## On any machine", "slurm": "## On SLURM"}
    head = ("what is done", "what the user sees", "what is lost", "what happens next", "run with")
    for where, title in titles.items():
        found = [row for row in rows if row.where == where]
        if found:
            yield from (title, "")
            yield from table(head, [(r.done, f"`{r.sees}`", r.lost, r.then, r.how) for r in found])
            yield ""


if __name__ == "__main__":
    sys.exit(main())
