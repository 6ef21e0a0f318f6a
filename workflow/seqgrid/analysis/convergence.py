"""The table `convergence`: steps to solve, model by model.

Per model, task and length: the Kaplan-Meier median with its interval, and the mean up to the common
horizon of the place. Nothing is tested here: which of two models solves sooner is answered where a
study declares that comparison, among all its others (analysis/solving.py).
"""

import json
from collections import defaultdict

import numpy as np
import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis.summary import meta
from seqgrid.analysis.survival import Time, kaplan_meier

Place = tuple[str, int]  # task, training length


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `convergence` of a study from survival and history."""
    about = meta(read["cells"])
    limits = thresholds.of(about)
    places: dict[Place, dict[tuple[str, str], list[Time]]] = defaultdict(dict)
    for row in built["survival"].to_pylist():
        group = places[row["task"], row["seqlen_tokens"]]
        times = group.setdefault((row["model"], row["variant"]), [])
        times += [Time(row["step_steps"], True)] * row["solved"]
        times += [Time(row["step_steps"], False)] * row["censored"]
    spacing = _spacing(read["history"])
    rows: list[dict] = []
    for place, groups in places.items():
        end = horizon(list(groups.values()))
        for (model, variant), times in groups.items():
            who = (model, place[0], variant, place[1])
            rows.append(_model(who, times, end, limits.confidence, spacing.get(who)))
    return tables.from_rows("convergence", rows, {"seqgrid.study": json.dumps(about)})


def horizon(groups: list[list[Time]]) -> int:
    """Steps up to which the curve of every group is known: one that fell to 0 is known for ever."""
    ends = []
    for times in groups:
        last = max(t.steps for t in times)
        if not all(t.solved for t in times if t.steps == last):
            ends.append(last)
    return min(ends) if ends else max(t.steps for times in groups for t in times)


def median(
    times: list[Time], coverage: float
) -> tuple[float | None, float | None, float | None, float]:
    """Kaplan-Meier median of steps to solve, the ends of its interval, and its coverage.

    The interval holds the times at which half the seeds may have solved the task, by the intervals
    of the curve (Brookmeyer & Crowley, Biometrics 38 (1982) 29). Below six seeds none has 95 %, and
    it is that of 1 - 2 * 0.5^n, which without censoring is the range. None: not reached, or open.
    """
    coverage = min(coverage, 1 - 2 * 0.5 ** len(times))
    if coverage <= 0:
        curve = kaplan_meier(times, 0.5)
        return _first(curve.steps, curve.unsolved <= 0.5), None, None, 0.0
    curve = kaplan_meier(times, coverage)
    middle = _first(curve.steps, curve.unsolved <= 0.5 + 1e-9)
    low = _first(curve.steps, curve.low < 0.5 - 1e-9)
    return middle, low, _first(curve.steps, curve.high <= 0.5 + 1e-9), coverage


def _first(steps: np.ndarray, holds: np.ndarray) -> float | None:
    """The first time at which something holds; None where it never does."""
    return float(steps[holds.argmax()]) if holds.any() else None


def restricted_mean(times: list[Time], end: int) -> float:
    """Mean steps to solve, cut at `end`: the area under the Kaplan-Meier curve up to there."""
    curve = kaplan_meier(times, 0.5)
    inside = curve.steps < end
    edges = np.concatenate([[0], curve.steps[inside], [end]])
    return float(np.diff(edges) @ np.concatenate([[1.0], curve.unsolved[inside]]))


def _model(
    who: tuple[str, str, str, int], times: list[Time], end: int, coverage: float,
    spacing: int | None,
) -> dict:  # fmt: skip
    model, task, variant, seqlen = who
    middle, low, high, reached = median(times, coverage)
    solved = sum(t.solved for t in times)
    ordered = sorted(times, key=lambda t: (t.steps, not t.solved))
    row = {
        "model": model,
        "task": task,
        "variant": variant,
        "seqlen_tokens": seqlen,
        "seeds": len(times),
        "solved": solved,
        "censored": len(times) - solved,
        "horizon_steps": end,
        "times_steps": [t.steps if t.solved else -t.steps for t in ordered],
        "median_steps": middle,
        "low": low,
        "high": high,
        "interval": "inverted beta product" if reached else "none: one seed",
        "coverage": reached,
        "spacing_steps": spacing,
        "restricted_mean_steps": restricted_mean(times, end),
    }
    return row | {"statement": _said(row)}


def followed(row: dict) -> str:
    """How long the seeds of a row were followed, in steps; from the shortest to the longest."""
    ends = sorted(map(abs, row["times_steps"]))
    return " to ".join(dict.fromkeys(f"{at:,}" for at in (ends[0], ends[-1])))


def _said(row: dict) -> str:
    """One model at one place, in words."""
    n, solved, last = row["seeds"], row["solved"], max(map(abs, row["times_steps"]))
    if not solved:
        return f"no seed of {n} solved the task within the steps that it had: {followed(row)}"
    words = [f"{solved} of {n} seeds solved the task"]
    if row["median_steps"] is None:
        words.append(f"fewer than half of them within {last:,} steps")
    else:
        ends = ", ".join("open" if row[e] is None else f"{row[e]:,.0f}" for e in ("low", "high"))
        interval = f" [{ends}], {100 * row['coverage']:.4g}% coverage" if row["coverage"] else ""
        words.append(f"median {row['median_steps']:,.0f} steps{interval}")
    if row["spacing_steps"]:
        words.append(f"validated every {row['spacing_steps']:,} steps: times may be so much late")
    return "; ".join(words)


def _spacing(history: pa.Table) -> dict[tuple[str, str, str, int], int]:
    """Most steps between two validations of a cell, by model, task, variant and length."""
    who = ["model", "task", "variant", "seqlen_tokens"]
    steps: dict[tuple, set[int]] = defaultdict(set)
    for row in history.select([*who, "seed", "step_steps", "validation_metric"]).to_pylist():
        if row["step_steps"] is not None and row["validation_metric"] is not None:
            group = (row["model"], row["task"], row["variant"] or "", row["seqlen_tokens"])
            steps[*group, row["seed"]].add(row["step_steps"])
    found: dict[tuple[str, str, str, int], int] = {}
    for (*group, _), at in steps.items():
        gap = int(np.diff(sorted({0, *at})).max(initial=0))
        found[tuple(group)] = max(gap, found.get(tuple(group), 0))
    return found
