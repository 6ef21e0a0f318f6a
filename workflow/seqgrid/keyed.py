"""Rows of two tables side by side: by their keys, as flat mappings, as words."""

import json
import math
from collections.abc import Iterable
from typing import Any


def by(rows: Iterable[dict], keys: tuple[str, ...]) -> dict[tuple, dict]:
    """Rows by the values of their keys."""
    return {tuple(row[key] for key in keys): row for row in rows}


def both(a: dict, b: dict) -> list:
    """Keys of either, in the order of the first, then what only the second has."""
    return list(dict.fromkeys([*a, *b]))


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings with dotted keys; an empty mapping, like a list, is a value."""
    if not isinstance(value, dict) or not value:
        return {name: value}
    found: dict[str, Any] = {}
    for key, entry in value.items():
        found |= flat(entry, f"{name}.{key}" if name else str(key))
    return found


def same(x: Any, y: Any) -> bool:
    """Whether two values are equal; a NaN equals a NaN."""
    if isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y):
        return True
    return x == y


def unpacked(value: Any) -> Any:
    """What a JSON text holds; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, dict) else value


def word(value: Any) -> str:
    """A setting as tables print it."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def words(key: tuple) -> list[str]:
    """The values of a key, one a column."""
    return ["" if value is None else str(value) for value in key]
