"""The settings that a published number says it was made with, held against those of our cells."""

import json
from math import isclose
from typing import Any

RECORDS = {"model": "model_settings", "task": "task_settings"}  # others are named as in a study
# What moves a score most: where nothing is said of them, that is said.
STANDARD = (
    "training.steps",
    "training.batch_size",
    "training.examples",
    "training.learning_rate",
    "training.schedule",
)


def held(said: dict, cells: list[dict]) -> tuple[list[str], list[str], list[str]]:
    """The settings that are the same, those that differ, and those nobody can hold together."""
    ours = [_read(cell) for cell in cells]
    same, different, unknown = [], [], []
    for key, theirs in said.items():
        found = [_lookup(settings, key) for settings in ours]
        first = found[0] if found else None
        if first is None or any(other != first for other in found):
            unknown.append(f"{key}: {_word(theirs)} there")
        elif equal(first[0], theirs):
            same.append(f"{key}: {_word(theirs)}")
        else:
            different.append(f"{key}: {_word(theirs)} there, {_word(first[0])} here")
    unknown += [f"{key}: not said there" for key in STANDARD if key not in said]
    return same, different, unknown


def _read(cell: dict) -> dict:
    try:
        found = json.loads(cell["settings"] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lookup(settings: dict, key: str) -> tuple[Any] | None:
    """The value of a dotted key in a tuple of one, as it can be null; None where there is none."""
    group, _, name = key.partition(".")
    record = settings.get(RECORDS.get(group, group))
    return (record[name],) if isinstance(record, dict) and name in record else None


def equal(a: Any, b: Any) -> bool:
    """Whether two settings say the same; a number may stand as text."""
    one, other = _number(a), _number(b)
    return a == b if one is None or other is None else isclose(one, other, rel_tol=1e-9)


def _number(value: Any) -> float | None:
    """The number that a value is, or that it is the text of; None where it is neither."""
    if type(value) not in (int, float, str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _word(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
