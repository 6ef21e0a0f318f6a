"""Advice about the seeds of one setting: more of them, another budget, other swept values.

Each change adds cells beside those there are. `training.steps` is part of a cell's identity, so a
larger budget is another training from step 0, under a task label of its own.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from seqgrid import registry
from seqgrid.analysis import edits, resuming, selection, stats
from seqgrid.analysis.advice_view import View, about
from seqgrid.analysis.groups import Group
from seqgrid.analysis.rates import seeds_for_half_width, seeds_for_median, total
from seqgrid.analysis.summary import Key
from seqgrid.study_schema import SWEPT
from seqgrid.sweeps import RATE

BUDGETS = (1.5, 2, 3, 4, 6, 8)  # times the steps there are
LEARNED = ("SOLVED", "AT CEILING", "AT MODEL CEILING", "UNLEARNABLE AS SCORED")


def rows(view: View) -> Iterator[dict]:
    """The rows about groups, in the study's order."""
    for key, group in view.groups.items():
        if group.selection.selected and not group.levels.unlearnable:
            yield from _more_seeds(view, key, group)
            yield from _budget(view, key, group)
    yield from _rates(view)
    yield from _edges(view)


def _more_seeds(view: View, key: Key, group: Group) -> Iterator[dict]:
    found, n = view.verdicts[key], len(group.asked)
    confidence = view.thresholds.confidence
    if "UNSTABLE ACROSS SEEDS" in found and group.levels.bar is not None and group.final:
        k, finals = len(group.solved), len(group.final)
        half = view.thresholds.success_half_width
        wanted = seeds_for_half_width(k / finals, half, confidence)
        verdict = "UNSTABLE ACROSS SEEDS"
        why = (
            f"{k} of {finals} solved it: {wanted} seeds for a success rate within "
            f"{half:.0%} either way"
        )
    elif "TOO FEW SEEDS" in found and n < view.thresholds.enough_seeds and n:
        wanted, verdict = seeds_for_median(confidence), "TOO FEW SEEDS"
        share = f"{100 * confidence:.4g} %"
        why = f"{n} asked for: {wanted} for an interval of the median with {share} coverage"
    else:
        return
    if wanted <= n:
        return
    new = edits.new_seeds((c.seed for c in group.cells), wanted - n)
    variants = [k for k in view.cells if (k[0], k[1], k[3]) == (key[0], key[1], key[3])]
    whole = total([view.rates.another(view.cells[k][0]) for k in variants])
    change = edits.including(view.config, key[0], key[1], key[3], new)
    yield about(key) | {
        "action": "more seeds",
        "verdict": verdict,
        "reason": why + (f", for each of {len(variants)} variants" if variants[1:] else ""),
        "hours": None if whole is None else whole * len(new),
        "cells": len(new) * len(variants),
        "command": view.command(edits.place(view.cells[key][0]["path"])),
        "edit": edits.text(change) if view.config else None,
    }


def _budget(view: View, key: Key, group: Group) -> Iterator[dict]:
    """More steps, where training ended while it still helped."""
    improving = {row["seed"] for row in view.verdicts[key].get("IMPROVING", [])}
    cells = [c for c in group.cells if c.seed in improving and c.budget]
    if not cells:
        return
    row = view.cells[key][0]
    budget = max(c.budget or 0 for c in cells)
    constant = _setting(row, "training", "schedule") == "constant"
    times, gains = _extrapolated(view, group, cells, budget) if constant else (2, None)
    if gains and gains[0] < view.thresholds.worth_share * group.levels.span:
        return  # still rising, but not towards anything worth the time
    steps = round(budget * times)
    added = [view.cells[k] for k in view.cells if (k[0], k[1], k[3]) == (key[0], key[1], key[3])]
    new = [cell for found in added for cell in found if cell["outcome"] != "skipped"]
    trained = [c for c in group.cells if c.budget and c.history]
    words = f"{len(cells)} of {len(trained)} seeds still improved at {budget:,} steps; "
    words += (
        f"{steps:,} steps, trained anew from step 0"
        if gains
        else f"{steps:,} steps, trained anew: its schedule ends at {budget:,}, so the "
        "curve says nothing of a longer one"
    )
    edit = _budget_edit(view, key, steps)
    yield about(key) | {
        "action": "raise the budget",
        "verdict": "IMPROVING",
        "reason": words + edit[1],
        **(dict(zip(("gain", "gain_low", "gain_high"), gains, strict=True)) if gains else {}),
        "hours": total([view.rates.hours(cell, steps) for cell in new]),
        "cells": len(new),
        "command": view.command(edits.place(row["path"])),
        "edit": edit[0],
    }


def _extrapolated(
    view: View, group: Group, cells: list, budget: int
) -> tuple[float, tuple[float, float, float]]:
    """The least factor on the budget after which twice as much gains nothing worth it; gains."""
    worth = view.thresholds.worth_share * group.levels.span
    curves = [resuming.points_of(cell.history, group.levels) for cell in cells]

    def gains(times: float) -> tuple[float, float, float]:
        found = []
        for points in curves:
            best = max(point[1] for point in points)
            made = resuming.to_the_end(points, round(budget * times), group, view.thresholds)
            found.append((made.value - best, made.low - best, made.high - best))
        value, low, high = (stats.median(list(column)) for column in zip(*found, strict=True))
        return value, low, high

    chosen = BUDGETS[-1]
    for times in BUDGETS:
        if gains(2 * times)[0] - gains(times)[0] < worth:
            chosen = times
            break
    return chosen, gains(chosen)


def _budget_edit(view: View, key: Key, steps: int) -> tuple[str | None, str]:
    """The change of the study's file for a larger budget, and what is to be said of it."""
    model, task, _, seqlen = key
    config = view.config
    if not config.get("models") or view.foreign:
        return None, ""
    swept = _swept(view, model)
    if "training.steps" in swept:
        values = edits.merged({"v": swept["training.steps"]}, {"v": [steps]})["v"]
        return edits.text(edits.sweeping(model, "training.steps", values)), ""
    if "steps" in config["models"][model].get("training", {}):
        change = {"models": {model: {"training": {"steps": steps}}}}
        return edits.text(change), f"; this trains all cells of {model} anew"
    entry = {k: v for k, v in config["tasks"][task].items() if v not in (None, {}, [])}
    entry["task"] = entry.get("task") or task
    entry |= {"models": [model], "lengths": [seqlen]}
    entry["training"] = entry.get("training", {}) | {"steps": steps}
    label = f"{task} L{seqlen} {steps} steps"
    # A new label escapes what the study excludes: it takes the seeds of the present cells alone.
    seeds = sorted({cell["seed"] for cell in view.cells[key] if cell["outcome"] != "skipped"})
    if seeds != sorted(entry.get("seeds") or config.get("seeds", [])):
        entry["seeds"] = seeds
        label += f" seeds {'+'.join(map(str, seeds))}"
    return edits.text({"tasks": {label: entry}}), ""


def _rates(view: View) -> Iterator[dict]:
    """A sweep of the learning rate, where a model failed somewhere at the only one it had."""
    failed: dict[str, list[Key]] = defaultdict(list)
    for key, found in view.verdicts.items():
        group = view.groups[key]
        done = any(name in found for name in LEARNED) and "UNSTABLE ACROSS SEEDS" not in found
        if "SINGLE LR" in found and group.final and not done:
            failed[key[0]].append(key)
    for model, keys in failed.items():
        mine = [k for k in view.cells if k[0] == model]
        rates = {_setting(view.cells[k][0], "training", "learning_rate") for k in mine} - {None}
        if not rates:
            continue
        values = sorted({float(f"{r * f:.2g}") for r in rates for f in (1 / 3, 3)} | rates)
        yield _swept_row(view, mine, RATE, values, len(values) - 1) | {
            "action": "sweep the learning rate",
            "verdict": "SINGLE LR",
            "reason": f"not solved by every seed on {_places(keys)}, at one rate: the rate may be "
            "what failed",
        }


def _edges(view: View) -> Iterator[dict]:
    """Values beyond the edges of a grid that was too narrow."""
    beyond: dict[tuple[str, str], dict[str, Any]] = {}
    for key, group in view.groups.items():
        if "AT GRID EDGE" not in view.verdicts[key]:
            continue
        chosen, tried = selection.settings(group.variant), selection.tried
        for name, values in tried(list(group.selection.variants)).items():
            new = _beyond(chosen.get(name), values)
            whole = next((k for k in _swept(view, key[0]) if k.partition(".")[2] == name), None)
            row = view.cells[key][0]
            if new is None or whole is None or not _allowed(row, whole, new):
                continue
            entry = beyond.setdefault((key[0], whole), {"keys": [], "new": [], "edges": []})
            entry["keys"].append(key)
            entry["new"] += [new] * (new not in entry["new"])
            entry["edges"].append(f"{name}={chosen[name]} on {key[1]} at {key[3]}")
    for (model, whole), entry in beyond.items():
        present = _swept(view, model)[whole]
        values = edits.merged({"v": present}, {"v": entry["new"]})["v"]
        mine = [k for k in view.cells if k[0] == model]
        share = len(entry["new"]) / len(present)
        yield _swept_row(view, mine, whole, values, share) | {
            "action": "widen the grid",
            "verdict": "AT GRID EDGE",
            "reason": f"selected at the edge: {'; '.join(entry['edges'][:4])}: add "
            f"{', '.join(f'{v:g}' for v in entry['new'])}",
        }


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


def _swept(view: View, model: str) -> dict[str, list]:
    """What is swept for a model, by key in the study's file."""
    config = view.config
    found = dict(config.get("sweep") or {})
    found |= (config.get("models", {}).get(model) or {}).get("sweep") or {}
    if RATE not in found:  # those of a recipe stand in no file
        names = {
            _setting(view.cells[k][0], "training", "learning_rate")
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


def _setting(cell: dict, group: str, name: str) -> Any:
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
