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
    """The step that the training of a cell has reached; None where it is not being trained."""
    if standing.next not in ("train", "resume"):
        return None
    holder = plan.running(standing, results)
    if holder is None:
        return None
    # It goes on from where its own run ended last, which need not be the one that is reported.
    outcomes = (*standing.outcomes, *standing.others)
    before = max((o.progress.step for o in outcomes if o.run == standing.run), default=0)
    return max(before, step(holder, standing, results))


def again(standing: Standing) -> bool:
    """Whether a training under way is to replace a result, which is shown until it has ended."""
    return standing.state in KEPT
