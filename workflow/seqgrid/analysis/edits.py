"""What advice is carried out with: commands to paste, and changes of a study's file.

A change is a mapping of the keys to set in config/studies/NAME.yaml, each list whole. Its keys are
those that add cells and leave all others as they are: `include` for seeds, a swept value that
stands beside the present ones, a task label of its own for another budget of steps.
"""

import shlex
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import yaml


def run(study: str, cell: str | None = None, rerun: str | None = None) -> str:
    """The command that makes what a study lacks, or some of its cells, or cells again."""
    words = [f"snakemake --config study={shlex.quote(study)}"]
    if cell is not None:
        words.append(f"cell={shlex.quote(cell)}")
    if rerun is not None:
        words.append(f"rerun={rerun}")
    return " ".join(words)


def pattern(path: str) -> str:
    """The cells of a path's model, task, length and settings, whatever their seeds."""
    folder, _, name = path.rpartition("/")
    fingerprint = name.partition("-")[2]
    return f"{folder}/seed*-{fingerprint}"


def place(path: str) -> str:
    """The cells of a path's model, task and length, whatever their settings."""
    return f"{path.rpartition('/')[0]}/*"


def merged(*changes: dict[str, Any]) -> dict[str, Any]:
    """Several changes as one: mappings key by key, lists united, numbers in their order."""
    found: dict[str, Any] = {}
    for change in changes:
        _merge(found, change)
    return found


def _merge(into: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        here = into.get(key)
        if isinstance(here, dict) and isinstance(value, dict):
            _merge(here, value)
        elif isinstance(here, list) and isinstance(value, list):
            into[key] = (_included if key == "include" else _united)(here, value)
        else:
            into[key] = deepcopy(value)


def _included(one: list[dict], other: list[dict]) -> list[dict]:
    """Seeds of the same model, task and lengths in one entry: none may stand there twice."""
    found: dict[str, dict] = {}
    for entry in [*one, *other]:
        who = repr([entry[name] for name in ("model", "task", "lengths")])
        seeds = found.get(who, {}).get("seeds", [])
        found[who] = entry | {"seeds": _united(seeds, entry["seeds"])}
    return list(found.values())


def _united(one: list, other: list) -> list:
    both = [*one, *(value for value in other if value not in one)]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in both)
    return sorted(both) if numbers else both


def text(change: dict[str, Any]) -> str:
    """A change as YAML, with what holds nothing further on one line."""
    return "\n".join(_lines(change, ""))


def _lines(mapping: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in mapping.items():
        start = f"{indent}{_flow(key)}:"
        if isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()):
            yield start
            yield from _lines(value, f"{indent}  ")
        elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
            yield start
            yield from (f"{indent}  - {_flow(v)}" for v in value)
        else:
            yield f"{start} {_flow(value)}"


def _flow(value: Any) -> str:
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return dumped.strip().removesuffix("\n...")


def including(
    config: dict[str, Any], model: str, task: str, seqlen: int, seeds: Iterable[int]
) -> dict[str, Any]:
    """More seeds of a model on a task at a length."""
    extra = {"model": model, "task": task, "lengths": [seqlen], "seeds": list(seeds)}
    return {"include": _included(config.get("include", []), [extra])}


def sweeping(model: str, key: str, values: Iterable[Any]) -> dict[str, Any]:
    """These values of a swept setting for a model, in place of the study's."""
    return {"models": {model: {"sweep": {key: list(values)}}}}


def new_seeds(used: Iterable[int], wanted: int) -> list[int]:
    """So many seeds that are not used, the smallest first."""
    taken, found, seed = set(used), [], 0
    while len(found) < wanted:
        if seed not in taken:
            found.append(seed)
        seed += 1
    return found
