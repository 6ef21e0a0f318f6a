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

from seqgrid import checkpoint, memory, provenance, registry, sources, tables, train
from seqgrid.cell import Cell
from seqgrid.job import TRY_AGAIN, WRONG_CALL, WrongCall, say
from seqgrid.loop import predict
from seqgrid.outcome import EvaluationRecord, FileRecord, Invalid, write_text
from seqgrid.rows import Evaluation
from seqgrid.store import Part

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
    rows: list[dict] = []
    metadata: dict[str, str] = {}
    try:
        rows, metadata = evaluate(cell, part, evaluation, outcome.progress.pieces)
    except (OSError, MemoryError, torch.OutOfMemoryError) as problem:
        say(f"{part}: cannot be evaluated now ({problem}); nothing is lost, try again")
        return TRY_AGAIN
    except Exception as problem:
        error = traceback.format_exc()
        say(f"{part}: evaluation failed: {type(problem).__name__}: {problem}")
    seconds = time.perf_counter() - begin
    target = folder / f"evaluation-{options.name}.parquet"
    tables.write(tables.from_rows("evaluation_file", rows, metadata), target)
    record = EvaluationRecord(
        file=FileRecord.of(target),
        checkpoint=outcome.files["checkpoint.pt"].sha256,
        source_digest=sources.evaluation_digest(cell.model, cell.task),
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
    """Rows of evaluation_file, and the levels and refused lengths as metadata.

    pieces: that the training had to cut its batches into; the test examples are cut likewise.
    """
    size = -(-BATCH // pieces)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = part.folder / "checkpoint.pt"
    state = checkpoint.load(path, device, cell.path) if path.stat().st_size else None
    rows: list[dict[str, Any]] = []
    levels: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    settings = registry.settings("model", cell.model)(**cell.model_settings)
    model = None
    for seqlen in evaluation.lengths:
        task = registry.make_task(cell.task, cell.task_settings, seqlen)
        levels += [{"evaluated_seqlen_tokens": seqlen, **asdict(v)} for v in task.levels()]
        if reason := settings.unable(seqlen):
            refused[str(seqlen)] = reason
            continue
        if state is None:
            continue
        if model is None:
            home = registry.make_task(cell.task, cell.task_settings, cell.seqlen)
            model = registry.make_model(cell.model, cell.model_settings, home.shape).to(device)
        if model.max_seqlen is not None and seqlen > model.max_seqlen:
            refused[str(seqlen)] = f"its positions end at {model.max_seqlen} tokens"
            continue
        indices = torch.arange(evaluation.examples, device=device)
        whole = task.batch(cell.seed_of("data"), "test", indices)
        batches = [whole.rows(i, i + size) for i in range(0, len(whole), size)]
        best_step, step = state["track"]["best_step"], state["step"]
        found: dict[int, list[dict]] = {}
        for name, weights, at in (
            ("best", state["best"], best_step),
            ("last", state["model"], step),
        ):
            if weights is None:
                continue
            if at not in found:  # best and last are often the same weights
                model.load_state_dict(weights)
                found[at] = _rows(predict(model, batches, task))
            own = {"weights": name, "step_steps": at, "evaluated_seqlen_tokens": seqlen}
            rows += [own | row for row in found[at]]
    return rows, {
        "seqgrid.levels": json.dumps(levels),
        "seqgrid.refused": json.dumps(refused),
        "seqgrid.loss": task.loss,
        "seqgrid.metric": task.metric,
        "seqgrid.better": task.better,
    }


def _rows(columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    lists = {name: column.tolist() for name, column in columns.items()}
    names = list(lists)
    return [
        {"example": i, **dict(zip(names, values, strict=True))}
        for i, values in enumerate(zip(*lists.values(), strict=True))
    ]


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking torch down in order takes half a second and changes nothing
