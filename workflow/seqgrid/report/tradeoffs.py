"""Panels on what a score costs: parameters, state and training time of each model."""

import math
from typing import NamedTuple

from matplotlib.axes import Axes

from seqgrid.analysis import stats
from seqgrid.report import panels
from seqgrid.report.content import Content, complete
from seqgrid.report.looks import Looks
from seqgrid.report.scale import scaled_levels, share
from seqgrid.report.view import View, logarithmic

COSTS = {
    "parameters": "parameters",
    "state_bytes": "state of one sequence (bytes)",
    "training_seconds": "training time (s)",
}

Place = tuple[str, int, str]


class Spot(NamedTuple):
    """One model of a Pareto panel: median cost and median share, and whether it is final.

    at_chance: whether a rule found so.
    """

    model: str
    cost: float
    share: float
    final: bool
    at_chance: bool = False


def cost(axis: Axes, content: Content, task: str, looks: Looks) -> panels.Drawn:
    """The metric against the training time of each seed."""
    rows = [r for r in content.rows(task) if r["selected"]]
    clip = panels.view(axis, content, rows)
    spent = _spent(content, task, "training_seconds")
    xs = []
    for row in rows:
        points = _priced(row, spent, row["values"])
        clip.scatter([x for x, _ in points], [p for _, p in points], looks[row["model"]], size=4)
        xs += [x for x, _ in points]
    clip.all_levels(panels.levels_by_length(content, rows))
    logarithmic(axis, xs)
    panels.titles(axis, content, task, task, "training time (s)")
    return panels.models_of(rows), clip.finished()


def places_with_costs(content: Content) -> list[Place]:
    """Task, its longest training length with final values, and each cost known there."""
    found = []
    for task in content.tasks:
        at = [r["seqlen_tokens"] for r in content.rows(task) if _judged(content, r)]
        places = [(task, max(at), name) for name in COSTS] if at else []
        # One model alone trades nothing off.
        if any(len(_spots(content, place)) > 1 for place in places):
            found += [place for place in places if _spots(content, place)]
    return found


def pareto(axis: Axes, content: Content, place: Place, looks: Looks) -> panels.Drawn:
    """Share of the way from chance to the ceiling against one cost, with the Pareto front."""
    task, seqlen, name = place
    rows = [r for r in content.rows(task, seqlen) if _judged(content, r)]
    levels = scaled_levels(content, rows[0])
    shares = [[share(content, r, v) for v in r["values"]] for r in rows]
    clip = View(
        axis, [v["value"] for v in levels], [v for here in shares for v in here if v is not None]
    )
    spent, xs = _spent(content, task, name), []
    for row, here in zip(rows, shares, strict=True):
        points = _priced(row, spent, here)
        look = looks[row["model"]]
        clip.scatter([x for x, _ in points], [p for _, p in points], look, size=3, alpha=0.5)
        xs += [x for x, _ in points]
    spots = _spots(content, place)
    for spot in spots:
        clip.scatter([spot.cost], [(spot.share, spot.final)], looks[spot.model], size=7.5)
    logarithmic(axis, xs)
    several = name == "training_seconds" and len(_devices(content, task, seqlen)) > 1
    if not several:
        _front(axis, clip, front(spots))
    clip.levels(levels, (0, 1), name=True, whole=True)
    axis.set_title(f"{task}, {seqlen} tokens", fontsize=10)
    axis.set_xlabel(f"{COSTS[name]}{'; several devices, no front' if several else ''}")
    axis.set_ylabel("share of the way to the ceiling")
    return {spot.model for spot in spots}, clip.finished()


def front(spots: list[Spot]) -> list[Spot]:
    """The final medians that no other matches at a lower cost, the cheapest first.

    What is at chance scores nothing, at any cost.
    """
    found: list[Spot] = []
    counted = [s for s in spots if s.final and not s.at_chance]
    for spot in sorted(counted, key=lambda s: (s.cost, -s.share)):
        if not found or spot.share > found[-1].share:
            found.append(spot)
    return found


def _front(axis: Axes, clip: View, spots: list[Spot]) -> None:
    if not spots:
        return
    xs = [s.cost for s in spots] + [axis.get_xlim()[1]]
    heights = clip.clipped([s.share for s in [*spots, spots[-1]]])
    axis.plot(xs, heights, drawstyle="steps-post", color="#777777", lw=1, zorder=1.5)


def _judged(content: Content, row: dict) -> bool:
    known = row["median"] is not None and not math.isnan(row["median"])
    return bool(row["selected"] and known and share(content, row, row["median"]) is not None)


def _spots(content: Content, place: Place) -> list[Spot]:
    task, seqlen, name = place
    spent = _spent(content, task, name)
    found = []
    for row in content.rows(task, seqlen):
        height = share(content, row, row["median"])
        if height is None or not _judged(content, row):
            continue
        costs = [spent.get((*_who(row), seed)) for seed in row["seeds"]]
        known = [c for c in costs if c]
        if known:
            middle = stats.median(known, "lower")
            chance = any(v["verdict"] == "AT CHANCE" for v in content.verdicts_of(row))
            found.append(Spot(row["model"], middle, height, complete(row), chance))
    return found


def _spent(content: Content, task: str, name: str) -> dict[tuple, float]:
    return {
        (c["model"], c["variant"] or "", c["seqlen_tokens"], c["seed"]): c[name]
        for c in content.cells
        if c["task"] == task
    }


def _who(row: dict) -> tuple:
    return row["model"], row["variant"], row["seqlen_tokens"]


def _priced(row: dict, spent: dict, values: list) -> list[tuple[float, tuple[float, bool]]]:
    """(cost, (value, final)) of the seeds that have both."""
    return [
        (spent[(*_who(row), seed)], (value, final))
        for seed, value, final in zip(row["seeds"], values, row["finals"], strict=True)
        if value is not None and spent.get((*_who(row), seed))
    ]


def _devices(content: Content, task: str, seqlen: int) -> set[str]:
    here = [c for c in content.cells if (c["task"], c["seqlen_tokens"]) == (task, seqlen)]
    return {c["device"] for c in here if c["device"]}
