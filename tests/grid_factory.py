"""Studies and finished, cut or broken parts of their cells on disk, without training anything."""

from textwrap import dedent

from seqgrid import plan, provenance, sources, study
from seqgrid.outcome import EvaluationRecord, FileRecord, Progress, Provenance
from seqgrid.store import Part

SMALL = """
question: which one?
models: {gru: , lstm: }
tasks: {adding_problem: }
lengths: [8]
seeds: 0..1
"""


def write_study(folder, text=SMALL, name="small"):
    """Write a study below `folder`; returns its path."""
    path = folder / "config/studies" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


class Results:
    """The results folder of one study in `folder`, which must be the working directory."""

    def __init__(self, folder, text=SMALL, name="small"):
        write_study(folder, text, name)
        self.name = name
        self.folder = folder / "results"
        self.folder.mkdir(exist_ok=True)
        self.load()

    def load(self):
        self.study, self.rows = study.load(self.name)

    def plan(self, rerun=""):
        return plan.plan(self.rows, self.folder, plan.parse_rerun(rerun))

    def first(self, rerun=""):
        """Standing of the study's first cell."""
        return self.plan(rerun)[0]

    def step(self, rerun=""):
        """What comes next for the first cell: step, run, part and evaluation."""
        s = self.first(rerun)
        name = s.target.rpartition("/evaluation-")[2].removesuffix(".parquet") if s.target else None
        return s.next, s.run, s.part, name

    def part(
        self,
        outcome="finished",
        number=1,
        run="",
        row=0,
        checkpoint=b"weights",
        evaluated=False,
        stale=False,
        publish=True,
        history=b"history",
        **fields,
    ):
        """Write a valid part of a row's cell, by number of the row."""
        row = self.rows[row]
        cell = row.cell
        part = Part.of(self.folder / "cells", cell.path, run, number)
        cell.write(part.run_folder)
        digest = "0" * 12 if stale else sources.training_digest(cell.model, cell.task)
        source = part.live / "trained.pt"
        if checkpoint:
            source.write_bytes(checkpoint)
        fields.setdefault("progress", Progress(step=100, training_seconds=2.0))
        part.finish(
            source if checkpoint else None,
            history,
            outcome=outcome,
            reason=fields.pop("reason", f"it was {outcome}"),
            provenance=provenance_of(digest, device=fields.pop("device", "cpu")),
            **fields,
        )
        source.unlink(missing_ok=True)
        if publish:
            part.publish()
        if evaluated:
            self.evaluate(part, row)
        return part

    def evaluate(self, part, row, again=0, error=None, stale=False, content=b"scores"):
        """Write an evaluation of a published part."""
        name = row.evaluation.name + (f"-again{again}" if again else "")
        target = part.folder / f"evaluation-{name}.parquet"
        target.write_bytes(content)
        digest = sources.evaluation_digest(row.cell.model, row.cell.task)
        record = EvaluationRecord(
            file=FileRecord.of(target),
            checkpoint=part.read().files["checkpoint.pt"].sha256,
            source_digest="0" * 12 if stale else digest,
            seconds=1.0,
            ended_at=provenance.now(),
            error=error,
        )
        target.with_suffix(".json").write_text(record.model_dump_json())
        return target


def provenance_of(digest="0" * 12, asked_by="small", device="cpu", host="node1"):
    return Provenance(
        source_digest=digest,
        git_commit=None,
        git_dirty=None,
        versions={},
        host=host,
        device=device,
        job_id=None,
        threads=1,
        asked_by=asked_by,
    )
