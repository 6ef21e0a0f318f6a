"""The panel of a report on swept settings: one task and length, the metric over a grid."""

import math
from collections import defaultdict

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from seqgrid.analysis import selection
from seqgrid.report import panels
from seqgrid.report.content import Content, complete
from seqgrid.report.looks import NOT_FINAL, Looks
from seqgrid.report.sensitivity import main_keys


def places_with_grids(content: Content) -> list[tuple[str, int]]:
    """Tasks and training lengths at which a number was varied and there are values."""
    return [
        (task, length)
        for task in content.tasks
        for length in content.lengths(task)
        if any(map(panels.points_of, _numbered(content.rows(task, length))))
    ]


def sensitivity(axis: Axes, content: Content, place: tuple[str, int], looks: Looks) -> panels.Drawn:
    """Every seed's test metric against the value tried."""
    rows = _numbered(content.rows(*place))
    keys = main_keys(rows)
    key = keys[rows[0]["model"], place[1]]
    rows = [r for r in rows if keys.get((r["model"], place[1])) == key]
    clip = panels.view(axis, content, rows)
    lines: dict[tuple[str, str], list[tuple[float, dict]]] = defaultdict(list)
    for row in rows:
        others = selection.settings(row["variant"])
        value = float(others.pop(key))
        lines[row["model"], str(others)].append((value, row))
    if all(value > 0 for line in lines.values() for value, _ in line):
        axis.set_xscale("log")
    for (model, _), line in lines.items():
        look = looks[model]
        for value, row in line:
            found = panels.points_of(row)
            clip.scatter([value] * len(found), found, look)
        known = [
            (value, row)
            for value, row in sorted(line, key=lambda pair: pair[0])
            if row["median"] is not None and not math.isnan(row["median"])
        ]
        heights = clip.clipped([row["median"] for _, row in known])
        dash = look.dash if all(complete(row) for _, row in known) else NOT_FINAL
        axis.plot([value for value, _ in known], heights, ls=dash, color=look.colour, lw=1.3)
        for (value, row), height in zip(known, heights, strict=True):
            if row["selected"]:
                axis.plot(value, height, "o", ms=11, mfc="none", mec=look.colour, mew=0.8)
    clip.levels(panels.levels_of(content, rows[0]), (0, 1), name=True, whole=True)
    values = sorted({value for line in lines.values() for value, _ in line})
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.xaxis.set_minor_locator(NullLocator())
    panels.titles(axis, content, place[0], f"{place[0]}, {place[1]} tokens", key)
    return panels.models_of(rows), clip.finished()


def _numbered(rows: list[dict]) -> list[dict]:
    """The rows whose main setting varies and is a number."""
    keys = main_keys(rows)
    values = [
        selection.settings(r["variant"]).get(keys.get((r["model"], r["seqlen_tokens"]), ""))
        for r in rows
    ]
    return [
        row
        for row, value in zip(rows, values, strict=True)
        if value is not None and selection.as_number(value) is not None
    ]
