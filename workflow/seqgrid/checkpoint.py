"""Checkpoints: everything a training needs to go on as if it had never stopped.

A checkpoint is one dictionary of tensors and plain values, read with `weights_only` so that a
file from a colleague cannot run code.
"""

import io
from pathlib import Path
from typing import Any

import torch

from seqgrid import store
from seqgrid.outcome import Progress

FORMAT = 1


def save(state: dict[str, Any], live: Path) -> Path:
    """Write a rolling checkpoint; the newest two are kept.

    Raises:
        OSError: it could not be written; older checkpoints are untouched.
    """
    buffer = io.BytesIO()
    torch.save(state | {"format": FORMAT}, buffer)
    return store.add_rolling(live, state["step"], buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: it was written by another version of the format.
    """
    state = torch.load(path, map_location=device, weights_only=True)
    if state.get("format") != FORMAT:
        raise ValueError(f"{path}: checkpoint format {state.get('format')}, expected {FORMAT}")
    return state


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


def summary(path: Path) -> tuple[list[dict], Progress]:
    """History rows and progress of a checkpoint, for a training that cannot speak any more."""
    state = load(path)
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
    return track["rows"], progress
