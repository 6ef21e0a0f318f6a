"""Whether every mixer trains, not only computes: recall, and state that has to be tracked.

Each model goes through the training loop of the package on small tasks of the package. A mixer
that matches its library's layer may still start where nothing is learned; here that shows.

`python benchmarks/learning.py [--task recall] [MODEL ...]` runs some of it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from table import Table

from seqgrid import registry, worker
from seqgrid.cell import Cell, Stopping, Training, Validation
from seqgrid.loop import Diverged, Loop, score

SEEDS = 2
EVERY_STEPS, EXAMPLES = 50, 256  # validation
TEST_EXAMPLES = 500


@dataclass(frozen=True)
class Problem:
    """A task, how long to try, and the models' settings.

    tested: longer sequences that the best weights are tested at, tokens; 0: none.
    models: settings of each row.
    """

    title: str
    task: str
    seqlen: int
    task_settings: dict[str, Any]
    settings: dict[str, Any]
    training: Training
    learning_rates: tuple[float, ...]
    note: str
    tested: int = 0
    models: tuple[tuple[str, dict[str, Any]], ...] = ()


DELTA_RULES = ("deltanet", "gated_deltanet", "gated_deltaproduct", "kda")
DELTA = {"use_short_conv": False, "num_heads": 2}
SHOWN = ("allow_neg_eigval", "use_short_conv")
NEGATIVE, POSITIVE = {"allow_neg_eigval": True}, {"allow_neg_eigval": False}

PROBLEMS = {
    "recall": Problem(
        title="Multi-query associative recall, 32 tokens, 4 pairs, vocabulary 32",
        task="mqar",
        seqlen=32,
        task_settings={"vocab_size": 32, "num_pairs": 4},
        settings={"d_model": 64, "num_layers": 2},
        training=Training(steps=800, batch_size=32, warmup_steps=100),
        learning_rates=(3e-3, 1e-3),
        note="Trained until solved.",
        models=(
            *((name, {}) for name in registry.on_backbone()),
            *((name, {"use_short_conv": True}) for name in ("gla", "hgrn2", "retnet")),
        ),
    ),
    "parity": Problem(
        title="Parity of 1 to 40 bits, tested at 256",
        task="parity",
        seqlen=40,
        task_settings={"shortest": 1},
        settings={"d_model": 32, "num_layers": 1},
        training=Training(steps=600, batch_size=64),
        learning_rates=(1e-2,),
        tested=256,
        note="Trained for all steps, and the last weights tested on 500 strings of 256 bits. Short "
        "convolutions are off where that is a setting, and delta rules have 2 heads.",
        models=(
            *((name, DELTA | sign) for name in DELTA_RULES for sign in (NEGATIVE, POSITIVE)),
            *((name, {}) for name in ("attention", "gla", "gru", "hgrn2", "linear_attention")),
            *((name, {}) for name in ("lstm", "mamba", "mamba2", "mingru", "minlstm", "mlstm")),
            *((name, {}) for name in ("retnet", "rwkv7", "slstm")),
        ),
    ),
}


@dataclass(frozen=True)
class Learned:
    """What a training came to; `tested` is the accuracy on longer sequences, where asked for."""

    best: float
    solved_step: int | None
    cpu_seconds: float
    tested: float | None


def run(quick: bool) -> Iterator[Table]:
    """A table a task."""
    torch.set_num_threads(1)
    worker._keep_memory()
    for problem in PROBLEMS.values():
        models = problem.models[:1] if quick else problem.models
        steps = 5 if quick else problem.training.steps
        yield _table(replace(problem, training=_with(problem.training, steps=steps)), models)


def _table(problem: Problem, models: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    tested = [f"at {problem.tested}"] if problem.tested else []
    columns = ["model", "settings", "rate", "best accuracy", "solved at step", *tested, "CPU s"]
    table = Table(problem.title, columns)
    for model, settings in models:
        rate, results = _seeds(problem, model, settings)
        table.add(
            model,
            ", ".join(
                f"{name} {value}" for name, value in settings.items() if value and name in SHOWN
            ),
            f"{rate:g}",
            " / ".join(f"{found.best:.3f}" for found in results),
            " / ".join("-" if s is None else str(s) for s in (r.solved_step for r in results)),
            *([" / ".join(f"{found.tested:.3f}" for found in results)] if tested else []),
            f"{sum(found.cpu_seconds for found in results):.0f}",
        )
        print(table.rows[-1], file=sys.stderr, flush=True)
    table.notes += _notes(problem)
    return table


def _seeds(problem: Problem, model: str, settings: dict[str, Any]) -> tuple[float, list[Learned]]:
    """The rate that the first seed's validation selects, and what each seed comes to with it."""
    first: dict[float, Learned] = {}
    for rate in problem.learning_rates:
        first[rate] = learn(problem, model, settings, rate, 0)
        if first[rate].solved_step is not None:
            break
    rate = max(first, key=lambda rate: first[rate].best)
    if first[rate].solved_step is None:  # a failure is tried at every rate, not with every seed
        return rate, [first[rate]]
    others = (learn(problem, model, settings, rate, seed) for seed in range(1, SEEDS))
    return rate, [first[rate], *others]


def _notes(problem: Problem) -> list[str]:
    task = registry.make_task(problem.task, problem.task_settings, problem.seqlen)
    levels = [level for level in task.levels() if level.metric == task.metric]
    chance = next(level.value for level in levels if level.kind == "chance")
    shortcut = max((level for level in levels if level.kind == "shortcut"), key=lambda x: x.value)
    solved = next(level.value for level in levels if level.kind == "solved")
    training = problem.training
    rates = " or ".join(f"{rate:g}" for rate in problem.learning_rates)
    return [
        f"Chance {chance:.3f}; best shortcut {shortcut.value:.3f} ({shortcut.name}); solved from "
        f"{solved} on {EXAMPLES} validation examples, every {EVERY_STEPS} steps; seeds 0 to "
        f"{SEEDS - 1}.",
        f"At most {training.steps:,} steps of {training.batch_size}, d_model "
        f"{problem.settings['d_model']}, {problem.settings['num_layers']} layers, defaults else; "
        f"AdamW, warm-up of {training.warmup_steps} steps, the first rate of {rates} that solves "
        "seed 0, else the better. " + problem.note,
    ]


def learn(
    problem: Problem, model: str, settings: dict[str, Any], rate: float, seed: int
) -> Learned:
    """Train one model with one seed, and test it where there is a longer length to."""
    cell = Cell(
        model=model,
        model_settings=problem.settings | settings,
        task=problem.task,
        task_settings=problem.task_settings,
        seqlen=problem.seqlen,
        seed=seed,
        training=_with(problem.training, learning_rate=rate),
        validation=Validation(every_steps=EVERY_STEPS, examples=EXAMPLES),
        stopping=Stopping(solved_validations=None if problem.tested else 1),
    )
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(cell, Path(folder), part=1, start=None)
        try:
            loop.run(lambda loop: False)
        except Diverged as error:
            print(f"{model}, rate {rate}, seed {seed}: {error}", file=sys.stderr)
    seconds = time.process_time() - begin
    tested = _test(problem, cell, loop) if problem.tested else None
    return Learned(loop.track.best_metric or 0.0, loop.track.solved_step, seconds, tested)


def _test(problem: Problem, cell: Cell, loop: Loop) -> float:
    """Accuracy of the last weights on strings that are all of the tested length."""
    longer = registry.make_task(problem.task, {}, problem.tested)
    indices = torch.arange(TEST_EXAMPLES, device=loop.device)
    whole = longer.batch(cell.seed_of("data"), "test", indices)
    batches = [whole.rows(i, i + 100) for i in range(0, TEST_EXAMPLES, 100)]
    return score(loop.model, batches, longer)[longer.metric].value


def _with(training: Training, **changes: Any) -> Training:
    return training.model_copy(update=changes)


def main() -> int:
    """Some models on some of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=PROBLEMS, default="recall")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    options = parser.parse_args()
    torch.set_num_threads(1)
    worker._keep_memory()
    problem = PROBLEMS[options.task]
    chosen = [row for row in problem.models if not options.models or row[0] in options.models]
    print(_table(problem, chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
