"""A study in a folder of its own, planned by the library and made by forged processes."""

import contextlib
import subprocess

from grid_factory import write_study
from trainers import outcome_and_weights

from seqgrid import plan, study
from seqgrid.store import TEMPORARY, Part

ONE = """
question: does it survive?
models: {gru: {settings: {d_model: 16, num_layers: 1, dropout: 0.1}}}
tasks: {adding_problem: }
lengths: [9]
seeds: [3]
training: {steps: 600, batch_size: 8, examples: 100}
validation: {every_steps: 20, examples: 32}
stopping: {solved_validations: null}
evaluation: {examples: 32}
checkpoint_seconds: 0.05
"""


class Grid:
    """The results of one study below `folder`."""

    def __init__(self, folder, forge, text=ONE):
        self.folder, self.forge = folder, forge
        if text:
            write_study(folder, text)

    @property
    def results(self):
        return self.folder / "results"

    def copy(self, folder):
        """The same somewhere else, hard links and all."""
        subprocess.run(["cp", "-a", f"{self.folder}/.", folder], check=True)
        return Grid(folder, self.forge, text=None)

    def plan(self, rerun=""):
        """What is next for every cell; what the jobs read is written as a run writes it."""
        with contextlib.chdir(self.folder):
            loaded, rows = study.load("small")
            standings = plan.plan(rows, self.results, plan.parse_rerun(rerun))
            self.results.mkdir(exist_ok=True)
            plan.prepare(standings, "small", loaded, self.results)
        return standings

    def part(self, standing, number=None):
        number = number or standing.part
        return Part.of(self.results / "cells", standing.row.cell.path, standing.run, number)

    def train(self, standing, **options):
        """Start a trainer of the part that is next."""
        part = self.part(standing)
        folder = part.run_folder.relative_to(self.folder)
        return self.forge.start(
            "train", folder, "--part", part.number, folder=self.folder, **options
        )

    def evaluate(self, standing):
        folder, _, file = standing.target.rpartition("/evaluation-")
        words = (f"results/cells/{folder}", "--as", file.removesuffix(".parquet"))
        done = self.forge.start("evaluate", *words, folder=self.folder)
        assert done.wait() == 0, done.said

    def status(self):
        """What `snakemake status` prints."""
        done = self.forge.start("status", "small", folder=self.folder)
        assert done.wait() == 0, done.said
        return done.said

    def finish(self):
        """Train and evaluate, one job after the other, until nothing is left to do."""
        said = ""
        for _ in range(20):
            standings = [s for s in self.plan() if s.next]
            if not standings:
                return said
            for standing in standings:
                if standing.next != "evaluate":
                    trainer = self.train(standing)
                    assert trainer.wait() == 0, trainer.said
                    said += trainer.said
                else:
                    self.evaluate(standing)
        raise AssertionError("it goes on for ever")

    def end(self, standing):
        """Outcome, checkpoint and history of a cell's last part."""
        cells = self.results / "cells"
        return outcome_and_weights(cells, standing.row.cell, standing.last.part)

    def litter(self):
        return [p for p in self.results.rglob(".*") if TEMPORARY.fullmatch(p.name)]
