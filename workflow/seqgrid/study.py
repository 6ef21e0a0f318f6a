"""A study: one question, one grid, one report. Its YAML file becomes rows, each a cell."""

import re
from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from seqgrid.grid import Grid
from seqgrid.rows import Evaluation, Row
from seqgrid.study_file import StudyError, explain, read_yaml, unknown
from seqgrid.study_schema import Study

__all__ = ["STUDIES", "Evaluation", "Row", "Study", "available", "load"]

STUDIES = Path("config/studies")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # it becomes part of paths and commands


def available() -> list[str]:
    """Names of the studies there are."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load(name: str, only: Collection[str] | None = None) -> tuple[Study, list[Row]]:
    """The study config/studies/`name`.yaml and its grid.

    Args:
        name: of the file.
        only: task files; the tasks of others are left out. None: all tasks.

    Raises:
        StudyError: something is wrong with it; one line a problem.
    """
    if name not in available():
        raise StudyError([f"study: {unknown(str(name), available(), f'a file in {STUDIES}')}"])
    if not NAME.fullmatch(name):
        raise StudyError([f"study: '{name}' is not a name of letters, digits, '.', '_' and '-'"])
    path = STUDIES / f"{name}.yaml"
    content = read_yaml(path)
    if not isinstance(content, dict):
        what = "the file is empty" if content is None else f"it is {content!r:.60}"
        keys = ", ".join(Study.model_fields)
        raise StudyError([f"{path}: a study is a mapping with the keys {keys}; {what}"])

    def place(location: list) -> str:
        return ": ".join(filter(None, [str(path), ".".join(map(str, location))]))

    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, Study, place)) from error
    if only is not None:
        study = _with_tasks(
            study, {t for t, entry in study.tasks.items() if (entry.task or t) in only}
        )
    return study, Grid(study, str(path)).rows() if study.tasks else []


def _with_tasks(study: Study, labels: set[str]) -> Study:
    """The study of these tasks alone, with the models that they are for."""
    tasks = {label: entry for label, entry in study.tasks.items() if label in labels}
    models = {m for entry in tasks.values() for m in entry.models or study.models}
    changes = {
        "tasks": tasks,
        "models": {label: entry for label, entry in study.models.items() if label in models},
        "expect": [entry for entry in study.expect if entry.task in labels],
        # Statements about the whole study are not made of a part of it.
        **{"groups": {}, "compare": {}, "claims": [], "gates": [], "published": []},
    }
    return study.model_copy(update=changes)
