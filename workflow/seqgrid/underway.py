"""Trainings that go on right now, and how far they are: for the view and for the tables."""

from pathlib import Path
from typing import Any

from seqgrid import plan
from seqgrid.plan import Standing
from seqgrid.store import Part

KEPT = ("finished", "diverged", "skipped")  # results that a new training does not hide
REASON = "it was being trained when these tables were made"


def step(holder: dict[str, Any], standing: Standing, results: Path) -> int:
    """The step a training under way has reached; `holder` is what `plan.running` said of it."""
    # A checkpoint may be there before the first heartbeat is.
    kept = Part(results / "cells", standing.row.cell.path, standing.run, standing.part).step()
    return max(kept, (holder["beat"] or {}).get("step", 0))


def reached(standing: Standing, results: Path) -> int | None:
    """The step reached by a cell that is being trained and has no result; None for any other."""
    if standing.next not in ("train", "resume") or standing.state in KEPT:
        return None
    holder = plan.running(standing, results)
    if holder is None:
        return None
    before = standing.last.progress.step if standing.last else 0  # it goes on from there
    return max(before, step(holder, standing, results))
