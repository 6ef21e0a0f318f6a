"""Statements that a study could only make by mistake are refused when it is read."""

from pathlib import Path

import pytest
from grid_factory import write_study

from seqgrid import registry, study, task_metrics
from seqgrid.analysis import successes
from seqgrid.analysis.published_settings import equal
from seqgrid.study_file import StudyError
from seqgrid.thresholds import Thresholds

STUDY = """
question: which one?
models: {gru: , lstm: , delta: {model: deltanet}}
tasks:
  mqar: {settings: {num_pairs: 2}}
  parity: {models: [gru, lstm], lengths: [16, 32]}
lengths: [16, 32, 64]
seeds: 0..1
groups: {both: [gru, lstm], same: [lstm, gru], others: [delta]}
sweep: {training.learning_rate: [1e-3, 3e-3]}
"""
HERE = "config/studies/small.yaml: "
AB = "a: gru, b: lstm"
X = f"compare: {{x: {{{AB}}}}}\n"
AT = "{model: gru, task: mqar"


@pytest.fixture
def problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(text):
        write_study(tmp_path, STUDY + text + "\n")
        try:
            study.load("small")
        except StudyError as error:
            return [line.removeprefix(HERE) for line in str(error).splitlines()]
        return []

    return of


def published(text):
    return f"published: [{{model: gru, task: mqar, seqlen: 16, source: s, {text}}}]"


def claim(text):
    return f"claims: [{{statement: s, {text}}}]"


@pytest.mark.parametrize(
    "text",
    [
        published(
            "value: 0.5, low: 0.4, high: 0.6, settings: {training.steps: 5, task.num_pairs: 2, "
            "model.d_model: 64, test examples: 200, compute.precision: bf16}"
        ),
        f"expect: [{AT}, verdict: AT SHORTCUT (in_context_value)}}]",
        f"expect: [{AT}, verdict: SOLVED}}, {AT}, evaluated: 16, seqlen: 16, verdict: AT CHANCE}}]",
        "expect: [{model: gru, task: parity, test_set: longest, verdict: SOLVED}]",
        f"gates: [{AT}, low: 0.9}}, {AT}, high: 0.95}}]",
        X + "claims: [{statement: s, compare: x, is: A BETTER}, "
        "{statement: t, compare: x, is: B BETTER}]",
        f"compare: {{x: {{{AB}}}, y: {{{AB}, metric: loss}}, z: {{{AB}, on: {{task: mqar}}}}}}",
        claim("scaling: {model: gru, task: mqar}, is: RISES, expected: [-0.1, 0.1]"),
    ],
)
def test_what_can_be_meant_is_taken(problems, text):
    assert problems(text) == []


REFUSED = {
    # numbers and settings
    "a misspelt training setting": (
        published("value: 0.5, settings: {training.step: 5}"),
        "published.0.settings.training.step: 'step' is not a key of training; allowed: ",
        "did you mean 'steps'?",
    ),
    "the same, nested": (
        published("value: 0.5, settings: {training: {steps: 9, step: 5}}"),
        "published.0.settings.training.step: 'step' is not a key of training; allowed: ",
        "did you mean 'steps'?",
    ),
    "a setting that is given dotted and nested": (
        published("value: 0.5, settings: {training: {steps: 9}, training.steps: 9}"),
        "published.0.settings: training.steps is given twice, dotted and nested",
        "",
    ),
    "a misspelt task setting": (
        published("value: 0.5, settings: {task.num_pair: 5}"),
        "published.0.settings.task.num_pair: 'num_pair' is not a key of task; allowed: ",
        "did you mean 'num_pairs'?",
    ),
    "a misspelt model setting": (
        published("value: 0.5, settings: {model.d_modl: 5}"),
        "published.0.settings.model.d_modl: 'd_modl' is not a key of model; allowed: ",
        "did you mean 'd_model'?",
    ),
    "a misspelt group of settings": (
        published("value: 0.5, settings: {trainig.steps: 5}"),
        "published.0.settings.trainig.steps: 'trainig' is no group of settings; ",
        "did you mean 'training'?",
    ),
    "an interval upside down": (
        published("value: 0.7, low: 0.99, high: 0.5"),
        "published.0: low <= value <= high is needed",
        "",
    ),
    "a value outside its interval": (
        published("value: 0.5, low: 0.96, high: 0.98"),
        "published.0: low <= value <= high is needed",
        "",
    ),
    "percent": (
        published("value: 97"),
        "published.0.value: accuracy is a share from 0 to 1, got 97; for 97 % write 0.97",
        "",
    ),
    "an R2 above 1": (
        published("metric: r2, value: 1.5"),
        "published.0.value: r2 is at most 1, got 1.5",
        "",
    ),
    "expected percent": (
        claim("place: {model: gru, task: mqar}, expected: [95, 99]"),
        "claims.0.expected: accuracy is a share from 0 to 1, got 95; for 95 % write 0.95",
        "",
    ),
    "an expected difference in percent": (
        X + claim("compare: x, expected: [2, 5]"),
        "claims.0.expected: a difference in accuracy is from -1 to 1, got 2; for 2 % write 0.02",
        "",
    ),
    "a gate in percent": (
        f"gates: [{AT}, low: 50}}]",
        "gates.0.low: accuracy is a share from 0 to 1, got 50; for 50 % write 0.5",
        "",
    ),
    "a margin in percent of the task's metric": (
        f"compare: {{x: {{{AB}, margin: 2}}}}",
        "compare.x.margin: 2 is no margin of accuracy, which lies in 0 to 1; allowed: below 1",
        "for 2 % write 0.02",
    ),
    "a gate upside down": (
        f"gates: [{AT}, low: 0.9, high: 0.1}}]",
        "gates.0: low 0.9 is above high 0.1",
        "",
    ),
    "confidence beyond what can be computed": (
        "thresholds: {confidence: 0.9999999999999999}",
        "thresholds.confidence: at most 0.999999 is needed",
        "",
    ),
    # places and names
    "a gate where nothing is trained": (
        f"gates: [{AT}, seqlen: 8, low: 0.5}}]",
        "gates.0.seqlen: 8 is not a length at which gru is trained on mqar; allowed: 16, 32, 64",
        "",
    ),
    "a gate of no metric": (
        f"gates: [{AT}, metric: acc, low: 0.5}}]",
        "gates.0.metric: 'acc' is not a metric; allowed: accuracy",
        "",
    ),
    "a published length": (
        "published: [{model: gru, task: parity, seqlen: 64, source: s, value: 0.5}]",
        "published.0.seqlen: 64 is not a length at which gru is trained on parity; allowed: 16, 32",
        "",
    ),
    "a published metric": (
        published("value: 0.5, metric: f1"),
        "published.0.metric: 'f1' is not a metric; allowed: accuracy",
        "",
    ),
    "a published evaluated length": (
        published("value: 0.5, evaluated: 99"),
        "published.0.evaluated: 99 is not a length at which gru is evaluated on mqar; allowed: 16",
        "",
    ),
    "a published test set": (
        published("value: 0.5, test_set: nope"),
        "published.0.test_set: 'nope' is not a test set of mqar; allowed: none",
        "",
    ),
    "an expected test set": (
        "expect: [{model: gru, task: parity, test_set: longst, verdict: SOLVED}]",
        "expect.0.test_set: 'longst' is not a test set of parity; allowed: longest",
        "did you mean 'longest'?",
    ),
    "a claimed test set": (
        claim("place: {model: gru, task: parity, test_set: nope}, is: SOLVED"),
        "claims.0.place.test_set: 'nope' is not a test set of parity; allowed: longest",
        "",
    ),
    "a compared test set": (
        f"compare: {{x: {{{AB}, on: {{task: mqar, test_set: foo}}}}}}",
        "compare.x.on.test_set: 'foo' is not a test set of mqar; allowed: none",
        "",
    ),
    "an expected shortcut": (
        f"expect: [{AT}, verdict: AT SHORTCUT (foo)}}]",
        "expect.0.verdict: 'foo' is not a level of mqar",
        "",
    ),
    "a claimed level": (
        claim("place: {model: gru, task: mqar}, is: ABOVE in_context_valu"),
        "claims.0.is: 'in_context_valu' is not a level of mqar",
        "did you mean 'in_context_value'?",
    ),
    "a course over two lengths": (
        claim("scaling: {model: gru, task: parity}, is: RISES"),
        "claims.0.scaling: gru is trained at 2 lengths on parity; a course needs 3 at least",
        "",
    ),
    "a variant of another number": (
        "compare: {x: {a: {model: gru, variant: learning_rate=1.01e-3}, b: lstm}}",
        "compare.x.a.variant: 'learning_rate=1.01e-3' is not a variant of these models",
        "did you mean 'learning_rate=0.003'?",
    ),
    "a variant of a group that is none": (
        "compare: {x: {a: {model: gru, variant: v1.learning_rate=0.001}, b: lstm}}",
        "compare.x.a.variant: 'v1.learning_rate=0.001' is not a variant of these models",
        "did you mean 'learning_rate=0.001'?",
    ),
    "one variant on both sides, in two spellings": (
        "compare: {x: {a: {model: gru, variant: learning_rate=0.001}, b: {model: gru, variant: "
        "learning_rate=1e-3}}}",
        "compare.x: a and b are the same",
        "",
    ),
    # what nothing can answer
    "equivalence of steps": (
        f"compare: {{x: {{{AB}, metric: steps}}}}\n" + claim("compare: x, is: NO DIFFERENCE"),
        "claims.0.is: steps are not tested for equivalence; allowed: A BETTER, B BETTER",
        "",
    ),
    "a number of steps": (
        f"compare: {{x: {{{AB}, metric: steps}}}}\n" + claim("compare: x, expected: [-9, 9]"),
        "claims.0.expected: steps have an order, and no difference in numbers; leave it out",
        "",
    ),
    "a margin of steps": (
        f"compare: {{x: {{{AB}, metric: steps, margin: 100}}}}",
        "compare.x.margin: steps are not tested for equivalence; leave it out",
        "",
    ),
    "nowhere": (
        f"compare: {{x: {{{AB}, on: {{task: []}}}}}}",
        "compare.x.on.task: at least one entry is needed, got []",
        "",
    ),
    "at no length": (
        f"compare: {{x: {{{AB}, on: {{seqlen: []}}}}}}",
        "compare.x.on.seqlen: at least one entry is needed, got []",
        "",
    ),
    "a place twice": (
        f"compare: {{x: {{{AB}, on: {{seqlen: [16, 16]}}}}}}",
        "compare.x.on.seqlen: 16 stands there more than once",
        "",
    ),
    "no statement": (
        X + "claims: [{statement: ' ', compare: x, is: A BETTER}]",
        "claims.0.statement: text that is not empty is needed",
        "",
    ),
    "no source": (
        "published: [{model: gru, task: mqar, seqlen: 16, source: '', value: 0.5}]",
        "published.0.source: text that is not empty is needed",
        "",
    ),
    # entries against each other
    "a mirror image": (
        f"compare: {{x: {{{AB}}}, y: {{a: lstm, b: gru}}}}",
        "compare.y: the same sides at the same places as compare.x",
        "",
    ),
    "a mirror image of groups": (
        "compare: {x: {a: {group: both}, b: delta, on: {task: mqar}}, "
        "y: {a: {group: others}, b: {group: same}, on: {task: mqar}}}",
        "compare.y: the same sides at the same places as compare.x",
        "",
    ),
    "a group against the same models": (
        "compare: {x: {a: {group: both}, b: {group: same}}}",
        "compare.x: gru, lstm on both sides",
        "",
    ),
    "a model against its group": (
        "compare: {x: {a: gru, b: {group: both}}}",
        "compare.x: gru on both sides",
        "",
    ),
    "solved and not": (
        f"expect: [{AT}, verdict: SOLVED}}, {AT}, seqlen: 16, verdict: NOT SOLVED}}]",
        "expect.1.verdict: NOT SOLVED cannot hold where expect.0 expects SOLVED",
        "",
    ),
    "gates that nothing passes": (
        f"gates: [{AT}, low: 0.9}}, {AT}, seqlen: 16, high: 0.5}}]",
        "gates.1: no value lies in its band and in that of gates.0",
        "",
    ),
    "a gate twice": (
        f"gates: [{AT}, low: 0.9, why: a}}, {AT}, low: 0.9, why: b}}]",
        "gates.1: says the same as gates.0; leave one of them out",
        "",
    ),
    # words of messages
    "a key by another name": (
        X + claim("compare: x, verdict: A BETTER"),
        "claims.0.verdict: 'verdict' is not a key here; allowed: compare, expected, is, place, ",
        "scaling, statement, why",
    ),
    "text for a place": (
        claim("place: gru, is: SOLVED"),
        "claims.0.place: a mapping is needed with the keys model, task, seqlen, evaluated, ",
        "test_set, got 'gru'",
    ),
    "a misspelt key of a place": (
        claim("place: {model: gru, task: mqar, seqln: 16}, is: SOLVED"),
        "claims.0.place.seqln: 'seqln' is not a key here; allowed: evaluated, model, seqlen, ",
        "did you mean 'seqlen'?",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_only_be_a_mistake_is_one_line(problems, name):
    text, start, end = REFUSED[name]
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(start)
    assert found[0].endswith(end)


def test_an_empty_entry_says_that_nothing_is_given(problems):
    found = problems("published: [{}]")
    assert "published.0.model: this key is needed; given is nothing" in found


@pytest.mark.parametrize("name", registry.names("task"))
def test_the_text_of_a_task_tells_its_metric_test_sets_and_levels(name):
    record = registry.settings("task", name)
    lengths = (n for n in (32, 64, 81, 100, 127, 128, 256, 512) if not record().impossible(n))
    task = registry.make_task(name, {}, next(lengths))
    assert task_metrics.judged(name) == task.metric
    known = task_metrics.test_sets(name)
    assert known is not None
    assert {*task.variations} <= {*known}
    tested = task.test_sets().values()
    levels = {level.name for one in tested for level in one.levels()}
    assert levels <= task_metrics.words(name)


def test_numbers_are_held_together_as_numbers():
    assert equal(30, "30")
    assert equal("1e-3", 0.001)
    assert not equal("31", 30)
    assert not equal("cosine", 0)
    assert not equal(True, 1.5)


def test_confidence_can_be_as_near_to_1_as_can_be_computed():
    interval = successes.paired_rates(3, 0, 6, Thresholds(confidence=0.999999).confidence)
    assert -1 <= interval.low < 0 < interval.high <= 1


@pytest.mark.parametrize("page", ["study.md", "comparisons.md"])
def test_the_examples_of_the_pages_can_be_pasted(tmp_path, monkeypatch, page):
    text = (Path(__file__).parent.parent / "docs" / page).read_text()
    blocks = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    assert any("compare:" in block for block in blocks)
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, "".join(blocks))
    assert study.load("small")[1]
