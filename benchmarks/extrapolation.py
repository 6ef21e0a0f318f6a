"""How far off extrapolated validation curves are: `python benchmarks/extrapolation.py`.

Curves are cut at a quarter, half and three quarters, and the forecast of the best validation by
their end is held against what came. Synthetic ones are drawn here; real ones are those of
validation_curves.json: LSTM, GRU, attention and DeltaNet of width 32 on the adding problem,
selective copying and MQAR at 16 tokens, 800 steps with a validation of 300 examples every 20, two
seeds, learning rate 3e-3, none of them chosen. Then advice as a whole: of a
curve that is cut beside four of its kind that are not. Prints the tables of docs/advice.md.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seqgrid.analysis import resuming, stats
from seqgrid.analysis.extrapolation import forecast
from seqgrid.analysis.groups import Cell, Group
from seqgrid.analysis.levels import Levels
from seqgrid.thresholds import Thresholds

SHAPES = ("exponential", "power law", "logistic", "two stages")
ACTIONS = (resuming.RESUME, resuming.OPEN, resuming.LEAVE)
SHARES = (0.25, 0.5, 0.75)
WORTH = 0.05  # the default of `worth_share`
FEWEST = 5  # validations before a forecast is made


def synthetic(shape: str, generator: np.random.Generator, points: int = 40) -> dict:
    """A curve of a known shape from chance 0 towards a limit below the ceiling 1, with noise."""
    t = np.arange(1, points + 1) / points
    limit, noise = generator.uniform(0.2, 1.0), generator.uniform(0.005, 0.03)
    if shape == "exponential":
        rise = 1 - np.exp(-t / generator.uniform(0.05, 1.0))
    elif shape == "power law":
        rise = 1 - (1 + t / generator.uniform(0.02, 0.3)) ** -generator.uniform(0.3, 1.5)
    elif shape == "logistic":
        rise = 1 / (1 + np.exp(-(t - generator.uniform(0.1, 0.9)) / generator.uniform(0.03, 0.1)))
    else:  # two stages: a plateau at a shortcut that breaks
        rise = 0.4 * (1 - np.exp(-t / 0.05))
        rise += 0.6 / (1 + np.exp(-(t - generator.uniform(0.3, 0.9)) / 0.03))
    values = limit * rise + noise * generator.standard_normal(points)
    return {"values": values, "errors": np.full(points, noise), "chance": 0.0, "ceiling": 1.0}


def real() -> list[dict]:
    """The curves that were measured."""
    found = json.loads((Path(__file__).parent / "validation_curves.json").read_text())
    for curve in found:
        sign = 1 if curve["better"] == "higher" else -1
        for name in ("values", "chance", "ceiling"):
            curve[name] = sign * np.asarray(curve[name])
    return found


def measured(curve: dict, share: float) -> dict | None:
    """What the forecast said at a share of a curve, and what came; None where none is made."""
    values, errors = (np.asarray(curve[name], dtype=float) for name in ("values", "errors"))
    steps = np.arange(1, len(values) + 1.0)
    n = round(share * len(values))
    span, best = float(curve["ceiling"] - curve["chance"]), float(values[:n].max())
    reach = stats.simultaneous_z(n) * errors[values[:n].argmax()]
    if n < FEWEST or best - reach <= curve["chance"]:
        return None  # too few, or inside the chance band: nothing is said there
    if best + reach >= curve["ceiling"]:
        return None  # at the ceiling: another rule answers
    made = forecast(steps[:n], values[:n], errors[:n], steps[-1], float(curve["ceiling"]))
    window = slice(n - max(FEWEST, n // 4), n)
    line = np.polyval(np.polyfit(steps[window], values[window], 1), steps[-1])
    came = (values.max() - best) / span
    gain, low, high = ((v - best) / span for v in (made.value, made.low, made.high))
    straight = (np.clip(line, best, curve["ceiling"]) - best) / span
    return {
        "error": abs(gain - came),
        "none": came,
        "line": abs(straight - came),
        "held": low - 1e-9 <= came <= high + 1e-9,
        "width": high - low,
        "nothing": high < WORTH,
        "nothing_wrong": high < WORTH <= came,
        "worth": gain >= WORTH,
        "worth_wrong": gain >= WORTH > came,
    }


def summed(rows: list[dict]) -> dict[str, float]:
    """Means of errors, shares and widths; sums of what was said."""
    counts = ("nothing", "nothing_wrong", "worth", "worth_wrong")
    return {"n": len(rows)} | {
        name: float((np.sum if name in counts else np.mean)([row[name] for row in rows]))
        for name in rows[0]
    }


def results(curves_of_a_shape: int = 200) -> dict[tuple[str, float], dict[str, float]]:
    """What `measured` says by kind of curve and share seen."""
    generator = np.random.default_rng(7)
    kinds: dict[str, list[dict]] = {
        shape: [synthetic(shape, generator) for _ in range(curves_of_a_shape)] for shape in SHAPES
    }
    kinds["real"] = real()
    found = defaultdict(list)
    for kind, curves in kinds.items():
        for share in SHARES:
            for curve in curves:
                if row := measured(curve, share):
                    found[kind, share].append(row)
    return {key: summed(rows) for key, rows in found.items()}


def advised(curves: list[dict], share: float, siblings: int) -> list[tuple]:
    """What is said of each curve cut at a share, beside whole others, and the gain that came."""
    levels = Levels(chance=0.0, ceiling=1.0, solved=0.95)
    thresholds, found = Thresholds(), []
    for start in range(0, len(curves) - siblings, siblings + 1):
        cut, *others = (np.asarray(c["values"]) for c in curves[start : start + siblings + 1])
        errors = [float(c["errors"][0]) for c in curves[start : start + siblings + 1]]
        points = [
            [(step, float(v), error) for step, v in enumerate(values, 1)]
            for values, error in zip(others, errors[1:], strict=True)
        ]
        slack = [resuming.tolerance(levels, thresholds, p) for p in points]
        n = round(share * len(cut))
        history = tuple((step, float(v), errors[0]) for step, v in enumerate(cut[:n], 1))
        points.append(list(history))
        slack.append(resuming.tolerance(levels, thresholds, history))
        broken = resuming.longest_broken(zip(points, slack, strict=True), WORTH)
        solved = next((step for step, v, _ in history if v >= 0.95), None)
        cell = Cell(0, "timed_out", budget=len(cut), history=history, solved_step=solved)
        group = Group("", "", "", 1, 1, "", "", "accuracy", levels, (cell,))
        judged = resuming.judge(cell, group, thresholds, broken)
        found.append((judged, float(cut.max() - cut[:n].max())))
    return found


def stated(rows: list[tuple]) -> dict[str, float]:
    """Of the intervals that advice states: their number, how often they held, their width."""
    said = [(judged, came) for judged, came in rows if judged.gain is not None]
    held = [judged.low - 1e-9 <= came <= judged.high + 1e-9 for judged, came in said]
    widths = [judged.high - judged.low for judged, _ in said]
    return {"n": len(said), "held": float(np.mean(held)), "width": float(np.mean(widths))}


def _advice_table(siblings: int = 4, studies: int = 200) -> Iterator[list[str]]:
    head = ["curves", "seen", *(f"{a}: n, gain came" for a in ACTIONS), "gains: n", "held", "width"]
    yield from (head, ["---"] * len(head))
    generator = np.random.default_rng(8)
    for shape in SHAPES:
        curves = [synthetic(shape, generator) for _ in range(studies * (siblings + 1))]
        for share in SHARES:
            rows = advised(curves, share, siblings)
            counts = [[came >= WORTH for j, came in rows if j.action == a] for a in ACTIONS]
            gains = stated(rows)
            yield [
                *(shape, f"{share:.0%}", *(f"{len(c)}, {sum(c)}" for c in counts)),
                *(f"{gains['n']:.0f}", f"{gains['held']:.0%}", f"{gains['width']:.2f}"),
            ]


def main() -> int:
    """Entry point; returns the exit status."""
    head = ["curves", "seen", "n", "error", "no gain", "straight line", "held", "width"]
    head += ["no gain worth it: said, wrong", "worth it: said, wrong"]
    lines = [head, ["---"] * len(head)]
    for (kind, share), row in results().items():
        numbers = [f"{row[name]:.3f}" for name in ("error", "none", "line")]
        line = [kind, f"{share:.0%}", f"{row['n']:.0f}", *numbers, f"{row['held']:.0%}"]
        line += [f"{row['width']:.2f}", f"{row['nothing']:.0f}, {row['nothing_wrong']:.0f}"]
        lines.append([*line, f"{row['worth']:.0f}, {row['worth_wrong']:.0f}"])
    for table in (lines, list(_advice_table())):
        sys.stdout.write("\n".join(f"| {' | '.join(line)} |" for line in table) + "\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
