"""The page of every task, from the task itself: example, levels, controls, published results."""

from __future__ import annotations

import functools
import importlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seqgrid import registry
from seqgrid.data import IGNORE, Batch
from seqgrid.report import figures, looks
from seqgrid.report.markdown import number
from seqgrid.tasks._base import Level, Task

FOLDER = Path(__file__).parent / "tasks"
LENGTHS = (16, 32, 64, 128, 256, 512, 1024)  # of the plot and the table of levels, tokens
USUAL = 128  # of the table that derives them
SMALLEST = 12  # tokens of a drawn example, where the task exists so short
LONGEST = 2048
LOOKS = {"chance": ("#777777", ""), "ceiling": ("#0072B2", ""), "solved": ("#009E73", "")}
MOST_POSITIONS = 48  # drawn of an example
LINE = 24  # positions a line
BLANK = "."


def names() -> list[str]:
    """Every task there is."""
    return registry.names("task")


@functools.cache
def make(name: str, seqlen: int) -> Task | None:
    """The task at its defaults; None where it does not exist at this length."""
    settings = registry.settings("task", name)()
    return None if settings.impossible(seqlen) else registry.make_task(name, {}, seqlen)


def page(name: str, settings: list[str]) -> str:
    """The page of a task; `settings`: the lines of its reference."""
    module = importlib.import_module(f"seqgrid.tasks.{name}")
    example = next(t for n in range(SMALLEST, LONGEST) if (t := make(name, n)) is not None)
    tasks = {seqlen: task for seqlen in LENGTHS if (task := make(name, seqlen)) is not None}
    parts = [
        f"# {name}",
        "Made from `workflow/seqgrid/tasks/"
        f"{name}.py` by `python docs/generate.py`. All levels are those of the default settings.",
        (module.__doc__ or "").strip(),
        "## An example",
        _about(example),
        "```\n" + "\n".join(draw(example)) + "\n```",
        "## Settings",
        "\n".join(settings).strip() or "There are none.",
        "## What scores mean",
        _levels(tasks.get(USUAL) or next(iter(tasks.values()), example)),
        f"## {example.metric} against length",
        f"![levels of {name} against length]({name}.svg)",
        _against_length(tasks),
        "## Controls",
        _controls(example),
        "## Published results",
        _published(example),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(task: Task) -> str:
    words = f"One example at {task.seqlen} tokens"
    if task.shape.pooled:
        return f"{words}; the targets are asked for once, after the last of them."
    return f"{words}; `{BLANK}` under a token: nothing is scored there."


def draw(task: Task) -> Iterator[str]:
    """An example, position by position; long ones break into several blocks."""
    batch = task.batch(0, "test", torch.tensor([1]))
    rows = _rows(task, batch)
    width = max(len(name) for name in rows)
    cells = [row for row in rows.values()]
    shown = min(len(cells[0]), MOST_POSITIONS)
    size = max(len(cell) for row in cells for cell in row[:shown])
    for start in range(0, shown, LINE):
        if start:
            yield ""
        for name, row in rows.items():
            line = " ".join(cell.rjust(size) for cell in row[start : min(start + LINE, shown)])
            yield f"{name.ljust(width)}  {line}".rstrip()
    if shown < len(cells[0]):
        yield f"... and {len(cells[0]) - shown} more positions"
    if task.shape.pooled:
        yield f"{'targets'.ljust(width)}  {' '.join(_answers(task, batch))}"


def _rows(task: Task, batch: Batch) -> dict[str, list[str]]:
    inputs, own = batch.inputs[0], task.seqlen
    if batch.lengths is not None:
        own = int(batch.lengths[0])
    positions = [str(i) for i in range(task.seqlen)]
    if inputs.ndim == 2:
        channels = {f"channel {c}": inputs[:, c].tolist() for c in range(inputs.shape[1])}
        rows = {name: [f"{x:.2f}".rstrip("0").rstrip(".") for x in xs] for name, xs in
                channels.items()}  # fmt: skip
    else:
        symbols = task.symbols or []
        rows = {"inputs": [symbols[token] for token in inputs.tolist()]}
    rows = {"position": positions} | {
        name: [cell if i < own else "" for i, cell in enumerate(row)] for name, row in rows.items()
    }
    if not task.shape.pooled:
        targets = batch.targets[0].tolist()
        rows["targets"] = [
            "" if i >= own else BLANK if target == IGNORE else _answer(task, target)
            for i, target in enumerate(targets)
        ]
    return rows


def _answers(task: Task, batch: Batch) -> list[str]:
    targets = batch.targets[0].tolist()
    if batch.targets.is_floating_point():
        return [f"{value:.2f}" for value in targets]
    return [_answer(task, target) for target in targets]


def _answer(task: Task, target: int) -> str:
    """A class is a token where there are as many of them as tokens."""
    symbols = task.symbols
    same = symbols is not None and task.shape.num_outputs == len(symbols)
    return symbols[target] if same and symbols else str(target)


def _levels(task: Task) -> str:
    head = ("test set", "slice", "metric", "level", "kind", "value", "derivation")
    levels = sorted(
        _all_levels(task), key=lambda v: (v.test_set, v.slice != "", v.metric != task.metric)
    )
    rows = [
        (v.test_set, v.slice, v.metric, v.name, v.kind, number(v.value), v.derivation)
        for v in levels
    ]
    kept = [i for i in range(len(head)) if i > 1 or any(row[i] for row in rows)]
    lines = _table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return f"At {task.seqlen} tokens; judged by {task.metric}, {task.better} is better.\n\n{lines}"


def _all_levels(task: Task) -> list[Level]:
    """The levels of every test set."""
    return [
        replace(level, test_set=name)
        for name, tested in task.test_sets().items()
        for level in tested.levels()
    ]


def _primary(tasks: dict[int, Task]) -> dict[tuple[str, str], dict[int, Level]]:
    """(name, test set) -> length -> level, of the metric that the task is judged by.

    A level that another test set shares with the one drawn as training is stands there once.
    """
    found: dict[tuple[str, str], dict[int, Level]] = {}
    for seqlen, task in tasks.items():
        for level in _all_levels(task):
            if level.metric == task.metric and not level.slice:
                found.setdefault((level.name, level.test_set), {})[seqlen] = level
    values = {key: {n: level.value for n, level in at.items()} for key, at in found.items()}
    return {key: at for key, at in found.items() if not key[1] or values[key] != values[key[0], ""]}


def _against_length(tasks: dict[int, Task]) -> str:
    rows = [
        [f"{name}{f' ({test_set})' if test_set else ''}"]
        + [number(at[n].value) if n in at else "" for n in tasks]
        for (name, test_set), at in _primary(tasks).items()
    ]
    return _table(["level", *map(str, tasks)], rows)


def svg(name: str) -> bytes:
    """The plot of a task; the same levels give the same bytes."""
    sink = io.BytesIO()
    with mpl.rc_context(figures.STYLE):
        plot(name).savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def plot(name: str) -> Figure:
    """The levels of a task's metric against length, named in the order they end in."""
    tasks = {seqlen: task for seqlen in LENGTHS if (task := make(name, seqlen)) is not None}
    lines = sorted(_primary(tasks).items(), key=lambda line: -[*line[1].values()][-1].value)
    shortcuts = itertools.cycle(zip(looks.COLOURS[1:], looks.MARKERS, strict=False))
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(7.2, 3.2), facecolor="white")
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0.09, 0.15, 0.5, 0.8))
        for (level, test_set), at in lines:
            kind = next(iter(at.values())).kind
            colour, marker = LOOKS.get(kind) or next(shortcuts)
            words = level + (f" ({test_set})" if test_set else "")
            values = [found.value for found in at.values()]
            style = "-" if kind == "shortcut" else "--"
            axis.plot(
                list(at), values, style, color=colour, marker=marker, ms=4, lw=1.1, label=words
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(tasks), [str(n) for n in tasks])
        axis.minorticks_off()
        axis.set_xlabel("length (tokens)")
        axis.set_ylabel(next(iter(tasks.values())).metric)
        axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False)
        return figure


def _controls(task: Task) -> str:
    rows = []
    for c in task.controls:
        steps = c.training.get("steps", "default")
        place = f"{c.at or c.seqlen}{f', test set {c.test_set}' if c.test_set else ''}"
        cost = "GPU" if c.cpu_minutes is None else f"{c.cpu_minutes:g} CPU-minutes"
        settings = ", ".join(f"{k}={v}" for k, v in (c.settings | c.task_settings).items())
        rows.append(
            [
                c.model,
                settings,
                str(c.seqlen),
                str(steps),
                place,
                c.expect,
                str(c.seeds),
                cost,
                c.why,
            ]
        )
    head = ["model", "settings", "trained at", "steps", "evaluated at", "expected", "seeds", "cost",
            "why"]  # fmt: skip
    if not rows:
        return "None is known, so no failure on this task is a finding."
    return _table(head, rows)


def _published(task: Task) -> str:
    rows = [
        [p.model, p.result + ("" if p.verified else " (not checked against the source)"),
         p.settings, p.differences, p.source]
        for p in task.published
    ]  # fmt: skip
    if not rows:
        return "None is comparable."
    return _table(["model", "result", "settings", "what differs here", "source"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines)
