"""Advice about swept values: a sweep of the learning rate, or a wider grid.

A comparison takes the same number of values for every model: what one of a declared comparison
gets, all of it get.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from seqgrid import registry
from seqgrid.analysis import edits, selection
from seqgrid.analysis.advice_view import View, sides
from seqgrid.analysis.rates import total
from seqgrid.analysis.summary import Key
from seqgrid.study_schema import SWEPT
from seqgrid.sweeps import RATE

LEARNED = ("SOLVED", "AT CEILING", "AT MODEL CEILING", "UNLEARNABLE AS SCORED")


def rows(view: View) -> Iterator[dict]:
    """The rows about models, in the study's order."""
    yield from _rates(view)
    yield from _edges(view)


def compared(view: View, model: str) -> set[str]:
    """The model and all that declared comparisons tie to it, directly or by another."""
    found, size = {model}, 0
    while len(found) > size:
        size = len(found)
        for name in view.config.get("compare") or {}:
            both = sides(view.config, name)
            found |= both if both & found else set()
    return found & {key[0] for key in view.cells}


def _rates(view: View) -> Iterator[dict]:
    """A sweep of the learning rate, where a model failed somewhere at the only one it had."""
    failed: dict[str, list[Key]] = defaultdict(list)
    for key, found in view.verdicts.items():
        group = view.groups[key]
        done = any(name in found for name in LEARNED) and "UNSTABLE ACROSS SEEDS" not in found
        # Until a failed control is understood no rate shows anything.
        if (
            {"SINGLE LR", "CONTROL FAILED"} & set(found) == {"SINGLE LR"}
            and group.final
            and not done
        ):
            failed[key[0]].append(key)
    beside = {
        other: model
        for model in failed
        for other in sorted(compared(view, model) - set(failed))
        if len(_tried(view, other)) == 1
    }
    for model in dict.fromkeys([*failed, *beside]):
        values = _tried(view, model)
        if not values:
            continue
        new = {float(f"{r * f:.2g}") for r in values for f in (1 / 3, 3)} | values
        mine = [k for k in view.cells if k[0] == model]
        if model in failed:
            reason = f"not solved by every seed on {_places(failed[model])}, at one rate: the rate "
            reason += "may be what failed"
        else:
            reason = f"compared with {beside[model]}, and a comparison takes as many rates of each"
        yield _swept_row(view, mine, RATE, sorted(new), len(new) - len(values)) | {
            "action": "sweep the learning rate",
            "verdict": "SINGLE LR",
            "reason": reason,
        }


def _tried(view: View, model: str) -> set[float]:
    """The learning rates of a model's cells."""
    mine = [cells[0] for key, cells in view.cells.items() if key[0] == model]
    return {setting(cell, "training", "learning_rate") for cell in mine} - {None}


def _edges(view: View) -> Iterator[dict]:
    """Values beyond the edges of a grid that was too narrow."""
    beyond: dict[tuple[str, str], dict[str, Any]] = {}
    for key, group in view.groups.items():
        if {"AT GRID EDGE", "CONTROL FAILED"} & set(view.verdicts[key]) != {"AT GRID EDGE"}:
            continue
        chosen, tried = selection.settings(group.variant), selection.tried
        for name, values in tried(list(group.selection.variants)).items():
            new = _beyond(chosen.get(name), values)
            whole = next((k for k in swept(view, key[0]) if k.partition(".")[2] == name), None)
            row = view.cells[key][0]
            if new is None or whole is None or not _allowed(row, whole, new):
                continue
            entry = beyond.setdefault((key[0], whole), {"new": [], "edges": [], "beside": []})
            entry["new"] += [new] * (new not in entry["new"])
            entry["edges"].append(f"{name}={chosen[name]} on {key[1]} at {key[3]}")
    for model, whole in list(beyond):
        for other in sorted(compared(view, model) - {model}):
            _as_wide(view, beyond, model, other, whole)
    for (model, whole), entry in beyond.items():
        present = swept(view, model)[whole]
        values = edits.merged({"v": present}, {"v": entry["new"]})["v"]
        mine = [k for k in view.cells if k[0] == model]
        share = len(entry["new"]) / len(present)
        yield _swept_row(view, mine, whole, values, share) | {
            "action": "widen the grid",
            "verdict": "AT GRID EDGE",
            "reason": f"{_why(entry)}: add {', '.join(f'{v:g}' for v in entry['new'])}",
        }


def _as_wide(
    view: View, beyond: dict[tuple[str, str], dict], model: str, other: str, whole: str
) -> None:
    """Give `other` the values that `model` gets, with which it is compared."""
    present = swept(view, other).get(whole)
    if not present:
        return  # their numbers differ as it is
    cell = next(view.cells[k][0] for k in view.cells if k[0] == other)
    entry = beyond.setdefault((other, whole), {"new": [], "edges": [], "beside": []})
    for value in beyond[model, whole]["new"]:
        if value not in [*present, *entry["new"]] and _allowed(cell, whole, value):
            entry["new"].append(value)
            entry["beside"] += [model] * (model not in entry["beside"])
    if not entry["new"]:
        del beyond[other, whole]


def _why(entry: dict) -> str:
    words = [f"selected at the edge: {'; '.join(entry['edges'][:4])}"] if entry["edges"] else []
    if entry["beside"]:
        words.append(f"as many values as {', '.join(entry['beside'])}, which it is compared with")
    return "; ".join(words)


def _swept_row(view: View, keys: list[Key], key: str, values: list, times: float) -> dict:
    """A row about a model that gets more values of a swept setting: `times` as many cells more."""
    cells = [c for k in keys for c in view.cells[k] if c["outcome"] != "skipped"]
    whole = total([view.rates.another(cell) for cell in cells])
    model = keys[0][0]
    known = bool(view.config) and not view.foreign
    return {
        "scope": "group",
        "model": model,
        "variant": "",
        "hours": None if whole is None else whole * times,
        "cells": round(len(cells) * times),
        "command": view.command(f"{cells[0]['path'].partition('/')[0]}/*"),
        "edit": edits.text(edits.sweeping(model, key, values)) if known else None,
    }


def swept(view: View, model: str) -> dict[str, list]:
    """What is swept for a model, by key in the study's file."""
    config = view.config
    found = dict(config.get("sweep") or {})
    found |= (config.get("models", {}).get(model) or {}).get("sweep") or {}
    if RATE not in found:  # those of a recipe stand in no file
        names = {
            setting(view.cells[k][0], "training", "learning_rate")
            for k in view.cells
            if k[0] == model
        } - {None}
        found |= {RATE: sorted(names)} if len(names) > 1 else {}
    return found


def _beyond(chosen: str | None, values: list[str]) -> float | int | None:
    """The next value beyond the edge that was selected; None where none was or can be."""
    numbers = [selection.as_number(value) for value in values]
    if chosen not in (values[0], values[-1]) or None in numbers or len(numbers) < 2:
        return None
    ordered = [n for n in numbers if n is not None]
    at, neighbour = (ordered[-1], ordered[-2]) if chosen == values[-1] else ordered[:2]
    new = at * at / neighbour if ordered[0] > 0 else 2 * at - neighbour
    whole = all("." not in value and "e" not in value for value in values)
    return max(round(new), 1 if ordered[0] > 0 else 0) if whole else float(f"{new:.2g}")


def _allowed(cell: dict, key: str, value: Any) -> bool:
    """Whether a setting may have the value."""
    group, _, name = key.partition(".")
    settings = json.loads(cell["settings"] or "{}")
    try:
        if group == "model":
            record = registry.settings("model", cell["model_file"])
            record.model_validate(settings.get("model_settings", {}) | {name: value})
        else:
            SWEPT[group].model_validate(settings.get(group, {}) | {name: value})
    except (ValidationError, KeyError, registry.RegistryError):
        return False
    return True


def setting(cell: dict, group: str, name: str) -> Any:
    """A resolved setting of a cell; None where the table does not say."""
    try:
        return json.loads(cell["settings"] or "{}").get(group, {}).get(name)
    except ValueError:
        return None


def _places(keys: list[Key]) -> str:
    found: dict[str, list[int]] = defaultdict(list)
    for _, task, _, seqlen in keys:
        found[task] += [seqlen] * (seqlen not in found[task])
    return "; ".join(f"{task} at {', '.join(map(str, at))}" for task, at in found.items())
