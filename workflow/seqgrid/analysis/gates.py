"""Gates: bands that a study says a known model must fall into before anything is believed.

A gate is a control of the study's own: it holds the median of the final values, at the training
length and with the selected variant, against its band. It is passed where the interval over test
examples lies wholly inside and failed where it lies wholly outside, and then every score on the
task is in doubt. Across an end of the band it is partial, as it is while cells are to come, seeds
are too few or another variant may be selected; before any has run it is not run. A value of which
no interval is known can fail a gate and passes none. A seed that diverged counts as worse than
every number. Where a study that was run elsewhere has no cell with a value, a reported mean, median
or final value stands in; it passes only if it is the one test value there, of no fewer seeds.
"""

import json
from collections.abc import Iterable
from math import inf, isnan, nan
from typing import Any

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis import stats
from seqgrid.analysis.final_values import intervals, to_come
from seqgrid.analysis.groups import short
from seqgrid.analysis.selection import PRELIMINARY, UNSELECTED
from seqgrid.metric_names import BOUNDS
from seqgrid.thresholds import Thresholds, of

REPORTED = ("mean", "median", "final")  # a peak is the best of several looks


def rows(about: dict, read: dict[str, pa.Table], summary: list[dict]) -> list[dict]:
    """Rows of `gates` from what is said of the study, its tables and the rows of `summary`."""
    declared = (about.get("config") or {}).get("gates") or []
    cells = read["cells"].to_pylist() if declared else []
    reported = read["reported"].to_pylist() if declared else []
    tested = read["evaluations"].to_pylist() if declared else []
    found = []
    for gate in declared:
        mine = [row for row in summary if _chosen(row, gate)]
        own = [row for row in cells if _same(row, gate)]
        said = [row for row in reported if _stands_in(row, gate)]
        lengths = {row["seqlen_tokens"] for row in (*own, *said)}
        wanted: list[int | None] = [gate.get("seqlen")]
        if gate.get("seqlen") is None and lengths:
            wanted = [*sorted(lengths)]
        for seqlen in wanted:
            here, told, at = (
                [row for row in every if row["seqlen_tokens"] == seqlen]
                for every in (mine, said, own)
            )
            row = _row(gate, seqlen, here[0] if here else None, told, at, tested, of(about))
            rivals = [r for r in summary if _same(r, gate) and r["seqlen_tokens"] == seqlen]
            if rivals and not any(r["selected"] for r in rivals):
                row |= {"state": "partial", "reason": UNSELECTED}
            found.append(row | {"study": str(about.get("name") or "")})
    return found


def table(found: list[dict], about: dict) -> pa.Table:
    """The table `gates`."""
    return tables.from_rows("gates", found, {"seqgrid.study": json.dumps(about)})


def failed(found: list[dict]) -> dict[str, list[dict]]:
    """Label of a task -> the gates that failed on it."""
    kept = ("control", "expected", "observed", "reason", "study", "paths")
    by_task: dict[str, list[dict]] = {}
    for row in found:
        if row["state"] == "failed":
            by_task.setdefault(row["task"], []).append({name: row[name] for name in kept})
    return by_task


def _same(row: dict, gate: dict) -> bool:
    return (row["model"], row["task"]) == (gate["model"], gate["task"])


def _chosen(row: dict, gate: dict) -> bool:
    metric = gate.get("metric")
    return (
        _same(row, gate)
        and row["selected"]
        and row["weights"] == "best"
        and row["evaluated_seqlen_tokens"] == row["seqlen_tokens"]
        and not (row["test_set"] or row["slice"])
        and (row["metric"] == metric if metric else row["primary"])
    )


def _stands_in(row: dict, gate: dict) -> bool:
    return (
        _same(row, gate)
        and row["statistic"] in REPORTED
        and row["value"] is not None
        and row["evaluated_seqlen_tokens"] == row["seqlen_tokens"]
        and not row["test_set"]
        and gate.get("metric") in (None, row["metric"])
    )


def _row(
    gate: dict,
    seqlen: int | None,
    row: dict | None,
    said: list[dict],
    cells: list[dict],
    tested: list[dict],
    limits: Thresholds,
) -> dict:
    variant = (row or {}).get("variant", "")
    mine = [c for c in cells if c["variant"] == variant and c["outcome"] != "skipped"]
    values = _values(row, mine)
    if values or not said:
        value = stats.median(values, (row or {}).get("better") or "higher") if values else None
        state, reason = _of_cells(gate, values, row, mine, tested, limits)
    else:
        value = said[0]["value"]
        state, reason = _of_report(gate, said, limits)
    metric = gate.get("metric") or (row or (said or [{}])[0]).get("metric") or ""
    place = f"{gate['model']} on {gate['task']}"
    place += f", trained at {seqlen} tokens" if seqlen else ""
    return {
        "task": gate["task"],
        "task_file": next((c["task_file"] for c in cells), None),
        "control": f"gate: {place}",
        "expected": f"{metric} {_band(gate)}".strip(),
        "observed": "" if value is None else short(value),
        "state": state,
        "reason": reason,
        "settings": None,
        "why": gate.get("why") or "",
        "paths": [c["path"] for c in mine if c["path"]],
    }


def _values(row: dict | None, cells: Iterable[dict]) -> list[float]:
    """The final values, with a NaN for each that is none and for each seed that diverged."""
    values = []
    if row is not None:
        pairs = zip(row["values"], row["finals"], strict=True)
        values = [nan if value is None else value for value, final in pairs if final]
    return values + [nan for c in cells if c["outcome"] == "diverged"]


def _of_cells(
    gate: dict,
    values: list[float],
    row: dict | None,
    cells: list[dict],
    tested: list[dict],
    limits: Thresholds,
) -> tuple[str, str]:
    """What became of a gate by the study's own cells, and why."""
    if not values:
        begun = any(c["outcome"] != "missing" for c in cells)
        return ("partial" if begun else "not run"), "no final value yet"
    waiting = [c for c in cells if to_come(c)]
    if waiting:
        return "partial", f"{len(waiting)} of {len(cells)} cells to come"
    if row is not None and row["preliminary"]:
        return "partial", PRELIMINARY
    if len(values) < limits.enough_seeds:
        return "partial", f"{len(values)} ended seeds, {limits.enough_seeds} needed"
    diverged = sum(c["outcome"] == "diverged" for c in cells)
    final = len(values) - diverged
    source = f"median of {final} final value{'' if final == 1 else 's'}"
    source += f" and {diverged} diverged seed{'' if diverged == 1 else 's'}" if diverged else ""
    better = (row or {}).get("better") or "higher"
    every = intervals(row, tested) if row is not None else ()
    ends = [own for own in every if not isnan(sum(own))]
    known = {own[0]: stats.widened(*own, len(ends), limits.confidence) for own in ends}
    lows, highs = zip(*(known.get(value, (value, value)) for value in values), strict=True)
    around = stats.median(lows, better), stats.median(highs, better)
    bare = len(ends) < sum(not isnan(value) for value in values)
    metric = (row or {}).get("metric", "")
    return _judged(gate, metric, stats.median(values, better), around, bare, source)


def _of_report(gate: dict, said: list[dict], limits: Thresholds) -> tuple[str, str]:
    """What became of a gate by what a report says of runs elsewhere, and why."""
    z = stats.simultaneous_z(len(said), limits.confidence)
    each = []
    for row in said:
        error, value = row["standard_error"], row["value"]
        around = value - z * (error or 0.0), value + z * (error or 0.0)
        source = f"reported {row['statistic']}"
        each.append(_judged(gate, row["metric"], value, around, error is None, source))
    states = {state for state, _ in each}
    if states == {"failed"}:
        return each[0]
    if len({row["variant"] for row in said}) > 1:
        return "partial", "several variants are reported, and nobody says which was selected"
    if "passed" in states and any(row["origin"] not in (None, "test") for row in said):
        return "partial", f"{each[0][1]}, but it is no test value"
    seeds = [row["seeds"] for row in said if row["seeds"] is not None]
    if "passed" in states and seeds and min(seeds) < limits.enough_seeds:
        return "partial", f"{each[0][1]}, but of {min(seeds)} seeds, {limits.enough_seeds} needed"
    return each[0] if len(states) == 1 else ("partial", "the reported values do not agree on it")


def _judged(
    gate: dict, metric: str, value: float, around: tuple[float, float], bare: bool, source: str
) -> tuple[str, str]:
    """What a value with its interval over test examples says.

    bare: the interval is not known, or not of every seed: there is more noise than `around` holds.
    """
    low, high = (
        end if gate.get(k) is None else gate[k] for k, end in (("low", -inf), ("high", inf))
    )
    least, most = BOUNDS.get(metric, (-inf, inf))
    ends = max(around[0], least), min(around[1], most)
    # Written so that a NaN lies in no band.
    words = f"the {source} lies {'inside' if low <= value <= high else 'outside'} the band"
    if isnan(value) or ends[1] < low or ends[0] > high:
        return "failed", words
    if not low <= ends[0] <= ends[1] <= high:
        between = f"{short(ends[0])} to {short(ends[1])}"
        return "partial", f"{words}, its interval over test examples, {between}, not wholly"
    if bare:
        return "partial", f"{words}, but no interval over test examples is known"
    return "passed", words


def _band(gate: dict[str, Any]) -> str:
    ends = {key: short(gate[key]) for key in ("low", "high") if gate.get(key) is not None}
    if len(ends) == 2:
        return f"{ends['low']} to {ends['high']}"
    return " ".join(f"at {'least' if key == 'low' else 'most'} {end}" for key, end in ends.items())
