"""Advice about the seeds of one setting: more of them, or another budget.

Each change adds cells beside those there are. `training.steps` is part of a cell's identity, so a
larger budget is another training from step 0, under a task label of its own.
"""

from collections.abc import Iterator

from seqgrid.analysis import edits, resuming, stats, sweep_advice
from seqgrid.analysis.advice_view import View, about
from seqgrid.analysis.groups import Group
from seqgrid.analysis.rates import seeds_for_half_width, seeds_for_median, total
from seqgrid.analysis.summary import Key

BUDGETS = (1.5, 2, 3, 4, 6, 8)  # times the steps there are


def rows(view: View) -> Iterator[dict]:
    """The rows about groups, in the study's order."""
    for key, group in view.groups.items():
        doubted = "CONTROL FAILED" in view.verdicts[key]
        if group.selection.selected and not group.levels.unlearnable and not doubted:
            yield from _more_seeds(view, key, group)
            yield from _budget(view, key, group)
    yield from sweep_advice.rows(view)


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
            f"{100 * half:.4g} % either way"
        )
    elif "TOO FEW SEEDS" in found and n < view.thresholds.enough_seeds and n:
        if _of_the_study(view, key, group):
            return  # `more seeds everywhere` says it once
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


def _of_the_study(view: View, key: Key, group: Group) -> bool:
    """Whether the group has the seeds that the study names for all."""
    everywhere = set(view.config.get("seeds") or [])
    own = (view.config.get("tasks", {}).get(key[1]) or {}).get("seeds")
    return not own and not view.foreign and {c.seed for c in group.cells} == everywhere


def _budget(view: View, key: Key, group: Group) -> Iterator[dict]:
    """More steps, where training ended while it still helped."""
    improving = {row["seed"] for row in view.verdicts[key].get("IMPROVING", [])}
    cells = [c for c in group.cells if c.seed in improving and c.budget]
    if not cells:
        return
    row = view.cells[key][0]
    budget = max(c.budget or 0 for c in cells)
    constant = sweep_advice.setting(row, "training", "schedule") == "constant"
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
    curves = [(resuming.points_of(cell.history, group.levels), cell) for cell in cells]

    def gains(times: float) -> tuple[float, float, float]:
        found = []
        for points, cell in curves:
            best = max(point[1] for point in points)
            made = resuming.to_the_end(points, round(budget * times), group, view.thresholds)
            known = cell.known_plateau
            high = resuming.highest(made, points, group, view.thresholds, known)
            found.append((made.value - best, made.low - best, high - best))
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
    swept = sweep_advice.swept(view, model)
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
