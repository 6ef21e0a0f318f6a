"""The tables `summary`, `gates` and `verdicts`: every number of a report, and its statements.

A table is handled as a list of rows. The cells of one model, task, variant and training length are
a group; each place (evaluated length, test set and slice of it), weights and metric of it is a row
of `summary`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from math import isfinite, isnan, nan

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis import gates, judging, resuming, selection, stats
from seqgrid.analysis.choice import Choice, Key
from seqgrid.analysis.groups import Cell, Group
from seqgrid.analysis.levels import Levels
from seqgrid.analysis.places import (
    ceiling_columns,
    levels_by_place,
    model_ceiling,
    place_of,
    primary,
)
from seqgrid.metric_names import BETTER
from seqgrid.thresholds import Thresholds, of

HISTORY_COLUMNS = [
    *("model", "task", "variant", "seqlen_tokens", "seed"),
    *("step_steps", "validation_metric", "validation_standard_error"),
]


def build(read: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables `summary`, `gates` and `verdicts` from those that were collected or imported."""
    study, about = Study(read), meta(read["cells"])
    groups = {key: study.groups(key) for key in study.keys}
    summary = [
        study.summarise(key, weights, group)
        for key, found in groups.items()
        for weights, group in found
    ]
    held = gates.rows(about, read, summary)
    failed = gates.failed(held)
    verdicts: list[dict] = []
    for key, found in groups.items():
        more = tuple(failed.get(key[1], ()))
        judged = [(w, replace(g, failed_controls=g.failed_controls + more)) for w, g in found]
        primary = study.primary.get(key[1], "")
        verdicts += judging.judge(primary, study.choice.selected(key), judged)
    rows = read["reported"].to_pylist()
    verdicts += judging.judge_reported(rows, study.levels, failed, study.thresholds)
    carried = {"seqgrid.study": json.dumps(about)}
    return {
        "summary": tables.from_rows("summary", summary, carried),
        "gates": gates.table(held, about),
        "verdicts": tables.from_rows("verdicts", verdicts, carried),
    }


def meta(cells: pa.Table) -> dict:
    """What the table `cells` says about its study; empty where it says nothing readable."""
    try:
        found = json.loads((cells.schema.metadata or {}).get(b"seqgrid.study", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def in_order(found: Iterable[str], wanted: Iterable[str] | None) -> list[str]:
    """Labels in the study's order; those it does not name follow as they come."""
    unique = list(dict.fromkeys(found))
    named = [label for label in dict.fromkeys(wanted or ()) if label in unique]
    return named + [label for label in unique if label not in named]


class Study:
    """The five tables, indexed by group and cell."""

    def __init__(self, read: dict[str, pa.Table]):
        cells = read["cells"].to_pylist()
        evaluations = read["evaluations"].to_pylist()
        about = meta(read["cells"])
        self.thresholds: Thresholds = of(about)
        models = in_order((c["model"] for c in cells), about.get("models"))
        tasks = in_order((c["task"] for c in cells), about.get("tasks"))

        self.cells: dict[Key, list[dict]] = defaultdict(list)
        for cell in sorted(cells, key=lambda c: c["seed"]):
            self.cells[_key(cell)].append(cell)
        self.keys = sorted(
            self.cells, key=lambda k: (tasks.index(k[1]), k[3], models.index(k[0]), k[2])
        )
        self.rivals: dict[tuple[str, str, int], list[Key]] = defaultdict(list)
        for key in self.keys:
            self.rivals[key[0], key[1], key[3]].append(key)
        self.values: dict[Key, dict[tuple, dict[int, dict]]] = defaultdict(dict)
        for row in evaluations:
            at = (place_of(row), row["weights"], row["metric"])
            self.values[_key(row)].setdefault(at, {})[row["seed"]] = row
        self.failed = _failed(self.cells, read["controls"].to_pylist())
        self.levels = levels_by_place(read["levels"].to_pylist(), self.thresholds)
        self.primary = primary(about, evaluations, self.levels)
        self.history: dict[tuple, list[tuple[int, float, float]]] = defaultdict(list)
        for row in read["history"].select(HISTORY_COLUMNS).to_pylist():
            if row["step_steps"] is not None:
                point = (row["validation_metric"], row["validation_standard_error"])
                value, error = (nan if p is None else p for p in point)
                self.history[(*_key(row), row["seed"])].append((row["step_steps"], value, error))
        self.broken = self._broken()
        selects = {task: self._better(task) for _, task, _, _ in self.keys}
        self.choice = Choice(self.cells, self.rivals, selects)

    def groups(self, key: Key) -> list[tuple[str, Group]]:
        """(weights, group) of each place, weights and metric; the primary one first."""
        model, task, variant, seqlen = key
        first = ((seqlen, "", ""), "best", self.primary.get(task, ""))
        places = dict.fromkeys([first, *sorted(self.values[key])])
        swept = selection.tried([other[2] for other in self.rivals[model, task, seqlen]])
        blank = tuple(self._cell(key, cell) for cell in self.cells[key])
        found = []
        for place, weights, metric in places:
            rows = self.values[key].get((place, weights, metric), {})
            cells = tuple(_with_value(cell, rows.get(cell.seed)) for cell in blank)
            levels = self._levels(task, place, metric)
            evaluated, test_set, part = place
            about = (model, task, variant, seqlen, evaluated, test_set, part, metric, levels, cells)
            ceiling = model_ceiling(rows.values())
            more = (tuple(sorted(swept)), self.failed[key], self.choice.standing(key), ceiling)
            found.append((weights, Group(*about, *more)))
        return found

    def summarise(self, key: Key, weights: str, group: Group) -> dict:
        """One row of `summary`."""
        better, final = group.levels.better, group.values
        interval = _interval(final, better, self.thresholds.confidence)
        minimum, maximum = stats.extremes(final, better)
        shortcut = max(
            group.levels.shortcuts, key=lambda s: group.levels.goodness(s[1]), default=(None, None)
        )
        return {
            **judging.about(group, self.choice.selected(key)),
            "weights": weights,
            "metric": group.metric,
            "primary": group.metric == self.primary.get(group.task, ""),
            "better": better,
            "selection_metric": self.choice.validation(key),
            "preliminary": group.selection.preliminary,
            "asked": len(group.cells),
            "skipped": len(group.cells) - len(group.asked),
            "finished": sum(c.outcome == "finished" for c in group.cells),
            "evaluated": sum(c.evaluated for c in group.cells),
            "final": len(final),
            "median": stats.median(final, better) if final else None,
            "low": interval.low if interval.coverage else None,
            "high": interval.high if interval.coverage else None,
            "interval": interval.method,
            "coverage": interval.coverage,
            "minimum": minimum if final else None,
            "maximum": maximum if final else None,
            "seeds": [c.seed for c in group.cells],
            "values": [c.value for c in group.cells],
            "finals": [c.final for c in group.cells],
            "scored": [c.scored for c in group.cells],
            "correct": [c.correct for c in group.cells],
            "stales": [c.stale for c in group.cells],
            "reuses": [c.reused for c in group.cells],
            "outcomes": [c.outcome for c in group.cells],
            "origins": [c.origin for c in group.cells],
            **_success(group),
            "chance": group.levels.chance,
            "shortcut": shortcut[0],
            "shortcut_value": shortcut[1],
            "ceiling": group.levels.ceiling,
            **ceiling_columns(group.model_ceiling),
            "solved": group.levels.solved,
        }

    def _better(self, task: str) -> str:
        metric = self.primary.get(task, "")
        directions = [v.better for (t, *_, m), v in self.levels.items() if (t, m) == (task, metric)]
        return directions[0] if directions else BETTER.get(metric, "higher")

    def _levels(self, task: str, place: tuple[int, str, str], metric: str) -> Levels:
        bare = Levels(BETTER.get(metric) or self._better(task), thresholds=self.thresholds)
        return self.levels.get((task, *place, metric), bare)

    def _broken(self) -> dict[str, int]:
        """Steps of the longest plateau of each task that broke, whatever the model or length."""
        found: dict[str, int] = {}
        for (_, task, _, seqlen, _), curve in self.history.items():
            levels = self._levels(task, (seqlen, "", ""), self.primary.get(task, ""))
            points = resuming.points_of(sorted(curve), levels)
            if not points or not levels.span:
                continue  # nothing says how large a rise would matter
            slack = resuming.tolerance(levels, self.thresholds, points)
            rise = self.thresholds.worth_share * levels.span
            if steps := resuming.longest_broken([(points, slack)], rise):
                found[task] = max(steps, found.get(task, 0))
        return found

    def _cell(self, key: Key, row: dict) -> Cell:
        curve = sorted(self.history.get((*key, row["seed"]), []))
        known = [row["known_plateau_steps"], self.broken.get(key[1])]
        return Cell(
            seed=row["seed"],
            outcome=row["outcome"] or "missing",
            reason=row["reason"] or "",
            evaluated=bool(row["evaluated"]),
            stale=any(row[k] for k in ("stale", "evaluation_stale", "mixed_sources")),
            reused=bool(row["reused"]),
            step=row["step_steps"],
            budget=row["budget_steps"],
            solved_step=row["solved_step_steps"],
            solved_seconds=row["solved_seconds"],
            known_plateau=max((n for n in known if n is not None), default=None),
            rate_known=_rate_known(row["settings"]),
            best_validation=row["best_validation_metric"],
            log2_inputs=row["log2_inputs"],
            seen_examples=row["seen_examples"],
            history=tuple(dict((p[0], p) for p in curve).values()),
        )


def _interval(values: list[float], better: str, confidence: float) -> stats.Interval:
    """The interval of a median; none where an end of it is no number, and so no bound."""
    found = stats.median_interval(values, better, confidence)
    if not found.coverage or not isnan(found.low + found.high):
        return found
    known = sum(not isnan(value) for value in values)
    return stats.Interval(nan, nan, f"none: {known} of {len(values)} values are numbers", 0.0)


def _key(row: dict) -> Key:
    return row["model"], row["task"], row["variant"] or "", row["seqlen_tokens"]


def _rate_known(settings: str | None) -> bool:
    training = json.loads(settings or "{}").get("training")
    return training is None or "learning_rate" in training


def _failed(cells: dict[Key, list[dict]], controls: list[dict]) -> dict[Key, tuple[dict, ...]]:
    """The failed controls of the task file behind each group."""
    kept = ("control", "expected", "observed", "reason", "study", "paths")
    failed: dict[str, list[dict]] = defaultdict(list)
    for row in controls:
        if row["state"] == "failed":
            failed[row["task_file"]].append({name: row[name] for name in kept})
    return {key: tuple(failed[rows[0]["task_file"]]) for key, rows in cells.items()}


def _with_value(cell: Cell, row: dict | None) -> Cell:
    if row is None:
        return cell
    # A null metric of an evaluated cell is a NaN: it was scored, and the score is no number.
    value = nan if row["value"] is None or not isfinite(row["value"]) else row["value"]
    counted = {name: row[name] for name in ("low", "high", "origin", "scored", "correct")}
    return replace(cell, value=value, **counted)


def _success(group: Group) -> dict:
    """Success rate with the unknown cells as bounds, so that unfinished ones cannot flatter it."""
    if group.levels.bar is None:
        return {"successes": None, "unknown": len(group.undecided)}
    k, n, unknown = len(group.solved), len(group.asked), len(group.undecided)
    steps, seconds = group.solved_steps, group.solved_seconds
    confidence = group.thresholds.confidence
    return {
        "successes": k,
        "unknown": unknown,
        "success_low": stats.wilson(k, n, confidence).low,
        "success_high": stats.wilson(k + unknown, n, confidence).high,
        "solved_step_steps": stats.median(steps, "lower") if steps else None,
        "solved_seconds": stats.median(seconds, "lower") if seconds else None,
    }
