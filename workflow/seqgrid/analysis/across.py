"""The table `across`: one number a model over all tasks and lengths, where that is fair.

The interquartile mean (IQM) of the shares of the way from chance to the ceiling, over all seeds,
tasks and lengths: Agarwal et al., arXiv:2108.13264, section 4.3. It is made only of models with a
final value of the same seeds at every place that has both levels, and no variant that may yet be
another: with a hole in the grid, a model
that failed on the hard task would look better for it. Runs of one seed at different places share
data and initial weights, so seeds are what is resampled, whole.
"""

import json
from math import isfinite

import numpy as np
import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis import stats
from seqgrid.analysis.final_values import stale
from seqgrid.analysis.selection import PRELIMINARY
from seqgrid.analysis.summary import meta
from seqgrid.seeds import derive
from seqgrid.thresholds import of

# Below, resamples are of too few kinds; docs/calibration.md has what is reached from here on.
MIN_SEEDS = 10
SIMULATED = "93 to 95 % at 10 seeds in simulations of 95 %"

Place = tuple[str, int]  # task and training length


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `across` of a study from summary; empty with fewer than two places."""
    about = meta(read["cells"])
    rows = [
        row
        for row in built["summary"].to_pylist()
        if row["selected"] and row["primary"] and row["weights"] == "best" and not row["slice"]
        and not row["test_set"] and row["evaluated_seqlen_tokens"] == row["seqlen_tokens"]
    ]  # fmt: skip
    withheld = {
        (v["task"], v["seqlen_tokens"])
        for v in built["verdicts"].to_pylist()
        if v["verdict"] in ("UNLEARNABLE AS SCORED", "ABOVE CEILING", "CONTROL FAILED")
    }
    scored = [row for row in rows if _scale(row) and _place(row) not in withheld]
    places = list(dict.fromkeys(_place(row) for row in scored))
    if len(places) < 2:
        return tables.from_rows("across", [])
    found = [
        _row(model, {_place(r): r for r in scored if r["model"] == model}, places, about)
        for model in dict.fromkeys(row["model"] for row in rows)
    ]
    return tables.from_rows("across", found, {"seqgrid.study": json.dumps(about)})


def _row(model: str, rows: dict[Place, dict], places: list[Place], about: dict) -> dict:
    row: dict = {"model": model, "places": [f"{task} {seqlen}" for task, seqlen in places]}
    shares = [_shares(rows[place]) if place in rows else {} for place in places]
    lacking = [
        f"{task} {seqlen}"
        for (task, seqlen), at in zip(places, shares, strict=True)
        if not at or None in at.values()
    ]
    if lacking:
        return row | {"reason": f"not every seed has a final value on {', '.join(lacking)}"}
    if len({tuple(at) for at in shares}) > 1:
        return row | {"reason": "not every place has the same seeds"}
    used = [rows[place] for place in places]
    if early := [_named(row) for row in used if row["preliminary"]]:
        return row | {"reason": f"{PRELIMINARY} on {', '.join(early)}"}
    values = np.array([list(at.values()) for at in shares], dtype=float).T  # (seeds, places)
    row |= {"seeds": list(shares[0]), "iqm": float(stats.iqm(values.ravel()))}
    row["stale"] = any(map(stale, used))
    if len(values) < MIN_SEEDS:
        return row | {"interval": f"none below {MIN_SEEDS} seeds"}
    generator = np.random.default_rng(derive("across", model))
    ends = stats.bootstrap(values, stats.iqm, generator, of(about).confidence)
    return row | {name: getattr(ends, key) for name, key in
                  (("low", "low"), ("high", "high"), ("coverage", "coverage"))} | {
                      "interval": f"{ends.method}, {SIMULATED}"}  # fmt: skip


def _named(row: dict) -> str:
    return f"{row['task']} {row['seqlen_tokens']}"


def _scale(row: dict) -> float:
    """From chance to the ceiling, in the unit of the metric; 0 where either is unknown."""
    if row["chance"] is None or row["ceiling"] is None:
        return 0.0
    return row["ceiling"] - row["chance"]


def _shares(row: dict) -> dict[int, float | None]:
    """Seed -> share of the way to the ceiling; None where there is no final number."""
    found: dict[int, float | None] = {}
    for seed, value, final in zip(row["seeds"], row["values"], row["finals"], strict=True):
        known = final and value is not None and isfinite(value)
        found[seed] = (value - row["chance"]) / _scale(row) if known else None
    return found


def _place(row: dict) -> Place:
    return row["task"], row["seqlen_tokens"]
