"""A study of one cell on a test cluster, slow for as long as a file is there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from cluster import Cluster
from cluster_processes import PATIENCE, until
from project import Project

from seqgrid import checkpoint
from seqgrid.store import Part

STUDY = """
question: Does a cell come through?
models: {slow: {}}
tasks: {adding_problem: {}}
lengths: [8]
seeds: [0]
training: {steps: 60, batch_size: 8}
stopping: {solved_validations: null}
validation: {every_steps: 20, examples: 32}
evaluation: {examples: 32}
checkpoint_seconds: 0.5
"""
MODEL = '''
"""A GRU that takes half a second a step while the file `slow` is there."""
import time
from pathlib import Path
from seqgrid import registry
from seqgrid.settings import BackboneSettings

class Settings(BackboneSettings):
    """None."""

def build(settings, shape):
    model = registry.make_model("gru", dict(d_model=8, num_layers=1), shape)
    model.register_forward_pre_hook(lambda *_: time.sleep(0.5 if Path("slow").exists() else 0))
    return model
'''
TIMES = ("training_seconds", "validation_seconds")  # of the history, as no two trainings share them


class Grid:
    """The project of one test, and the commands that its user types."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self.project, self.cluster = Project(folder), cluster
        self.folder = folder
        self.project.add("model", "slow", MODEL)
        self.project.study(STUDY)
        self.slow = folder / "slow"
        self.drivers: list[Driver] = []
        if cluster:
            self.project.environment |= cluster.environment
            self.profile({"ACCOUNT": "m0000_g", "PARTITION": "main", "checks: 20": "checks: 1"})

    def profile(self, changes: dict[str, str], name: str = "slurm") -> None:
        """Edit the profile."""
        path = self.folder / f"profiles/{name}/config.yaml"
        text = path.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)

    def start(self, *arguments: str) -> "Driver":
        """Start `snakemake --profile slurm`; its file `slow` is there from now on."""
        self.slow.touch()
        self.drivers.append(Driver(self, arguments))
        return self.drivers[-1]

    def finish(self, *arguments: str) -> "Driver":
        """Run `snakemake --profile slurm` to its end, as fast as it can."""
        driver = self.start(*arguments)
        self.slow.unlink()
        driver.wait()
        return driver

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for driver in self.drivers:
            if driver.process.poll() is None:
                driver.kill()
            self.cluster.run("scancel", *driver.jobs, check=False)

    @property
    def part(self) -> Part:
        """The first part of the cell, whether it is there or not."""
        [cell] = self.project.cells() or [self.folder / "results/cells/-/-/L0/seed0-0"]
        cells = self.folder / "results/cells"
        return Part.of(cells, str(cell.relative_to(cells)), "", 1)

    def wait_for_progress(self) -> int:
        """Wait until a trainer has saved more than there is now; returns its step."""
        before = self.part.step()
        until(lambda: self.part.step() > before + 1, f"steps beyond {before}", 180)
        return self.part.step()

    def end(self) -> tuple[dict, list[dict]]:
        """What the training came to: the states of its weights, and its history."""
        folder = self.part.folder
        state = checkpoint.load(folder / "checkpoint.pt")
        rows = pq.read_table(folder / "history.parquet").to_pylist()
        weights = {"model": state["model"], "best": state["best"]}
        return weights, [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


class Driver:
    """`snakemake --profile slurm` in the background."""

    def __init__(self, grid: Grid, arguments: tuple[str, ...]) -> None:
        self.cluster, self.grid = grid.cluster, grid
        self.log = grid.folder / f"driver{len(grid.drivers)}.log"
        snakemake = [sys.executable, Path(__file__).with_name("fast_snakemake.py")]
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*snakemake, "--profile", "slurm", "--config", "study=small", *arguments],
                cwd=grid.folder, env=grid.project.environment, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def jobs(self) -> list[str]:
        """Jobs that it submitted, in order."""
        return re.findall(r"with SLURM jobid (\d+)", self.said)

    def running(self, number: int) -> str:
        """Wait until the job that it submitted as its n-th runs; returns the job."""
        until(lambda: len(self.jobs) >= number, f"submission {number}\n{self.said}", 120)
        self.cluster.wait(self.jobs[number - 1], "RUNNING")
        return self.jobs[number - 1]

    def wait(self, status: int = 0) -> None:
        assert self.process.wait(timeout=PATIENCE * 300) == status, self.said

    def kill(self) -> None:
        """Kill it with all its processes here; those of its jobs know nothing of that."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
