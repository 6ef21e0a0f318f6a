"""The window of a metric's axis: levels in view, data visible, far values clipped and said so."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqgrid.report.looks import Look

LEVEL_STYLES = {"chance": ":", "shortcut": "-.", "ceiling": "--", "solved": (0, (1, 3))}
# Of the levels' range. A diverged seed at R2 = -40 must not squash the rest to a line.
BESIDE = 0.3
MARGIN = 0.06
APART = 0.055  # of the window: level names closer than a line of text move apart
SMALL = 7  # points: of words inside panels, still read in print
NORMAL_95 = 1.96


class View:
    """Draws points and levels on one axes, clipped to a window; `used`: whether any was clipped."""

    def __init__(self, axis: Axes, levels: Sequence[float], values: Sequence[float]):
        self.axis, self.used = axis, False
        self._words: dict[tuple[float, float], Annotation] = {}
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
        self,
        xs: Sequence[float],
        points: Sequence[tuple[float, bool]],
        look: Look,
        size: float = 5,
        alpha: float = 0.9,
    ) -> None:
        """Points (value, final): filled where final, triangles at the edge where beyond it."""
        low, high = self.edges
        inside: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for x, (value, final) in zip(xs, points, strict=True):
            if math.isnan(value):
                self._edge(x, low, "x", "nan", look.colour)
            elif value < low:
                self._edge(x, low, "v", f"{value:.3g}", look.colour)
            elif value > high:
                self._edge(x, high, "^", f"{value:.3g}", look.colour)
            else:
                inside[bool(final)].append((x, value))
        for final, found in inside.items():
            if found:
                fill = look.colour if final else "white"
                style: dict[str, Any] = {"ls": "none", "mfc": fill, "mec": look.colour}
                points_at = zip(*found, strict=True)
                self.axis.plot(*points_at, look.marker, ms=size, zorder=3, alpha=alpha, **style)

    def reported(self, x: float, value: float, error: float | None, look: Look) -> None:
        """A mean from elsewhere, without seeds: an open square, with a bar where known."""
        low, high = self.edges
        if not low <= value <= high:
            self.scatter([x], [(value, False)], look)
            return
        colour = look.colour
        if error is not None:
            half = NORMAL_95 * error
            ends = self.clipped([value - half, value + half])
            self.axis.plot([x, x], ends, "_-", color=colour, lw=1, ms=6, zorder=3)
        self.axis.plot([x], [value], "s", mfc="white", mec=colour, mew=1.4, ms=6.5, zorder=4)

    def levels(
        self, levels: list[dict], ends: tuple[float, float], name: bool, whole: bool = False
    ) -> None:
        """A line at each level between two x; named at the right edge, outside the data.

        whole: the ends are shares of the axes' width.
        """
        for level in levels:
            if level["value"] is None:
                continue
            look = _level_look(level["kind"])
            if whole:
                self.axis.axhline(level["value"], *ends, **look)
            else:
                self.axis.plot(ends, [level["value"]] * 2, **look)
        if name:
            self.named(levels)

    def moving_levels(self, at: dict[float, list[dict]]) -> None:
        """Levels that move with x, joined from place to place, named where they end."""
        lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for x, levels in sorted(at.items()):
            for level in levels:
                if level["value"] is not None:
                    points = lines.setdefault((level["level"], level["kind"]), [])
                    points.append((x, level["value"]))
        for (_, kind), points in lines.items():
            xs, heights = zip(*points, strict=True)
            # On beyond the outermost points, which stand beside their places.
            ends = [xs[0] / 1.25, *xs, xs[-1] * 1.25]
            heights = [heights[0], *heights, heights[-1]]
            self.axis.plot(ends, heights, **_level_look(kind))
        if at:
            self.named(at[max(at)])

    def named(self, levels: list[dict]) -> None:
        """Names of levels at the right edge, pushed apart where they are close."""
        gap, floor = APART * (self.high - self.low), -math.inf
        known = [v for v in levels if v["value"] is not None]
        for level in sorted(known, key=lambda v: v["value"]):
            floor = max(level["value"], floor + gap)
            place = ("axes fraction", "data")
            self.axis.annotate(
                level["level"], (1.01, floor), xycoords=place, fontsize=SMALL, color="#333333",
                va="center", annotation_clip=False,
            )  # fmt: skip

    def own_ceiling(self, ends: tuple[float, float], height: float, colour: str) -> None:
        """The best that one model can score, in its colour: an edge with a strip above it."""
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
        if (x, y) in self._words:  # one list where several stand in one place
            self._words[x, y].set_text(f"{self._words[x, y].get_text()}, {words}")
            return
        # Beside the marker: above it, the words would cover values close to the edge.
        self._words[x, y] = self.axis.annotate(
            words, (x, y), xytext=(6, 0), textcoords="offset points", fontsize=SMALL, color=colour,
            va="center",
        )  # fmt: skip


def logarithmic(axis: Axes, values: Sequence[float], which: str = "x") -> None:
    """Gives x or y a log scale around positive values, with round ticks such as 200, 5k and 1M."""
    low, high = min(values, default=1.0) / 1.3, max(values, default=10.0) * 1.3
    axis.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(ticks) > 2:
            break
    side = axis.xaxis if which == "x" else axis.yaxis
    side.set_major_locator(FixedLocator(ticks))
    side.set_minor_locator(NullLocator())
    side.set_major_formatter(FuncFormatter(lambda value, _: _round(value)))


def _round(value: float) -> str:
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{letter}"
    return f"{value:g}"


def _level_look(kind: str) -> dict[str, Any]:
    return {"color": "#555555", "ls": LEVEL_STYLES.get(kind, "-"), "lw": 0.9, "zorder": 1}
