"""What a study has: counts and medians over `cells` and `parts`; `spending` has what it took."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from itertools import product

from seqgrid import tables
from seqgrid.analysis import stats


def standing(cell: dict) -> str:
    """How a cell stands: its outcome, or that it finished and waits for its evaluation."""
    outcome = cell["outcome"] or "missing"
    return "finished, not evaluated" if outcome == "finished" and not cell["evaluated"] else outcome


def trained_again(cell: dict) -> bool:
    """Whether a run under way is to replace the result that the cell has."""
    return cell["reached_steps"] is not None and cell["outcome"] != "running"


def coverage(cells: list[dict]) -> dict:
    """Counts of the whole grid: cells, done, skipped, stale, and each way of not being done."""
    found: dict[str, int] = defaultdict(int)
    for cell in cells:
        found[standing(cell)] += 1
    done, skipped = found.pop("finished", 0), found.pop("skipped", 0)
    trained = [cell for cell in cells if cell["outcome"] != "skipped"]
    return {
        "cells": len(cells),
        "done": done,
        "skipped": skipped,
        "possible": len(cells) - skipped,
        "open": dict(sorted(found.items(), key=lambda pair: -pair[1])),
        "stale": sum(bool(c["stale"]) for c in trained),
        "evaluation_stale": sum(bool(c["evaluation_stale"]) for c in trained),
        "mixed": sum(bool(c["mixed_sources"]) for c in cells),
        "reused": sum(bool(c["reused"]) for c in cells),
    }


def matrix(cells: list[dict]) -> dict[tuple[str, str, int], str]:
    """`k/n` finished and evaluated of the cells that can exist, by model, task and length."""
    places: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for cell in cells:
        places[_place(cell)].append(standing(cell))
    found = {}
    for place, states in places.items():
        possible = [s for s in states if s != "skipped"]
        found[place] = f"{possible.count('finished')}/{len(possible)}" if possible else "skipped"
    return found


def identity(row: dict) -> tuple:
    """Which cell a row of any table is about."""
    return *_place(row), row["variant"] or "", row["seed"]


def completeness(
    cells: list[dict], from_checkpoints: Collection[tuple] = ()
) -> dict[tuple[str | None, str | None], tuple[int, int]]:
    """(done, possible) cells by model and task; None stands for all models, and all tasks.

    from_checkpoints: identities of cells that count as done though only a checkpoint gave a value.
    """
    found: dict[tuple[str | None, str | None], list[int]] = defaultdict(lambda: [0, 0])
    for cell in cells:
        state = standing(cell)
        if state == "skipped":
            continue
        done = state == "finished" or identity(cell) in from_checkpoints
        for place in product((cell["model"], None), (cell["task"], None)):
            found[place][0] += done
            found[place][1] += 1
    return {place: (done, possible) for place, (done, possible) in found.items()}


def reasons(cells: list[dict]) -> list[dict]:
    """Why cells are not done, the most frequent reason first: outcome, reason, error, cells."""
    found: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for cell in cells:
        if standing(cell) != "finished":
            # Why a training ended says nothing about why it has no score.
            trained = cell["outcome"] == "finished"
            reason = "no evaluation yet" if trained else cell["reason"] or _untold(cell)
            found[standing(cell), reason.strip()].append(cell)
    ordered = sorted(found.items(), key=lambda pair: -len(pair[1]))
    return [
        {
            "outcome": outcome,
            "reason": reason,
            "error": next((c["error"] for c in here if c["error"]), ""),
            "cells": here,
        }
        for (outcome, reason), here in ordered
    ]


def _untold(cell: dict) -> str:
    return "nothing was run yet" if cell["outcome"] == "missing" else "no reason is recorded"


def refusals(cells: list[dict]) -> list[dict]:
    """Finished cells that could not be evaluated at some length, as rows like those of reasons."""
    found: dict[str, list[dict]] = defaultdict(list)
    for cell in cells:
        if cell["refused"] and standing(cell) == "finished":
            found[cell["refused"]].append(cell)
    return [
        {"outcome": "not evaluated at", "reason": reason, "error": "", "cells": here}
        for reason, here in found.items()
    ]


def deaths(parts: list[dict]) -> dict[str, int]:
    """How the last death of each part came about that had one, the most frequent first."""
    found = Counter(part["last_death"] for part in parts if part["last_death"])
    return dict(found.most_common())


def step_seconds(cells: list[dict]) -> dict[tuple[str, str, int], float]:
    """Median over cells of training time per step, by model, task and length."""
    places: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for cell in cells:
        if cell["training_seconds"] and cell["step_steps"]:
            places[_place(cell)].append(cell["training_seconds"] / cell["step_steps"])
    return {place: stats.median(times, "lower") for place, times in places.items()}


def circuits(cells: list[dict]) -> list[dict]:
    """What circuits cost, by model, task and length, of those models that run any.

    Lists of the different values among cells, and under `circuits_per_second` the median over
    cells of circuits run in training steps, each forward and backward.
    """
    places: dict[tuple[str, str, int], list[dict]] = defaultdict(list)
    for cell in cells:
        if cell["circuits_per_example"]:
            places[_place(cell)].append(cell)
    rows = []
    for (model, task, seqlen), here in places.items():
        rates = [
            c["tokens_per_second"] / seqlen * c["circuits_per_example"]
            for c in here
            if c["tokens_per_second"]
        ]
        rows.append(
            {
                "model": model,
                "task": task,
                "seqlen_tokens": seqlen,
                **{name: sorted({c[name] for c in here}) for name in tables.CIRCUITS},
                "circuits_per_second": stats.median(rates, "lower") if rates else None,
            }
        )
    return rows


def asked(parts: list[dict]) -> list[dict]:
    """What jobs asked a scheduler for, and used, by model, task and length.

    Medians over parts, of the jobs of a part together; `share`: time used of all time asked for.
    """
    places: dict[tuple[str, str, int], list[dict]] = defaultdict(list)
    for part in parts:
        # Without a scheduler nothing is set aside, whatever the workflow would have asked for.
        if part["job_id"] and part["asked_minutes"] and part["wall_seconds"] is not None:
            places[_place(part)].append(part)
    rows = []
    for (model, task, seqlen), here in sorted(places.items()):
        used = [p["wall_seconds"] for p in here]
        given = [60.0 * p["asked_minutes"] for p in here]
        peaks = [p["peak_host_bytes"] for p in here if p["peak_host_bytes"]]
        rows.append(
            {
                "model": model,
                "task": task,
                "seqlen_tokens": seqlen,
                "parts": len(here),
                "asked_seconds": stats.median(given, "lower"),
                "wall_seconds": stats.median(used, "lower"),
                "share": sum(used) / sum(given),
                "asked_bytes": stats.median([2**20 * p["asked_mb"] for p in here], "lower"),
                "peak_host_bytes": stats.median(peaks, "lower") if peaks else None,
            }
        )
    return rows


def in_pieces(cells: list[dict]) -> dict[str, int]:
    """Number of cells by model whose batches had to be cut into pieces."""
    found: dict[str, int] = defaultdict(int)
    for cell in cells:
        if (cell["pieces"] or 1) > 1:
            found[cell["model"]] += 1
    return dict(found)


def provenance(cells: list[dict]) -> dict:
    """Distinct commits, versions, hosts, devices and digests, and the first and last date."""
    versions: dict[str, set[str]] = defaultdict(set)
    for text in {c["versions"] for c in cells if c["versions"]}:
        for package, version in json.loads(text).items():
            versions[package].add(str(version))
    dates = [c[k] for c in cells for k in ("started_at", "ended_at") if c[k] is not None]
    return {
        "commits": _distinct(cells, "git_commit"),
        "dirty": sum(bool(c["git_dirty"]) for c in cells),
        "versions": {package: sorted(found) for package, found in sorted(versions.items())},
        "hosts": _distinct(cells, "host"),
        "devices": _distinct(cells, "device"),
        "dtypes": _distinct(cells, "dtype"),
        "threads": _distinct(cells, "threads"),
        "backends": _backends(cells),
        "digests": {
            model: _distinct([c for c in cells if c["model"] == model], "source_digest")
            for model in dict.fromkeys(c["model"] for c in cells)
        },
        "first": min(dates, default=None),
        "last": max(dates, default=None),
    }


def _backends(cells: list[dict]) -> list[str]:
    """`operator: implementation` of every operator that ran."""
    found = [json.loads(text) for text in _distinct(cells, "backend")]
    return sorted({f"{name}: {kernel}" for used in found for name, kernel in used.items()})


def _place(row: dict) -> tuple[str, str, int]:
    return row["model"], row["task"], row["seqlen_tokens"]


def _distinct(cells: list[dict], name: str) -> list[str]:
    return sorted({c[name] for c in cells if c[name]})
