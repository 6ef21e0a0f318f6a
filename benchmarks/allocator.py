"""The worker's setting of glibc's allocator against its default, in processes of their own."""

import json
from functools import partial
from pathlib import Path

from measure import Cost, interleaved, python
from table import Table

STEPS = Path(__file__).parent / "steps.py"
MODELS = {
    "gru": ("gru", {}),
    "transformer": ("attention", {"num_heads": 2}),
    "deltanet": ("deltanet", {"num_heads": 2}),
}
SIZES = [(32, 32, 3.0), (64, 1024, 8.0)]  # d_model, length, seconds; first quickstart's


def run(quick: bool) -> list[Table]:
    """Milliseconds a step with the setting and without."""
    models = list(MODELS)[: 1 if quick else None]
    sizes = [(32, 32, 0.3)] if quick else SIZES
    rounds = 1 if quick else 3
    table = Table(
        "Allocator",
        ["model", "width", "length", "default ms", "setting ms", "ratio"],
    )
    for width, seqlen, seconds in sizes:
        for name in models:
            step = partial(_step, name, width, seqlen, seconds)
            rivals = {"default": partial(step, False), "setting": partial(step, True)}
            found = interleaved(rivals, rounds)
            default, setting = (min(found[key]) for key in ("default", "setting"))
            table.add(
                name, width, seqlen, f"{1e3 * default:.1f}", f"{1e3 * setting:.1f}",
                f"{setting / default:.2f}x",
            )  # fmt: skip
    table.notes = [
        "Rival: glibc's default. Processor time of a training step, 2 layers, batch 64,",
        f"one thread; least of {rounds} interleaved processes. Below 1.00x the setting helps.",
    ]
    return [table]


def _step(name: str, width: int, seqlen: int, seconds: float, memory: bool) -> float:
    """Processor seconds of a step."""
    model, settings = MODELS[name]
    given = {
        "model": model, "settings": settings | {"d_model": width}, "task": "adding_problem",
        "task_settings": {}, "seqlen": seqlen, "batch_size": 64, "threads": 1,
        "seconds": seconds, "memory": memory,
    }  # fmt: skip
    done: Cost = python(str(STEPS), json.dumps(given))
    made = json.loads(done.output)
    return made["cpu_seconds"] / made["steps"]
