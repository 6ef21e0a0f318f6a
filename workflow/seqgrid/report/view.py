"""The window of a metric's axis: levels in view, data visible, far values clipped and said so."""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqgrid.report.looks import Look

LEVEL_STYLES = {"chance": ":", "shortcut": "-.", "ceiling": "--", "solved": (0, (1, 3))}
# Of the levels' range. A diverged seed at R2 = -40 must not squash the rest to a line.
BESIDE = 0.3
DECADES = 0.1
MARGIN = 0.06
APART = 0.055  # of the window: level names closer than a line of text move apart
SMALL = 7  # points: of words inside panels, still read in print
LETTER, BESIDE_MARKER = 0.06, 0.14  # inches: of such a word, and from a marker to it
MOST_LETTERS = 20
NORMAL_95 = 1.96


class View:
    """Draws points and levels on one axes, clipped to a window.

    logarithmic: of values above zero alone.
    """

    def __init__(
        self,
        axis: Axes,
        levels: Sequence[float],
        values: Sequence[float],
        logarithmic: bool = False,
    ):
        self.axis = axis
        self._beyond: dict[float, dict[float, list[str]]] = {}  # edge -> x -> values beyond it
        data = [v for v in values if v is not None and math.isfinite(v)]
        self._logarithmic = logarithmic and min([*levels, *data], default=0.0) > 0
        levels, data = [self._to(v) for v in levels], [self._to(v) for v in data]
        low, high = _around(levels, data, self._logarithmic)
        span = (high - low) or abs(high) or 1.0
        near = [v for v in data if low - BESIDE * span <= v <= high + BESIDE * span]
        low, high = min([low, *near]), max([high, *near])
        margin = MARGIN * ((high - low) or span)
        # A value beyond the window gets a strip of its own at the edge.
        numberless = any(v is not None and math.isnan(v) for v in values)
        below = 2 * margin * (numberless or any(v < low for v in data))
        above = 2 * margin * any(v > high for v in data)
        ends = low - margin - below / 2, high + margin + above / 2
        self.edges = self._back(ends[0]), self._back(ends[1])
        self.low, self.high = self._back(low - margin - below), self._back(high + margin + above)
        if self._logarithmic:
            _log_scale(axis, self.low, self.high, "y")
        axis.set_ylim(self.low, self.high)
        axis.set_autoscaley_on(False)

    def _to(self, value: float) -> float:
        """A value as the place on a linear axis."""
        return math.log10(value) if self._logarithmic else value

    def _back(self, place: float) -> float:
        return 10.0**place if self._logarithmic else place

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
        low, high = self._to(self.low), self._to(self.high)
        known = sorted((v for v in levels if v["value"] is not None), key=lambda v: v["value"])
        heights = [self._to(v["value"]) for v in known]
        place = ("axes fraction", "data")
        for level, height in zip(known, _apart(heights, APART * (high - low), high), strict=True):
            moved = abs(height - self._to(level["value"])) > APART * (high - low) / 2
            line: dict[str, Any] = {"arrowstyle": "-", "color": "#999999", "lw": 0.5, "shrinkA": 0,
                                    "shrinkB": 0, "relpos": (0, 0.5)}  # fmt: skip
            self.axis.annotate(
                level["level"], (1.0, level["value"]), xycoords=place,
                xytext=(1.035, self._back(height)), textcoords=place, fontsize=SMALL,
                color="#333333", va="center", annotation_clip=False,
                arrowprops=line if moved else None,
            )  # fmt: skip

    def own_ceiling(self, ends: tuple[float, float], height: float, colour: str) -> None:
        """The best that one model can score, in its colour: an edge with a strip above it."""
        self.axis.plot(ends, [height, height], color=colour, lw=1.6, ls="--", zorder=2)
        strip = 0.025 * (self._to(self.high) - self._to(self.low))
        above = self._back(self._to(height) + strip)
        self.axis.fill_between(ends, height, above, color=colour, alpha=0.18, lw=0, zorder=1)

    def all_levels(self, at: dict[int, list[dict]]) -> None:
        """The levels of several lengths over the whole width, each named once.

        A level that moves with the length is named with it.
        """
        found: dict[str, dict[float, list[int]]] = {}
        first: dict[str, dict] = {}
        for length, levels in at.items():
            for level in levels:
                first.setdefault(level["level"], level)
                if level["value"] is not None:
                    values = found.setdefault(level["level"], {})
                    values.setdefault(level["value"], []).append(length)
        shown = []
        for name, values in found.items():
            for value, lengths in values.items():
                where = f" ({', '.join(map(str, lengths))})" if len(values) > 1 else ""
                shown.append(first[name] | {"level": f"{name}{where}", "value": value})
        self.levels(shown, (0, 1), name=True, whole=True)

    def finished(self) -> bool:
        """Writes what lies beyond the edges, once all is drawn; whether anything does.

        Beside its marker: above it, the words would cover values close to the edge. Where words
        would cover each other, how many values there are and their range stand beside the axes.
        """
        for edge, found in self._beyond.items():
            words = {x: ", ".join(dict.fromkeys(values)) for x, values in found.items()}
            style: dict[str, Any] = {"fontsize": SMALL, "color": "#333333", "va": "center"}
            if self._fit(words):
                for x, shown in words.items():
                    self.axis.annotate(
                        shown, (x, edge), xytext=(6, 0), textcoords="offset points", **style
                    )
                continue
            every = [value for values in found.values() for value in dict.fromkeys(values)]
            self.axis.annotate(
                _range_of(every), (1.035, edge), xycoords=("axes fraction", "data"),
                annotation_clip=False, **style,
            )  # fmt: skip
        return bool(self._beyond)

    def _fit(self, words: dict[float, str]) -> bool:
        """Whether the words beside markers reach no other marker, by a guess at the final width."""
        figure = self.axis.get_figure()
        wide = 0.65 * self.axis.get_window_extent().width / (figure.dpi if figure else 100)
        low, high = self.axis.get_xlim()
        place = math.log if self.axis.get_xscale() == "log" else float
        unit = wide / (place(high) - place(low))
        xs = sorted(words)
        gaps = [(place(b) - place(a)) * unit for a, b in itertools.pairwise(xs)]
        return all(
            gap > BESIDE_MARKER + LETTER * len(words[x]) for x, gap in zip(xs, gaps, strict=False)
        ) and all(len(shown) < MOST_LETTERS for shown in words.values())

    def _edge(self, x: float, y: float, marker: str, words: str, colour: str) -> None:
        self._beyond.setdefault(y, {}).setdefault(x, []).append(words)
        self.axis.plot(
            [x], [y], marker, ls="none", mfc=colour, mec=colour, ms=7, zorder=4, clip_on=False
        )


def _around(levels: list[float], data: list[float], logarithmic: bool) -> tuple[float, float]:
    """What a window shows at least: the levels, and the middle of the data beside a lone one."""
    anchors = levels or data or [0.0, 1.0]
    if len(set(levels)) == 1:
        (level,) = set(levels)
        middle = statistics.quantiles(data, n=4) if len(data) > 1 else data
        # Not closer than this: what is a hair apart must look so.
        aside = DECADES if logarithmic else BESIDE * (abs(level) or 1.0)
        anchors = [*middle, level - aside, level + aside]
    return min(anchors), max(anchors)


def _apart(heights: list[float], gap: float, top: float) -> list[float]:
    """Heights in order, moved at least a gap apart: up, and down again below the top."""
    found: list[float] = []
    for height in heights:
        found.append(max(height, found[-1] + gap) if found else height)
    for i in reversed(range(len(found))):
        found[i] = min(found[i], top - gap * (len(found) - 1 - i))
    return found


def _range_of(words: list[str]) -> str:
    """How many values there are, and from where to where."""
    known = sorted({w for w in words if w != "nan"}, key=float)
    ends = " to ".join(dict.fromkeys((known[0], known[-1]))) if known else ""
    without = f"{words.count('nan')} nan" if "nan" in words else ""
    count = len(words) - words.count("nan")
    return "\n".join(filter(None, [f"{count} beyond:" if count else "", ends, without]))


def logarithmic(axis: Axes, values: Sequence[float], which: str = "x") -> None:
    """Gives x or y a log scale around positive values, with round ticks such as 200, 5k and 1M."""
    low, high = min(values, default=1.0) / 1.3, max(values, default=10.0) * 1.3
    _log_scale(axis, low, high, which)


def _log_scale(axis: Axes, low: float, high: float, which: str) -> None:
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
