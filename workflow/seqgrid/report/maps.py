"""Maps of the whole grid, models by task and length: how it scored, and how it stands."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Patch, Rectangle

from seqgrid.analysis import ledger
from seqgrid.report import panels
from seqgrid.report.content import Content, complete
from seqgrid.report.frames import Block, Place, blocks, frame
from seqgrid.report.looks import Looks
from seqgrid.report.scale import share, unlearnable
from seqgrid.report.view import SMALL

COLOURS = "cividis"  # sequential in lightness, and the same to any colour vision
DARK = 0.55  # shares below it have white numbers

# What a cell of the grid can be, from ledger.standing: colour, and hatch for grey prints.
CLASSES: dict[str, tuple[str, str]] = {
    "finished and evaluated": ("#CBE0F2", ""),
    "finished, not evaluated": ("#7FB2DA", ""),
    "cut short, goes on": ("#F3CF73", "\\\\\\"),
    "under way": ("#F8E9BE", "--"),
    "failed": ("#E58A4F", "///"),
    "missing": ("#FFFFFF", "..."),
    "skipped: cannot exist": ("#BBBBBB", "xx"),
}
STANDING = {
    "finished": "finished and evaluated",
    "finished, not evaluated": "finished, not evaluated",
    "timed_out": "cut short, goes on",
    "interrupted": "cut short, goes on",
    "running": "under way",
    "missing": "missing",
    "skipped": "skipped: cannot exist",
}


def blocks_with_values(content: Content) -> list[Block]:
    """The blocks, where any model has a value on the scale and there is more than one cell."""
    found = blocks(content)
    scaled = any(
        share(content, r, v) is not None
        for task in panels.tasks_with_values(content)
        for r in content.rows(task)
        for v in [*r["values"], *(m["value"] for m in panels.reported_at(content, task))]
    )
    return found if scaled and len(content.models) * sum(map(len, found)) > 1 else []


def heatmap(axis: Axes, content: Content, block: Block, looks: Looks) -> panels.Drawn:
    """Median share of the way from chance to the ceiling, 0 to 1, printed in each cell."""
    lines = frame(axis, content, block, content.models)
    for x, (task, seqlen) in enumerate(block):
        rows = {r["model"]: r for r in content.rows(task, seqlen) if r["selected"]}
        means: dict[str, list[dict]] = defaultdict(list)
        for mean in panels.reported_at(content, task):
            if mean["seqlen_tokens"] == seqlen:
                means[mean["model"]].append(mean)
        for y, model in enumerate(lines):
            if model in rows or model in means:
                row = rows.get(model) or _without_cells(means[model][0])
                _score(axis, content, (x, y), row, means[model])
    return set(content.models), False


def _without_cells(mean: dict) -> dict:
    """A row as of `summary` for a mean that a report gives, where no cell is known."""
    none = {"asked": 0, "skipped": 0, "final": 0, "median": None, "values": [], "finals": []}
    return {**mean, **none, "variant": mean["variant"] or "", "test_set": "", "slice": ""}


def heatmap_words(
    content: Content, row: dict, means: Sequence[dict] = ()
) -> tuple[str, float | None]:
    """What a cell prints, and the share that colours it; None where no one value is known."""
    if row["asked"] and row["asked"] == row["skipped"] and not means:
        return "skipped", None
    if unlearnable(content, row):
        return "unlearnable", None
    final = share(content, row, row["median"])
    if final is not None:
        return _printed(final), None if math.isnan(final) else final
    if row["median"] is None and means:
        values = [share(content, row, mean["value"]) for mean in means]
        alone = values[0] if len(set(values)) == 1 else None
        return _ends(values, "[]"), alone
    cut = [v for v, done in panels.points_of(row) if not done and not math.isnan(v)]
    if cut:
        return _ends([share(content, row, v) for v in cut], "()"), None
    return ("no scale" if row["median"] is not None else ""), None


def _ends(values: list[float | None], brackets: str) -> str:
    """The lowest and the highest in brackets, one below the other, as a cell is narrow."""
    known = [v for v in values if v is not None]
    if not known:
        return "no scale"
    ends = "\n".join(dict.fromkeys(_printed(v) for v in (min(known), max(known))))
    return f"{brackets[0]}{ends}{brackets[1]}"


def _printed(value: float) -> str:
    if math.isnan(value):
        return "nan"
    # Plus zero, so that nothing reads -0.00.
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) < 10 else f"{value:.0f}"


def _score(
    axis: Axes, content: Content, at: tuple[int, int], row: dict, means: Sequence[dict]
) -> None:
    words, value = heatmap_words(content, row, means)
    x, y = at
    corner = (x - 0.5, y - 0.5)
    if words in ("skipped", "unlearnable"):
        fill = "#E4E4E4" if words == "unlearnable" else "white"
        axis.add_patch(Rectangle(corner, 1, 1, fc=fill, ec="#999999", lw=0.5))
        cross: dict[str, Any] = {"color": "#999999", "lw": 0.7}
        axis.plot([x - 0.5, x + 0.5], [y - 0.5, y + 0.5], **cross)
        axis.plot([x - 0.5, x + 0.5], [y + 0.5, y - 0.5], **cross)
        return
    fill = "white" if value is None else mpl.colormaps[COLOURS](min(max(value, 0.0), 1.0))
    axis.add_patch(Rectangle(corner, 1, 1, fc=fill, ec="white", lw=1))
    if not _whole(row):
        hatch: dict[str, Any] = {"fill": False, "hatch": "////", "lw": 0, "ec": "#B0B0B0"}
        axis.add_patch(Rectangle(corner, 1, 1, **hatch))
    if words:
        dark = value is not None and value < DARK
        size = SMALL + 0.5 if len(words) < 6 else SMALL
        box: dict[str, Any] | None = None
        if not _whole(row):  # so that the number stands clear of the hatch
            box = {"boxstyle": "square,pad=0.1", "fc": fill, "ec": "none"}
        colour = "white" if dark else "black"
        axis.text(x, y, words, ha="center", va="center", fontsize=size, color=colour, bbox=box)


def scale_of_heatmap() -> mpl.cm.ScalarMappable:
    """What the colours of the heatmap mean, for a colour bar."""
    return mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps[COLOURS])


def _whole(row: dict) -> bool:
    """Whether all that is asked for is final; a report's mean never is."""
    return complete(row) and bool(row["asked"])


def keys_of_heatmap(content: Content) -> list[Patch]:
    """The marks that occur on the heatmap, for its legend."""
    rows = [r for task in content.tasks for r in content.rows(task) if r["selected"]]
    skipped = [bool(r["asked"]) and r["asked"] == r["skipped"] for r in rows]
    crossed = [unlearnable(content, r) for r in rows]
    hatched = any(not (_whole(r) or s or u) for r, s, u in zip(rows, skipped, crossed, strict=True))
    keys = {
        "not all final": (hatched or bool(content.reported), "white", "#B0B0B0", "////"),
        "unlearnable as scored": (any(crossed), "#E4E4E4", "#999999", "xx"),
        "cannot run, skipped": (any(skipped), "white", "#999999", "xx"),
    }
    return [
        Patch(fc=fill, ec=edge, hatch=hatch, label=label)
        for label, (applies, fill, edge, hatch) in keys.items()
        if applies
    ]


def coverage(axis: Axes, content: Content, block: Block, looks: Looks) -> panels.Drawn:
    """How the cells of each model, task and length stand: strips as wide as their share, k/n."""
    lines = frame(axis, content, block, models_with_cells(content))
    counts = ledger.matrix(content.cells)
    patches: dict[str, list[Rectangle]] = defaultdict(list)
    for x, place in enumerate(block):
        for y, model in enumerate(lines):
            standings = standings_at(content, model, place) if model else []
            left, each = x - 0.46, 0.92 / max(1, len(standings))
            for name in CLASSES:
                width = each * standings.count(name)
                if width:
                    patches[name].append(Rectangle((left, y - 0.44), width, 0.88))
                left += width
            if standings:
                words = counts[model, *place]
                box = {"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8}
                mark: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL}
                axis.text(x, y, "-" if words == "skipped" else words, bbox=box, **mark)
    for name, here in patches.items():
        fill, hatch = CLASSES[name]
        style: dict[str, Any] = {"fc": fill, "ec": "#8A8A8A", "lw": 0.5, "hatch": hatch}
        axis.add_collection(PatchCollection(here, **style))
    return set(content.models), False


def models_with_cells(content: Content) -> list[str]:
    """The models of the grid, without those of which a report gives means alone."""
    have = {cell["model"] for cell in content.cells}
    return [model for model in content.models if model in have]


def standings_at(content: Content, model: str, place: Place) -> list[str]:
    """The class of every cell of a model, task and length."""
    found = []
    for cell in content.cells:
        if (cell["model"], cell["task"], cell["seqlen_tokens"]) == (model, *place):
            found.append(STANDING.get(ledger.standing(cell), "failed"))
    return found


def keys_of_coverage(content: Content) -> list[Patch]:
    """The classes that occur, for a legend."""
    have = {STANDING.get(ledger.standing(c), "failed") for c in content.cells}
    return [
        Patch(fc=fill, ec="#8A8A8A", hatch=hatch, label=name)
        for name, (fill, hatch) in CLASSES.items()
        if name in have
    ]
