"""What a table says of one cell or part beside its settings and scores."""

import datetime
import json
from typing import Any

from seqgrid import registry
from seqgrid.cell import Cell
from seqgrid.job import say
from seqgrid.outcome import Outcome, Progress


def seen(cell: Cell, steps: int) -> int:
    """Different training examples in so many steps."""
    drawn = steps * cell.training.batch_size
    return min(drawn, cell.training.examples or drawn)


def log2_inputs(cell: Cell) -> float | None:
    """log2 of how many different inputs the task has at the training length."""
    try:
        chosen = registry.settings("task", cell.task)(**cell.task_settings)
        return float(chosen.log2_inputs(cell.seqlen))
    except Exception as error:
        say(f"{cell.path}: Settings.log2_inputs fails ({type(error).__name__}: {error})")
        return None


def known_plateau(cell: Cell) -> int | None:
    """Steps of the longest plateau that is known to have broken on the task at this length."""
    try:
        chosen = registry.settings("task", cell.task)(**cell.task_settings)
        return chosen.known_plateau(cell.seqlen)
    except Exception as error:
        say(f"{cell.path}: Settings.known_plateau fails ({type(error).__name__}: {error})")
        return None


def made_by(outcome: Outcome) -> tuple:
    """What must not change from part to part of one training."""
    made = outcome.provenance
    torch = made.versions.get("torch")
    return made.source_digest, made.device, made.dtype, str(made.backend), torch


def provenance(outcome: Outcome) -> dict[str, Any]:
    """Where a part comes from, by column."""
    facts = outcome.provenance.model_dump(exclude={"asked_by"})
    return facts | {
        "versions": json.dumps(facts["versions"]),
        "backend": json.dumps(facts["backend"]),
    }


def part(outcome: Outcome) -> dict[str, Any]:
    """How a part ended and what it cost, by column of `parts`."""
    progress = outcome.progress
    return {
        "run": outcome.run,
        "part": outcome.part,
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "error": outcome.error,
        "first_step_steps": progress.first_step,
        "last_step_steps": progress.step,
        **attempts(outcome),
        **costs(progress),
        "started_at": time(outcome.started_at),
        "ended_at": time(outcome.ended_at),
        **provenance(outcome),
    }


def costs(progress: Progress) -> dict[str, Any]:
    """What a part took, by column."""
    names = ("training_seconds", "validation_seconds", "checkpoint_seconds", "peak_memory_bytes",
             "peak_host_bytes", "pieces")  # fmt: skip
    return {name: getattr(progress, name) for name in names}


def attempts(outcome: Any) -> dict[str, Any]:
    """Who worked on a part and how the last of them died, by column; see `attempts.work`."""
    names = ("attempts", "silent_deaths", "jobs", "asked_minutes", "asked_mb", "wall_seconds")
    found = {name: getattr(outcome, name) for name in names}
    death = outcome.last_death
    if death is None:
        return found
    known = death.step is not None and death.kept_step is not None
    return found | {
        "last_death": death.state,
        "last_death_reason": death.words,
        "last_death_host": death.host,
        "last_death_job_id": death.job_id,
        "last_death_lost_steps": death.step - death.kept_step if known else None,
    }


def time(text: str) -> datetime.datetime:
    """A point in time as tables hold it."""
    return datetime.datetime.fromisoformat(text)
