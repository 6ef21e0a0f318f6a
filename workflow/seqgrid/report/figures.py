"""The figures of a report: every seed is a point or a line, every metric has its levels drawn.

Colours: Okabe & Ito, Color Universal Design (2008), told apart with any colour vision; markers
repeat the distinction in black and white. Hollow markers and dashed lines are not final.
"""

import math
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seqgrid.report import grids, panels
from seqgrid.report.content import Content

if TYPE_CHECKING:  # provisional in matplotlib
    from matplotlib.typing import RcKeyType

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D1F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p")  # 11 and 8 share no factor

MOST_PANELS = 12
COLUMNS = 3
PANEL = (4.3, 3.1)  # inches
PANEL_LETTERS, HANDLE_LETTERS = 60, 8  # of a legend's text: across a panel, and beside a name

STYLE: "dict[RcKeyType, float | str]" = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "seqgrid",  # the same tables give the same file
    "svg.fonttype": "none",
}

OWN_CEILINGS = "; a strip in a model's colour: the best that it can score, whatever its training"
NOTE = "Every seed is a point; hollow points are not final"


def draw(content: Content, folder: Path) -> dict[str, str]:
    """Draw what the tables allow, as PNG and SVG; the captions by name of the figure."""
    looks = dict(
        zip(content.models, islice(zip(cycle(COLOURS), cycle(MARKERS)), 999), strict=False)
    )
    plans: dict[str, tuple[Callable, list, str]] = {
        "results": (panels.results, panels.tasks_with_values(content), NOTE),
        "length": (
            panels.length,
            panels.tasks_with_lengths(content),
            f"{NOTE}; lines join medians, dashed where seeds are missing",
        ),
        "beyond": (
            panels.beyond,
            panels.tasks_beyond(content),
            f"{NOTE}; lines join medians of one training length, which the ring marks",
        ),
        "curves": (
            panels.curves,
            panels.places_with_history(content),
            "Validation of every seed; dashed: not finished; at most "
            f"{panels.MOST_CURVES} curves a panel",
        ),
        "peaks": (panels.peaks, panels.tasks_with_both(content), "Best against last weights, test"),
        "sensitivity": (
            grids.sensitivity,
            grids.places_with_grids(content),
            f"{NOTE}; lines join medians, the ring is what was selected on validation",
        ),
        "cost": (panels.cost, panels.tasks_with_values(content), f"{NOTE}; training time, test"),
    }
    strips = any(row["model_ceiling"] is not None for row in content.summary)
    drawn = {}
    with mpl.rc_context(STYLE):
        for name, (panel, places, caption) in plans.items():
            if places:
                shown = places[:MOST_PANELS]
                clipped = _figure(content, looks, panel, shown, folder / name)
                left = (
                    f"; {len(places)} panels, {MOST_PANELS} shown" if places[MOST_PANELS:] else ""
                )
                arrows = (
                    "; triangles at an edge: values beyond it, written there" if clipped else ""
                )
                own = OWN_CEILINGS if name in ("results", "length", "beyond") and strips else ""
                drawn[name] = f"{caption}{own}{arrows}{left}."
    return drawn


def _figure(content: Content, looks: dict, panel: Callable, places: list, path: Path) -> bool:
    """One figure of small multiples; whether any value was clipped."""
    columns = min(COLUMNS, len(places))
    rows = math.ceil(len(places) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    models: set[str] = set()
    clipped = False
    for axis, place in zip(axes, places, strict=False):
        seen, beyond = panel(axis, content, place, looks)
        models |= seen
        clipped |= beyond
    for axis in axes[len(places) :]:
        axis.remove()
    _legend(figure, [(m, looks[m]) for m in content.models if m in models], columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=130, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    return clipped


def _legend(figure: Figure, models: list[tuple[str, tuple[str, str]]], columns: int) -> None:
    """Below the panels, where it covers no data."""
    handles = [
        Line2D([], [], color=colour, marker=marker, label=model, linewidth=1)
        for model, (colour, marker) in models
    ]
    if handles:
        longest = max(len(model) for model, _ in models)
        fitting = int(columns * PANEL_LETTERS // (longest + HANDLE_LETTERS))
        ncols = max(1, min(max(2, 3 * columns), fitting))
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
