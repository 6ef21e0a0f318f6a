"""A study says what to run; a mistake in it costs one line, and a growing one only adds cells."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from grid_factory import SMALL, write_study

from seqgrid import registry, study, study_file, study_schema
from seqgrid.cell import Cell, Compute, Stopping, Training, Validation
from seqgrid.settings import BackboneSettings
from seqgrid.study_file import StudyError, read_yaml

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests/golden/defaults.json"
SCHEMA = ROOT / "config/study.schema.json"
HERE = "config/studies/small.yaml: "


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_and_load(text=SMALL, **keys):
        write_study(tmp_path, text + "".join(f"{k}: {v}\n" for k, v in keys.items()))
        return study.load("small")[1]

    return write_and_load


@pytest.fixture
def mistakes(load):
    """The lines that a study is answered with; keys replace those of SMALL."""

    def lines(text=None, **keys):
        base = {
            "question": "which one?",
            "models": "{gru: }",
            "tasks": "{adding_problem: }",
            "lengths": "[8]",
            "seeds": "0..1",
        }
        content = "".join(f"{k}: {v}\n" for k, v in (base | keys).items() if v is not None)
        with pytest.raises(StudyError) as caught:
            load(content if text is None else text)
        found = str(caught.value).splitlines()
        assert all(line.startswith(HERE) for line in found)
        return [line.removeprefix(HERE) for line in found]

    return lines


# -- mistakes ------------------------------------------------------------------------------------

MODELS = ", ".join(registry.names("model"))
TASKS = ", ".join(registry.names("task"))
BACKBONE = ", ".join(sorted(BackboneSettings.model_fields))
TRAINING = ", ".join(sorted(Training.model_fields))
UNKNOWN_KEYS = {
    "training": ("{stesp: 5}", "training.stesp", TRAINING, "steps"),
    "validation": ("{every: 5}", "validation.every", "every_steps, examples", "every_steps"),
    "evaluation": ("{example: 5}", "evaluation.example", "examples, lengths", "examples"),
    "models": (
        "{gru: {seting: {}}}",
        "models.gru.seting",
        "compute, model, recipe, settings, size_to, sweep, training",
        "settings",
    ),
    "tasks": (
        "{adding_problem: {length: [8]}}",
        "tasks.adding_problem.length",
        "compute, evaluation_lengths, lengths, models, seeds, settings, stopping, task, training, "
        "validation",
        "lengths",
    ),
    "exclude": ("[{modle: gru}]", "exclude.0.modle", "model, seed, seqlen, task", "model"),
}


@pytest.mark.parametrize("key", UNKNOWN_KEYS)
def test_an_unknown_key_names_the_allowed_ones(mistakes, key):
    value, path, allowed, near = UNKNOWN_KEYS[key]
    name = path.rpartition(".")[2]
    [line] = mistakes(**{key: value})
    assert line.startswith(f"{path}: '{name}' is not a key here; allowed: {allowed}")
    assert line.endswith(f"; did you mean '{near}'?" if near else allowed)


def test_an_unknown_key_at_the_top_names_the_allowed_ones(mistakes):
    [line] = mistakes(sedes="[1]")
    assert line.startswith("sedes: 'sedes' is not a key here; allowed: checkpoint_seconds, ")
    assert line.endswith("; did you mean 'seeds'?")


ONE_LINE = {
    "unknown model": (
        {"models": "{grru: }"},
        f"models.grru: 'grru' is not a model; allowed: {MODELS}; did you mean 'gru'?",
    ),
    "unknown model under a label": (
        {"models": "{mine: {model: xyz}}"},
        f"models.mine.model: 'xyz' is not a model; allowed: {MODELS}",
    ),
    "unknown task": (
        {"tasks": "{xyz: }"},
        f"tasks.xyz: 'xyz' is not a task; allowed: {TASKS}",
    ),
    "text for an integer": (
        {"training": "{steps: many}"},
        "training.steps: an integer is needed, got 'many'",
    ),
    "a fraction for an integer": (
        {"training": "{steps: 1.5}"},
        "training.steps: an integer is needed, got 1.5",
    ),
    "true for a number": (
        {"training": "{learning_rate: true}"},
        "training.learning_rate: a number is needed, got True",
    ),
    "a number for text": ({"question": "5"}, "question: text is needed, got 5"),
    "a number for true": (
        {"stopping": "{plateau_at_chance: 1}"},
        "stopping.plateau_at_chance: true or false is needed, got 1",
    ),
    "a number for a list": ({"lengths": "8"}, "lengths: a list is needed, got 8"),
    "a list for a mapping": (
        {"training": "[1]"},
        f"training: a mapping is needed with the keys {', '.join(Training.model_fields)}, got [1]",
    ),
    "a list of models": ({"models": "[gru]"}, "models: a mapping is needed, got ['gru']"),
    "text for an entry": (
        {"models": "{gru: big}"},
        "models.gru: a mapping is needed with the keys model, settings, training, compute, sweep, "
        "recipe, size_to, got 'big'",
    ),
    "below the range": (
        {"training": "{steps: 0}"},
        "training.steps: at least 1 is needed, got 0",
    ),
    "on the open end of a range": (
        {"training": "{learning_rate: 0}"},
        "training.learning_rate: more than 0 is needed, got 0",
    ),
    "above the range": (
        {"training": "{beta1: 1.0}"},
        "training.beta1: less than 1 is needed, got 1.0",
    ),
    "infinite": (
        {"training": "{learning_rate: .inf}"},
        "training.learning_rate: a finite number is needed, got inf",
    ),
    "no such choice": (
        {"training": "{schedule: step}"},
        "training.schedule: 'constant', 'linear', 'cosine' or 'wsd' is needed, got 'step'",
    ),
    "no question": (
        {"question": None},
        "question: this key is needed; given are models, tasks, lengths, seeds",
    ),
    "no models": ({"models": "{}"}, "models: at least one entry is needed, got {}"),
    "no lengths": ({"lengths": "[]"}, "lengths: at least one entry is needed, got []"),
    "no seeds": ({"seeds": "[]"}, "seeds: at least one entry is needed, got []"),
    "length 0": ({"lengths": "[8, 0]"}, "lengths.1: at least 1 is needed, got 0"),
    "no length of a sequence": (
        {"lengths": "[8, 100000000000000000000]"},
        "lengths.1: at most 1099511627776 is needed, got 100000000000000000000",
    ),
    "negative seed": ({"seeds": "[-1]"}, "seeds.0: at least 0 is needed, got -1"),
    "seeds backwards": (
        {"seeds": "4..0"},
        "seeds: a range goes upwards, such as 0..4, got '4..0'",
    ),
    "seeds in words": (
        {"seeds": "five"},
        "seeds: seeds are a list of integers or a range such as 0..4, got 'five'",
    ),
    "too many seeds": ({"seeds": "0..99999999"}, "seeds: at most 10000 seeds, got '0..99999999'"),
    "a seed twice": ({"seeds": "[0, 1, 0]"}, "seeds: 0 stands there 2 times, got [0, 1, 0]"),
    "a length twice": ({"lengths": "[8, 8]"}, "lengths: 8 stands there 2 times, got [8, 8]"),
    "a label for no file name": (
        {"models": "{a/b: {model: gru}}"},
        "models.a/b: a label starts with a letter or digit and goes on with letters, digits, "
        "spaces and . _ + = -, got 'a/b'",
    ),
    "bad setting of a model": (
        {"models": "{gru: {settings: {d_modle: 8}}}"},
        "models.gru.settings.d_modle: 'd_modle' is not a key here; allowed: "
        f"{BACKBONE}; did you mean 'd_model'?",
    ),
    "bad value of a model": (
        {"models": "{gru: {settings: {dropout: 1.5}}}"},
        "models.gru.settings.dropout: less than 1 is needed, got 1.5",
    ),
    "settings that do not fit together": (
        {"models": "{attention: {settings: {num_heads: 5}}}"},
        "models.attention.settings: num_heads=5 does not divide d_model=64",
    ),
    "bad setting of a task": (
        {"tasks": "{adding_problem: {settings: {markers: any}}}"},
        "tasks.adding_problem.settings.markers: 'extremes', 'uniform' or 'halves' is needed, "
        "got 'any'",
    ),
    "bad override of a model": (
        {"models": "{gru: {training: {steps: 0}}}", "training": "{steps: 5}"},
        "models.gru.training.steps: at least 1 is needed, got 0",
    ),
    "bad override of a task": (
        {
            "tasks": "{adding_problem: {training: {batch_size: 0}}}",
            "models": "{gru: {training: {steps: 5}}}",
        },
        "tasks.adding_problem.training.batch_size: at least 1 is needed, got 0",
    ),
    "unknown override of a task": (
        {"tasks": "{adding_problem: {stopping: {solved: 1}}}"},
        "tasks.adding_problem.stopping.solved: 'solved' is not a key here; allowed: "
        "plateau_at_chance, plateau_validations, solved_validations",
    ),
    "a sweep of nothing known": (
        {"sweep": "{learning_rate: [1e-3]}"},
        "sweep.learning_rate: what is swept is one of model.KEY, training.KEY, validation.KEY, "
        "stopping.KEY, compute.KEY",
    ),
    "a sweep of an unknown key": (
        {"sweep": "{training.rate: [1e-3]}"},
        "sweep.training.rate: 'rate' is not a key of training; allowed: "
        + ", ".join(Training.model_fields),
    ),
    "a sweep of a model's unknown key": (
        {"sweep": "{model.xyz: [2]}"},
        f"sweep.model.xyz for gru: 'xyz' is not a key here; allowed: {BACKBONE}",
    ),
    "a bad swept value": (
        {"sweep": "{training.learning_rate: [1e-3, -1]}"},
        "sweep.training.learning_rate: more than 0 is needed, got -1",
    ),
    "an empty sweep": (
        {"sweep": "{training.steps: []}"},
        "sweep.training.steps: an empty list leaves no cell",
    ),
    "a sweep that is no list": (
        {"sweep": "{training.steps: 5}"},
        "sweep.training.steps: a list is needed, got 5",
    ),
    "a swept value twice": (
        {"sweep": "{training.steps: [5, 6, 5]}"},
        "sweep.training.steps: 5 stands there more than once",
    ),
    "two labels for one training": (
        {"models": "{gru: , mine: {model: gru}}"},
        "models.mine: duplicated cell: mine adding_problem and gru adding_problem are the same "
        "training (L8 seed 0 and 1 more); leave one of them out",
    ),
    "two labels for one task": (
        {"tasks": "{adding_problem: , mine: {task: adding_problem}}"},
        "tasks.mine: duplicated cell: gru mine and gru adding_problem are the same training "
        "(L8 seed 0 and 1 more); leave one of them out",
    ),
    "an included cell that is there": (
        {"include": "[{model: gru, task: adding_problem, lengths: [8], seeds: [1]}]"},
        "include: duplicated cell: gru adding_problem is there twice (L8 seed 1)",
    ),
    "a length too short for the task": (
        {"tasks": "{mqar: }"},
        "lengths: mqar does not exist at length 8: 4 pairs and their queries need 16 tokens; use "
        "fewer pairs or a longer sequence; or leave the length out, or set tasks.mqar.lengths",
    ),
    "a task's own length too short": (
        {"tasks": "{mqar: {lengths: [32, 12]}}"},
        "tasks.mqar.lengths: mqar does not exist at length 12: 4 pairs and their queries need 16 "
        "tokens; use fewer pairs or a longer sequence; or leave the length out, or set "
        "tasks.mqar.lengths",
    ),
    "a swept task, whose levels would differ": (
        {"sweep": "{task.num_pairs: [2, 8]}"},
        "sweep.task.num_pairs: what is swept is one of model.KEY, training.KEY, validation.KEY, "
        "stopping.KEY, compute.KEY",
    ),
    "an evaluation length too short": (
        {"tasks": "{mqar: }", "lengths": "[16]", "evaluation": "{lengths: [8]}"},
        "evaluation.lengths: mqar does not exist at length 8: 4 pairs and their queries need 16 "
        "tokens; use fewer pairs or a longer sequence; or leave the length out, or set "
        "tasks.mqar.evaluation_lengths",
    ),
    "a task's own evaluation length too short": (
        {"tasks": "{adding_problem: {evaluation_lengths: [1]}}"},
        "tasks.adding_problem.evaluation_lengths: adding_problem does not exist at length 1: two "
        "markers need 2 positions and there is 1; use a longer sequence; or leave the length out, "
        "or set tasks.adding_problem.evaluation_lengths",
    ),
    "another length than a task's models have": (
        {"tasks": "{compression: }", "lengths": "[16, 32]", "evaluation": "{lengths: [32]}"},
        "evaluation.lengths: a model of compression is of one length, and cannot be tested at 32; "
        "set tasks.compression.evaluation_lengths: []",
    ),
    "a model that sees the answers": (
        {
            "models": "{attention: {settings: {causal: false}}}",
            "tasks": "{flip_flop: }",
            "lengths": "[16]",
        },
        "models.attention.settings: a model that reads ahead sees the answers of flip_flop, which "
        "are the tokens after; make it causal, or leave it out with tasks.flip_flop.models",
    ),
    "an included length too short": (
        {"include": "[{model: gru, task: adding_problem, lengths: [1], seeds: [0]}]"},
        "include.0.lengths: adding_problem does not exist at length 1: two markers need 2 "
        "positions and there is 1; use a longer sequence; or leave the length out, or set "
        "tasks.adding_problem.lengths",
    ),
    "too many evaluation lengths": (
        {"evaluation": f"{{lengths: {list(range(1000, 1050))}}}"},
        "evaluation.lengths: too many lengths for a file's name",
    ),
    "excluded model that is not there": (
        {"exclude": "[{model: lstm}]"},
        "exclude.0.model: 'lstm' is not a model of this study; allowed: gru",
    ),
    "included task that is not there": (
        {"include": "[{model: gru, task: mqar, lengths: [16], seeds: [0]}]"},
        "include.0.task: 'mqar' is not a task of this study; allowed: adding_problem",
    ),
    "an exclusion that matches nothing": (
        {"exclude": "[{seed: 1}, {model: gru, seqlen: 16}]"},
        "exclude.1: no cell of the study has model gru, seqlen 16; leave the entry out",
    ),
    "an exclusion without a key": (
        {"exclude": "[{}]"},
        "exclude.0: give at least one of model, task, seqlen, seed",
    ),
    "nothing left": ({"exclude": "[{model: gru}]"}, "exclude: it leaves no cell at all"),
    "no time": ({"part_seconds": "0"}, "part_seconds: more than 0 is needed, got 0"),
}


@pytest.mark.parametrize("name", ONE_LINE)
def test_a_mistake_costs_one_line_with_key_value_and_remedy(mistakes, name):
    keys, line = ONE_LINE[name]
    assert mistakes(**keys) == [line]


def test_every_mistake_gets_its_line(mistakes):
    found = mistakes(training="{stesp: 5, batch_size: 0}", seeds="5..1", question=None)
    assert sorted(line.partition(":")[0] for line in found) == [
        "question", "seeds", "training.batch_size", "training.stesp"
    ]  # fmt: skip
    found = mistakes(models="{gru: {settings: {d_model: 0}}, lstm: {training: {steps: x}}}")
    assert [line.partition(":")[0] for line in found] == [
        "models.gru.settings.d_model",
        "models.lstm.training.steps",
    ]
    assert len(mistakes(models="{x: , gru: }", tasks="{y: }")) == 2


FILES = {
    "a key twice": (
        "question: a\nmodels: {gru: }\nquestion: b\n",
        "line 3: key 'question' stands here and in line 1",
    ),
    "a nested key twice": (
        "question: a\nmodels:\n  gru:\n  lstm:\n  gru:\n",
        "line 5: key 'gru' stands here and in line 3",
    ),
    "a syntax error": (
        "question: a\nmodels: {gru: \nlengths: [8\n",
        "line 3: expected ',' or '}', but got ':'",
    ),
    "a tab": ("question: a\n\tmodels: b\n", "line 2: a tab, where YAML has spaces"),
    "a key that is a list": ("question: a\n[1]: b\n", "line 2: a key is plain text, not a list"),
    "an alias to nothing": ("question: *a\n", "line 1: found undefined alias 'a'"),
    "two documents": ("question: a\n---\nquestion: b\n", "line 2: but found another document"),
    "a control character": ("question: a\x00b\n", "unacceptable character #x0000"),
    "an impossible date": ("question: 2026-02-31\n", "day is out of range"),
    "nothing": ("", "a study is a mapping with the keys question, models, tasks, "),
    "only comments": ("# nothing\n", "a study is a mapping with the keys question, "),
    "a list": ("- a\n", "a study is a mapping with the keys question, "),
    "a word": ("hello\n", "a study is a mapping with the keys question, "),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_study_costs_one_line(mistakes, name):
    text, start = FILES[name]
    [line] = mistakes(text)
    assert line.startswith(start)


def test_files_that_cannot_be_read_cost_one_line(load, tmp_path):
    load()
    studies = tmp_path / "config/studies"
    (studies / "folder.yaml").mkdir()
    (studies / "latin.yaml").write_bytes("question: wächst?".encode("latin-1"))
    (studies / "away.yaml").symlink_to("nowhere")
    for name, text in {
        "smll": "study: 'smll' is not a file in config/studies; allowed: away, folder, latin, "
        "small; did you mean 'small'?",
        "../small": "study: '../small' is not a file in config/studies; allowed: away, folder, "
        "latin, small; did you mean 'small'?",
        "folder": "config/studies/folder.yaml: Is a directory",
        "away": "config/studies/away.yaml: No such file or directory",
        "latin": "config/studies/latin.yaml: not UTF-8 text: byte 11 is 0xe4",
    }.items():
        with pytest.raises(StudyError) as caught:
            study.load(name)
        assert str(caught.value) == text


BROKEN = {
    "from seqgrid.settings import ModelSettings\nclass Settings(ModelSettings:\n": "line 2: ",
    "def build(): ...\n": "declare one class named Settings, found 0",
    "import torch\nclass Settings:\n    a: torch.Tensor\n": "class Settings may use only [",
    "class Settings:\n    pass\n": "class Settings must derive from ModelSettings",
    "class Settings:\n    a = 1 / 0\n": "class Settings cannot be made: ZeroDivisionError: ",
    "\x00": "",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_model_file_costs_one_line(mistakes, tmp_path, monkeypatch, text):
    monkeypatch.setitem(registry.FOLDERS, "model", tmp_path)
    monkeypatch.setattr(registry, "settings", registry.settings.__wrapped__)
    (tmp_path / "broken.py").write_text(text)
    [line] = mistakes(models="{broken: }")
    assert line.startswith(f"models.broken: {tmp_path}/broken.py: {BROKEN[text]}".rstrip(": "))


@pytest.mark.parametrize("module", ["seqgrid.status"])
def test_on_the_command_line_a_mistake_is_one_line_too(tmp_path, module):
    write_study(tmp_path, SMALL + "trainig: {}\n")
    done = subprocess.run(
        [sys.executable, "-m", module, "small"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(HERE + "trainig: ")


# -- what a study can say ------------------------------------------------------------------------


def test_rows_are_the_product_of_the_axes_in_the_order_of_the_file(load):
    rows = load(SMALL.replace("lengths: [8]", "lengths: [16, 8]"))
    assert [(r.model, r.task, r.cell.seqlen, r.cell.seed) for r in rows] == [
        (model, "adding_problem", seqlen, seed)
        for model in ("gru", "lstm") for seqlen in (16, 8) for seed in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "expected"), [("0..2", [0, 1, 2]), ("[5, 3]", [5, 3]), ("7..7", [7])]
)
def test_seeds_are_a_list_or_a_range(load, seeds, expected):
    rows = load(SMALL.replace("0..1", seeds))
    assert [r.cell.seed for r in rows if r.model == "gru"] == expected


@pytest.mark.parametrize("rate", ["1e-3", "1E-3", "1.0e-3", "0.001", ".001", "+1e-03"])
def test_a_learning_rate_is_written_as_one_likes(load, rate):
    rows = load(training=f"{{learning_rate: {rate}}}")
    assert rows[0].cell.training.learning_rate == 0.001
    assert rows[0].cell.path == load()[0].cell.path  # it is the default


def test_sweep_wins_over_model_wins_over_task_wins_over_study(load):
    text = """
    question: which one?
    models: {gru: {training: {steps: 30, batch_size: 3}}, lstm: }
    tasks:
      adding_problem:
        training: {steps: 20, batch_size: 2, warmup_steps: 2}
        validation: {every_steps: 7}
        stopping: {solved_validations: null}
      mqar:
    lengths: [16]
    seeds: [0]
    training: {steps: 10, batch_size: 1, warmup_steps: 1, beta1: 0.5}
    validation: {every_steps: 5}
    """
    trained = {(r.model, r.task): r.cell.training for r in load(text)}
    chosen = {key: (t.steps, t.batch_size, t.warmup_steps, t.beta1) for key, t in trained.items()}
    assert chosen == {
        ("gru", "adding_problem"): (30, 3, 2, 0.5),
        ("gru", "mqar"): (30, 3, 1, 0.5),
        ("lstm", "adding_problem"): (20, 2, 2, 0.5),
        ("lstm", "mqar"): (10, 1, 1, 0.5),
    }
    rows = load(text.rstrip() + "\n    sweep: {training.steps: [40]}\n")
    assert {r.cell.training.steps for r in rows} == {40}
    assert {r.task: r.cell.validation.every_steps for r in rows} == {"adding_problem": 7, "mqar": 5}
    assert {r.task: r.cell.stopping.solved_validations for r in rows} == {
        "adding_problem": None, "mqar": 2
    }  # fmt: skip


def test_every_combination_of_swept_settings_is_a_variant(load):
    rows = load(
        models="{gru: }",
        text=SMALL.replace("models: {gru: , lstm: }\n", ""),
        sweep="{training.learning_rate: [1e-3, 3e-3], model.dropout: [0.0, 0.1]}",
    )
    assert list(dict.fromkeys(r.variant for r in rows)) == [
        "learning_rate=0.001, dropout=0.0",
        "learning_rate=0.001, dropout=0.1",
        "learning_rate=0.003, dropout=0.0",
        "learning_rate=0.003, dropout=0.1",
    ]
    assert len({r.cell.path for r in rows}) == len(rows) == 8
    assert rows[-1].cell.model_settings["dropout"] == 0.1
    assert rows[0].cell.path == load()[0].cell.path  # a swept default is the default


def test_exclude_takes_away_and_include_adds(load):
    rows = load(
        exclude="[{model: lstm, seed: 0}, {model: gru, task: adding_problem, seqlen: 8, seed: 1}]",
        include="[{model: gru, task: adding_problem, lengths: [64], seeds: 2..3}]",
    )
    assert [(r.model, r.cell.seqlen, r.cell.seed) for r in rows] == [
        ("gru", 8, 0), ("lstm", 8, 1), ("gru", 64, 2), ("gru", 64, 3)
    ]  # fmt: skip


def test_evaluation_lengths_come_on_top_of_the_training_length(load):
    text = SMALL.replace("adding_problem: ", "adding_problem: , mqar: {evaluation_lengths: []}")
    text = text.replace("[8]", "[16, 32]")
    rows = load(text, evaluation="{lengths: [64, 16], examples: 10}")
    names = {(r.task, r.cell.seqlen): r.evaluation.name for r in rows}
    assert names == {
        ("adding_problem", 16): "L16+64-n10",
        ("adding_problem", 32): "L16+32+64-n10",
        ("mqar", 16): "L16-n10",
        ("mqar", 32): "L32-n10",
    }
    for row in rows:
        assert study.Evaluation.parse(row.evaluation.name) == row.evaluation
        assert study.Evaluation.parse(row.evaluation.name + "-again3") == row.evaluation
    for wrong in ("L16", "L-n10", "L16-n10-again", "16-n10", "L16+-n10", "L16-n10.parquet"):
        with pytest.raises(ValueError, match="is not an evaluation, such as"):
            study.Evaluation.parse(wrong)


@pytest.mark.slow
def test_the_studies_of_the_project_are_valid(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert study.available()
    for name in study.available():
        assert study.load(name)[1]


# -- what identifies a cell ----------------------------------------------------------------------


def paths(rows):
    return {row.cell.path for row in rows}


GROWN = {
    "a seed": ("0..1", "0..2"),
    "a length": ("[8]", "[4, 8]"),
    "a model": ("gru: ,", "gru: , deltanet: ,"),
    "a task": (
        "adding_problem: ",
        "selective_copy: {settings: {num_markers: 2}}, adding_problem: ",
    ),
}


@pytest.mark.parametrize("what", GROWN)
def test_a_study_that_grows_keeps_its_cells(load, what):
    before, after = paths(load()), paths(load(SMALL.replace(*GROWN[what])))
    assert before < after


UNCHANGED = {
    "evaluation": {"evaluation": "{examples: 10, lengths: [16]}"},
    "part_seconds": {"part_seconds": "10"},
    "checkpoint_seconds": {"checkpoint_seconds": "10"},
    "a default written out": {"training": "{steps: 1000, gradient_clip: 1}"},
}


@pytest.mark.parametrize("what", UNCHANGED)
def test_settings_that_do_not_change_a_training_keep_its_path(load, what):
    assert paths(load(**UNCHANGED[what])) == paths(load())


def test_labels_questions_and_order_keep_paths(load):
    text = """
    seeds: [1, 0]
    lengths: [8]
    tasks: {"add two": {task: adding_problem}}
    models: {"LSTM": {model: lstm}, "GRU": {model: gru, settings: {d_model: 64}}}
    question: what?
    """
    assert paths(load(text)) == paths(load())


def test_studies_share_the_cells_they_have_in_common(load, tmp_path):
    first = paths(load())
    write_study(tmp_path, SMALL.replace("0..1", "1..2"), "other")
    assert len(first & paths(study.load("other")[1])) == 2


DIFFERENT = [
    {"training": "{steps: 999}"},
    {"training": "{examples: 999}"},
    {"training": "{data_seed: 0}"},
    {"validation": "{every_steps: 50}"},
    {"stopping": "{plateau_validations: 5}"},
]


@pytest.mark.parametrize("keys", DIFFERENT)
def test_settings_that_change_a_training_change_its_path(load, keys):
    assert not paths(load(**keys)) & paths(load())


# Results lie under these names: they must never change.
FINGERPRINTS = {
    "44136fa355": {},
    "4b3a1e8208": {"training": Training(steps=500, learning_rate=3e-3, warmup_steps=20)},
    "56ceecffcb": {
        "model_settings": {"d_model": 32, "dropout": 0.1},
        "training": Training(steps=5, examples=100),
        "validation": Validation(every_steps=7),
        "stopping": Stopping(solved_validations=None, plateau_at_chance=True),
    },
}


def cell_with(**fields):
    return Cell(model="gru", task="adding_problem", seqlen=8, seed=0, **fields)


@pytest.mark.parametrize("fingerprint", FINGERPRINTS)
def test_fingerprints_of_old_results_stay(fingerprint):
    cell = cell_with(**FINGERPRINTS[fingerprint])
    assert cell.fingerprint == fingerprint
    assert cell.path == f"gru/adding_problem/L8/seed0-{fingerprint}"
    assert Cell.model_validate_json(cell.model_dump_json()).fingerprint == fingerprint


def test_a_new_setting_with_a_default_changes_no_fingerprint(monkeypatch):
    class Later(registry.settings("model", "gru")):
        """A version with one setting more."""

        fresh: int = 7

    text = cell_with(model_settings={"d_model": 32}).model_dump_json()
    before = Cell.model_validate_json(text).fingerprint
    original = registry.settings
    monkeypatch.setattr(
        registry, "settings", lambda kind, name: Later if name == "gru" else original(kind, name)
    )
    from seqgrid import cell

    cell._fingerprint.cache_clear()
    assert Cell.model_validate_json(text).fingerprint == before
    assert cell_with(model_settings={"d_model": 32, "fresh": 8}).fingerprint != before
    cell._fingerprint.cache_clear()


def test_a_changed_copy_has_its_own_path():
    cell = cell_with()
    other = cell.model_copy(update={"seed": 1, "training": Training(steps=5)})
    assert (cell.path, other.path) == (
        "gru/adding_problem/L8/seed0-44136fa355",
        "gru/adding_problem/L8/seed1-1c9e8c602c",
    )


def test_seeds_of_randomness_stay():
    # cell.py does not count towards the digests of sources, so its seeds are held here.
    assert {use: cell_with().seed_of(use) for use in ("data", "init", "order")} == {
        "data": 5732295396801746946,
        "init": 5178188355558464636,
        "order": 1659687314245191265,
    }  # fmt: skip
    chosen = cell_with(training=Training(data_seed=3))
    assert chosen.seed_of("data") != cell_with().seed_of("data")
    assert chosen.seed_of("init") == cell_with().seed_of("init")


# -- defaults and the schema for editors ---------------------------------------------------------


def defaults():
    """Every default that counts towards a fingerprint: record -> key -> value."""
    records = {r.__name__: r for r in (Training, Validation, Stopping, Compute)}
    for kind in ("model", "task"):
        records |= {f"{kind} {n}": registry.settings(kind, n) for n in registry.names(kind)}
    return {name: record().model_dump(mode="json") for name, record in records.items()}


def test_a_default_is_never_changed():
    held, found = json.loads(GOLDEN.read_text()), defaults()
    for name in held.keys() & found.keys():
        for key, value in held[name].items():
            now = found[name].get(key, "gone")
            assert now == value, (
                f"{name}.{key}: the default was {value!r} and is {now!r}. A default is never "
                "changed, only superseded by a new setting: finished results would be orphaned."
            )
            assert type(now) is type(value)


def test_every_default_is_held():
    held, found = json.loads(GOLDEN.read_text()), defaults()
    missing = [f"{n}.{k}" for n in found for k in found[n] if k not in held.get(n, {})]
    assert not missing, (
        f"new settings {missing}: hold them with `python tests/{Path(__file__).name}`"
    )


def test_the_schema_for_editors_is_in_step():
    assert json.loads(SCHEMA.read_text()) == study_schema.json_schema(), (
        "write it again: python -m seqgrid.study_schema > config/study.schema.json"
    )


@pytest.fixture(scope="module")
def validator():
    schema = study_schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "config/studies").glob("*.yaml")), ids=str)
def test_editors_accept_the_studies_of_the_project(validator, path):
    assert [e.message for e in validator.iter_errors(read_yaml(path))] == []


EDITOR = {
    "question": "which?",
    "models": {"gru": None, "mine": {"model": "attention", "settings": {"num_heads": 2}}},
    "tasks": {"mqar": {"settings": {"num_pairs": 2}, "training": {"steps": 5}}},
    "lengths": [16],
    "seeds": "0..4",
    "sweep": {"training.learning_rate": [1e-3], "model.dropout": [0.1]},
}


def test_editors_accept_labels_overrides_and_sweeps(validator):
    assert [e.message for e in validator.iter_errors(EDITOR)] == []


TYPOS = [
    {"sedes": [0]},
    {"seeds": "0-4"},
    {"lengths": []},
    {"training": {"stesp": 5}},
    {"models": {"gru": {"settings": {"d_modle": 8}}}},
    {"models": {"mine": {"model": "gru", "settings": {"num_heads": 8}}}},
    {"models": {"mine": {"model": "grru"}}},
    {"models": {"mine": {}}},
    {"models": {"gru": {"training": {"stesp": 5}}}},
    {"tasks": {"mqar": {"settings": {"num_pairs": "four"}}}},
    {"sweep": {"training.rate": [1]}},
    {"sweep": {"model.dropout": [2]}},
    {"expect": [{"model": "gru", "task": "mqar", "verdict": "SOVLED"}]},
    {"tasks": {"mqar": {"models": []}}},
]


@pytest.mark.parametrize("change", TYPOS, ids=str)
def test_editors_mark_mistakes(validator, change):
    assert list(validator.iter_errors(EDITOR | change))


if __name__ == "__main__":
    held = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    merged = {n: found | held.get(n, {}) for n, found in defaults().items()}
    GOLDEN.write_text(json.dumps(held | merged, indent=1) + "\n")


def test_yaml_reads_on_and_no_as_the_words_they_are(tmp_path):
    """`on` is a key of comparisons; YAML 1.1 makes it a boolean."""
    path = tmp_path / "some.yaml"
    path.write_text("{on: 1, label: no, tf32: true, cuda_graphs: False, rate: 1e-3}")
    found = study_file.read_yaml(path)
    assert found == {"on": 1, "label": "no", "tf32": True, "cuda_graphs": False, "rate": 1e-3}
