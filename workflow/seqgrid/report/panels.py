"""Panels on test scores: each draws one task on its axes.

A panel returns the models it shows and whether it had to clip a value.
"""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from seqgrid.report.content import Content, complete
from seqgrid.report.judged import better_of, metric_of
from seqgrid.report.looks import NOT_FINAL, Looks, ordered
from seqgrid.report.view import View

MOST_BANDS = 6  # models in a panel: the bands of more would cover each other
BAND_SEEDS = 3

ON_A_LOG_SCALE = ("perplexity",)  # the exponential of a loss

Drawn = tuple[set[str], bool]


def tasks_with_values(content: Content) -> list[str]:
    """Tasks of which any cell has a test value, or a report a mean."""
    return [
        t
        for t in content.tasks
        if any(points_of(r) for r in content.rows(t)) or reported_at(content, t)
    ]


def tasks_with_lengths(content: Content) -> list[str]:
    """Tasks with values at two training lengths or more."""
    found = []
    for task in content.tasks:
        lengths = {r["seqlen_tokens"] for r in content.rows(task) if points_of(r)}
        lengths |= {r["seqlen_tokens"] for r in reported_at(content, task)}
        if len(lengths) > 1:
            found.append(task)
    return found


def tasks_beyond(content: Content) -> list[str]:
    """Tasks evaluated at other lengths than the training length."""
    return [t for t in content.tasks if any(points_of(r) for r in content.rows(t, beyond=True))]


def tasks_with_both(content: Content) -> list[str]:
    """Tasks with test values of best and last weights."""
    with_last = {r["task"] for r in content.summary if r["weights"] == "last" and points_of(r)}
    have = [t for t in content.tasks if any(points_of(r) for r in content.rows(t))]
    return [t for t in have if t in with_last]


def results(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """Each model's seeds side by side, one group of columns a training length."""
    rows = [r for r in content.rows(task) if r["selected"]]
    means = reported_at(content, task)
    shown = models_of(rows) | {r["model"] for r in means}
    offsets = _offsets(content, shown)
    # A report may say of a length what no cell of it is known.
    lengths = sorted({*content.lengths(task), *(r["seqlen_tokens"] for r in means)})
    width = max(offsets.values()) + 2.5
    clip = view(axis, content, rows, means)
    for row in [r for r in rows if r["model"] in shown]:
        x = lengths.index(row["seqlen_tokens"]) * width + offsets[row["model"]]
        points = points_of(row)
        spread = [x + 0.6 * (i + 0.5) / len(points) - 0.3 for i in range(len(points))]
        look = looks[row["model"]]
        clip.scatter(spread, points, look, size=4.5 if len(offsets) * len(lengths) < 30 else 3.5)
        if _known(row):
            axis.plot([x - 0.4, x + 0.4], clip.clipped([row["median"]] * 2), "-",
                      color=look.colour, lw=1.2)  # fmt: skip
        _own_ceiling(clip, row, (x - 0.48, x + 0.48), looks)
    for mean in means:
        x = lengths.index(mean["seqlen_tokens"]) * width + offsets[mean["model"]]
        clip.reported(x, mean["value"], mean["standard_error"], looks[mean["model"]])
    for i, at in enumerate(lengths):
        here = [r for r in (*rows, *means) if r["seqlen_tokens"] == at]
        if here:
            ends = (i * width - 0.6, (i + 1) * width - 1.9)
            clip.levels(levels_of(content, here[0]), ends, name=i == len(lengths) - 1)
    middle = [i * width + max(offsets.values()) / 2 for i in range(len(lengths))]
    axis.set_xticks(middle, [str(at) for at in lengths])
    axis.set_xlim(-1, len(lengths) * width - 1.5)
    axis.grid(visible=False, axis="x")
    titles(axis, content, task, task, "training length (tokens)")
    return shown, clip.finished()


def _offsets(content: Content, shown: set[str]) -> dict[str, float]:
    """The column of each model among those of one length, a gap between declared groups."""
    found: dict[str, float] = {}
    at = 0.0
    for _, members in ordered([m for m in content.models if m in shown], content.groups):
        for model in members:
            found[model] = at
            at += 1
        at += 0.7
    return found or {"": 0.0}


def length(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """The metric against the training length."""
    rows = [r for r in content.rows(task) if r["selected"]]
    means = reported_at(content, task)
    clip = view(axis, content, rows, means)
    shown = models_of(rows) | {r["model"] for r in means}
    models = [m for m in content.models if m in shown]
    _against_length(axis, rows, looks, clip, "seqlen_tokens", models)
    for mean in means:
        x = mean["seqlen_tokens"] * _nudge(models, mean["model"])
        clip.reported(x, mean["value"], mean["standard_error"], looks[mean["model"]])
    _moving_levels(content, [*means, *rows], clip, "seqlen_tokens")
    titles(axis, content, task, task, "training length (tokens)")
    return shown, clip.finished()


def beyond(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """The metric against the evaluated length, a line for each training length."""
    rows = [r for r in content.rows(task) + content.rows(task, beyond=True) if r["selected"]]
    elsewhere = {(r["model"], r["seqlen_tokens"]) for r in rows if _elsewhere(r) and points_of(r)}
    rows = [r for r in rows if (r["model"], r["seqlen_tokens"]) in elsewhere]
    clip = view(axis, content, rows)
    models = [m for m in content.models if m in models_of(rows)]
    for trained in content.lengths(task):
        here = [r for r in rows if r["seqlen_tokens"] == trained]
        _against_length(axis, here, looks, clip, "evaluated_seqlen_tokens", models)
    _moving_levels(content, rows, clip, "evaluated_seqlen_tokens")
    titles(axis, content, task, task, "evaluated length (tokens)")
    return models_of(rows), clip.finished()


def peaks(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """Test score with the last weights against that with the best; equal on the diagonal."""
    rows = [r for r in content.rows(task) if r["selected"]]
    clip = view(axis, content, rows)
    lasts = {
        (r["model"], r["variant"], r["seqlen_tokens"]): dict(
            zip(r["seeds"], r["values"], strict=True)
        )
        for r in content.summary
        if r["task"] == task
        and r["weights"] == "last"
        and r["primary"]
        and r["evaluated_seqlen_tokens"] == r["seqlen_tokens"]
        and not r["test_set"]
        and not r["slice"]
    }
    axis.plot([clip.low, clip.high], [clip.low, clip.high], color="grey", lw=0.8)
    for row in rows:
        last = lasts.get((row["model"], row["variant"], row["seqlen_tokens"]), {})
        found = [
            (clip.clipped([best])[0], (last[seed], final))
            for seed, best, final in zip(row["seeds"], row["values"], row["finals"], strict=True)
            if None not in (best, last.get(seed))
        ]
        clip.scatter([x for x, _ in found], [p for _, p in found], looks[row["model"]])
    clip.all_levels(levels_by_length(content, rows))
    axis.set_xlim(axis.get_ylim())
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(6))
    titles(axis, content, task, task, f"best weights, {rows[0]['metric']}", "last weights, ")
    return models_of(rows), clip.finished()


def points_of(row: dict) -> list[tuple[float, bool]]:
    """(value, final) of each seed that has a value."""
    pairs = zip(row["values"], row["finals"], strict=True)
    return [(value, final) for value, final in pairs if value is not None]


def reported_at(content: Content, task: str) -> list[dict]:
    """Means of a task that only a report from elsewhere has, in the metric it is judged by."""
    said = (r["metric"] for r in content.reported if r["task"] == task)
    known = (r["metric"] for r in content.rows(task) if r["metric"])
    metric = next(known, next(said, None))  # without cells the metric that stands first
    return [
        r
        for r in content.reported
        if r["task"] == task
        and r["seqlen_tokens"] == r["evaluated_seqlen_tokens"]
        and not r["test_set"]
        and r["metric"] == metric
        and r["value"] is not None
        and r["model"] in content.models
    ]


def _known(row: dict) -> bool:
    return row["median"] is not None and not math.isnan(row["median"])


def _nudge(models: list[str], model: str) -> float:
    """A factor on a length, so that equal values of several models stay visible."""
    step = min(0.03, 0.3 / len(models))
    return 1 + step * (models.index(model) - (len(models) - 1) / 2)


def _against_length(
    axis: Axes, rows: list[dict], looks: Looks, clip: View, column: str, models: list[str]
) -> None:
    axis.set_xscale("log", base=2)
    for model in models:
        here = sorted((r for r in rows if r["model"] == model), key=lambda r: r[column])
        nudge, look = _nudge(models, model), looks[model]
        for row in here:
            points = points_of(row)
            _own_ceiling(clip, row, (row[column] * nudge / 1.12, row[column] * nudge * 1.12), looks)
            clip.scatter([row[column] * nudge] * len(points), points, look, size=4.5)
        known = [r for r in here if _known(r)]
        heights = clip.clipped([r["median"] for r in known])
        for i in range(1, len(known)):
            pair = known[i - 1 : i + 1]
            dash = look.dash if all(complete(r) for r in pair) else NOT_FINAL
            ends = [r[column] * nudge for r in pair]
            axis.plot(ends, heights[i - 1 : i + 1], ls=dash, color=look.colour, lw=1.3)
        if len(models) <= MOST_BANDS:
            _band(clip, known, nudge, look.colour, column)
        for row, height in zip(known, heights, strict=True):
            if column == "evaluated_seqlen_tokens" and not _elsewhere(row):
                ring: dict[str, Any] = {"ms": 11, "mfc": "none", "mec": look.colour, "mew": 0.8}
                axis.plot(row[column] * nudge, height, "o", **ring)


def _band(clip: View, rows: list[dict], nudge: float, colour: str, column: str) -> None:
    """The interval of the median over seeds, where there are enough of them."""
    rows = [r for r in rows if r["final"] >= BAND_SEEDS and r["low"] is not None]
    xs = [r[column] * nudge for r in rows]
    low, high = (clip.clipped([r[end] for r in rows]) for end in ("low", "high"))
    clip.axis.fill_between(xs, low, high, color=colour, alpha=0.15, lw=0, zorder=0.5)


def _own_ceiling(clip: View, row: dict, ends: tuple[float, float], looks: Looks) -> None:
    if row["model_ceiling"] is not None:
        clip.own_ceiling(ends, row["model_ceiling"], looks[row["model"]].colour)


def _moving_levels(content: Content, rows: list[dict], clip: View, column: str) -> None:
    at = {r[column]: r for r in sorted(rows, key=lambda r: r[column])}
    clip.moving_levels({place: levels_of(content, row) for place, row in at.items()})
    clip.axis.xaxis.set_major_locator(FixedLocator(list(at)))
    clip.axis.xaxis.set_minor_locator(NullLocator())
    clip.axis.set_xticklabels([str(a) for a in at])


def _elsewhere(row: dict) -> bool:
    return row["evaluated_seqlen_tokens"] != row["seqlen_tokens"]


def models_of(rows: list[dict]) -> set[str]:
    """Models that have a value."""
    return {r["model"] for r in rows if points_of(r)}


def levels_of(content: Content, row: dict) -> list[dict]:
    """The levels of a row, also where its metric is known from a report or from training alone."""
    if row["metric"]:
        return content.levels_at(row)
    return content.levels_at(row | {"metric": metric_of(content, row["task"])})


def levels_by_length(content: Content, rows: list[dict]) -> dict[int, list[dict]]:
    """The levels at each training length of rows, the shortest first."""
    at = {r["seqlen_tokens"]: r for r in sorted(rows, key=lambda r: r["seqlen_tokens"])}
    return {length: levels_of(content, row) for length, row in at.items()}


def view(axis: Axes, content: Content, rows: list[dict], means: Sequence[dict] = ()) -> View:
    """A window on the values and levels of rows, and of means that a report gives."""
    found = [v["value"] for r in (*rows, *means) for v in levels_of(content, r)]
    values = [value for r in rows for value, _ in points_of(r)] + [r["value"] for r in means]
    metric = metric_of(content, rows[0]["task"]) if rows else ""
    return View(axis, [v for v in found if v is not None], values, metric in ON_A_LOG_SCALE)


def titles(
    axis: Axes, content: Content, task: str, title: str, below: str, beside: str = ""
) -> None:
    """Title and names of the axes."""
    metric = metric_of(content, task) or "metric"
    lower = better_of(content, task, metric) == "lower"
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(below)
    axis.set_ylabel(f"{beside}{metric}" + ("\n(lower is better)" if lower else ""))
