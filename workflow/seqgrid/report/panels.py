"""The panels that figures consist of: each draws one task, or one task and length, on its axes.

A panel returns the models it shows and whether it had to clip a value.
"""

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from seqgrid.report.content import Content, complete
from seqgrid.report.view import View

MOST_CURVES = 60

Looks = dict[str, tuple[str, str]]
Drawn = tuple[set[str], bool]


def tasks_with_values(content: Content) -> list[str]:
    """Tasks of which any cell has a test value."""
    return [t for t in content.tasks if any(points_of(r) for r in content.rows(t))]


def tasks_with_lengths(content: Content) -> list[str]:
    """Tasks with values at two training lengths or more."""
    valued = {
        t: {r["seqlen_tokens"] for r in content.rows(t) if points_of(r)} for t in content.tasks
    }
    return [task for task, lengths in valued.items() if len(lengths) > 1]


def tasks_beyond(content: Content) -> list[str]:
    """Tasks evaluated at other lengths than the training length."""
    return [t for t in content.tasks if any(points_of(r) for r in content.rows(t, beyond=True))]


def tasks_with_both(content: Content) -> list[str]:
    """Tasks with test values of best and last weights."""
    with_last = {r["task"] for r in content.summary if r["weights"] == "last" and points_of(r)}
    return [t for t in tasks_with_values(content) if t in with_last]


def places_with_history(content: Content) -> list[tuple[str, int]]:
    """Tasks and training lengths with validations."""
    columns = ["task", "seqlen_tokens"]
    found = content.history.select(columns).group_by(columns).aggregate([]).to_pylist()
    have = {(row["task"], row["seqlen_tokens"]) for row in found}
    return [
        (t, length) for t in content.tasks for length in content.lengths(t) if (t, length) in have
    ]


def results(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """Each model's seeds side by side, one group of columns a training length."""
    rows = [r for r in content.rows(task) if r["selected"]]
    models = [m for m in content.models if any(r["model"] == m for r in rows)]
    lengths = content.lengths(task)
    places, width = {}, len(models) + 1
    for i, at in enumerate(lengths):
        for j, model in enumerate(models):
            places[model, at] = i * width + j
    clip = view(axis, content, rows)
    for row in rows:
        x = places[row["model"], row["seqlen_tokens"]]
        points = points_of(row)
        spread = [x + 0.5 * (i + 0.5) / len(points) - 0.25 for i in range(len(points))]
        clip.scatter(spread, points, looks[row["model"]])
        if row["median"] is not None and not math.isnan(row["median"]):
            axis.plot([x - 0.4, x + 0.4], [row["median"]] * 2, color=looks[row["model"]][0], lw=1)
        _own_ceiling(clip, row, (x - 0.48, x + 0.48), looks)
    for i, at in enumerate(lengths):
        here = [r for r in rows if r["seqlen_tokens"] == at]
        if here:
            ends = (i * width - 0.6, i * width + len(models) - 0.4)
            clip.levels(content.levels_at(here[0]), ends, name=i == len(lengths) - 1)
    middle = [i * width + (len(models) - 1) / 2 for i in range(len(lengths))]
    axis.set_xticks(middle, [str(at) for at in lengths])
    axis.grid(visible=False, axis="x")
    titles(axis, task, "training length (tokens)", rows)
    return models_of(rows), clip.used


def length(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """The metric against the training length."""
    rows = [r for r in content.rows(task) if r["selected"]]
    clip = view(axis, content, rows)
    _against_length(axis, rows, looks, clip, "seqlen_tokens", content.models)
    _level_steps(content, rows, clip, "seqlen_tokens")
    titles(axis, task, "training length (tokens)", rows)
    return models_of(rows), clip.used


def beyond(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """The metric against the evaluated length, a line for each training length."""
    rows = [r for r in content.rows(task) + content.rows(task, beyond=True) if r["selected"]]
    elsewhere = {(r["model"], r["seqlen_tokens"]) for r in rows if _elsewhere(r) and points_of(r)}
    rows = [r for r in rows if (r["model"], r["seqlen_tokens"]) in elsewhere]
    clip = view(axis, content, rows)
    for trained in content.lengths(task):
        here = [r for r in rows if r["seqlen_tokens"] == trained]
        _against_length(axis, here, looks, clip, "evaluated_seqlen_tokens", content.models)
    _level_steps(content, rows, clip, "evaluated_seqlen_tokens")
    titles(axis, task, "evaluated length (tokens)", rows)
    return models_of(rows), clip.used


def curves(axis: Axes, content: Content, place: tuple[str, int], looks: Looks) -> Drawn:
    """Validation of every seed against steps."""
    task, seqlen = place
    rows = [r for r in content.rows(task, seqlen) if r["selected"]]
    clip = view(axis, content, rows)
    finished = {
        (c["model"], c["variant"] or "", c["seed"]): c["outcome"] == "finished"
        for c in content.cells
        if (c["task"], c["seqlen_tokens"]) == place
    }
    shown = {(r["model"], r["variant"], s) for r in rows for s in r["seeds"]}
    lines = {k: v for k, v in content.curves(task, seqlen).items() if k in shown}
    for key, points in list(lines.items())[:MOST_CURVES]:
        style = "-" if finished.get(key) else "--"
        steps, values = zip(*points, strict=True)
        axis.plot(steps, clip.clipped(values), style, color=looks[key[0]][0], lw=0.9, alpha=0.85)
        clip.scatter(steps[-1:], [(values[-1], bool(finished.get(key)))], looks[key[0]])
    if rows:
        ends = (0, max((p[-1][0] for p in lines.values()), default=1))
        clip.levels(content.levels_at(rows[0]), ends, name=True)
    titles(axis, f"{task} {seqlen}", "steps", rows, "validation ")
    return {k[0] for k in lines}, clip.used


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
    axis.plot([clip.low, clip.high], [clip.low, clip.high], color="grey", lw=0.8, ls="--")
    for row in rows:
        last = lasts.get((row["model"], row["variant"], row["seqlen_tokens"]), {})
        found = [
            (clip.clipped([best])[0], (last[seed], final))
            for seed, best, final in zip(row["seeds"], row["values"], row["finals"], strict=True)
            if None not in (best, last.get(seed))
        ]
        clip.scatter([x for x, _ in found], [p for _, p in found], looks[row["model"]])
    clip.all_levels(_levels_by_length(content, rows))
    axis.set_xlim(axis.get_ylim())
    titles(axis, task, f"best weights, {rows[0]['metric']}", rows, "last weights, ")
    return models_of(rows), clip.used


def cost(axis: Axes, content: Content, task: str, looks: Looks) -> Drawn:
    """The metric against the training time of each seed."""
    rows = [r for r in content.rows(task) if r["selected"]]
    clip = view(axis, content, rows)
    spent = {
        (c["model"], c["variant"] or "", c["seqlen_tokens"], c["seed"]): c["training_seconds"]
        for c in content.cells
        if c["task"] == task
    }
    for row in rows:
        who = (row["model"], row["variant"], row["seqlen_tokens"])
        found = [
            (spent[(*who, seed)], (value, final))
            for seed, value, final in zip(row["seeds"], row["values"], row["finals"], strict=True)
            if value is not None and spent.get((*who, seed))
        ]
        clip.scatter([x for x, _ in found], [p for _, p in found], looks[row["model"]])
    clip.all_levels(_levels_by_length(content, rows))
    axis.set_xscale("log")
    titles(axis, task, "training time (s)", rows)
    return models_of(rows), clip.used


def points_of(row: dict) -> list[tuple[float, bool]]:
    """(value, final) of each seed that has a value."""
    pairs = zip(row["values"], row["finals"], strict=True)
    return [(value, final) for value, final in pairs if value is not None]


def _against_length(
    axis: Axes, rows: list[dict], looks: Looks, clip: View, column: str, models: list[str]
) -> None:
    axis.set_xscale("log", base=2)
    for j, model in enumerate(models):
        here = sorted((r for r in rows if r["model"] == model), key=lambda r: r[column])
        nudge = 1 + 0.03 * (j - (len(models) - 1) / 2)  # so that equal values stay visible
        for row in here:
            points = points_of(row)
            _own_ceiling(clip, row, (row[column] * nudge / 1.12, row[column] * nudge * 1.12), looks)
            clip.scatter([row[column] * nudge] * len(points), points, looks[model])
        known = [r for r in here if r["median"] is not None and not math.isnan(r["median"])]
        heights = clip.clipped([r["median"] for r in known])
        colour = looks[model][0]
        for i in range(1, len(known)):
            pair = known[i - 1 : i + 1]
            style = "-" if all(complete(r) for r in pair) else "--"
            ends = [r[column] * nudge for r in pair]
            axis.plot(ends, heights[i - 1 : i + 1], style, color=colour, lw=1)
        for row, height in zip(known, heights, strict=True):
            if column == "evaluated_seqlen_tokens" and not _elsewhere(row):
                axis.plot(row[column] * nudge, height, "o", ms=11, mfc="none", mec=colour, mew=0.8)


def _own_ceiling(clip: View, row: dict, ends: tuple[float, float], looks: Looks) -> None:
    if row["model_ceiling"] is not None:
        clip.own_ceiling(ends, row["model_ceiling"], looks[row["model"]][0])


def _level_steps(content: Content, rows: list[dict], clip: View, column: str) -> None:
    """A short line at each length: a level that moves with the length shows it."""
    at = {r[column]: r for r in sorted(rows, key=lambda r: r[column])}
    for length_, row in at.items():
        ends = (length_ / 1.3, length_ * 1.3)
        clip.levels(content.levels_at(row), ends, name=length_ == max(at))
    clip.axis.xaxis.set_major_locator(FixedLocator(list(at)))
    clip.axis.xaxis.set_minor_locator(NullLocator())
    clip.axis.set_xticklabels([str(a) for a in at])


def _elsewhere(row: dict) -> bool:
    return row["evaluated_seqlen_tokens"] != row["seqlen_tokens"]


def models_of(rows: list[dict]) -> set[str]:
    """Models that have a value."""
    return {r["model"] for r in rows if points_of(r)}


def _levels_by_length(content: Content, rows: list[dict]) -> list[list[dict]]:
    at = {r["seqlen_tokens"]: r for r in sorted(rows, key=lambda r: r["seqlen_tokens"])}
    return [content.levels_at(row) for row in at.values()]


def view(axis: Axes, content: Content, rows: list[dict]) -> View:
    """A window on the values and levels of rows."""
    levels = [v["value"] for r in rows for v in content.levels_at(r) if v["value"] is not None]
    return View(axis, levels, [value for r in rows for value, _ in points_of(r)])


def titles(axis: Axes, title: str, below: str, rows: list[dict], beside: str = "") -> None:
    """Title and names of the axes."""
    metric = next((r["metric"] for r in rows if r["metric"]), "metric")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(below)
    axis.set_ylabel(f"{beside}{metric}")
