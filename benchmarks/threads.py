"""Threads in a process against processes of one thread: training steps a second, all together."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import interleaved, median
from table import Table

STEPS = Path(__file__).parent / "steps.py"
IMPORT_SECONDS = 9.0  # after which every process has built its model and waits for the start
CELL = {
    "model": "attention", "settings": {"d_model": 64, "num_heads": 2}, "task": "adding_problem",
    "task_settings": {}, "seqlen": 32, "batch_size": 64, "memory": True,
}  # fmt: skip
CASES = [(1, 1), (1, 2), (2, 1), (2, 2)]  # processes, threads of each


def run(quick: bool) -> list[Table]:
    """Steps a second of every case."""
    rounds, seconds = (1, 0.5) if quick else (3, 6.0)
    found = interleaved({case: lambda case=case: _rate(*case, seconds) for case in CASES}, rounds)
    table = Table("Threads", ["processes", "threads each", "steps/s", "to 1 x 1", "each round"])
    rival = median(found[1, 1])
    for (processes, threads), rates in found.items():
        each = ", ".join(f"{rate:.1f}" for rate in rates)
        rate = median(rates)
        table.add(processes, threads, f"{rate:.1f}", f"{rate / rival:.2f}x", each)
    table.notes = [
        f"Rival: one process of one thread. Transformer, length {CELL['seqlen']}, batch",
        f"{CELL['batch_size']}; wall time, so other load on the machine shows; median of",
        f"{rounds} interleaved rounds of {seconds:g} s.",
    ]
    return [table]


def _rate(processes: int, threads: int, seconds: float) -> float:
    """Steps a second of all processes together, started at the same moment."""
    given = CELL | {
        "threads": threads, "seconds": seconds, "start_at": time.time() + IMPORT_SECONDS
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, str(STEPS), json.dumps(given)],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    outputs = [process.communicate()[0] for process in started]
    made = [json.loads(output) for output in outputs]
    return sum(m["steps"] / m["wall_seconds"] for m in made)
