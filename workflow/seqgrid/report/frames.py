"""The frame of a map of the grid: models down, tasks and lengths across, in blocks of columns.

Each block has axes of its own; all cells have the same size.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes

from seqgrid.report.content import Content
from seqgrid.report.looks import ordered

COLUMNS = 16  # of a block
LEAST = 4  # columns that a block has room for, also where it has fewer
CELL = (0.58, 0.3)  # inches
TURN = 50  # degrees, of names of tasks too long to lie above their columns
LETTER = 0.075  # inches, of a name beside or above the cells

Place = tuple[str, int]
Block = list[Place]


def blocks(content: Content) -> list[Block]:
    """The columns of the grid, in blocks that break within a task only where it is wide."""
    return _in_blocks(content, lambda task, length: True)


def blocks_with_cells(content: Content) -> list[Block]:
    """The blocks without columns of which no cell is known, as of a report's means alone."""
    have = {(cell["task"], cell["seqlen_tokens"]) for cell in content.cells}
    return _in_blocks(content, lambda task, length: (task, length) in have)


def _in_blocks(content: Content, shown: Callable[[str, int], bool]) -> list[Block]:
    found: list[Block] = []
    for task in content.tasks:
        places = [(task, length) for length in content.lengths(task) if shown(task, length)]
        for start in range(0, len(places), COLUMNS):
            here = places[start : start + COLUMNS]
            if found and len(found[-1]) + len(here) <= COLUMNS:
                found[-1] += here
            else:
                found.append(list(here))
    return found


def panel_size(content: Content, found: list[Block], models: Sequence[str]) -> tuple[float, float]:
    """Inches of one block, names of models and tasks included."""
    across, down = max(map(len, found)), len(_lines(content, models))
    beside = LETTER * max(map(len, models)) + 0.3
    turned = max((len(t) for b in found if not _fit(b) for t, _ in b), default=0) * LETTER
    over, above = turned * math.cos(math.radians(TURN)), turned * math.sin(math.radians(TURN))
    width = beside + CELL[0] * max(across, LEAST) + 0.3 + over
    return width, CELL[1] * (down + 1) + 0.9 + above


def _lines(content: Content, models: Sequence[str]) -> list[str]:
    """A label for each line of a map; empty where a declared group begins."""
    groups = ordered(models, content.groups)
    if len(groups) < 2:
        return list(models)
    return [line for _, members in groups for line in ("", *members)]


def frame(axis: Axes, content: Content, block: Block, models: Sequence[str]) -> list[str]:
    """Names of lines and columns around the cells; the lines, empty where a group begins."""
    lines = _lines(content, models)
    names = iter([name or "in no group" for name, _ in ordered(models, content.groups)])
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
