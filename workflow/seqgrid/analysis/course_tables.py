"""The courses of a study over its training lengths, read from its tables."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from math import inf, isnan, nan, sqrt

from seqgrid.analysis.courses import REPORTED, SEEDS, TASK_CEILING, Course, Point
from seqgrid.analysis.groups import SKIPPED
from seqgrid.analysis.levels import Levels
from seqgrid.analysis.places import levels_by_place

Z95 = 1.959964  # half a 95 % interval in standard errors


def of_seeds(
    summary: list[dict], verdicts: list[dict], evaluations: list[dict], cells: list[dict]
) -> list[Course]:
    """The courses of models trained at three lengths or more, in the order of `summary`."""
    rows: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in summary:
        if row["selected"] and row["primary"] and row["weights"] == "best" and _at_home(row):
            rows[row["task"], row["model"]].append(row)
    said: dict[tuple, list[dict]] = defaultdict(list)
    for verdict in verdicts:
        if _at_home(verdict):
            said[_group(verdict)].append(verdict)
    trained: dict[tuple, list[dict]] = defaultdict(list)
    for cell in cells:
        if cell["outcome"] != SKIPPED:
            trained[_group(cell)].append(cell)
    offered: dict[tuple[str, str], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for cell in cells:
        if cell["outcome"] != SKIPPED and cell["budget_steps"]:
            place = offered[cell["task"], cell["model"]]
            place[cell["seqlen_tokens"]].add(cell["budget_steps"])
    errors = _test_errors(evaluations)
    found = []
    for (task, model), here in rows.items():
        ordered = sorted(here, key=lambda r: r["seqlen_tokens"])
        possible = [r for r in ordered if r["asked"] > r["skipped"]]
        if len({r["seqlen_tokens"] for r in possible}) < 3:
            continue
        points = [_point(r, said[_group(r)], errors) for r in possible if r["final"]]
        found.append(
            Course(
                *(model, task, _variants(possible), possible[0]["metric"], possible[0]["better"]),
                origin=SEEDS,
                points=tuple(points),
                complete=all(r["final"] == r["asked"] - r["skipped"] for r in possible),
                unequal=tuple(_unequal(possible, said, trained)),
                missing=any(r["final"] < r["asked"] - r["skipped"] for r in possible),
                barring=tuple(_barring(possible, offered[task, model])),
            )
        )
    return found


def of_reported(reported: list[dict], levels: list[dict]) -> list[Course]:
    """The courses of means at three lengths or more that a study run elsewhere reports."""
    known = levels_by_place(levels)
    directions = {(task, metric): v.better for (task, *_, metric), v in known.items()}
    rows: dict[tuple, dict[int, dict]] = defaultdict(dict)
    for row in reported:
        if row["value"] is not None and _at_home(row):
            key = (row["task"], row["model"], row["variant"] or "", row["metric"])
            rows[*key, row["statistic"]][row["seqlen_tokens"]] = row
    found = []
    for (task, model, variant, metric, statistic), at in rows.items():
        if len(at) < 3:
            continue
        here = [at[length] for length in sorted(at)]
        points = []
        for row in here:
            place = (task, row["evaluated_seqlen_tokens"], "", "", metric)
            level = known.get(place, Levels())
            error = nan if row["standard_error"] is None else row["standard_error"]
            partial = row["origin"] != "test" or _fewer(row)
            points.append(Point(row["seqlen_tokens"], (row["value"],), error, *_limits(level, row),
                                partial=partial, shortcuts=level.shortcuts))  # fmt: skip
        better = directions.get((task, metric), "higher")
        complete = not any(p.partial for p in points)
        unequal = tuple(_hearsay(here, statistic))
        about = (model, task, variant, metric, better, REPORTED)
        missing = any(map(_fewer, here))
        peak = statistic == "peak"
        found.append(Course(*about, tuple(points), complete, unequal, missing, peak))
    return found


def _point(row: dict, said: list[dict], errors: dict[tuple, float]) -> Point:
    final = [
        (seed, value)
        for seed, value, counts in zip(row["seeds"], row["values"], row["finals"], strict=True)
        if counts
    ]
    growing = {v["seed"] for v in said if v["verdict"] == "IMPROVING"}
    near = ("AT SHORTCUT", "SHORTCUT NOT EXCLUDED")
    at = (json.loads(v["evidence"] or "{}") for v in said if v["verdict"] in near)
    levels = Levels(chance=row["chance"], ceiling=row["ceiling"])
    return Point(
        row["seqlen_tokens"],
        tuple(value for _, value in final),
        errors.get((*_group(row), row["metric"]), nan),
        *_limits(levels, row),
        verdicts=frozenset(v["verdict"] for v in said),
        partial=row["final"] < row["asked"] - row["skipped"],
        improving=tuple(seed in growing for seed, _ in final),
        shortcut=next((found.get("shortcut") or "a shortcut" for found in at), ""),
    )


def _limits(levels: Levels, row: dict) -> tuple[float | None, float | None, str]:
    """Chance, the lowest known ceiling of this model, and what it comes from."""
    if row["model_ceiling"] is None:
        return levels.chance, levels.ceiling, TASK_CEILING
    return levels.chance, row["model_ceiling"], row["model_ceiling_name"] or "this model"


def _test_errors(evaluations: list[dict]) -> dict[tuple, float]:
    """Root mean square, over seeds, of a value's standard error over its test examples."""
    squares: dict[tuple, list[float]] = defaultdict(list)
    for row in evaluations:
        ends = (row["low"], row["high"])
        if _at_home(row) and row["weights"] == "best" and None not in ends and abs(ends[0]) < inf:
            error = (ends[1] - ends[0]) / (2 * Z95)
            if not isnan(error):
                squares[*_group(row), row["metric"]].append(error**2)
    return {key: sqrt(sum(found) / len(found)) for key, found in squares.items()}


def _variants(rows: list[dict]) -> str:
    """The selected variant; which at which length, where they differ."""
    names = list(dict.fromkeys(r["variant"] for r in rows))
    if len(names) == 1:
        return names[0]
    return "; ".join(
        f"{n} at {', '.join(str(r['seqlen_tokens']) for r in rows if r['variant'] == n)}"
        for n in names
    )


def _unequal(rows: list[dict], said: dict[tuple, list[dict]], trained: dict) -> Iterable[str]:
    """What else goes with the length, in words."""
    if len({r["variant"] for r in rows}) > 1:
        yield f"the selected variant differs: {_variants(rows)}"
    open_ = {r["seqlen_tokens"]: r["asked"] - r["skipped"] - r["final"] for r in rows}
    if any(open_.values()):
        words = (f"{n} at {at}" for at, n in open_.items() if n)
        yield f"cells without a final value: {', '.join(words)}"
    for name, what in (("data_seed", "data"), ("init_seed", "initialisation")):
        if any(_fixed(c, name) is not None for r in rows for c in trained[_group(r)]):
            yield f"the seeds share their {what}, whose chance no interval here covers"
    counts = {r["seqlen_tokens"]: r["final"] for r in rows}
    if len(set(counts.values())) > 1:
        words = (f"{n} at {at}" for at, n in counts.items())
        yield f"the number of final seeds differs: {', '.join(words)}"
    growing = Counter(r["seqlen_tokens"] for r in rows for v in said[_group(r)]
                      if v["verdict"] == "IMPROVING")  # fmt: skip
    if growing:
        words = (f"{n} at {at}" for at, n in sorted(growing.items()))
        yield f"seeds were still improving when their budget ended: {', '.join(words)}"
    if any(any(r["stales"]) for r in rows):
        yield "the sources behind some values have changed since"


def _barring(rows: list[dict], offered: dict[int, set[int]]) -> Iterable[str]:
    """What may itself make a change over the lengths, or hide one, in words.

    offered: steps asked for by any variant at each length. A study that sweeps them offers the same
    ones everywhere, whichever is selected.
    """
    if any(r["preliminary"] for r in rows):
        yield "variants were selected before all of their grids had finished"
    spent = {r["seqlen_tokens"]: tuple(sorted(offered[r["seqlen_tokens"]])) for r in rows}
    if len({s for s in spent.values() if s}) > 1:
        words = (f"{'/'.join(f'{n:,}' for n in s) or 'unknown'} at {at}" for at, s in spent.items())
        yield f"the budget of steps differs: {', '.join(words)}"


def _fixed(cell: dict, name: str) -> int | None:
    """The seed of the examples, or of the weights, where the study fixes it, else None."""
    settings = json.loads(cell["settings"] or "{}")
    return (settings.get("training") or {}).get(name)


def _hearsay(rows: list[dict], statistic: str) -> Iterable[str]:
    """What a report does not say about its numbers, or says too late."""
    yield "the values are as reported; the runs behind them are not known singly"
    if statistic == "peak":
        yield "they are peaks, chosen for being high"
    late = [str(r["seqlen_tokens"]) for r in rows if r["origin"] != "test"]
    if late:
        yield f"not final test values at {', '.join(late)}"
    few = [f"{r['seeds']} of {r['asked']} at {r['seqlen_tokens']}" for r in rows if _fewer(r)]
    if few:
        yield f"runs missing: {', '.join(few)}"


def _fewer(row: dict) -> bool:
    return None not in (row["seeds"], row["asked"]) and row["seeds"] < row["asked"]


def _at_home(row: dict) -> bool:
    """Evaluated at the training length, on the test set drawn as training is, all of it."""
    same = row["evaluated_seqlen_tokens"] == row["seqlen_tokens"]
    return same and not row["test_set"] and not row.get("slice")


def _group(row: dict) -> tuple[str, str, str, int]:
    return row["model"], row["task"], row["variant"] or "", row["seqlen_tokens"]
