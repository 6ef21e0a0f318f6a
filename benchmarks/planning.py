"""`snakemake -n` of a large study against a bare Snakefile: one rule, `expand` over the grid."""

import os
from pathlib import Path

from measure import Cost, interleaved, least
from table import Table
from workspace import Workspace, workspace

from seqgrid import outcome, plan, provenance, sources, study
from seqgrid.outcome import EvaluationRecord, FileRecord, Progress
from seqgrid.store import Part
from seqgrid.study import Row

ALLOWED_SECONDS = 2.0
BARE = """
rule all:
    input:
        expand(
            "bare/{{model}}/{{task}}/L{{length}}/seed{{seed}}.json",
            model={models}, task={tasks}, length={lengths}, seed={seeds},
        ),

rule train:
    output:
        "bare/{{model}}/{{task}}/L{{length}}/seed{{seed}}.json",
    shell:
        "train {{wildcards.model}} {{wildcards.task}} {{wildcards.seed}} {{output}}"
"""


class Grid:
    """A study and a bare Snakefile over the same cells, in one workspace."""

    def __init__(self, place: Workspace, models: int, seeds: int) -> None:
        self.place = place
        files = ("lstm", "gru", "attention", "deltanet")
        names = [f"{files[i % len(files)]}-{i}" for i in range(models)]
        tasks = {"adding_problem": "{}", "selective_copy": "{settings: {num_markers: 4}}"}
        lengths = [32 * i for i in range(1, 6)]
        entries = [
            f"  {name}: {{model: {files[i % len(files)]}, settings: {{d_model: {16 + 4 * i}}}}}"
            for i, name in enumerate(names)
        ]
        chosen = [f"  {name}: {settings}" for name, settings in tasks.items()]
        text = ["question: how long does planning take?", "models:", *entries, "tasks:", *chosen]
        text += [f"lengths: {lengths}", f"seeds: 0..{seeds - 1}"]
        place.study("large", "\n".join(text) + "\n")
        self.axes = {"models": names, "tasks": list(tasks), "lengths": lengths}
        bare = BARE.format(**self.axes, seeds=list(range(seeds)))
        (place.folder / "bare.smk").write_text(bare)
        with place.inside():
            self.study, self.rows = study.load("large")

    def finish(self, rows: list[Row]) -> None:
        """Put valid parts and evaluations of these cells on disk, and the bare rule's outputs."""
        fsync, os.fsync = os.fsync, lambda file: None  # the disk is not what is measured
        try:
            with self.place.inside():
                facts = provenance.collect("", "large")
                for row in rows:
                    _finish(row, facts)
                    name = f"L{row.cell.seqlen}/seed{row.cell.seed}.json"
                    path = Path("bare", row.model, row.task, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
        finally:
            os.fsync = fsync

    def collect(self) -> None:
        """Stamp tables and report as made, as a finished run does."""
        from seqgrid import collection

        with self.place.inside():
            standings = plan.plan(self.rows, Path("results"))
            folder = collection.stamps(Path("results"), "large")
            folder.mkdir(parents=True, exist_ok=True)
            stamp = collection.digest(self.study, standings)
            (folder / "1.collected").write_text(stamp + "\n")
            (folder / "1.reported").touch()
            for name in ("cells.parquet", "report.md"):
                (folder.parent / name).touch()

    def rivals(self) -> dict:
        """What is measured, by name."""
        place = self.place
        bare = ("-s", "bare.smk", "-n", "--cores", "1", "--workflow-profile", "none")
        code = "from seqgrid import driver; driver.start({'study': 'large'})"
        return {
            "seqgrid": lambda: place.snakemake("-n", "--config", "study=large"),
            "plan alone": lambda: place.python("-c", code),
            "bare": lambda: place.snakemake(*bare),
            "bare, quiet": lambda: place.snakemake(*bare, "-q", "rules"),
        }


def _finish(row: Row, facts: outcome.Provenance) -> None:
    cell = row.cell
    part = Part.of(Path("results/cells"), cell.path, "", 1)
    cell.write(part.run_folder)
    weights = part.live / "trained.pt"
    weights.write_bytes(b"weights")
    digest = sources.training_digest(cell.model, cell.task)
    part.finish(
        weights,
        b"history",
        outcome="finished",
        reason="budget of 1000 steps",
        progress=Progress(step=1000),
        provenance=facts.model_copy(update={"source_digest": digest}),
    )
    weights.unlink()
    part.publish()
    target = part.folder / f"evaluation-{row.evaluation.name}.parquet"
    target.write_bytes(b"scores")
    record = EvaluationRecord(
        file=FileRecord.of(target),
        checkpoint=part.read().files["checkpoint.pt"].sha256,
        source_digest=sources.evaluation_digest(cell.model, cell.task),
        seconds=1.0,
        ended_at=provenance.now(),
        error=None,
    )
    target.with_suffix(".json").write_text(record.model_dump_json())


def run(quick: bool) -> list[Table]:
    """All missing, 100 missing, nothing missing."""
    models, seeds, rounds = (2, 2, 1) if quick else (25, 20, 3)
    table = Table(
        "Planning", ["cells", "missing", "what", "processor s", "to bare", "minus bare s", "jobs"]
    )
    with workspace() as place:
        grid = Grid(place, models, seeds)
        cells = len(grid.rows)
        some = -(-cells // 50)  # spread over the grid
        for missing in (cells, some, 0):
            if missing == some:
                grid.finish([row for i, row in enumerate(grid.rows) if i % 50])
            if missing == 0:
                grid.finish([row for i, row in enumerate(grid.rows) if not i % 50])
                grid.collect()
            found = interleaved(grid.rivals(), rounds)
            bare = least(found["bare"])
            for name, costs in found.items():
                seconds = least(costs)
                table.add(
                    f"{cells:,}", f"{missing:,}", name, f"{seconds:.2f}", f"{seconds / bare:.2f}x",
                    f"{seconds - bare:+.2f}", _jobs(costs[0]),
                )  # fmt: skip
    table.notes = [
        "Rival: `snakemake -n` of one rule without inputs and `expand` over the same grid; quiet",
        "with `-q rules`, which prints counts alone, as seqgrid does. seqgrid plans two jobs a",
        "cell, train and evaluate, reads every outcome and checks every file against its record; a",
        "file whose content was checked by an earlier plan and that has not changed is not read.",
        f"Least processor time of {rounds} interleaved rounds, whole process; `plan alone` is",
        "seqgrid.driver.start without Snakemake.",
        f"Target: at most {ALLOWED_SECONDS:g} s more than bare.",
    ]
    return [table]


def _jobs(cost: Cost) -> str:
    totals = [line.split()[-1] for line in cost.output.splitlines() if line.startswith("total ")]
    return f"{int(totals[0]):,}" if totals else "-"
