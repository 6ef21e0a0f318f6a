"""All rows of a foreign study together: which runs there are, and what contradicts what."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from seqgrid.foreign import rows as rows_
from seqgrid.foreign.files import File, Record, Unreadable, find, read
from seqgrid.foreign.intervals import out_of_order
from seqgrid.foreign.levels import Known
from seqgrid.foreign.mapping import Kind, Mapping
from seqgrid.foreign.rows import Wrong
from seqgrid.metric_names import UNIT, impossible

Key = tuple[str, str, int, str, int]  # model, task, training length, variant, seed
NAMES = ("model", "task", "seqlen_tokens", "variant", "seed")
NOT_BEGUN = ("missing", "skipped")


def key_of(row: dict[str, Any]) -> Key:
    """Which run a row is about."""
    return tuple(row[name] for name in NAMES)  # type: ignore[return-value]


def gather(
    mapping: Mapping, folder: Path
) -> tuple[dict[Kind, list[dict[str, Any]]], list[dict[str, Any]]]:
    """The rows of all tables by kind; and each file with its hash, rows and columns left unread.

    Raises:
        Wrong: one line for each mistake in the mapping's tables, their files or their rows.
    """
    found: dict[Kind, list[dict[str, Any]]] = defaultdict(list)
    files: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, entry in mapping.files:
        if wrong := rows_.checked(number, entry):
            problems += wrong
            continue
        try:
            paths = find(entry, folder)
        except Unreadable as error:
            problems.append(f"tables.{number}.file: {error}")
            continue
        for path in paths:
            try:
                file = read(path, entry)
            except Unreadable as error:
                if entry.unreadable == "error":
                    problems.append(f"tables.{number}.file: {error}")
                    continue
                # Its name is all that is known of the run.
                record = Record(path.name, path.name, {"result_valid": False})
                file = File(str(path), "unreadable", ["result_valid"], [record], str(error))
            try:
                made = rows_.convert(number, entry, file, mapping)
            except Wrong as error:
                problems += error.problems
                continue
            if file.problem:
                made = [row | {"result_valid": False, "note": file.problem} for row in made]
            found[entry.rows] += made
            files.append(_about(entry, file, len(made), folder))
    if problems:
        raise Wrong(problems)
    return found, files


def _about(entry: Any, file: File, rows: int, folder: Path) -> dict[str, Any]:
    return {
        "file": os.path.relpath(file.path, folder),
        "sha256": file.sha256,
        "rows": rows,
        "of": entry.rows,
        "unread": [name for name in file.columns if name not in entry.theirs],
    }


def runs(found: dict[Kind, list[dict[str, Any]]], mapping: Mapping) -> dict[Key, dict[str, Any]]:
    """The runs of a study, those that were asked for and that no table names as `missing`.

    Raises:
        Wrong: a run stands there twice, was not asked for, or nothing says how it ended.
    """
    problems: list[str] = []
    made: dict[Key, dict[str, Any]] = {}
    for row in found["cells"]:
        key = key_of(row)
        if key in made:
            problems.append(f"{row['_place']}: {_said(key)} stands in {made[key]['_place']} too")
        else:
            made[key] = row
    known = set(made)
    for row in found["evaluations"]:
        key = key_of(row)
        if key in known:
            continue
        if row.get("outcome") is None:
            problems.append(
                f"{row['_place']}: nothing says how {_said(key)} ended; give `outcome`, as a "
                "column or a constant, or a table with rows: cells"
            )
        made.setdefault(key, {n: row[n] for n in (*NAMES, "outcome", "_place") if n in row})
    for row in found["history"]:
        if (key := key_of(row)) not in made:
            problems.append(
                f"{row['_place']}: no table with rows: cells or evaluations has {_said(key)}"
            )
    problems += [
        f"{row['_place']}: {_said(key)}: {key[place]} is not in `{name}` ({asked}); add it there, "
        "or leave such rows out with `only`"
        for key, row in made.items()
        for name, place in (("lengths", 2), ("seeds", 4))
        if (asked := getattr(mapping.tasks[key[1]], name) or getattr(mapping, name))
        and key[place] not in asked
    ]
    if problems:
        raise Wrong(problems[:50])
    for key in _asked(mapping):
        made.setdefault(key, dict(zip(NAMES, key, strict=True)) | {"outcome": "missing"})
    order = [list(mapping.models), list(mapping.tasks)]
    return dict(
        sorted(
            made.items(),
            key=lambda pair: (order[1].index(pair[0][1]), order[0].index(pair[0][0]), *pair[0][2:]),
        )
    )


def _asked(mapping: Mapping) -> list[Key]:
    return [
        (model, label, seqlen, "", seed)
        for label, entry in mapping.tasks.items()
        for model in entry.models or mapping.models
        for seqlen in entry.lengths or mapping.lengths
        for seed in entry.seeds or mapping.seeds
    ]


def contradictions(
    found: dict[Kind, list[dict[str, Any]]], runs: dict[Key, dict[str, Any]], known: Known
) -> list[str]:
    """Rows that cannot all be true, or values that their metric cannot have; one line each."""
    problems: list[str] = []
    place = ("evaluated_seqlen_tokens", "test_set")
    identity: dict[Kind, tuple[str, ...]] = {
        "evaluations": (*NAMES, *place, "slice", "weights", "metric"),
        "history": (*NAMES, "step_steps"),
        "reported": ("model", "task", "seqlen_tokens", "variant", *place, "metric", "statistic"),
    }
    for kind, names in identity.items():
        seen: dict[tuple, dict[str, Any]] = {}
        for row in found[kind]:
            key = tuple(row.get(name) for name in names)
            if key in seen:
                named = [(n, v) for n, v in zip(names, key, strict=True) if v not in ("", None)]
                what = ", ".join(f"{name} {value}" for name, value in named)
                problems.append(f"{row['_place']}: stands in {seen[key]['_place']} too: {what}")
            seen[key] = row
    for row in (*found["evaluations"], *found["reported"]):
        metric, value = row["metric"], row["value"]
        if known.better(row["task"], metric) is None:
            problems.append(
                f"{row['_place']}: nobody says which values of '{metric}' are better; set it as "
                f"the metric of tasks.{row['task']}, with `better`"
            )
        if value is not None:
            problems += _impossible(row["_place"], metric, value)
            problems += (f"{row['_place']}: {line}" for line in out_of_order(value, row))
    for row in found["evaluations"]:
        run = runs[key_of(row)]
        if row["origin"] == "mixed":
            problems.append(f"{row['_place']}: origin is test or validation for one run, not mixed")
        if row["origin"] == "test" and run.get("result_valid") is False:
            problems.append(
                f"{row['_place']}: a test value of a run whose result is not valid by "
                f"{run['_place']}; a value from its checkpoint has origin validation"
            )
        if run["outcome"] in NOT_BEGUN:
            problems.append(
                f"{row['_place']}: a value of a run that is {run['outcome']} by "
                f"{run.get('_place', 'no table')}"
            )
    return problems[:50]


def _impossible(place: str, metric: str, value: float) -> list[str]:
    words = impossible(metric, value)
    scale = "; of percent say scale: {value: 0.01}" if metric in UNIT else ""
    return [f"{place}: {words}{scale}"] if words else []


def _said(key: Key) -> str:
    model, task, seqlen, variant, seed = key
    return f"{model} on {task} at {seqlen} tokens{f', {variant}' if variant else ''}, seed {seed}"
