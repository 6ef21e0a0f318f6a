"""Gates: bands that a study says a known model must fall into before anything is believed.

A gate is a control of the study's own: it holds the median of the final values, at the training
length and with the selected variant, against its band. Outside it is failed, and every score on
the task is in doubt; while cells are to come it is partial, and before any has run not run. A seed
that diverged counts as worse than every number. Where a study that was run elsewhere has no cell
with a value, a reported mean, median or final value stands in.
"""

import json
from collections.abc import Iterable
from math import nan
from typing import Any

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis import stats
from seqgrid.analysis.groups import short

REPORTED = ("mean", "median", "final")  # a peak is the best of several looks


def rows(about: dict, read: dict[str, pa.Table], summary: list[dict]) -> list[dict]:
    """Rows of `gates` from what is said of the study, its tables and the rows of `summary`."""
    declared = (about.get("config") or {}).get("gates") or []
    cells = read["cells"].to_pylist() if declared else []
    reported = read["reported"].to_pylist() if declared else []
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
            here = [
                next((row for row in found_ if row["seqlen_tokens"] == seqlen), None)
                for found_ in (mine, said)
            ]
            at = [row for row in own if row["seqlen_tokens"] == seqlen]
            row = _row(gate, seqlen, *here, at)
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
    gate: dict, seqlen: int | None, row: dict | None, said: dict | None, cells: list[dict]
) -> dict:
    variant = (row or {}).get("variant", "")
    mine = [c for c in cells if c["variant"] == variant and c["outcome"] != "skipped"]
    value, source = _value(row, mine), f"median of {(row or {}).get('final')} final values"
    waiting = [c for c in mine if not (c["evaluated"] or c["outcome"] == "diverged")]
    if value is None and said is not None:
        value, source, waiting = said["value"], f"reported {said['statistic']}", []
    metric = gate.get("metric") or (row or said or {}).get("metric") or ""
    state, reason = _state(gate, value, source, waiting, mine)
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


def _value(row: dict | None, cells: Iterable[dict]) -> float | None:
    """Median of the final values; None where there is neither one nor a diverged seed."""
    values = []
    if row is not None:
        pairs = zip(row["values"], row["finals"], strict=True)
        values = [nan if value is None else value for value, final in pairs if final]
    values += [nan for c in cells if c["outcome"] == "diverged"]
    return stats.median(values, (row or {}).get("better") or "higher") if values else None


def _state(
    gate: dict, value: float | None, source: str, waiting: list[dict], cells: list[dict]
) -> tuple[str, str]:
    """What became of a gate, and why."""
    if value is None:
        begun = any(c["outcome"] != "missing" for c in cells)
        return ("partial" if begun else "not run"), "no final value yet"
    if waiting:
        return "partial", f"{len(waiting)} of {len(cells)} cells to come"
    low, high = gate.get("low"), gate.get("high")
    # Written so that a NaN lies in no band.
    inside = (low is None or value >= low) and (high is None or value <= high)
    words = f"the {source} lies {'inside' if inside else 'outside'} the band"
    return ("passed" if inside else "failed"), words


def _band(gate: dict[str, Any]) -> str:
    ends = {key: short(gate[key]) for key in ("low", "high") if gate.get(key) is not None}
    if len(ends) == 2:
        return f"{ends['low']} to {ends['high']}"
    return " ".join(f"at {'least' if key == 'low' else 'most'} {end}" for key, end in ends.items())
