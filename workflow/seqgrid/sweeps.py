"""What varies within a study: the variants of a model on a task, from which one is selected."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seqgrid.study_file import unknown
from seqgrid.study_schema import SWEPT

RATE = "training.learning_rate"


@dataclass(frozen=True)
class Swept:
    """The values of one swept setting, and the key path in the file that gives them."""

    values: list[Any]
    origin: str


@dataclass(frozen=True)
class Variant:
    """One combination of swept values, by key such as training.learning_rate."""

    words: str
    values: dict[str, Any]


def problems(sweep: Mapping[str, list[Any]], owner: str) -> Iterator[str]:
    """Mistakes in a `sweep`; `owner` is its key path."""
    # Not tasks: each has levels of its own, and selecting the easier of two is no selection.
    groups = ("model", *SWEPT)
    for key, values in sweep.items():
        group, _, name = key.partition(".")
        if group not in groups or not name:
            allowed = ", ".join(f"{group}.KEY" for group in groups)
            yield f"{owner}.{key}: what is swept is one of {allowed}"
        elif group in SWEPT and name not in SWEPT[group].model_fields:
            allowed = list(SWEPT[group].model_fields)
            yield f"{owner}.{key}: {unknown(name, allowed, f'a key of {group}')}"
        if not values:
            yield f"{owner}.{key}: an empty list leaves no cell"
        for value in values:
            if values.count(value) > 1:
                yield f"{owner}.{key}: {value!r} stands there more than once"


def merged(*sweeps: tuple[Mapping[str, list[Any]], str]) -> dict[str, Swept]:
    """Sweeps with their key paths as one: a key of a later one replaces that of an earlier one."""
    return {
        key: Swept(list(values), f"{owner}.{key}")
        for sweep, owner in sweeps
        for key, values in sweep.items()
    }


def variants(sweep: Mapping[str, Swept]) -> list[Variant]:
    """Every combination of swept values, with the words for it; one where nothing is swept."""
    found = []
    for values in itertools.product(*(swept.values for swept in sweep.values())):
        chosen = dict(zip(sweep, values, strict=True))
        words = ", ".join(f"{key.partition('.')[2]}={value}" for key, value in chosen.items())
        found.append(Variant(words, chosen))
    return found
