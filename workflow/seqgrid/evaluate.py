"""`python -m seqgrid.evaluate PART_FOLDER --as NAME`: a part's weights on the test split.

The only place where test examples are made. Best-on-validation and last weights are scored at
every length the name asks for; what is written is one row an example, so that every interval can
be computed later. A part without weights, or a failure here, is recorded as data too.
"""

import argparse
import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgrid import (
    checkpoint,
    compute,
    memory,
    predict,
    provenance,
    registry,
    sources,
    tables,
    train,
)
from seqgrid.cell import Cell
from seqgrid.data import Batch
from seqgrid.job import TRY_AGAIN, WRONG_CALL, WrongCall, say
from seqgrid.loop import device
from seqgrid.outcome import EvaluationRecord, FileRecord, Invalid, write_text
from seqgrid.rows import Evaluation
from seqgrid.store import Part
from seqgrid.tasks._base import Task

BATCH = 128


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seqgrid.evaluate", description=__doc__)
    parser.add_argument("part_folder", type=Path, help="results/cells/.../seed*/part*")
    parser.add_argument("--as", dest="name", required=True, help="such as L64+128-n1000")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        evaluation = Evaluation.parse(options.name)
        folder: Path = options.part_folder
        cell, part = train.find(str(folder.parent), int(folder.name.removeprefix("part")))
        outcome = part.read()
    except (ValueError, WrongCall, Invalid) as error:
        say(f"{options.part_folder}: {error}")
        return WRONG_CALL
    begin = time.perf_counter()
    error = None
    blocks: list[dict] = []
    metadata: dict[str, str] = {}
    try:
        with compute.applied(cell.compute, device()):
            blocks, metadata = evaluate(cell, part, evaluation, outcome.progress.pieces)
    except (OSError, MemoryError, torch.OutOfMemoryError) as problem:
        say(f"{part}: cannot be evaluated now ({problem}); nothing is lost, try again")
        return TRY_AGAIN
    except Exception as problem:
        error = traceback.format_exc()
        say(f"{part}: evaluation failed: {type(problem).__name__}: {problem}")
    seconds = time.perf_counter() - begin
    target = folder / f"evaluation-{options.name}.parquet"
    tables.write(tables.from_columns("evaluation_file", blocks, metadata), target)
    record = EvaluationRecord(
        file=FileRecord.of(target),
        checkpoint=outcome.files["checkpoint.pt"].sha256,
        source_digest=sources.evaluation_digest(cell.model, cell.task, cell.parts),
        seconds=seconds,
        ended_at=provenance.now(),
        error=error,
        peak_host_bytes=memory.peak_host(),
    )
    write_text(target.with_suffix(".json"), record.model_dump_json(indent=1) + "\n")
    return 0


def evaluate(
    cell: Cell, part: Part, evaluation: Evaluation, pieces: int = 1
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Blocks of rows of evaluation_file; as metadata all levels, and the lengths refused.

    pieces: that the training had to cut its batches into; the test examples are cut likewise.
    """
    here = device()
    path = part.folder / "checkpoint.pt"
    state = checkpoint.load(path, here, cell.path) if path.stat().st_size else None
    home = registry.make_task(cell.task, cell.task_settings, cell.seqlen)
    model = None
    if state is not None:
        model = registry.make_model(cell.model, cell.model_settings, home.shape).to(here)
        compute.prepare(model, cell.compute, here)
    settings = registry.settings("model", cell.model)(**cell.model_settings)
    blocks: list[dict[str, Any]] = []
    levels: list[dict[str, Any]] = []
    ceilings: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for seqlen in evaluation.lengths:
        task = registry.make_task(cell.task, cell.task_settings, seqlen)
        own = {"evaluated_seqlen_tokens": seqlen}
        sets = task.tested(cell.seqlen)
        for name, tested in sets.items():
            levels += [own | asdict(level) | {"test_set": name} for level in tested.levels()]
            if settings.sight is not None:
                for level in tested.model_ceilings(settings.sight):
                    ceilings.append(own | asdict(level) | {"test_set": name})
        if reason := settings.unable(seqlen):
            refused[str(seqlen)] = reason
        elif model is not None and model.max_seqlen is not None and seqlen > model.max_seqlen:
            refused[str(seqlen)] = f"its positions end at {model.max_seqlen} tokens"
        elif model is not None:
            for name, tested in sets.items():
                indices = torch.arange(evaluation.examples, device=here)
                whole = tested.batch(cell.seed_of("data"), "test", indices)
                size = -(-BATCH // pieces)
                batches = [whole.rows(i, i + size) for i in range(0, len(whole), size)]
                found = _scores(model, state, batches, tested)
                blocks += [own | {"test_set": name} | block for block in found]
    return blocks, {
        "seqgrid.levels": json.dumps(levels),
        "seqgrid.model_ceilings": json.dumps(ceilings),
        "seqgrid.refused": json.dumps(refused),
        "seqgrid.loss": home.loss,
        "seqgrid.metric": home.metric,
        "seqgrid.better": home.better,
    }


def _scores(model: Any, state: Any, batches: list[Batch], task: Task) -> list[dict[str, Any]]:
    """Per-example scores of the best and the last weights, a block for each slice of the batches.

    A slice has rows only of the examples with something to score in it.
    """
    blocks: list[dict[str, Any]] = []
    found: dict[int, dict[str, dict[str, np.ndarray]]] = {}
    best_step, step = state["track"]["best_step"], state["step"]
    for name, weights, at in (("best", state["best"], best_step), ("last", state["model"], step)):
        if weights is None:
            continue
        if at not in found:  # best and last are often the same weights
            model.load_state_dict(weights)
            found[at] = predict.slice_scores(model, batches, task, task.slices)
        for part, columns in found[at].items():
            some = columns["scored"] > 0 if part else np.full(len(columns["scored"]), True)
            if some.any():
                kept = {"example": some.nonzero()[0]} | {k: v[some] for k, v in columns.items()}
                blocks.append({"weights": name, "step_steps": at, "slice": part} | kept)
    return blocks


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking torch down in order takes half a second and changes nothing
