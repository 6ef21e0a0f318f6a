"""Maps of the whole grid, models by task and length: how it scored, and how it stands.

A map is drawn in blocks of columns, each on its own axes; all cells have the same size.
"""

import math
from collections import defaultdict
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Patch, Rectangle

from seqgrid.analysis import ledger
from seqgrid.report import panels
from seqgrid.report.content import Content, complete
from seqgrid.report.looks import Looks, ordered
from seqgrid.report.scale import share, unlearnable
from seqgrid.report.view import SMALL

COLUMNS = 16  # of a block
LEAST = 4  # columns that a block has room for, also where it has fewer
CELL = (0.58, 0.3)  # inches
TURN = 50  # degrees, of names of tasks too long to lie above their columns
LETTER = 0.075  # inches, of a name beside or above the cells

Place = tuple[str, int]
Block = list[Place]

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


def blocks(content: Content) -> list[Block]:
    """The columns of the grid, in blocks that break within a task only where it is wide."""
    found: list[Block] = []
    for task in content.tasks:
        places = [(task, length) for length in content.lengths(task)]
        for start in range(0, len(places), COLUMNS):
            here = places[start : start + COLUMNS]
            if found and len(found[-1]) + len(here) <= COLUMNS:
                found[-1] += here
            else:
                found.append(list(here))
    return found


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


def panel_size(content: Content, found: list[Block]) -> tuple[float, float]:
    """Inches of one block, names of models and tasks included."""
    across, down = max(map(len, found)), len(_lines(content))
    beside = LETTER * max(len(m) for m in content.models) + 0.3
    turned = max((len(t) for b in found if not _fit(b) for t, _ in b), default=0) * LETTER
    over, above = turned * math.cos(math.radians(TURN)), turned * math.sin(math.radians(TURN))
    width = beside + CELL[0] * max(across, LEAST) + 0.3 + over
    return width, CELL[1] * (down + 1) + 0.9 + above


def heatmap(axis: Axes, content: Content, block: Block, looks: Looks) -> panels.Drawn:
    """Median share of the way from chance to the ceiling, 0 to 1, printed in each cell."""
    lines = _frame(axis, content, block)
    for x, (task, seqlen) in enumerate(block):
        rows = {r["model"]: r for r in content.rows(task, seqlen) if r["selected"]}
        means = {m["model"]: m for m in panels.reported_at(content, task)
                 if m["seqlen_tokens"] == seqlen}  # fmt: skip
        for y, model in enumerate(lines):
            if model in rows:
                _score(axis, content, (x, y), rows[model], means.get(model))
    return set(content.models), False


def heatmap_words(content: Content, row: dict, mean: dict | None) -> tuple[str, float | None]:
    """What a cell prints, and the share that colours it; None where nothing final is known."""
    if row["asked"] and row["asked"] == row["skipped"] and mean is None:
        return "skipped", None
    if unlearnable(content, row):
        return "unlearnable", None
    final = share(content, row, row["median"])
    if final is not None:
        return _printed(final), None if math.isnan(final) else final
    if row["median"] is None and mean is not None:
        value = share(content, row, mean["value"])
        return ("no scale", None) if value is None else (f"[{_printed(value)}]", value)
    cut = [v for v, done in panels.points_of(row) if not done and not math.isnan(v)]
    if cut:
        values = [share(content, row, v) for v in cut]
        known = [v for v in values if v is not None]
        ends = " ".join(_printed(v) for v in dict.fromkeys((min(known), max(known))) if known)
        return (f"({ends})", None) if known else ("no scale", None)
    return ("no scale" if row["median"] is not None else ""), None


def _printed(value: float) -> str:
    if math.isnan(value):
        return "nan"
    # Plus zero, so that nothing reads -0.00.
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) < 10 else f"{value:.0f}"


def _score(axis: Axes, content: Content, at: tuple[int, int], row: dict, mean: dict | None) -> None:
    words, value = heatmap_words(content, row, mean)
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
    if not complete(row) or (mean is not None and row["median"] is None):
        hatch: dict[str, Any] = {"fill": False, "hatch": "////", "lw": 0, "ec": "#B0B0B0"}
        axis.add_patch(Rectangle(corner, 1, 1, **hatch))
    if words:
        dark = value is not None and value < DARK
        size = SMALL + 0.5 if len(words) < 6 else SMALL
        box: dict[str, Any] | None = None
        if not complete(row):  # so that the number stands clear of the hatch
            box = {"boxstyle": "square,pad=0.1", "fc": fill, "ec": "none"}
        colour = "white" if dark else "black"
        axis.text(x, y, words, ha="center", va="center", fontsize=size, color=colour, bbox=box)


def scale_of_heatmap() -> mpl.cm.ScalarMappable:
    """What the colours of the heatmap mean, for a colour bar."""
    return mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps[COLOURS])


def keys_of_heatmap() -> list[Patch]:
    """The marks of the heatmap, for its legend."""
    return [
        Patch(fc="white", ec="#B0B0B0", hatch="////", label="not all final"),
        Patch(fc="#E4E4E4", ec="#999999", hatch="xx", label="unlearnable as scored"),
        Patch(fc="white", ec="#999999", hatch="xx", label="cannot run, skipped"),
    ]


def coverage(axis: Axes, content: Content, block: Block, looks: Looks) -> panels.Drawn:
    """How the cells of each model, task and length stand: strips as wide as their share, k/n."""
    lines = _frame(axis, content, block)
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


def _lines(content: Content) -> list[str]:
    """A label for each line of a map; empty where a declared group begins."""
    groups = ordered(content.models, content.groups)
    if len(groups) < 2:
        return list(content.models)
    return [line for _, members in groups for line in ("", *members)]


def _frame(axis: Axes, content: Content, block: Block) -> list[str]:
    """Names of lines and columns around the cells; the lines."""
    lines = _lines(content)
    names = iter([name or "in no group" for name, _ in ordered(content.models, content.groups)])
    axis.set_yticks(range(len(lines)), [line or next(names) for line in lines])
    for line, label in zip(lines, axis.get_yticklabels(), strict=True):
        if not line:
            label.set(fontstyle="italic", color="#555555")
    axis.set_xticks(range(len(block)), [str(length) for _, length in block])
    across = max(LEAST, *map(len, blocks(content)))
    axis.set(xlim=(-0.5, across - 0.5), ylim=(len(lines) - 0.5, -0.5))
    axis.set_xlabel("training length (tokens)", x=len(block) / across / 2)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    for task, span in _spans(block).items():
        middle = (span[0] + span[-1]) / 2
        turned: dict[str, Any] = (
            {"ha": "center"} if _fit(block) else {"ha": "left", "rotation": TURN}
        )
        axis.text(middle, -0.65, task, va="bottom", rotation_mode="anchor", **turned)
        if span[0]:
            axis.axvline(span[0] - 0.5, color="#666666", lw=1)
    return lines


def _spans(block: Block) -> dict[str, list[int]]:
    """The columns of each task."""
    found: dict[str, list[int]] = defaultdict(list)
    for x, (task, _) in enumerate(block):
        found[task].append(x)
    return found


def _fit(block: Block) -> bool:
    """Whether the names of all tasks are as short as their columns are wide."""
    return all(len(t) * LETTER < CELL[0] * len(span) for t, span in _spans(block).items())
