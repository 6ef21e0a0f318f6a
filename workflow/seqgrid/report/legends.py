"""Legends of figures, below the panels, where they cover no data."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from seqgrid.report.looks import Look, Looks

PANEL_LETTERS, HANDLE_LETTERS = 60, 8  # of a legend's text: across a panel, and beside a name


def of_models(
    figure: Figure, groups: list[tuple[str, list[str]]], look: Looks, across: float
) -> None:
    """Each declared group in a column of its own, under its name, where there is room."""
    handles = [[_handle(model, look[model]) for model in models] for _, models in groups]
    if not groups:
        return
    longest = max(len(label) for name, models in groups for label in (name, *models))
    if len(groups) < 2 or len(groups) > _fitting(longest, across):
        below(figure, [handle for column in handles for handle in column], across)
        return
    most, filled = max(map(len, handles)), []
    for (name, _), column in zip(groups, handles, strict=True):
        blank = [_blank("")] * (most - len(column))
        filled += [_blank(name or "in no group"), *column, *blank]
    legend = below(figure, filled, across, len(groups))
    for label in legend.get_texts()[:: most + 1]:
        label.set(fontstyle="italic", color="#555555")


def _handle(model: str, look: Look) -> Line2D:
    colour, marker, dash = look
    return Line2D([], [], color=colour, marker=marker, ls=dash, label=model, lw=1.2)


def _blank(label: str) -> Line2D:
    return Line2D([], [], ls="none", label=label)


def _fitting(longest: int, across: float) -> int:
    """Columns of a legend for which there is room."""
    return max(1, int(across * PANEL_LETTERS // (longest + HANDLE_LETTERS)))


def below(figure: Figure, handles: list, across: float, columns: int = 0) -> Legend:
    """Below the panels, where it covers no data.

    across: width of the figure, panels of the usual width.
    """
    longest = max(len(str(handle.get_label())) for handle in handles)
    wanted = min(max(2, int(3 * across)), _fitting(longest, across), len(handles))
    style: dict[str, Any] = {"loc": "outside lower center", "frameon": False, "handlelength": 3}
    return figure.legend(handles=handles, ncols=columns or wanted, **style)
