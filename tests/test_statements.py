"""What a study says it will say: a mistake in it costs one line, with the file, the key and what is
allowed."""

import numpy as np
import pytest
from grid_factory import write_study

from seqgrid import metrics, registry, study, task_metrics
from seqgrid.metric_names import BETTER
from seqgrid.study_file import StudyError

STUDY = """
question: which one?
models: {gru: , lstm: , rnn: {model: gru}}
tasks:
  adding_problem: {models: [gru, lstm]}
  parity: {models: [lstm, rnn], lengths: [32]}
lengths: [8, 16]
seeds: 0..1
groups: {both: [gru, lstm], others: [rnn], one: [gru]}
sweep: {training.learning_rate: [1e-3, 1e-2]}
"""
FINE = "compare: {x: {a: gru, b: lstm}}\n"
A = "{a: gru, b: lstm"


@pytest.fixture
def problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(text, base=STUDY):
        write_study(tmp_path, base + text)
        try:
            study.load("small")
        except StudyError as error:
            lines = str(error).splitlines()
            assert all(line.startswith("config/studies/small.yaml: ") for line in lines)
            return [line.removeprefix("config/studies/small.yaml: ") for line in lines]
        return []

    return of


@pytest.mark.parametrize(
    "text",
    [
        FINE,
        "compare: {x: {a: {group: one}, b: lstm, on: {task: adding_problem, seqlen: 8}}}\n",
        "compare: {x: {a: {model: gru, seqlen: 8}, b: {model: gru, seqlen: 16}}}\n",
        "compare: {x: {a: {model: gru, variant: learning_rate=0.001}, b: lstm}}\n",
        "compare: {x: {a: {model: lstm, task: parity}, b: {model: lstm, task: "
        "adding_problem, seqlen: 8}}}\n",
        f"compare: {{x: {A}, margin: 0.1}}}}\n"
        "claims: [{statement: s, compare: x, is: NO DIFFERENCE, expected: [0, 1]}]\n",
        "claims: [{statement: s, place: {model: gru, task: adding_problem}, is: NOT SOLVED}]\n",
        "include: [{model: gru, task: adding_problem, lengths: [32], seeds: [0]}]\n"
        "claims: [{statement: s, scaling: {model: gru, task: adding_problem}, is: RISES}]\n",
    ],
)
def test_what_a_grid_has_may_be_declared(problems, text):
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"compare: {{x: {A}, on: {{seqlen: [8, 32]}}}}}}\n",
            "compare.x.on.seqlen: 32 is not a length at which both are trained; allowed: 8, 16",
        ),
        (
            FINE + "claims: [{statement: s, compare: x, is: NO DIFFERENCE}]\n",
            "claims.0.is: NO DIFFERENCE is a test of a margin, and compare.x has none; add "
            "`margin` there, in the unit of the metric",
        ),
        (
            f"compare: {{x: {A}, on: {{task: parity}}}}}}\n",
            "compare.x.on.task: the sides do not both run on parity; allowed: adding_problem",
        ),
        (
            f"compare: {{x: {A}, on: {{evaluated: 64}}}}}}\n",
            "compare.x.on.evaluated: 64 is not a length at which both are evaluated; allowed: none",
        ),
        (
            f"compare: {{x: {A}, metric: acuracy}}}}\n",
            "compare.x.metric: 'acuracy' is not a metric; allowed: accuracy, sequence_accuracy",
        ),
        (
            f"compare: {{x: {A}, metric: loss}}}}\n",
            "compare.x.metric: 'loss' is not a metric of adding_problem; allowed: r2, mse, "
            "accuracy, sequence_accuracy, steps, solved",
        ),
        (
            "compare: {x: {a: {model: lstm, variant: learning_rate=0.001}, b: "
            "{model: lstm, variant: learning_rate=0.01}, metric: r2}}\n",
            "compare.x.metric: 'r2' is not a metric of parity; allowed: accuracy, error_rate, "
            "sequence_accuracy, loss, steps, solved; or set compare.x.on.task: [adding_problem]",
        ),
        (
            "gates: [{model: rnn, task: parity, metric: mse, high: 1}]\n",
            "gates.0.metric: 'mse' is not a metric of parity; allowed: accuracy, error_rate",
        ),
        (
            "published: [{model: rnn, task: parity, seqlen: 32, metric: rmse, value: 1, "
            "source: s}]\n",
            "published.0.metric: 'rmse' is not a metric; allowed: accuracy",
        ),
        (
            "compare: {x: {a: {group: both, task: adding_problem}, b: {model: lstm, "
            "task: parity, seqlen: 32}, metric: steps}}\n",
            "compare.x.a: steps is compared model by model; give one of gru, lstm",
        ),
        (
            f"compare: {{x: {A}, metric: steps, margin: 100}}}}\n",
            "compare.x.margin: steps are not tested for equivalence; leave it out",
        ),
        (
            f"compare: {{x: {A}, metric: solved, margin: 1}}}}\n",
            "compare.x.margin: 1 is no margin of solved, which lies in 0 to 1; allowed: below 1",
        ),
        (
            f"compare: {{x: {A}, metric: steps, on: {{evaluated: 8, seqlen: 8}}}}}}\n",
            "compare.x.on.evaluated: steps are of training, at its own length; leave it out",
        ),
        (
            "claims: [{statement: s, place: {model: gru, task: adding_problem}, expected: high}]\n",
            "claims.0.expected: a number, or [lowest, highest]",
        ),
        (
            "compare: {x: {a: gru, b: rnn}}\n",
            "compare.x: the sides do not run at any place that they share",
        ),
        (
            "compare: {x: {a: {group: both}, b: gru}}\n",
            "compare.x: gru on both sides, which is no difference; give a group without",
        ),
        (
            "compare: {x: {a: {group: both}, b: {group: one, seqlen: 8}}}\n",
            "compare.x: gru on both sides",
        ),
        (
            "compare: {x: " + A + ", metric: accuracy, margin: 1}}\n",
            "compare.x.margin: 1 is no margin of accuracy, which lies in 0 to 1; allowed: below 1",
        ),
        (
            "compare: {x: {a: {group: both}, b: {group: others}}}\n",
            "compare.x: the sides do not run at any place that they share",
        ),
        (
            "compare: {x: {a: {model: gru, variant: learning_rate=1}, b: lstm}}\n",
            "compare.x.a.variant: 'learning_rate=1' is not a variant of these models; allowed: ",
        ),
        (
            "compare: {x: {a: {model: gru, seqlen: 9}, b: lstm}}\n",
            "compare.x.a.seqlen: 9 is not a length at which this side is trained; allowed: 8, 16",
        ),
        (
            FINE + "claims: [{statement: s, compare: x, is: A BETER}]\n",
            "claims.0.is: 'A BETER' is not an outcome of a comparison; allowed: A BETTER",
        ),
        (
            "claims: [{statement: s, place: {model: gru, task: adding_problem}, is: SOLVE}]\n",
            "claims.0.is: 'SOLVE' is not a verdict that can be expected; allowed: SOLVED",
        ),
        (
            "claims: [{statement: s, scaling: {model: gru, task: adding_problem}, is: UP}]\n",
            "claims.0.is: 'UP' is not an outcome of a course over lengths",
        ),
        (
            "claims: [{statement: s, place: {model: gru, task: adding_problem, seqlen: 9}, is: "
            "SOLVED}]\n",
            "claims.0.place.seqlen: 9 is not a length at which gru is trained on adding_problem; ",
        ),
        (
            "claims: [{statement: s, place: {model: rnn, task: adding_problem}, is: SOLVED}]\n",
            "claims.0.place: rnn does not run on adding_problem in this study; leave the entry out",
        ),
        (
            "claims: [{statement: s, scaling: {model: lstm, task: parity}, is: FLAT}]\n",
            "claims.0.scaling: lstm is trained at 1 length on parity; a course needs 3 at least",
        ),
    ],
)
def test_what_it_does_not_have_is_one_line(problems, text, line):
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize("name", registry.names("task"))
def test_the_text_of_a_task_tells_the_metrics_it_is_scored_in(name):
    task = registry.task_class(name)
    kind = "regression" if task.loss == "mse" else "classes"
    columns = {"scored": [1, 1], "loss_sum": [0.1, 0.2]}
    columns |= {"target_sum": [1, 2], "target_square_sum": [1, 4]} if kind == "regression" else {}
    if kind == "classes" or task.tolerance is not None:
        columns["correct"] = [1, 0]
    found = metrics.summarise({k: np.array(v) for k, v in columns.items()}, task.loss)
    assert sorted(task_metrics.metrics(name)) == sorted(found)
    assert task.metric in found


def test_a_task_whose_text_does_not_tell_may_have_any_metric(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.FOLDERS, "task", tmp_path)
    (tmp_path / "made_up.py").write_text("class MadeUp(Task):\n    loss = chosen()\n")
    (tmp_path / "_near.py").write_text('class Near(Task):\n    loss = "mse"\n')
    inherits = "from seqgrid.tasks._near import Near\n\nclass Own(Near):\n    tolerance = 0.1\n"
    (tmp_path / "with_base.py").write_text(inherits)
    assert set(task_metrics.metrics("made_up")) == set(BETTER)
    assert task_metrics.metrics("with_base") == ("r2", "mse", "accuracy", "sequence_accuracy")


def test_a_group_is_told_from_a_model_and_has_one(problems):
    change = STUDY.replace("groups: {both: [gru, lstm], others: [rnn], one: [gru]}", "")
    assert change != STUDY
    assert problems("", change + "groups: {gru: [lstm], none: []}\n") == [
        "groups.gru: a model of this study has this label; give another",
        "groups.none: has no model; allowed: gru, lstm, rnn",
    ]


@pytest.mark.parametrize("written", ["1e-3", "0.0010", ".001", "1E-03"])
@pytest.mark.parametrize("key", ["learning_rate", "training.learning_rate"])
def test_equal_numbers_are_one_variant(tmp_path, monkeypatch, key, written):
    monkeypatch.chdir(tmp_path)
    side = f"{{model: gru, variant: {key}={written}}}"
    write_study(tmp_path, STUDY + f"compare: {{x: {{a: {side}, b: lstm}}}}\n")
    loaded, _ = study.load("small")
    assert loaded.compare["x"].a.variant == "learning_rate=0.001"
