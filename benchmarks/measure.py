"""Measuring on a machine that others use too: processor time, and rivals side by side."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a command took, with all of its child processes that were waited for."""

    cpu_seconds: float
    wall_seconds: float
    output: str


def command(arguments: Sequence[str], folder: Path | None = None, **environment: str) -> Cost:
    """Run a command to its end and measure it.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        list(arguments),
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit {process.returncode}\n{output[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, output)


def python(*arguments: str, folder: Path | None = None, **environment: str) -> Cost:
    """Run this Python with arguments and measure it."""
    return command([sys.executable, *arguments], folder, **environment)


def interleaved(rivals: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """Results of each rival over rounds in which every one has its turn."""
    found: dict[str, list[Any]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            found[name].append(run())
    return found


def least(costs: Sequence[Cost]) -> float:
    """The smallest processor time: what others' load adds only ever makes it larger."""
    return min(cost.cpu_seconds for cost in costs)


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def machine() -> list[str]:
    """Hardware and versions, one a line; nothing that names the machine or its user."""
    versions = [f"python {platform.python_version()}"]
    for name in ("seqgrid", "torch", "numpy", "pyarrow", "pydantic", "snakemake"):
        versions.append(f"{name} {importlib.metadata.version(name)}")
    usable = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"- processor: {_processor()}, {usable} cores usable, {memory:.0f} GiB memory",
        f"- system: {platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        f"- versions: {', '.join(versions)}",
        f"- load while measuring: {os.getloadavg()[2]:.1f} processes (mean of 15 minutes)",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
