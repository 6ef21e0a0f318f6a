"""Oracle, constant and shortcuts as models in the evaluator: what its files say of each."""

import json

import pyarrow.parquet as pq
import pytest
from task_variants import LENGTHS
from test_tasks import NAMES, Solver, assert_scores, build, parts_of

from seqgrid import checkpoint, evaluate, evaluation_rows, metrics, registry, tables
from seqgrid.cell import Cell
from seqgrid.rows import Evaluation
from seqgrid.store import Part
from seqgrid.tasks._base import Level

STATE = {"best": {}, "model": {}, "track": {"best_step": 1}, "step": 1}


class Model(Solver):
    """A solver where the evaluator expects a model with trained weights."""

    max_seqlen = None


@pytest.fixture
def score(tmp_path, monkeypatch):
    """From a task and a solver to metrics and levels, by way of an evaluation file."""

    def score(name, task, solve):
        monkeypatch.setattr(registry, "make_model", lambda *_: Model(task, solve))
        monkeypatch.setattr(checkpoint, "load", lambda *_: STATE)
        cell = Cell(model="gru", task=name, seqlen=task.seqlen, seed=0)
        part = Part.of(tmp_path, cell.path, "", 1)
        part.folder.mkdir(parents=True, exist_ok=True)
        (part.folder / "checkpoint.pt").write_bytes(b"weights")
        blocks, about = evaluate.evaluate(cell, part, Evaluation((task.seqlen,), 1000))
        tables.write(tables.from_columns("evaluation_file", blocks, about), tmp_path / "file")
        [columns] = [
            columns
            for group, columns in evaluation_rows.parts(pq.read_table(tmp_path / "file"))
            if group["weights"] == "last" and not group["test_set"] and not group["slice"]
        ]
        levels = [Level(**{k: v for k, v in level.items() if k != "evaluated_seqlen_tokens"})
                  for level in json.loads(about["seqgrid.levels"])]  # fmt: skip
        found = metrics.summarise(evaluation_rows.numbers(columns), about["seqgrid.loss"])
        return found, [v for v in levels if not v.test_set and not v.slice]

    return score


@pytest.mark.parametrize("name", NAMES)
def test_solvers_score_their_levels_in_evaluation_files(name, score):
    settings = parts_of(name)[0]()
    task = build(name, next(n for n in (*reversed(LENGTHS), 128) if not settings.impossible(n)))
    solvers = {"ceiling": task.oracle, "chance": task.constant, **task.shortcuts()}
    for solver, solve in solvers.items():
        found, levels = score(name, task, solve)
        mine = [level for level in levels if level.name == solver]
        assert mine
        for level in mine:
            assert_scores(found[level.metric], level)


def test_a_solver_that_fails_is_seen_to(score):
    """The same way with an oracle that answers something else."""
    task = build("parity", 16)
    found, levels = score("parity", task, lambda batch: -task.oracle(batch))
    [ceiling] = [v for v in levels if (v.metric, v.name) == ("accuracy", "ceiling")]
    assert found["accuracy"].value == 0
    with pytest.raises(AssertionError):
        assert_scores(found["accuracy"], ceiling)
