"""`python benchmarks/steps.py JSON`: train in a process of its own and print how fast it was.

The keys: model, settings, task, task_settings, seqlen, batch_size, threads, seconds, memory. Used
by the benchmarks whose subject is the process: threads and the allocator.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from seqgrid import worker
from seqgrid.cell import Cell, Training, Validation
from seqgrid.loop import Loop

WARM_UP = 2  # steps


def main() -> int:
    """Entry point; prints steps and processor and wall seconds as JSON."""
    given = json.loads(sys.argv[1])
    torch.set_num_threads(given["threads"])
    if given["memory"]:
        worker._keep_memory()
    cell = Cell(
        model=given["model"],
        model_settings=given["settings"],
        task=given["task"],
        task_settings=given["task_settings"],
        seqlen=given["seqlen"],
        seed=0,
        training=Training(steps=10**9, batch_size=given["batch_size"]),
        validation=Validation(every_steps=10**9, examples=2),
    )
    with tempfile.TemporaryDirectory(prefix="seqgrid-bench-") as folder:
        loop = Loop(cell, Path(folder), 1, None)
        loop.run(lambda loop: loop.track.step >= WARM_UP)
        if given.get("start_at"):
            time.sleep(max(0.0, given["start_at"] - time.time()))
        cpu, wall = time.process_time(), time.perf_counter()
        loop.run(lambda loop: time.perf_counter() - wall >= given["seconds"])
        found = {
            "steps": loop.track.step - WARM_UP,
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - wall,
        }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
