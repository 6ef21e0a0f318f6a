"""Checkpoints: everything a training needs to go on as if it had never stopped.

A checkpoint is one dictionary of tensors and plain values, read with `weights_only` so that a
file from a colleague cannot run code.
"""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqgrid import store
from seqgrid.job import WrongCall, say
from seqgrid.outcome import Progress

FORMAT = 1


class Unusable(Exception):
    """A checkpoint that no training may go on from; the message says why."""


def save(state: dict[str, Any], live: Path, fence: Callable[[], None] | None = None) -> Path:
    """Write a rolling checkpoint; the newest two are kept.

    Raises:
        OSError: it could not be written; older checkpoints are untouched. See also
            store.add_rolling.
    """
    buffer = io.BytesIO()
    torch.save(state | {"format": FORMAT}, buffer)
    return store.add_rolling(live, state["step"], buffer.getvalue(), fence)


def load(path: Path, device: torch.device | str = "cpu", cell: str | None = None) -> dict[str, Any]:
    """Read a checkpoint, of this cell (its path below results/cells) where one is given.

    Raises:
        Unusable: it is damaged, another cell's, or asks to run code. WrongCall: a newer version
        wrote it. OSError: it cannot be read.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        asks = "global" in str(error).lower()  # as torch words a function that it will not call
        why = "asks to run code, which is refused" if asks else "is damaged"
        raise Unusable(f"{path.name} {why}") from None
    except (EOFError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise Unusable(f"{path.name} is damaged") from None
    form = state.get("format") if isinstance(state, dict) else None
    if isinstance(form, int) and form > FORMAT:
        raise WrongCall(
            f"{path.name} was made by a newer seqgrid (format {form}, this one reads {FORMAT}); "
            "go on with that one"
        )
    if form != FORMAT:
        raise Unusable(f"{path.name} has format {form}, {FORMAT} is needed")
    if cell is not None and state["cell"] != cell:
        raise Unusable(f"{path.name} belongs to {state['cell']}")
    return state


def newest(
    part: store.Part, device: torch.device | str = "cpu"
) -> tuple[Path, dict[str, Any]] | None:
    """The newest state that the part can go on from, and its file; None where there is none.

    Raises:
        WrongCall: a newer version wrote it. OSError: it cannot be read.
    """
    for path in part.states():
        try:
            return path, load(path, device, part.cell)
        except Unusable as error:
            say(f"{part}: {error}; passed over")
    return None


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the generators that training draws from (dropout)."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put the generators back to a saved state."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def summary(part: store.Part) -> tuple[list[dict], Progress, Path | None]:
    """History rows, progress and file of the newest state, for a training that cannot speak.

    Raises:
        WrongCall: a newer version wrote it. OSError: it cannot be read.
    """
    found = newest(part)
    if found is None:
        return [], Progress(), None
    path, state = found
    track = state["track"]
    training, validation, saving = track["part_seconds"]
    last = track["rows"][-1] if track["rows"] else {}
    progress = Progress(
        first_step=state["first_step"],
        step=state["step"],
        seen_tokens=state["seen_tokens"],
        solved_step=track["solved_step"],
        solved_seconds=track["solved_seconds"],
        best_step=track["best_step"],
        best_metric=track["best_metric"],
        last_metric=last.get("validation_metric"),
        metric=last.get("metric"),
        training_seconds=training,
        validation_seconds=validation,
        checkpoint_seconds=saving,
        pieces=state.get("pieces", 1),
    )
    return track["rows"], progress, path
