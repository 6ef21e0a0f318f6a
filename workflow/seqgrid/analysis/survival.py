"""The table `survival`: steps to solve as survival curves, with unsolved seeds censored.

The event is the first validation at the solved level of a seed that has solved the task on its test
split. What ends otherwise is followed as long as it is known not to have solved it:

- cut short, failed or killed: up to its last step; and only up to the validation that reached the
  solved level, where one did, since no test score says whether it has solved the task.
- finished unsolved: up to its last step; where a plateau ended it early, up to its budget, since by
  the study's own rule it gets no further.
- diverged: up to its budget. It will never solve the task; censoring it where it diverged would
  have the others speak for it. Kept at risk it counts as unsolved, so that the curve is one less
  the share of seeds that have solved the task (Fine & Gray, J. Am. Stat. Assoc. 94 (1999) 496).
- missing, skipped, or without a step: not in it.

Of a seed that has solved the task with no validations up to its end, as an imported one without a
history, it is known only that it did so before its last step. Without it the curve of its group
would be of others than the seeds asked for, so there is none.

Curves are those of Kaplan & Meier, J. Am. Stat. Assoc. 53 (1958) 457; intervals are the beta
product confidence procedure of Fay, Brittain & Proschan, Biostatistics 14 (2013) 723, which without
censoring is the exact binomial interval, and holds at three seeds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis.groups import Cell, Group
from seqgrid.analysis.summary import Study, meta


@dataclass(frozen=True)
class Time:
    """How long one seed was followed, in optimiser steps, and whether it solved the task then."""

    steps: int
    solved: bool


@dataclass(frozen=True)
class Curve:
    """A Kaplan-Meier curve at each time at which a seed solved the task or was last seen.

    steps, at_risk, solved, censored: (m,); at_risk is before the time.
    unsolved: (m,), the share that has not solved the task after it; low, high: its interval.
    """

    steps: np.ndarray
    at_risk: np.ndarray
    solved: np.ndarray
    censored: np.ndarray
    unsolved: np.ndarray
    low: np.ndarray
    high: np.ndarray


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `survival` of a study from cells, history, evaluations and levels."""
    about = meta(read["cells"])
    coverage = thresholds.of(about).confidence
    study = Study(read)
    rows: list[dict] = []
    for key in study.keys:
        _, group = study.groups(key)[0]
        times = times_of(group)
        if not group.selection.selected or not times:
            continue
        who = {"model": group.model, "task": group.task, "variant": group.variant}
        rows += [who | {"seqlen_tokens": group.seqlen} | row for row in _rows(times, coverage)]
    return tables.from_rows("survival", rows, {"seqgrid.study": json.dumps(about)})


def times_of(group: Group) -> list[Time]:
    """How long each seed of a group was followed.

    Empty where nothing counts as solving, or nobody knows when a seed solved the task.
    """
    if group.levels.bar is None or untimed(group):
        return []
    found = (time_of(cell, cell in group.solved) for cell in group.asked)
    return [time for time in found if time is not None]


def untimed(group: Group) -> list[int]:
    """The seeds that have solved the task nobody knows when: not validated up to their end."""
    return [
        cell.seed
        for cell in group.solved
        if cell.solved_step is None and not _validated_to_the_end(cell)
    ]


def spacing(cell: Cell) -> int:
    """Most steps between two validations of a seed, its start included; 0 without any."""
    return int(np.diff([0, *_validated(cell)]).max(initial=0))


def _validated(cell: Cell) -> list[int]:
    return sorted({step for step, value, _ in cell.history if not isnan(value)})


def _validated_to_the_end(cell: Cell) -> bool:
    at = _validated(cell)
    return bool(at and cell.step) and (cell.step or 0) - at[-1] <= spacing(cell)


def time_of(cell: Cell, solved: bool) -> Time | None:
    """How long a seed was followed; None where it has not begun."""
    step, budget = cell.step or 0, cell.budget or 0
    if cell.outcome == "diverged":
        return Time(max(step, budget), False) if step or budget else None
    if not step:
        return None
    if solved:
        # Solved on the test split though on no validation: by the end, at the latest.
        return Time(step if cell.solved_step is None else cell.solved_step, True)
    if not cell.final:
        return Time(step if cell.solved_step is None else min(step, cell.solved_step), False)
    return Time(max(step, budget) if cell.reason.startswith("plateau") else step, False)


def kaplan_meier(times: Sequence[Time], coverage: float) -> Curve:
    """The curve of these seeds; intervals are pointwise, with at least this coverage.

    Raises:
        ValueError: no seed.
    """
    if not times:
        raise ValueError("no seed to follow")
    from statsmodels.duration.survfunc import SurvfuncRight

    followed = np.array([t.steps for t in times])
    solved = np.array([t.solved for t in times])
    fit = SurvfuncRight(followed.astype(float), solved.astype(int))
    known = dict(zip(fit.surv_times, fit.surv_prob, strict=True))
    steps = np.unique(followed)
    at_risk = (followed[:, None] >= steps).sum(0)
    events = (followed[:, None] == steps)[solved].sum(0)
    gone = (followed[:, None] == steps).sum(0)
    unsolved, last = np.empty(len(steps)), 1.0
    for i, step in enumerate(steps):
        last = unsolved[i] = known.get(float(step), last)
    low, high = beta_product(at_risk, events, gone, coverage)
    return Curve(steps, at_risk, events, gone - events, unsolved, low, high)


def beta_product(
    at_risk: np.ndarray, solved: np.ndarray, gone: np.ndarray, coverage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise interval of a survival curve after each time, all arrays (m,).

    At each event the curve falls by a factor distributed as Beta(at_risk - solved + 1, solved); the
    lower end allows for one more event among those still at risk, Beta(left, 1). The product is
    taken as the beta distribution with its mean and variance, which without censoring it is.
    """
    from scipy.stats import beta

    ends = np.empty((2, len(at_risk)))
    mean = square = 1.0
    for i, (n, d, out) in enumerate(zip(at_risk, solved, gone, strict=True)):
        if d:
            mean, square = _times_beta(mean, square, n - d + 1, d)
        left = n - out
        lower = _times_beta(mean, square, left, 1) if left else (0.0, 0.0)
        for end, (m, s), tail in ((0, lower, -1), (1, (mean, square), 1)):
            ends[end, i] = beta.ppf((1 + tail * coverage) / 2, *_beta_of(m, s)) if 0 < m < 1 else m
    return ends[0], ends[1]


def _times_beta(mean: float, square: float, a: float, b: float) -> tuple[float, float]:
    """First two moments of a variable times an independent Beta(a, b)."""
    return mean * a / (a + b), square * a * (a + 1) / ((a + b) * (a + b + 1))


def _beta_of(mean: float, square: float) -> tuple[float, float]:
    """The beta distribution with these first two moments."""
    size = (mean - square) / (square - mean**2)
    return mean * size, (1 - mean) * size


def _rows(times: list[Time], coverage: float) -> list[dict]:
    """The curve as rows, from step 0 on."""
    curve = kaplan_meier(times, coverage)
    start = {"step_steps": 0, "at_risk": len(times), "solved": 0, "censored": 0}
    low = beta_product(np.array([len(times)]), np.array([0]), np.array([0]), coverage)[0][0]
    rows: list[dict] = [start | {"unsolved": 1.0, "low": float(low), "high": 1.0}]
    for i, step in enumerate(curve.steps):
        rows.append(
            {
                "step_steps": int(step),
                "at_risk": int(curve.at_risk[i]),
                "solved": int(curve.solved[i]),
                "censored": int(curve.censored[i]),
                "unsolved": float(curve.unsolved[i]),
                "low": float(curve.low[i]),
                "high": float(curve.high[i]),
            }
        )
    return rows
