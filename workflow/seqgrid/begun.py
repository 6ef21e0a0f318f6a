"""Parts that were begun and have no outcome: trained right now, or left by a process that died.

What is known of them stands in their newest checkpoint, their heartbeat and the list of attempts.
torch comes in only where there is a checkpoint to read.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from seqgrid import deaths, facts, postmortem, underway
from seqgrid.attempts import work
from seqgrid.job import WrongCall, say
from seqgrid.outcome import Progress
from seqgrid.plan import Standing
from seqgrid.store import Part


@dataclass(frozen=True)
class Begun:
    """What is known of a part without an outcome.

    reached: the step of a training under way; None where nobody trains.
    progress, rows, device: of the newest checkpoint that the part wrote, and the validations of
        all parts up to it; None where it wrote none.
    """

    part: Part
    reached: int | None
    reason: str
    progress: Progress | None
    rows: list[dict[str, Any]] | None
    device: str | None
    attempts: list[dict]

    @property
    def state(self) -> str:
        """As a cell that is cut: a plain run goes on with it; or running."""
        return "interrupted" if self.reached is None else "running"

    def provenance(self) -> dict[str, Any]:
        """Where it ran, by column, as far as that is known without an outcome."""
        last = self.attempts[-1] if self.attempts else {}
        return {"host": last.get("host"), "job_id": last.get("job"), "device": self.device}

    @property
    def last_metric(self) -> float | None:
        """Of the last validation: the heartbeat's, else the checkpoint's."""
        beat = {} if self.reached is None else _beat(self.part, self.attempts)
        kept = self.progress.last_metric if self.progress else None
        return kept if beat.get("last_metric") is None else beat["last_metric"]

    @property
    def ended_at(self) -> str | None:
        """The last sign of a process that died; None where it gave none, or trains."""
        if self.reached is not None:
            return None
        last = self.attempts[-1]
        return last.get("ended_at") or _beat(self.part, self.attempts).get("time")

    def times(self, started: datetime | None) -> dict[str, datetime | None]:
        """Columns of `cells`: when the first part started, where it is this one, and the end."""
        found = {}
        if started is None and self.attempts:
            found["started_at"] = facts.time(self.attempts[0]["started_at"])
        if self.ended_at:
            found["ended_at"] = facts.time(self.ended_at)
        return found

    def row(self) -> dict[str, Any]:
        """A part whose process died by column of `parts`."""
        progress = self.progress
        return {
            "run": self.part.run,
            "part": self.part.number,
            "outcome": self.state,
            "reason": self.reason,
            "first_step_steps": progress and progress.first_step,
            "last_step_steps": progress and progress.step,
            **facts.attempts(SimpleNamespace(**work(self.attempts, self.ended_at, self.attempts))),
            **(facts.costs(progress) if progress else {}),
            **self.times(None),
            **self.provenance(),
        }


def read(standing: Standing, results: Path) -> Begun | None:
    """The part of a cell that was begun and has no outcome; None where there is none."""
    reached = underway.reached(standing, results)
    part = Part(results / "cells", standing.row.cell.path, standing.run, standing.part)
    attempts = part.attempts()
    # Where it has an outcome in its store, that is published by the next run.
    if reached is None and not (standing.begun and attempts and part.stored() is None):
        return None
    reason = underway.REASON
    if reached is None:
        attempts[-1], reason = _ended(part, attempts[-1])
    return Begun(part, reached, reason, *_checkpoint(part), attempts)


def _ended(part: Part, attempt: dict) -> tuple[dict, str]:
    """The last attempt with the steps that it reached and kept, and how it ended, in words."""
    kept, reached = part.step(), postmortem.step_of(part, attempt)
    goes_on = f"goes on from step {kept:,}" if kept else "goes on from where the part began"
    if not deaths.died(attempt):
        return attempt, f"stopped underway; {goes_on}"
    words = f"died underway at step {reached:,}, {deaths.how(attempt)}; {goes_on}"
    return {"reached": reached, "kept": kept} | attempt, words


def _checkpoint(part: Part) -> tuple[Progress | None, list[dict] | None, str | None]:
    """Progress, validations and device of the newest checkpoint that the part itself wrote."""
    if not part.step():
        return None, None, None
    from seqgrid import checkpoint

    try:
        rows, progress, path = checkpoint.summary(part)
        if path is None or path.parent != part.live:  # its own are damaged
            return None, None, None
        on_gpu = "cuda" in checkpoint.load(path)["random"]
    except (OSError, WrongCall, checkpoint.Unusable) as error:  # its trainer may have replaced it
        say(f"{part}: {error}; what it holds is not in the tables")
        return None, None, None
    return progress, rows, None if on_gpu else "cpu"


def _beat(part: Part, attempts: list[dict]) -> dict[str, Any]:
    """The last heartbeat, where it is of the last attempt."""
    beat = part.beat() or {}
    begin = attempts[-1]["started_at"] if attempts else ""
    return beat if str(beat.get("time", "")) >= begin else {}
