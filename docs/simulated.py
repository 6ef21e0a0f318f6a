"""Grids whose truth is known, as tables: what the calibration of the verdicts is made on.

A seed has a true score; test and validation draw examples from it, so that every value carries the
noise that a real one would, with the same intervals. Nothing is trained.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from tables_factory import Tables

from seqgrid.analysis import stats

TEST, VALIDATION = 1000, 500  # examples
Draw = Callable[[np.random.Generator, int], np.ndarray]  # true scores of so many seeds
CHANCE, SHORTCUT, CEILING, SOLVED = 0.1, 0.3, 1.0, 0.95
TRAINED = {"steps": 2000, "batch_size": 64, "learning_rate": 1e-3, "schedule": "constant"}
SETTINGS = json.dumps({"training": TRAINED})


def study(tasks: int = 1, lengths: tuple[int, ...] = (64,), **config: Any) -> Tables:
    """An empty study whose tasks have four levels; `config` is what it declares."""
    names = [f"task{i}" for i in range(tasks)]
    made = Tables(models=["a", "b"], tasks=names, lengths=list(lengths), config=config)
    for name in names:
        levels = {"chance": CHANCE, "ceiling": CEILING, "solved": SOLVED}
        made.levels(name, lengths, shortcuts={"bag": SHORTCUT}, **levels)
    return made


def trained(
    made: Tables,
    model: str,
    truths: np.ndarray,
    generator: np.random.Generator,
    task: str = "task0",
    seqlen: int = 64,
    curves: list[np.ndarray] | None = None,
    examples: int = TEST,
    **columns: Any,
) -> None:
    """A cell for each true accuracy in `truths` (seeds,), tested and validated on examples.

    curves: true accuracy at each validation, of each seed; one at the end where left out, since
        twenty take longer to simulate than all the rest.
    examples: of the test split.
    """
    for seed, truth in enumerate(truths):
        path = np.array([truth]) if curves is None else curves[seed]
        # Every validation takes the same examples: what they have in common does not average out.
        shared = generator.normal(0, 0.7)
        own = generator.normal(0, np.sqrt(1 - 0.7**2), len(path))
        error = np.sqrt(np.clip(path * (1 - path), 1e-6, None) / VALIDATION)
        curve = np.clip(path + error * (shared + own), 0, 1)
        correct = int(generator.binomial(examples, np.clip(truth, 0, 1)))
        more = {"settings": SETTINGS} | {
            name: value[seed] if isinstance(value, list) else value
            for name, value in columns.items()
        }
        made.cell(
            model, task, seqlen, seed, correct / examples, curve=list(curve), half=0.0, **more
        )
        interval = stats.wilson(correct, examples)
        for row in made.rows["evaluations"][-2:]:
            row |= {"low": interval.low, "high": interval.high}
            row |= {"scored": examples, "correct": correct, "examples": examples}
        for row in made.rows["history"][-len(path) :]:
            p = float(np.clip(row["validation_metric"], 1 / VALIDATION, 1 - 1 / VALIDATION))
            row["validation_standard_error"] = float(np.sqrt(p * (1 - p) / VALIDATION))


def normal(generator: np.random.Generator, n: int, mean: float, spread: float) -> np.ndarray:
    """True scores of n seeds (n,), normal around a mean, within what a score can be."""
    return np.clip(generator.normal(mean, spread, n), 0.0, 1.0)


def bimodal(
    generator: np.random.Generator, n: int, low: float, high: float, share: float
) -> np.ndarray:
    """True scores of n seeds (n,): `high` with probability `share`, `low` otherwise."""
    return np.where(generator.random(n) < share, high, low)


def alike(generator: np.random.Generator, n: int) -> np.ndarray:
    """Seeds that differ little."""
    return normal(generator, n, 0.6, 0.05)


def lucky(generator: np.random.Generator, n: int) -> np.ndarray:
    """Seeds that solve the task or stay at a shortcut, evenly."""
    return bimodal(generator, n, SHORTCUT, 0.99, 0.5)


def skewed(generator: np.random.Generator, n: int) -> np.ndarray:
    """Seeds of which one in ten falls to chance."""
    return bimodal(generator, n, CHANCE, 0.9, 0.9)


def solving(generator: np.random.Generator, n: int) -> np.ndarray:
    """Seeds that are all perfect."""
    return np.ones(n)
