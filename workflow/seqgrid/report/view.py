"""The window of a metric's axis: levels in view, data visible, far values clipped and said so."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

LEVEL_STYLES = {"chance": ":", "shortcut": "-.", "ceiling": "--", "solved": (0, (1, 3))}
# Of the levels' range. A diverged seed at R2 = -40 must not squash the rest to a line.
BESIDE = 0.3
MARGIN = 0.06
APART = 0.055  # of the window: level names closer than a line of text move apart


class View:
    """Draws points and levels on one axes, clipped to a window; `used`: whether any was clipped."""

    def __init__(self, axis: Axes, levels: Sequence[float], values: Sequence[float]):
        self.axis, self.used = axis, False
        data = [v for v in values if v is not None and math.isfinite(v)]
        anchors = list(levels) or data or [0.0, 1.0]
        low, high = min(anchors), max(anchors)
        span = (high - low) or abs(high) or 1.0
        near = [v for v in data if low - BESIDE * span <= v <= high + BESIDE * span]
        low, high = min([low, *near]), max([high, *near])
        margin = MARGIN * ((high - low) or span)
        # A value beyond the window gets a strip of its own at the edge.
        numberless = any(v is not None and math.isnan(v) for v in values)
        below = 2 * margin * (numberless or any(v < low for v in data))
        above = 2 * margin * any(v > high for v in data)
        self.edges = low - margin - below / 2, high + margin + above / 2
        self.low, self.high = low - margin - below, high + margin + above
        axis.set_ylim(self.low, self.high)
        axis.set_autoscaley_on(False)

    def clipped(self, values: Sequence[float]) -> list[float]:
        """Values moved to the edge they lie beyond; a NaN stays and leaves a gap."""
        low, high = self.edges
        return [v if math.isnan(v) else min(max(v, low), high) for v in values]

    def scatter(
        self, xs: Sequence[float], points: Sequence[tuple[float, bool]], look: tuple[str, str]
    ) -> None:
        """Points (value, final): filled where final, triangles at the edge where beyond it."""
        colour, marker = look
        low, high = self.edges
        inside: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for x, (value, final) in zip(xs, points, strict=True):
            if math.isnan(value):
                self._edge(x, low, "x", "nan", colour)
            elif value < low:
                self._edge(x, low, "v", f"{value:.3g}", colour)
            elif value > high:
                self._edge(x, high, "^", f"{value:.3g}", colour)
            else:
                inside[bool(final)].append((x, value))
        for final, found in inside.items():
            if found:
                fill = colour if final else "white"
                points_at = zip(*found, strict=True)
                self.axis.plot(
                    *points_at, marker, ls="none", mfc=fill, mec=colour, ms=5, zorder=3, alpha=0.9
                )

    def levels(
        self, levels: list[dict], ends: tuple[float, float], name: bool, whole: bool = False
    ) -> None:
        """A line at each level between two x; named at the right edge, outside the data.

        whole: the ends are shares of the axes' width.
        """
        shown = sorted((v for v in levels if v["value"] is not None), key=lambda v: v["value"])
        gap, floor = APART * (self.high - self.low), -math.inf
        for level in shown:
            height = level["value"]
            style = LEVEL_STYLES.get(level["kind"], "-")
            look: dict[str, Any] = {"color": "#555555", "ls": style, "lw": 0.9, "zorder": 1}
            if whole:
                self.axis.axhline(height, *ends, **look)
            else:
                self.axis.plot(ends, [height, height], **look)
            if name:
                floor = max(height, floor + gap)
                place = ("axes fraction", "data")
                self.axis.annotate(
                    level["level"],
                    (1.01, floor),
                    xycoords=place,
                    fontsize=6.5,
                    color="#333333",
                    va="center",
                    annotation_clip=False,
                )

    def own_ceiling(self, ends: tuple[float, float], height: float, colour: str) -> None:
        """The best that one model can score, in its colour: an edge with a hatch above it."""
        self.axis.plot(ends, [height, height], color=colour, lw=1.6, ls="--", zorder=2)
        above = height + 0.025 * (self.high - self.low)
        self.axis.fill_between(ends, height, above, color=colour, alpha=0.18, lw=0, zorder=1)

    def all_levels(self, at: list[list[dict]]) -> None:
        """The levels of several lengths over the whole width, named where they hold last."""
        for i, levels in enumerate(at):
            self.levels(levels, (0, 1), name=i == len(at) - 1, whole=True)

    def _edge(self, x: float, y: float, marker: str, words: str, colour: str) -> None:
        self.used = True
        self.axis.plot(
            [x], [y], marker, ls="none", mfc=colour, mec=colour, ms=7, zorder=4, clip_on=False
        )
        # Beside the marker: above it, the words would cover values close to the edge.
        self.axis.annotate(
            words,
            (x, y),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=6.5,
            color=colour,
            va="center",
        )
