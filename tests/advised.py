"""A study on disk whose report has advice of every kind, without training anything."""

import contextlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
from grid_factory import Results

from seqgrid import tables
from seqgrid.outcome import Progress

STUDY = """
question: What is to be done next?
models:
  gru: {settings: {d_model: 16}}
  lstm: {settings: {d_model: 16}}
  tuned: {model: gru, settings: {d_model: 32}, sweep: {training.learning_rate: [1e-3, 3e-3]}}
tasks:
  mqar: {settings: {num_pairs: 2, vocab_size: 16}}
lengths: [16, 32]
seeds: 0..2
training: {steps: 2000}
validation: {every_steps: 100}
evaluation: {examples: 200}
"""
STEPS = np.arange(100, 2001, 100)
RISING = 0.1 + 0.6 * STEPS / 2000  # straight up, unsolved at the end
SOLVED = 0.1 + 0.9 * (1 - np.exp(-STEPS / 200))
HALF = 0.1 + 0.4 * (1 - np.exp(-STEPS / 100))  # flat at 0.5, below the solved level
LEVELS = {"chance": ("chance", 0.1), "solved": ("solved", 0.9), "perfect": ("ceiling", 1.0)}


class Advised:
    """The study `small` in a folder that is the working directory of what is asked here."""

    def __init__(self, folder, text=STUDY):
        self.folder = folder
        with contextlib.chdir(folder):
            self.results = Results(folder, text)

    def cell(self, number, curve, outcome="finished", **fields):
        """A row's cell that went along the curve; evaluated where it came to its end."""
        curve = np.asarray(curve)
        metric = {"metric": "accuracy", "validation_standard_error": 0.01, "part": 1}
        rows = [
            metric | {"step_steps": int(step), "validation_metric": float(value)}
            for step, value in zip(STEPS, curve, strict=False)
        ]
        solved = [int(s) for s, v in zip(STEPS, curve, strict=False) if v >= 0.9]
        progress = Progress(
            step=100 * len(curve),
            solved_step=solved[0] if solved else None,
            best_step=int(STEPS[int(curve.argmax())]),
            best_metric=float(curve.max()),
            last_metric=float(curve[-1]),
            training_seconds=36.0 * len(curve),
        )
        with contextlib.chdir(self.folder):
            part = self.results.part(
                outcome,
                row=number,
                history=tables.history_bytes(rows),
                progress=progress,
                **fields,
            )
            if outcome == "finished":
                row = self.results.rows[number]
                content = evaluation(row.cell.seqlen, float(curve.max()))
                self.results.evaluate(part, row, content=content)

    def rows(self, model, seqlen, variant=""):
        """Numbers of a group's rows, by seed."""
        return [
            number
            for number, row in enumerate(self.results.rows)
            if (row.model, row.cell.seqlen) == (model, seqlen) and variant in row.variant
        ]


def evaluation(seqlen, accuracy, examples=200):
    """The content of an evaluation's file."""
    right = np.arange(examples) < round(accuracy * examples)
    numbers = {"scored": np.ones(examples, dtype=int), "correct": right.astype(int)}
    place = {"evaluated_seqlen_tokens": seqlen, "test_set": "", "slice": ""}
    numbers |= {"example": np.arange(examples), "loss_sum": np.ones(examples)}
    blocks = [
        place | numbers | {"weights": weights, "step_steps": 2000} for weights in ("best", "last")
    ]
    named = {"metric": "accuracy", "derivation": "given", "evaluated_seqlen_tokens": seqlen}
    levels = [
        named | {"name": name, "kind": kind, "value": value}
        for name, (kind, value) in LEVELS.items()
    ]
    about = {"levels": json.dumps(levels), "metric": "accuracy", "loss": "cross_entropy"}
    about = {f"seqgrid.{key}": value for key, value in about.items()}
    path = io.BytesIO()
    pq.write_table(tables.from_columns("evaluation_file", blocks, about), path)
    return path.getvalue()


def everything(folder):
    """Cells that were cut while they rose, at a plateau and at chance; groups of every kind."""
    made = Advised(folder)
    for number, curve in zip(made.rows("gru", 16), (SOLVED, HALF, HALF), strict=True):
        made.cell(number, curve)  # unstable: one of three solved it
    for number in made.rows("gru", 32):
        made.cell(number, RISING)  # still improving when the budget ended
    first, second, third = made.rows("lstm", 16)
    made.cell(first, RISING[:8], "timed_out")
    made.cell(second, HALF[:15], "timed_out")
    made.cell(third, np.full(8, 0.1), "killed")
    first, second, _ = made.rows("lstm", 32)  # the third is missing
    made.cell(first, RISING[:8], "failed", reason="RuntimeError: boom")
    made.cell(second, HALF, stale=True)
    for rate, curve in (("0.001", HALF), ("0.003", RISING)):
        for seqlen in (16, 32):
            for number in made.rows("tuned", seqlen, rate):
                made.cell(number, curve)
    return made
