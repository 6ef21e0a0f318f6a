"""The tables of a foreign study as `collect` would have made them of one of ours."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from seqgrid import registry, tables
from seqgrid.analysis.places import levels_by_place
from seqgrid.foreign import gathered, places
from seqgrid.foreign.intervals import interval, standard_error, stated
from seqgrid.foreign.levels import Known
from seqgrid.foreign.mapping import Mapping
from seqgrid.foreign.rows import EXTRA, Wrong
from seqgrid.metrics import Z
from seqgrid.study_schema import Study

Rows = list[dict[str, Any]]
SAID = ("groups", "compare", "claims", "gates", "published", "expect", "thresholds")
MADE = ("cells", "parts", "history", "evaluations", "levels", "controls", "reported", "inventory")


def build(mapping: Mapping, folder: Path) -> dict[str, pa.Table]:
    """Every table by name, from the files beside the mapping.

    Raises:
        Wrong: one line for each mistake in a file or row.
    """
    found, files = gathered.gather(mapping, folder)
    for row in found["evaluations"] + found["reported"]:
        if row.get("evaluated_seqlen_tokens") is None:
            row["evaluated_seqlen_tokens"] = row["seqlen_tokens"]
    runs = gathered.runs(found, mapping)
    # A blank is no value; a NaN is one, that is no number.
    for kind in ("evaluations", "reported"):
        found[kind] = [row for row in found[kind] if row["value"] is not None]
    known = Known(mapping)
    problems = gathered.contradictions(found, runs, known)
    if problems:
        raise Wrong(problems)
    made = _Made(mapping, known, found, runs)
    rows = made.rows()
    if known.problems:
        raise Wrong(list(dict.fromkeys(known.problems)))
    if problems := places.problems(mapping, known, found, runs, rows["levels"]):
        raise Wrong(problems)
    judged_by = {task: known.metric(task) for task in mapping.tasks}
    about = {"seqgrid.study": json.dumps(_about(mapping, runs, files, judged_by))}
    return {name: tables.from_rows(name, rows[name], about) for name in MADE}


class _Made:
    """The rows of all tables."""

    def __init__(self, mapping: Mapping, known: Known, found: dict, runs: dict) -> None:
        self.mapping, self.known, self.found, self.runs = mapping, known, found, runs
        self.curves: dict[tuple, Rows] = defaultdict(list)
        for row in found["history"]:
            self.curves[gathered.key_of(row)].append(row)
        self.values: dict[tuple, Rows] = defaultdict(list)
        for row in found["evaluations"]:
            self.values[gathered.key_of(row)].append(row)

    def rows(self) -> dict[str, Rows]:
        """By table."""
        places = {
            (row["task"], row["evaluated_seqlen_tokens"], row.get("test_set") or "")
            for row in (*self.found["evaluations"], *self.found["reported"])
        }
        places |= {(task, seqlen, "") for _, task, seqlen, _, _ in self.runs}
        levels = self.known.levels(places)
        self.levels = levels_by_place(tables.from_rows("levels", levels).to_pylist())
        return {
            "cells": [self._cell(key, run) for key, run in self.runs.items()],
            "parts": [],
            "history": [self._point(row) for row in self.found["history"]],
            "evaluations": [self._evaluation(row) for row in self.found["evaluations"]],
            "levels": levels,
            "controls": [],
            "reported": [self._reported(row) for row in self.found["reported"]],
            "inventory": [
                self._inventory(key, run) for key, run in self.runs.items() if "_place" in run
            ],
        }

    def _cell(self, key: tuple, run: dict[str, Any]) -> dict[str, Any]:
        model, task, seqlen, _, _ = key
        curve = sorted(self.curves[key], key=lambda row: row["step_steps"])
        tested = any(row["origin"] == "test" for row in self.values[key])
        row: dict[str, Any] = {
            **_who(key),
            "outcome": run["outcome"],
            "complete": run["outcome"] == "finished",
            "evaluated": tested,
            "model_file": self.mapping.models[model].model or "",
            "task_file": self.mapping.tasks[task].task or "",
            "settings": json.dumps(self._settings(model, task)),
            "reason": run.get("reason") or self._reason(run, tested),
        }
        if run["outcome"] in gathered.NOT_BEGUN:
            return row
        row |= self.known.sizes(model, task, seqlen)
        row["log2_inputs"] = self.known.log2_inputs(task, seqlen)
        metric = self.known.metric(task)
        scores = [
            (p["validation_metric"], p["step_steps"])
            for p in curve
            if p.get("validation_metric") is not None and p.get("metric") in (None, metric)
        ]
        if scores:
            higher = self.known.better(task, metric) == "higher"
            best = (max if higher else min)(scores, key=lambda pair: pair[0])
            row |= {"best_validation_metric": best[0], "best_step_steps": best[1]}
            row["last_validation_metric"] = scores[-1][0]
            row["solved_step_steps"] = self._solved_step(task, seqlen, scores)
        else:  # what its checkpoint held
            kept = {"origin": "validation", "metric": metric}
            values = [v["value"] for v in self.values[key] if kept.items() <= v.items()]
            row["best_validation_metric"] = values[0] if len(values) == 1 else None
        if curve:
            row["step_steps"] = curve[-1]["step_steps"]
        budget = self._training(model, task).get("steps")
        row["budget_steps"] = budget if isinstance(budget, int) else None
        given = {name: value for name, value in run.items() if value is not None}
        return row | {n: v for n, v in given.items() if n not in EXTRA and n != "_place"}

    def _solved_step(self, task: str, seqlen: int, scores: list[tuple[float, int]]) -> int | None:
        """The first validation at the solved level or beyond, as in training here; None: none."""
        levels = self.levels.get((task, seqlen, "", "", self.known.metric(task)))
        if levels is None or levels.solved is None:
            return None
        bar = levels.goodness(levels.solved)
        return next((step for value, step in scores if levels.goodness(value) >= bar), None)

    def _reason(self, run: dict[str, Any], tested: bool) -> str:
        """Why a run stands as it does, in the words of its study and ours."""
        said = []
        if run.get("status"):
            said.append(f"{run['status']}, says its study")
        if "_place" not in run:
            said.append("no table names it")
        if run.get("result_valid") is False:
            said.append("its result cannot be read")
        elif run["outcome"] == "finished" and not tested:
            said.append(self._untested(run))
        return "; ".join(said)

    def _untested(self, run: dict[str, Any]) -> str:
        """Why a run that ended is not evaluated, though a report may give a value."""
        place = ("model", "task", "seqlen_tokens")
        origins = {
            row["origin"]
            for row in self.found["reported"]
            if all(row[name] == run[name] for name in place)
        }
        if origins == {"validation"}:
            return "its value is of the validation split, which is no test"
        return (
            "its value is reported without its seed" if origins else "its value stands in no table"
        )

    def _training(self, model: str, task: str) -> dict[str, Any]:
        entries = self.mapping.tasks[task], self.mapping.models[model]
        return self.mapping.training | entries[0].training | entries[1].training

    def _settings(self, model: str, task: str) -> dict[str, Any]:
        entries = self.mapping.models[model], self.mapping.tasks[task]
        return {
            "model": entries[0].model,
            "model_settings": _resolved("model", entries[0].model, entries[0].settings),
            "task": entries[1].task,
            "task_settings": _resolved("task", entries[1].task, entries[1].settings),
            "training": self._training(model, task),
        }

    def _point(self, row: dict[str, Any]) -> dict[str, Any]:
        given = {n: v for n, v in row.items() if n not in ("_place", *gathered.NAMES)}
        metric = row.get("metric") or self.known.metric(row["task"])
        return _who(gathered.key_of(row)) | given | {"metric": metric, "part": 0}

    def _scored(self, row: dict[str, Any]) -> dict[str, Any]:
        """Interval, model's ceiling and whether the task is judged by it."""
        task, at = row["task"], row["evaluated_seqlen_tokens"]
        row = row | {"examples": row.get("examples") or self.mapping.tasks[task].examples}
        found = self.known.ceiling(row["model"], (task, at, row["test_set"]), row["metric"])
        outputs = self.known.outputs(task, at)
        found |= interval(row["metric"], row["value"], row, outputs)
        return found | {"examples": row["examples"]}

    def _evaluation(self, row: dict[str, Any]) -> dict[str, Any]:
        left_out = ("_place", "standard_error", "low", "high", *gathered.NAMES)
        given = {n: v for n, v in row.items() if n not in left_out}
        run = self.runs[gathered.key_of(row)]
        return (
            _who(gathered.key_of(row))
            | given
            | self._scored(row)
            | {
                "outcome": run["outcome"],
                "primary": row["metric"] == self.known.metric(row["task"]),
                "step_steps": row.get("step_steps") or run.get("step_steps"),
            }
        )

    def _reported(self, row: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in row.items() if name != "_place"}
        scored = self._scored(row)
        ceiling = {name: value for name, value in scored.items() if name.startswith("model_")}
        source = row["_place"]
        error = stated(row["metric"], row)
        if error is None and scored.get("low") is not None:
            # As of one run: whether the runs had test examples in common is not known.
            outputs = self.known.outputs(row["task"], row["evaluated_seqlen_tokens"])
            value, ends = row["value"], (scored["low"], scored["high"])
            # 0 for a share of 0 or 1: then that whose interval holds Wilson's.
            error = standard_error(row["metric"], value, scored["examples"], outputs)
            error = error or max(value - ends[0], ends[1] - value) / Z
            source += f"; standard error from {scored['examples']} examples, as of one run"
        return given | ceiling | {"standard_error": error, "source": source}

    def _inventory(self, key: tuple, run: dict[str, Any]) -> dict[str, Any]:
        origins = {row["origin"] for row in self.values[key]}
        given = {name: run.get(name) for name in ("outcome", "step_steps", *EXTRA)}
        return (
            dict(zip(gathered.NAMES, key, strict=True))
            | given
            | {
                "value_origin": next((o for o in ("test", "validation") if o in origins), None),
                "source": run["_place"],
            }
        )


def _resolved(kind: registry.Kind, file: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The settings with the defaults of our file, where there is one."""
    if file is None:
        return given
    return registry.settings(kind, file)(**given).model_dump(mode="json")


def _who(key: tuple) -> dict[str, Any]:
    model, task, seqlen, variant, seed = key
    folder = f"{model}/{task}/L{seqlen}/{f'{variant}/' if variant else ''}seed{seed}"
    return dict(zip(gathered.NAMES, key, strict=True)) | {"fingerprint": "", "path": folder}


def _about(mapping: Mapping, runs: dict, files: Rows, judged_by: dict[str, str]) -> dict[str, Any]:
    """What the report says of the study as such; `imported` marks that nothing can be run here."""
    said = mapping.model_dump(mode="json")
    lengths = mapping.lengths or sorted({key[2] for key in runs})
    seeds = mapping.seeds or sorted({key[4] for key in runs})
    config = {name: said[name] for name in SAID if name in Study.model_fields}
    config |= {name: said[name] for name in ("question", "models", "tasks", "training")}
    return {
        "name": mapping.name,
        "question": mapping.question,
        "models": list(mapping.models),
        "tasks": list(mapping.tasks),
        "lengths": lengths,
        "seeds": seeds,
        "sweep": {},
        "judged_by": judged_by,
        "config": config | {"lengths": lengths, "seeds": seeds},
        "imported": True,
        "origin": said["origin"],
        "files": files,
    }
