"""What a study says of one model: its own sweep, the recipe it follows, the size it is given."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from grid_factory import write_study

from seqgrid import recipes, registry, sizing, study, study_schema
from seqgrid.cell import Cell
from seqgrid.settings import QuantumHydraSettings, Recipe
from seqgrid.study_file import StudyError

HERE = "config/studies/small.yaml: "
BASE = {
    "question": "which one?",
    "models": "{gru: }",
    "tasks": "{mqar: }",
    "lengths": "[32]",
    "seeds": "[0]",
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_and_load(**keys):
        write_study(tmp_path, "".join(f"{k}: {v}\n" for k, v in (BASE | keys).items()))
        return study.load("small")[1]

    return write_and_load


@pytest.fixture
def mistakes(load):
    def lines(**keys):
        with pytest.raises(StudyError) as caught:
            load(**keys)
        return [line.removeprefix(HERE) for line in str(caught.value).splitlines()]

    return lines


# -- sweeps of one model --------------------------------------------------------------------------


def test_a_model_has_a_grid_of_its_own(load):
    rows = load(
        models="{gru: {sweep: {training.learning_rate: [1e-3, 1e-2]}}, lstm: }",
    )
    assert [(r.model, r.variant) for r in rows] == [
        ("gru", "learning_rate=0.001"),
        ("gru", "learning_rate=0.01"),
        ("lstm", ""),
    ]
    assert [r.cell.training.learning_rate for r in rows] == [1e-3, 1e-2, 1e-3]


def test_the_grid_of_a_model_wins_over_that_of_the_study(load):
    rows = load(
        models="{gru: {sweep: {training.learning_rate: [0.02], model.dropout: [0.0, 0.1]}}, "
        "lstm: }",
        sweep="{training.learning_rate: [1e-3, 1e-2], training.weight_decay: [0.1]}",
    )
    assert [(r.model, r.variant) for r in rows] == [
        ("gru", "learning_rate=0.02, weight_decay=0.1, dropout=0.0"),
        ("gru", "learning_rate=0.02, weight_decay=0.1, dropout=0.1"),
        ("lstm", "learning_rate=0.001, weight_decay=0.1"),
        ("lstm", "learning_rate=0.01, weight_decay=0.1"),
    ]


WRONG_SWEEPS = {
    "{learning_rate: [1e-3]}": "learning_rate: what is swept is one of model.KEY, training.KEY, "
    "validation.KEY, stopping.KEY, compute.KEY",
    "{task.num_pairs: [2]}": "task.num_pairs: what is swept is one of model.KEY, training.KEY, "
    "validation.KEY, stopping.KEY, compute.KEY",
    "{training.steps: []}": "training.steps: an empty list leaves no cell",
    "{training.steps: [5, 5]}": "training.steps: 5 stands there more than once",
    "{training.steps: 5}": "training.steps: a list is needed, got 5",
    "{training.learning_rate: [1e-3, -1]}": "training.learning_rate: more than 0 is needed, got -1",
    "{model.dropout: [2.0]}": "model.dropout: less than 1 is needed, got 2.0",
}


@pytest.mark.parametrize("sweep", WRONG_SWEEPS)
def test_a_mistake_in_the_grid_of_a_model_costs_one_line(mistakes, sweep):
    expected = f"models.gru.sweep.{WRONG_SWEEPS[sweep]}"
    assert mistakes(models=f"{{gru: {{sweep: {sweep}}}}}") == [expected]


def test_editors_know_what_a_model_can_have():
    validator = jsonschema.Draft202012Validator(study_schema.json_schema())
    content = {
        "question": "which?",
        "models": {
            "gru": {
                "sweep": {"training.learning_rate": [1e-3], "model.dropout": [0.1]},
                "recipe": "literature",
                "size_to": {"params": 1000, "by": "num_layers"},
            }
        },
        "tasks": {"mqar": None},
        "lengths": [16],
        "seeds": [0],
    }
    assert [e.message for e in validator.iter_errors(content)] == []
    for wrong in (
        {"sweep": {"training.rate": [1]}},
        {"recipe": "mine"},
        {"size_to": {"parameters": 5}},
        {"size_to": {"params": 0}},
    ):
        assert list(validator.iter_errors(content | {"models": {"gru": wrong}}))


# -- recipes --------------------------------------------------------------------------------------


def test_a_recipe_fills_in_what_the_study_does_not_say(load):
    rows = load(models="{attention: {recipe: literature}}", training="{steps: 500}")
    recipe = recipes.of("attention")
    assert [r.cell.training.learning_rate for r in rows] == list(recipe.learning_rates)
    [chosen] = {r.cell.training.model_copy(update={"learning_rate": 1.0}) for r in rows}
    assert (chosen.schedule, chosen.warmup_steps) == ("cosine", 50)
    assert (chosen.beta1, chosen.beta2, chosen.weight_decay) == (0.9, 0.95, 0.1)


def test_what_is_written_wins_over_a_recipe(load):
    rows = load(
        models="{attention: {recipe: literature, settings: {initializer_std: 0.1}, "
        "training: {beta2: 0.9}, sweep: {training.learning_rate: [3e-3]}}}",
        tasks="{mqar: {training: {weight_decay: 0.5}}}",
        training="{steps: 100, schedule: constant}",
    )
    [cell] = [r.cell for r in rows]
    found = cell.training
    assert (found.schedule, found.beta2, found.weight_decay) == ("constant", 0.9, 0.5)
    assert (found.learning_rate, found.warmup_steps) == (3e-3, 10)
    assert cell.model_settings["initializer_std"] == 0.1


@pytest.mark.parametrize(
    "keys",
    [
        {"training": "{learning_rate: 3e-3}"},
        {"tasks": "{mqar: {training: {learning_rate: 3e-3}}}"},
        {"models": "{gru: {recipe: literature, training: {learning_rate: 3e-3}}}"},
        {"sweep": "{training.learning_rate: [3e-3]}"},
    ],
    ids=str,
)
def test_a_learning_rate_that_is_written_replaces_the_grid_of_a_recipe(load, keys):
    rows = load(**{"models": "{gru: {recipe: literature}}"} | keys)
    assert [r.cell.training.learning_rate for r in rows] == [3e-3]


def test_warm_up_is_a_share_of_the_steps_that_are_swept(load):
    rows = load(
        models="{gru: {recipe: literature}}",
        sweep="{training.steps: [100, 1000], training.learning_rate: [1e-3]}",
    )
    assert [r.cell.training.warmup_steps for r in rows] == [10, 100]


def test_a_study_without_recipes_is_as_before(load):
    before = {r.cell.path for r in load(training="{steps: 1000}")}
    assert before == {"gru/mqar/L32/seed0-44136fa355"}


def test_only_a_model_with_a_recipe_can_follow_it(mistakes, monkeypatch):
    monkeypatch.setattr(registry.settings("model", "gru"), "recipe", None)
    assert mistakes(models="{gru: {recipe: literature}}") == [
        "models.gru.recipe: no recipe stands in models/gru.py; give training and sweep instead"
    ]
    assert mistakes(models="{lstm: {recipe: mine}}") == [
        "models.lstm.recipe: 'literature' is needed, got 'mine'"
    ]


# the models of one study share a recipe, of one rate
SHARED = QuantumHydraSettings.recipe
OWN = [n for n in registry.names("model") if recipes.of(n) not in (None, SHARED)]


@pytest.mark.parametrize("name", OWN)
def test_every_recipe_has_a_source_and_a_grid(name):
    recipe = recipes.of(name)
    assert isinstance(recipe, Recipe)
    assert "arXiv:" in recipe.source
    assert len(recipe.learning_rates) > 1
    assert list(recipe.learning_rates) == sorted(set(recipe.learning_rates))


def test_a_recipe_with_one_rate_sets_it_and_makes_no_grid(load):
    [row] = load(models="{qh_2d: {recipe: literature}}", tasks="{adding_problem: }")
    assert (row.variant, row.cell.training.learning_rate) == ("", 1e-3)
    assert row.cell.training.weight_decay == 1e-4
    [row] = load(
        models="{qh_2d: {recipe: literature}}", tasks="{adding_problem: }",
        training="{learning_rate: 2e-3}",
    )  # fmt: skip
    assert row.cell.training.learning_rate == 2e-3


def test_one_answer_a_sequence_is_none_at_positions(mistakes, monkeypatch):
    monkeypatch.setattr(registry.settings("model", "gru"), "pooled_only", True)
    assert mistakes(models="{gru: }", tasks="{mqar: {settings: {num_pairs: 2}}}") == [
        "models.gru: gives one answer a sequence and mqar asks at positions; "
        "leave it out with tasks.mqar.models"
    ]


@pytest.mark.parametrize("name", registry.names("task"))
def test_a_task_says_whether_it_asks_once_a_sequence(name):
    assert registry.settings("task", name).pooled == registry.make_task(name, {}, 64).shape.pooled


def test_a_recipe_can_start_from_weights_that_know_the_width():
    assert Recipe(source="", initializer_std="small").initializer_std == "small"


# -- sizes ----------------------------------------------------------------------------------------


def test_a_model_is_sized_for_each_task_and_length(load):
    rows = load(
        models="{attention: {size_to: {params: 80_000}}, small: {model: attention}}",
        tasks="{mqar: , wide: {task: mqar, settings: {vocab_size: 512}}}",
        lengths="[32, 64]",
    )
    widths = {(r.model, r.task, r.cell.seqlen): r.cell.model_settings["d_model"] for r in rows}
    assert widths["small", "mqar", 32] == 64
    assert widths["attention", "wide", 32] < widths["attention", "mqar", 32]
    for row in rows:
        if row.model == "attention":
            shape = registry.make_task("mqar", row.cell.task_settings, row.cell.seqlen).shape
            made = registry.make_model("attention", row.cell.model_settings, shape)
            assert abs(made.num_parameters - 80_000) <= 8_000


def test_a_cache_is_sized_by_length(load):
    rows = load(
        models="{attention: {size_to: {state_bytes: 65536}}}",
        lengths="[32, 128]",
    )
    assert [r.cell.model_settings["d_model"] for r in rows] == [128, 32]


def test_other_settings_can_be_chosen_and_bounded(load):
    models = "{gru: {size_to: {params: 300_000, by: num_layers}}}"
    [row] = load(models=models)
    assert row.cell.model_settings["num_layers"] == 6
    [row] = load(models="{gru: {size_to: {params: 300_000, multiple_of: 8}}}")
    assert row.cell.model_settings["d_model"] % 8 == 0
    [row] = load(models="{attention: {settings: {num_heads: 5}, size_to: {params: 66_000}}}")
    assert row.cell.model_settings["d_model"] % 10 == 0


def test_a_sized_cell_is_the_cell_of_its_settings(load):
    [sized] = load(models="{gru: {size_to: {params: 100_000}}}")
    width = sized.cell.model_settings["d_model"]
    [plain] = load(models=f"{{gru: {{settings: {{d_model: {width}}}}}}}")
    assert sized.cell.path == plain.cell.path


WRONG_SIZES = {
    "{}": "models.gru.size_to: give one of params and state_bytes, got {}",
    "{params: 5, state_bytes: 5}": "models.gru.size_to: give one of params and state_bytes, got "
    "{'params': 5, 'state_bytes': 5}",
    "{params: 0}": "models.gru.size_to.params: at least 1 is needed, got 0",
    "{params: 100_000, by: dropout}": "models.gru.size_to.by: 'dropout' is not an integer setting "
    "of gru; allowed: d_model, num_layers",
    "{params: 250}": "models.gru.size_to: on mqar at length 32 no d_model gives parameters within "
    "10% of 250; the nearest are 805 (d_model=1)",
    "{state_bytes: 600, multiple_of: 50}": "models.gru.size_to: on mqar at length 32 no d_model "
    "gives bytes of state within 10% of 600; the nearest are 400 (d_model=50) and 800 "
    "(d_model=100)",
}


@pytest.mark.parametrize("size", WRONG_SIZES)
def test_a_size_that_cannot_be_costs_one_line(mistakes, size):
    assert mistakes(models=f"{{gru: {{size_to: {size}}}}}") == [WRONG_SIZES[size]]


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"models": "{gru: {settings: {d_model: 8}, %s}}"}, "models.gru.settings.d_model"),
        ({"models": "{gru: {sweep: {model.d_model: [8]}, %s}}"}, "models.gru.sweep.model.d_model"),
        ({"sweep": "{model.d_model: [8]}", "models": "{gru: {%s}}"}, "sweep.model.d_model"),
    ],
)
def test_what_a_size_chooses_is_written_nowhere_else(mistakes, keys, where):
    keys["models"] %= "size_to: {params: 100_000}"
    assert mistakes(**keys) == [
        f"{where}: models.gru.size_to chooses d_model; leave one of them out"
    ]


def test_a_cell_that_cannot_exist_is_not_sized(load):
    [row] = load(
        models="{attention: {settings: {positions: learned, max_seqlen: 8}, "
        "size_to: {params: 100_000}}}"
    )
    assert row.cell.unable()


PLAN = """
import sys
from seqgrid import study
_, rows = study.load("small")
print(rows[0].cell.path, "torch" in sys.modules)
"""


def test_torch_is_imported_once_for_sizes_and_never_without(load, tmp_path):
    def plan():
        done = subprocess.run([sys.executable, "-c", PLAN], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    load(models="{gru: {recipe: literature}}")
    assert plan()[1] == "False"
    [row] = load(models="{gru: {size_to: {params: 100_000}}}")
    assert plan() == [row.cell.path, "False"]
    kept = Path("results/.sizes.json")
    assert list(json.loads(kept.read_text()).values()) == [row.cell.model_settings["d_model"]]
    kept.write_text("{broken")
    assert plan() == [row.cell.path, "True"]
    assert plan() == [row.cell.path, "False"]


def test_sizes_are_found_again_when_a_model_changes(load, monkeypatch):
    load(models="{gru: {size_to: {params: 100_000}}}")
    monkeypatch.setattr(sizing.sources, "digest", lambda *entries: "other")
    found = []
    monkeypatch.setattr(sizing, "_find", lambda *asked: found.append(asked) or 8)
    [row] = load(models="{gru: {size_to: {params: 100_000}}}")
    assert len(found) == 1
    assert row.cell.model_settings["d_model"] == 8


@pytest.mark.parametrize("name", registry.names("model"))
def test_a_cell_is_equal_to_what_its_folder_says(load, tmp_path, name):
    [row] = load(models=f"{{{name}: }}", tasks="{adding_problem: }")
    row.cell.write(tmp_path)
    assert Cell.read(tmp_path) == row.cell


def test_a_pair_as_a_setting_makes_no_result_stale(load, tmp_path):
    [row] = load(models="{mamba2: {settings: {dt_limit: [0, 10], A_init_range: [1, 8]}}}")
    row.cell.write(tmp_path)
    assert Cell.read(tmp_path) == row.cell
    assert row.cell.model_settings["dt_limit"] == [0.0, 10.0]
