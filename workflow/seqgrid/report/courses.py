"""Panels on the course of training: learning curves, and how many seeds solved a task by when."""

import statistics
from collections import defaultdict
from typing import Any

from matplotlib.axes import Axes

from seqgrid.report import panels
from seqgrid.report.content import Content
from seqgrid.report.looks import NOT_FINAL, Look, Looks
from seqgrid.report.view import View, logarithmic

SPREAD = 0.3  # of the way from one length to the next, that its models stand apart
MOST_CURVES = 60
MOST_BANDS = 4  # models in a panel: the intervals of more would cover each other
BAND_SEEDS = 3

Place = tuple[str, int]
Points = list[tuple[int, float]]


def places_with_history(content: Content) -> list[Place]:
    """Tasks and training lengths with validations."""
    columns = ["task", "seqlen_tokens"]
    found = content.history.select(columns).group_by(columns).aggregate([]).to_pylist()
    have = {(row["task"], row["seqlen_tokens"]) for row in found}
    return [
        (t, length) for t in content.tasks for length in content.lengths(t) if (t, length) in have
    ]


def curves(axis: Axes, content: Content, place: Place, looks: Looks) -> panels.Drawn:
    """Validation of every seed against steps, with median and range of each model's seeds."""
    task, seqlen = place
    rows = [r for r in content.rows(task, seqlen) if r["selected"]]
    clip = panels.view(axis, content, rows)
    cells = {
        (c["model"], c["variant"] or "", c["seed"]): c
        for c in content.cells
        if (c["task"], c["seqlen_tokens"]) == place
    }
    last = 1
    for model, lines in shown_curves(content, place).items():
        look = looks[model]
        for key, points in lines.items():
            _seed(clip, points, look, cells[key], alone=len(lines) < BAND_SEEDS)
            last = max(last, points[-1][0])
        _together(clip, list(lines.values()), look)
    if rows:
        clip.levels(panels.levels_of(content, rows[0]), (0, last), name=True)
    panels.titles(axis, content, task, f"{task}, {seqlen} tokens", "training (steps)", "val. ")
    return set(shown_curves(content, place)), clip.finished()


def shown_curves(content: Content, place: Place) -> dict[str, dict[tuple, Points]]:
    """Curves of each model's selected variant, whole models up to MOST_CURVES curves."""
    rows = [r for r in content.rows(*place) if r["selected"]]
    chosen = {(r["model"], r["variant"]) for r in rows}
    found: dict[str, dict[tuple, Points]] = defaultdict(dict)
    for key, points in content.curves(*place).items():
        if key[:2] in chosen:
            found[key[0]][key] = points
    shown, count = {}, 0
    for model in [m for m in content.models if m in found]:
        count += len(found[model])
        if count <= MOST_CURVES or not shown:
            shown[model] = found[model]
    return shown


def curves_cut(content: Content, places: list[Place]) -> bool:
    """Whether any panel leaves out models."""
    for place in places:
        models = {model for model, *_ in content.curves(*place)}
        if len(shown_curves(content, place)) < len(models):
            return True
    return False


def _seed(clip: View, points: Points, look: Look, cell: dict, alone: bool) -> None:
    """One seed; dotted with an open end where it was cut, a star where it solved.

    alone: no median is drawn, so that the line must be seen.
    """
    steps, values = zip(*points, strict=True)
    final = cell["outcome"] == "finished"
    dash = look.dash if final else NOT_FINAL
    heights = clip.clipped(values)
    wide, clear = (1.3, 0.9) if alone else (0.7, 0.55)
    clip.axis.plot(steps, heights, ls=dash, color=look.colour, lw=wide, alpha=clear)
    if alone or not final or values[-1] != heights[-1]:
        clip.scatter(steps[-1:], [(values[-1], final)], look)
    solved = cell["solved_step_steps"]
    if solved is not None:
        at = min(range(len(steps)), key=lambda i: abs(steps[i] - solved))
        star: dict[str, Any] = {
            "ms": 9,
            "mfc": look.colour,
            "mec": "black",
            "mew": 0.6,
            "zorder": 4,
        }
        clip.axis.plot([solved], [heights[at]], "*", **star)


def _together(clip: View, lines: list[Points], look: Look) -> None:
    """Median and range of the seeds over the steps at which all of them were validated."""
    if len(lines) < BAND_SEEDS:
        return
    at = [dict(points) for points in lines]
    steps = sorted(set(at[0]).intersection(*at[1:]))
    if not steps:
        return
    values = [[line[s] for line in at] for s in steps]
    clip.axis.fill_between(
        steps,
        clip.clipped([min(v) for v in values]),
        clip.clipped([max(v) for v in values]),
        color=look.colour, alpha=0.1, lw=0, zorder=0.5,
    )  # fmt: skip
    medians = clip.clipped([statistics.median(v) for v in values])
    clip.axis.plot(steps, medians, ls=look.dash, color=look.colour, lw=1.7)
    clip.scatter(steps[-1:], [(medians[-1], True)], look)


def places_with_survival(content: Content) -> list[Place]:
    """Tasks and training lengths at which any seed solved the task; else no curve ever falls."""
    have = {(r["task"], r["seqlen_tokens"]) for r in _survival(content) if r["solved"]}
    return [p for t in content.tasks for p in [(t, at) for at in content.lengths(t)] if p in have]


def survival(axis: Axes, content: Content, place: Place, looks: Looks) -> panels.Drawn:
    """Kaplan-Meier share of each model's seeds that have not solved the task, against steps."""
    found: dict[str, list[dict]] = defaultdict(list)
    for row in _survival(content):
        if (row["task"], row["seqlen_tokens"]) == place:
            found[row["model"]].append(row)
    models = [m for m in content.models if m in found]
    unsolved = []
    for i, model in enumerate(models):
        rows = sorted(found[model], key=lambda r: r["step_steps"])
        # Curves that coincide are set apart by a hair.
        apart = min(0.008, 0.05 / len(models)) * (i - (len(models) - 1) / 2)
        _steps(axis, rows, looks[model], apart, band=len(models) <= MOST_BANDS)
        if not any(r["solved"] for r in rows):
            unsolved.append(model)
    axis.set_ylim(-0.06, 1.09)
    axis.set_xlim(left=0)
    axis.set_title(f"{place[0]}, {place[1]} tokens", fontsize=10)
    without = f"; {len(unsolved)} of {len(models)} models have not solved it" if unsolved else ""
    axis.set_xlabel(f"training (steps){without}")
    axis.set_ylabel("share of seeds not yet solved")
    return set(models), False


def _steps(axis: Axes, rows: list[dict], look: Look, apart: float, band: bool) -> None:
    steps = [0, *(r["step_steps"] for r in rows)]
    shares = [1.0, *(r["unsolved"] for r in rows)]
    raised = [share + apart for share in shares]
    style: dict[str, Any] = {"color": look.colour, "zorder": 3}
    axis.plot(steps, raised, ls=look.dash, drawstyle="steps-post", lw=1.6, **style)
    ends = [(r["step_steps"], r["unsolved"] + apart) for r in rows if r["censored"]]
    if ends:
        axis.plot(*zip(*ends, strict=True), "|", ms=9, mew=1.6, **style)
    events = [(r["step_steps"], r["unsolved"] + apart) for r in rows if r["solved"]]
    if events:
        axis.plot(*zip(*events, strict=True), look.marker, ms=4.5, **style)
    known = [r for r in rows if None not in (r["low"], r["high"])]
    if band and known and events:
        at = [r["step_steps"] for r in known]
        low, high = ([r[end] for r in known] for end in ("low", "high"))
        axis.fill_between(at, low, high, step="post", color=look.colour, alpha=0.13, lw=0)


def _survival(content: Content) -> list[dict]:
    """The rows of selected variants."""
    chosen = {
        (r["model"], r["task"], r["variant"], r["seqlen_tokens"])
        for task in content.tasks
        for r in content.rows(task)
        if r["selected"]
    }
    names = ("model", "task", "variant", "seqlen_tokens")
    return [r for r in content.survival if tuple(r[n] for n in names) in chosen]


def tasks_with_steps(content: Content) -> list[str]:
    """Tasks that half of the seeds of any model solved; else no time is known."""
    found = {t: _convergence(content, t) for t in content.tasks}
    return [t for t, rows in found.items() if any(r["median_steps"] for r in rows)]


def steps(axis: Axes, content: Content, task: str, looks: Looks) -> panels.Drawn:
    """Median steps to solve against training length; an arrow where it was not reached."""
    rows = _convergence(content, task)
    models = [m for m in content.models if any(r["model"] == m for r in rows)]
    lengths = sorted({r["seqlen_tokens"] for r in rows})
    ends = [r[name] for r in rows for name in ("horizon_steps", "median_steps", "low", "high")]
    logarithmic(axis, [v for v in ends if v], "y")
    for i, model in enumerate(models):
        here = sorted((r for r in rows if r["model"] == model), key=lambda r: r["seqlen_tokens"])
        look = looks[model]
        aside = SPREAD * ((i + 0.5) / len(models) - 0.5)
        place = [lengths.index(r["seqlen_tokens"]) + aside for r in here]
        solved = [(x, r) for x, r in zip(place, here, strict=True) if r["median_steps"]]
        for x, row in zip(place, here, strict=True):
            if row["median_steps"]:
                high = row["high"] if row["high"] is not None else row["horizon_steps"]
                if row["low"] and high:
                    axis.plot([x, x], [row["low"], high], "-", color=look.colour, lw=1, alpha=0.6)
            else:
                at = (x, row["horizon_steps"])
                arrow: dict[str, Any] = {
                    "arrowstyle": "<-",
                    "color": look.colour,
                    "lw": 1.3,
                    "shrinkB": 0,
                }
                axis.annotate("", at, (0, 14), textcoords="offset points", arrowprops=arrow)
                open_: dict[str, Any] = {"mfc": "white", "mec": look.colour, "ms": 5}
                axis.plot(*at, look.marker, ls="none", **open_)
        heights = [r["median_steps"] for _, r in solved]
        line: dict[str, Any] = {"color": look.colour, "marker": look.marker, "ms": 5, "lw": 1}
        axis.plot([x for x, _ in solved], heights, ls=look.dash, **line)
    axis.set_xticks(range(len(lengths)), [str(at) for at in lengths])
    axis.set_xlim(-0.5, len(lengths) - 0.5)
    axis.set_title(task, fontsize=10)
    axis.set_xlabel("training length (tokens)")
    axis.set_ylabel("median training to solve (steps)")
    return set(models), False


def _convergence(content: Content, task: str) -> list[dict]:
    return [
        r for r in content.convergence if r["task"] == task and r["seeds"] and r["horizon_steps"]
    ]
