"""The figures of a report: every seed is a point or a line, every metric has its levels drawn.

Hollow markers and dotted lines are not final. How each model looks stands in `looks`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from seqgrid.report import courses, frames, grids, legends, maps, panels, tradeoffs
from seqgrid.report.content import Content
from seqgrid.report.looks import Looks, looks, ordered

if TYPE_CHECKING:  # provisional in matplotlib
    from matplotlib.typing import RcKeyType

DPI = 130
MOST_PANELS = 12
COLUMNS = 3
PANEL = (4.3, 3.1)  # inches
WIDEST = COLUMNS * PANEL[0]

STYLE: "dict[RcKeyType, float | str]" = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "seqgrid",  # the same tables give the same file
    "svg.fonttype": "none",
}

OWN_CEILINGS = "; a strip in a model's colour: the best that it can score, whatever its training"
CLIPPED = (
    "; triangles at an edge: values beyond it, written beside them, or how many and from where to "
    "where"
)
HOLLOW = "hollow points are not final"
MEANS = (
    "; open squares: means that a report has, without their seeds, with 95 % intervals over test "
    "examples where known"
)


@dataclass(frozen=True)
class Plan:
    """A figure: what draws each panel, of what, and what its caption says."""

    panel: Callable[..., panels.Drawn]
    places: list
    caption: str
    columns: int = COLUMNS
    size: tuple[float, float] = PANEL  # of a panel, inches
    keys: list = field(default_factory=list)  # of a legend in place of the models'
    scale: Any = None  # of a colour bar


def draw(content: Content, folder: Path) -> dict[str, str]:
    """Draw what the tables allow, as PNG and SVG; the captions by name of the figure."""
    look = looks(content.models, content.groups)
    drawn = {}
    with mpl.rc_context(STYLE):
        for name, plan in plans(content).items():
            figure, clipped = made(content, plan, look)
            drawn[name] = _caption(content, name, plan, clipped)
            _save(figure, folder / name, drawn[name])
    return drawn


def plans(content: Content) -> dict[str, Plan]:
    """The figures that have anything to show, by name."""
    found = {
        "coverage": _coverage(content),
        "heatmap": _heatmap(content),
        "results": _results(content),
        "length": Plan(
            panels.length,
            panels.tasks_with_lengths(content),
            f"Scores against training length: every seed is a point, {HOLLOW}. Lines join medians "
            "over final seeds, dotted where seeds are missing; bands are their intervals, from "
            f"{panels.BAND_SEEDS} seeds and with up to {panels.MOST_BANDS} models in a panel; grey "
            "lines are the levels of the task at each length",
        ),
        "beyond": Plan(
            panels.beyond,
            panels.tasks_beyond(content),
            f"Scores beyond the training length: every seed is a point, {HOLLOW}. Lines join "
            "medians of one training length, which the ring marks, dotted where seeds are missing",
        ),
        "curves": _curves(content),
        "survival": Plan(
            courses.survival,
            courses.places_with_survival(content),
            "Steps to solve: Kaplan-Meier share of seeds that have not solved the task. Markers: a "
            "seed solves it; upright ticks: a seed's training ends without (censored); bands are "
            f"intervals of models that any seed solved it with, up to {courses.MOST_BANDS} models "
            "in a panel. Coinciding curves are set apart by a hair; lengths at which no seed "
            "solved the task are left out",
        ),
        "steps": Plan(
            courses.steps,
            courses.tasks_with_steps(content),
            "Median steps to solve: by training length, with intervals. Hollow with an arrow: "
            "fewer than half of the seeds solved the task in the steps that they had, so the "
            "median lies above",
        ),
        "peaks": Plan(
            panels.peaks,
            panels.tasks_with_both(content),
            f"Best against last weights on the test split: every seed is a point, {HOLLOW}. On the "
            "diagonal both score the same",
        ),
        "sensitivity": Plan(
            grids.sensitivity,
            grids.places_with_grids(content),
            f"Scores over what was swept: every seed is a point, {HOLLOW}. Lines join medians, "
            "dotted where seeds are missing; the ring is what was selected on validation",
        ),
        "cost": Plan(
            tradeoffs.cost,
            panels.tasks_with_both(content),
            f"Scores against training time: every seed is a point, {HOLLOW}; all training lengths",
        ),
        "pareto": Plan(
            tradeoffs.pareto,
            tradeoffs.places_with_costs(content),
            "What a score costs, at the longest training length of each task: share of the way "
            "from chance (0) to the ceiling of the task (1). Large points are medians over final "
            "seeds, small ones seeds; hollow where seeds are missing. The grey line is the Pareto "
            "front of complete models that are not AT CHANCE: no other scores as much for less. It "
            "is of medians, and no test says that its models differ",
        ),
    }
    return {name: plan for name, plan in found.items() if plan.places}


def _coverage(content: Content) -> Plan:
    places = frames.blocks_with_cells(content)
    models = maps.models_with_cells(content)
    return Plan(
        maps.coverage,
        places,
        "How the cells stand: k of n cells finished and evaluated, by model, task and training "
        "length; strips are as wide as the share of cells",
        columns=1,
        size=frames.panel_size(content, places, models) if places else PANEL,
        keys=maps.keys_of_coverage(content),
    )


def _heatmap(content: Content) -> Plan:
    places = maps.blocks_with_values(content)
    return Plan(
        maps.heatmap,
        places,
        "Scores on one scale: share of the way from chance (0) to the ceiling of the task (1), the "
        "same for all models, median over final seeds. Hatched: seeds are missing or not final; in "
        "round brackets: nothing is final, values so far; in square brackets: a mean that a report "
        "has; crossed: no score can be had",
        columns=1,
        size=frames.panel_size(content, places, content.models) if places else PANEL,
        keys=maps.keys_of_heatmap(content),
        scale=maps.scale_of_heatmap(),
    )


def _results(content: Content) -> Plan:
    places = panels.tasks_with_values(content)
    most = max((len(content.lengths(t)) for t in places), default=0)
    groups = ordered(content.models, content.groups)
    wide = 1.3 + 0.115 * most * (len(content.models) + len(groups) + 1)
    width = min(max(PANEL[0], wide), WIDEST)
    return Plan(
        panels.results,
        places,
        f"Scores by training length: every seed is a point, {HOLLOW}; bars are medians over final "
        "seeds" + ("; gaps set declared groups of models apart" if len(groups) > 1 else ""),
        columns=max(1, int(WIDEST / width)),
        size=(width, PANEL[1]),
    )


def _curves(content: Content) -> Plan:
    places = courses.places_with_history(content)
    cut = "; models past that are left out" if courses.curves_cut(content, places) else ""
    return Plan(
        courses.curves,
        places,
        "Learning curves on validation: every seed is a line, dotted with an open end where "
        "it was cut short; a star marks the first validation at the solved level. Thick: median, "
        f"band: smallest to largest, over the steps that all seeds have, from {courses.BAND_SEEDS} "
        f"seeds. Up to {courses.MOST_CURVES} curves a panel{cut}",
    )


def made(content: Content, plan: Plan, look: Looks) -> tuple[Figure, bool]:
    """One figure of small multiples; whether any value was clipped."""
    shown = plan.places[:MOST_PANELS]
    columns = min(plan.columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    width, height = plan.size[0] * columns, plan.size[1] * rows
    figure = Figure(figsize=(width, height + 0.5), dpi=DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    models: set[str] = set()
    clipped = False
    for axis, place in zip(axes, shown, strict=False):
        seen, beyond = plan.panel(axis, content, place, look)
        models |= seen
        clipped |= beyond
    for axis in axes[len(shown) :]:
        axis.remove()
    if plan.scale is not None:
        bar = figure.colorbar(plan.scale, ax=axes[: len(shown)], aspect=15, pad=0.02)
        bar.set_label("chance = 0, ceiling = 1")
        bar.outline.set_visible(False)
    across = width / PANEL[0]
    if plan.keys:
        legends.below(figure, plan.keys, across)
    else:
        groups = ordered([m for m in content.models if m in models], content.groups)
        legends.of_models(figure, groups, look, across)
    return figure, clipped


def _caption(content: Content, name: str, plan: Plan, clipped: bool) -> str:
    words = [plan.caption]
    if name in ("results", "length") and content.reported:
        words.append(MEANS)
    strips = any(row["model_ceiling"] is not None for row in content.summary)
    if name in ("results", "length", "beyond") and strips:
        words.append(OWN_CEILINGS)
    if clipped:
        words.append(CLIPPED)
    if plan.places[MOST_PANELS:]:
        words.append(f"; {len(plan.places)} panels, {MOST_PANELS} shown")
    return "".join(words) + "."


def _save(figure: Figure, path: Path, caption: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"Title": path.name, "Description": caption}
    # Not savefig: it draws each twice. The first drawing finds the layout, in inches, which stays.
    png = FigureCanvasAgg(figure)
    png.print_png(path.with_suffix(".png"), metadata={"Software": None, **about})
    figure.set_layout_engine("none")
    svg = FigureCanvasSVG(figure)
    svg.print_svg(path.with_suffix(".svg"), metadata={"Date": None, **about})
