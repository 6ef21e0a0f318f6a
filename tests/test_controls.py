"""Verdicts known beforehand: declared by tasks, trained as a study, compared, and looked up."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from grid_factory import Results, write_study
from tables_factory import Tables

from seqgrid import collection, control_results, control_study, controls, driver, facts, registry
from seqgrid import study as studies
from seqgrid.analysis import expectations, summary
from seqgrid.analysis.verdicts import RULES
from seqgrid.cell import Cell, Training
from seqgrid.expectation import EXPECTED, parse
from seqgrid.report.__main__ import write
from seqgrid.study_file import StudyError
from seqgrid.tasks._base import Control, Level

ROOT = Path(__file__).parent.parent
STUDY = """
question: which one?
models: {gru: , lstm: , mine: {model: gru, settings: {d_model: 8}}}
tasks: {adding_problem: {lengths: [8, 16], models: [gru, mine], seeds: [0]}, mqar: }
lengths: [16]
seeds: 0..1
evaluation: {lengths: [32]}
"""
LEVELS = {"chance": 0.1, "ceiling": 1.0, "solved": 0.95, "shortcuts": {"bag": 0.3, "chunk": 0.6}}
LONGEST_RUN = 30  # CPU minutes for the controls of all tasks


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_and_load(text):
        write_study(tmp_path, text)
        return studies.load("small")

    return write_and_load


# -- what a study may say ------------------------------------------------------------------------


def test_a_task_may_have_its_own_models_and_seeds(load):
    _, rows = load(STUDY)
    found = {(r.model, r.task, r.cell.seqlen, r.cell.seed) for r in rows}
    adding = {(m, "adding_problem", n, 0) for m in ("gru", "mine") for n in (8, 16)}
    assert found == adding | {(m, "mqar", 16, s) for m in ("gru", "lstm", "mine") for s in (0, 1)}


def test_include_reaches_beyond_the_models_of_a_task(load):
    _, rows = load(
        STUDY + "include: [{model: lstm, task: adding_problem, lengths: [8], seeds: [3]}]\n"
    )
    assert [r.cell.seed for r in rows if (r.model, r.task) == ("lstm", "adding_problem")] == [3]


def expected(**keys):
    entry = {"model": "gru", "task": "adding_problem", "verdict": "SOLVED"} | keys
    return f"expect: [{json.dumps(entry)}]\n"


MISTAKES = {
    "a model of a task": (
        STUDY.replace("[gru, mine]", "[gru, mien]"),
        "tasks.adding_problem.models: 'mien' is not a model of this study; allowed: gru, lstm, "
        "mine; did you mean 'mine'?",
    ),
    "no model": (
        STUDY.replace("[gru, mine]", "[]"),
        "tasks.adding_problem.models: at least one entry is needed, got []",
    ),
    "a model twice": (
        STUDY.replace("[gru, mine]", "[gru, gru]"),
        "tasks.adding_problem.models: gru stands there 2 times, got ['gru', 'gru']",
    ),
    "model": (
        STUDY + expected(model="grru"),
        "expect.0.model: 'grru' is not a model of this study; allowed: gru, lstm, mine; did you "
        "mean 'gru'?",
    ),
    "task": (
        STUDY + expected(task="copy"),
        "expect.0.task: 'copy' is not a task of this study; allowed: adding_problem, mqar",
    ),
    "a pair that does not run": (
        STUDY + expected(model="lstm"),
        "expect.0: lstm does not run on adding_problem in this study; leave the entry out",
    ),
    "training length": (
        STUDY + expected(seqlen=32),
        "expect.0.seqlen: 32 is not a length at which gru is trained on adding_problem; allowed: "
        "8, 16",
    ),
    "evaluated length": (
        STUDY + expected(seqlen=8, evaluated=16),
        "expect.0.evaluated: 16 is not a length at which gru is evaluated on adding_problem; "
        "allowed: 8, 32",
    ),
    "verdict": (
        STUDY + expected(verdict="SOVLED"),
        "expect.0.verdict: 'SOVLED' is not a verdict that can be expected; allowed: "
        f"{', '.join(EXPECTED)}, AT SHORTCUT (NAME), ABOVE NAME; did you mean 'SOLVED'?, "
        "got 'SOVLED'",
    ),
    "a level that the rule does not name": (
        STUDY + expected(verdict="SOLVED (bag)"),
        "expect.0.verdict: 'SOLVED (bag)' is not a verdict that can be expected; allowed: ",
    ),
    "key": (
        STUDY + expected(length=8),
        "expect.0.length: 'length' is not a key here; allowed: evaluated, model, seqlen, task, "
        "test_set, verdict, why",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_one_line(load, name):
    text, line = MISTAKES[name]
    with pytest.raises(StudyError) as caught:
        load(text)
    assert str(caught.value).startswith(f"config/studies/small.yaml: {line}")
    assert "\n" not in str(caught.value)


def test_an_expected_verdict_is_a_rule_and_perhaps_a_level():
    assert parse("AT SHORTCUT (in context)") == ("AT SHORTCUT", "in context")
    assert parse("ABOVE chance") == ("ABOVE", "chance")
    assert parse("AT SHORTCUT") == ("AT SHORTCUT", "")
    assert set(EXPECTED) - {rule.name for rule in RULES} == {"NOT SOLVED"}
    for wrong in ("AT SHORTCUT bag", "AT SHORTCUT ()", "ABOVE ", "solved", ""):
        with pytest.raises(ValueError, match="allowed"):
            parse(wrong)


# -- control studies -----------------------------------------------------------------------------

SMALL = {"settings": {"d_model": 8}, "cpu_minutes": 0.1}


@pytest.fixture
def declare(monkeypatch, tmp_path):
    """Declare controls, those of the project aside; returns the text of every control study."""
    (tmp_path / "config/studies").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def declared(**by_task):
        for name in registry.names("task"):
            found = by_task.get(name, ())
            monkeypatch.setattr(registry.task_class(name), "controls", found)
        control_study.write()
        return {path.stem: path.read_text() for path in Path("config/studies").glob("*.yaml")}

    return declared


def test_controls_become_a_study(declare):
    texts = declare(
        mqar=(
            Control("lstm", 16, "AT SHORTCUT (in_context_value)", "long ago", **SMALL),
            Control(
                *("attention", 16, "SOLVED", "a\n  paper: it says so"),
                training={"steps": 5, "validation": {"every_steps": 5}},
                seeds=3,
                cpu_minutes=1.0,
            ),
        ),
        adding_problem=(Control("gru", 8, "AT CHANCE", "for a GPU"),),
    )
    assert set(texts) == {"controls", "controls_gpu"}
    study, rows = studies.load("controls")
    found = {(r.model, r.task, r.cell.seqlen, r.cell.seed, r.cell.training.steps) for r in rows}
    assert found == {
        ("lstm d_model=8", "mqar", 16, 0, 1000),
        *(("attention", "mqar 2", 16, seed, 5) for seed in range(3)),
    }
    assert {r.cell.validation.every_steps for r in rows if r.model == "attention"} == {5}
    assert [e.verdict for e in study.expect] == ["AT SHORTCUT (in_context_value)", "SOLVED"]
    assert study.expect[1].why == "a paper: it says so"
    assert [r.cell.task for r in studies.load("controls_gpu")[1]] == ["adding_problem"]
    assert set(declare(mqar=(Control("gru", 16, "NOT SOLVED", "", **SMALL),))) == {"controls"}


def test_controls_of_one_training_share_its_cells(declare):
    pairs = {"task_settings": {"num_pairs": 2}}
    declare(
        mqar=(
            Control("gru", 16, "SOLVED", "", seeds=2, **pairs, **SMALL),
            Control("gru", 16, "NOT SOLVED", "", at=64, **pairs, **SMALL),
            # the same settings, with a default written out, and another model
            Control(
                *("lstm", 16, "NOT SOLVED", ""),
                **{"seeds": 2, "training": {"steps": 1000}, **pairs, **SMALL},
            ),
        )
    )
    study, rows = studies.load("controls")
    assert list(study.tasks) == ["mqar"]
    assert len(rows) == 4
    assert {r.evaluation.lengths for r in rows} == {(16, 64)}
    assert [e.evaluated for e in study.expect] == [None, 64, None]


WRONG = {
    "model": (Control("grru", 8, "SOLVED", ""), "model: 'grru' is not a model; allowed: "),
    "setting": (
        Control("gru", 8, "SOLVED", "", settings={"d_modle": 8}),
        "settings.d_modle: 'd_modle' is not a key here; allowed: ",
    ),
    "nested": (
        Control("gru", 8, "SOLVED", "", training={"stopping": {"solved_validations": 0}}),
        "training.stopping.solved_validations: at least 1 is needed, got 0",
    ),
    "length": (Control("gru", 1, "SOLVED", ""), "expect, seqlen, at: no AddingProblem at 1 token"),
    "verdict": (Control("gru", 8, "FINE", ""), "expect, seqlen, at: 'FINE' is not a verdict that "),
    "level": (
        Control("gru", 8, "AT SHORTCUT (first)", ""),
        "expect: 'first' is not a level at 8 tokens; allowed: last_marker, last_marker_and_mean, "
        "marker_blind",
    ),
    "test set": (
        Control("gru", 8, "SOLVED", "", test_set="hard"),
        "test_set: 'hard' is not a further test set; allowed: ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_control_costs_one_line(declare, name):
    control, line = WRONG[name]
    with pytest.raises(StudyError) as caught:
        declare(adding_problem=(control,))
    assert str(caught.value).startswith(f"tasks/adding_problem.py: controls.0.{line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"at": 1}, "SOLVED says nothing at 1 tokens: the shortcut count_threshold scores 1 and "),
        ({"seqlen": 8}, "SOLVED says nothing at 8 tokens: up to 100% of the test examples are "),
        # 1 - exp(-64000 / 2^16) of them, and of half as many
        ({"seqlen": 16}, "SOLVED says nothing at 16 tokens: up to 62% of the test examples are "),
        ({"seqlen": 16, "training": {"steps": 500}}, None),
        ({"seqlen": 16, "training": {"examples": 32_000}}, None),
        ({"seqlen": 8, "at": 64}, None),
        ({"seqlen": 8, "task_settings": {"shortest": 1}, "test_set": "longest"}, None),
        ({"seqlen": 8, "expect": "NOT SOLVED"}, None),
    ],
)
def test_a_positive_control_is_not_solved_by_a_shortcut_or_a_table(declare, changes, line):
    known = {"model": "gru", "seqlen": 64, "expect": "SOLVED", "why": ""} | changes
    if line is None:
        assert declare(parity=(Control(**known),))
        return
    with pytest.raises(StudyError) as caught:
        declare(parity=(Control(**known),))
    assert str(caught.value).startswith(f"tasks/parity.py: controls.0.expect: {line}")
    assert "; use " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("shortcut", "refused"), [(0.1, True), (0.05, True), (0.2, False)])
def test_a_shortcut_beyond_solved_is_below_it_where_lower_is_better(
    declare, monkeypatch, shortcut, refused
):
    task = registry.task_class("adding_problem")
    levels = [
        Level("mse", "solved", "solved", 0.1, ""),
        Level("mse", "first", "shortcut", shortcut, ""),
        Level("r2", "first", "shortcut", 1.0, ""),  # of another metric
        Level("mse", "first", "shortcut", 0.0, "", slice="near"),
    ]
    for name, value in {"metric": "mse", "better": "lower", "levels": lambda _: levels}.items():
        monkeypatch.setattr(task, name, value)
    control = Control("gru", 8, "SOLVED", "")
    if refused:
        with pytest.raises(StudyError, match=f"first scores {shortcut} and solved is 0.1; use"):
            declare(adding_problem=(control,))
    else:
        assert declare(adding_problem=(control,))


def test_the_control_studies_of_the_project_are_in_step():
    for name, text in control_study.texts().items():
        path = ROOT / "config/studies" / f"{name}.yaml"
        found = path.read_text() if path.exists() else ""
        assert found == text, "run `python -m seqgrid.controls`"


def test_the_controls_of_a_cpu_do_not_take_long():
    minutes = {
        (name, json.dumps([c.training, c.settings, c.task_settings, c.seqlen, c.model])): (
            c.cpu_minutes or 0
        )
        for name in registry.names("task")
        for c in registry.task_class(name).controls
    }
    assert sum(minutes.values()) < LONGEST_RUN


# -- expected against observed -------------------------------------------------------------------


def compared(made, **entry):
    """The only row of `expectations` for an expectation about tables."""
    full = {"model": "model", "task": "task", "seqlen": None, "evaluated": None, "test_set": ""}
    made.about["config"] = {"expect": [full | {"verdict": "SOLVED", "why": "known"} | entry]}
    read = made.read()
    [row] = expectations.build(read, summary.build(read)).to_pylist()
    return row


def scored(values, **columns):
    return Tables().levels("task", [64], **LEVELS).cells("model", "task", 64, values, **columns)


MET = [
    ([0.99, 0.97], "SOLVED", True),
    ([0.99, 0.5], "SOLVED", False),
    ([0.5, 0.5], "SOLVED", False),
    ([0.5, 0.5], "NOT SOLVED", True),
    ([0.99, 0.5], "NOT SOLVED", False),
    ([0.1, 0.1], "AT CHANCE", True),
    ([0.6, 0.1], "AT CHANCE", False),
    ([0.6, 0.6], "AT SHORTCUT", True),
    ([0.6, 0.6], "AT SHORTCUT (chunk)", True),
    ([0.6, 0.6], "AT SHORTCUT (bag)", False),
    ([0.8, 0.8], "AT SHORTCUT", False),
    ([0.61, 0.61], "AT SHORTCUT (bag)", False),
    ([0.8, 0.8], "ABOVE chance", True),  # and above more than that
    ([0.8, 0.8], "ABOVE chunk", True),
    ([0.4, 0.4], "ABOVE chunk", False),
    ([0.99, 0.1], "UNSTABLE ACROSS SEEDS", True),
    # What no rule has said and no interval excludes is not unmet.
    ([0.98, 0.98], "UNSTABLE ACROSS SEEDS", None),
    ([0.105, 0.5], "ABOVE chance", None),
    ([0.305, 0.305], "ABOVE bag", None),
    ([0.6, 0.6], "ABOVE bag", True),
    ([float("nan"), 0.99], "SOLVED", False),
]


@pytest.mark.parametrize(("values", "verdict", "met"), MET)
def test_an_expectation_is_met_or_not(values, verdict, met):
    row = compared(scored(values), verdict=verdict)
    assert row["met"] is met
    assert (row["expected"], row["asked"], row["why"]) == (verdict, 2, "known")
    assert row["observed"]
    assert row["reason"]


@pytest.mark.parametrize(
    "verdict", ["SOLVED", "NOT SOLVED", "AT CHANCE", "ABOVE chance", "AT CEILING", "AT SHORTCUT"]
)
@pytest.mark.parametrize("value", [0.99, 0.2])
def test_values_without_an_interval_meet_and_miss_nothing(verdict, value):
    row = compared(scored([value] * 3, half=float("nan")), verdict=verdict)
    assert row["met"] is None


def test_one_seed_that_has_not_solved_it_is_enough_beside_values_without_an_interval():
    mixed = scored([0.99, 0.2]).cell("model", "task", 64, 2, 0.99, half=float("nan"))
    assert compared(mixed)["met"] is False
    assert compared(mixed, verdict="NOT SOLVED")["met"] is False


def test_no_task_that_cannot_show_learning_counts_as_solved():
    made = Tables().levels("task", [64], chance=0.5, ceiling=0.5, solved=0.4)
    made.cells("model", "task", 64, [0.5, 0.5])
    assert compared(made)["met"] is False
    assert compared(made, verdict="UNLEARNABLE AS SCORED")["met"] is True


@pytest.mark.parametrize("outcome", ["missing", "timed_out", "failed", "out_of_memory", "killed"])
def test_nothing_is_said_while_a_cell_is_open(outcome):
    made = scored([0.99]).cell("model", "task", 64, 1, outcome=outcome)
    row = compared(made)
    assert row["met"] is None
    assert outcome in row["reason"]
    assert (row["final"], row["asked"]) == (1, 2)


def test_a_finished_cell_that_is_not_evaluated_is_open():
    row = compared(scored([0.99]).cell("model", "task", 64, 1))
    assert (row["met"], row["begun"]) == (None, 2)


def test_a_diverged_seed_has_not_solved_it_and_a_skipped_one_is_not_asked():
    diverged = scored([0.99]).cell("model", "task", 64, 1, outcome="diverged")
    assert compared(diverged)["met"] is False
    assert compared(diverged, verdict="DIVERGED")["met"] is True
    skipped = scored([0.99]).cell("model", "task", 64, 1, outcome="skipped")
    assert compared(skipped)["met"] is True
    assert compared(scored([None], outcome="skipped"))["met"] is False
    assert compared(scored([None], outcome="skipped"), verdict="SKIPPED")["met"] is True


def test_an_expectation_is_about_its_place():
    made = scored([0.99, 0.98], elsewhere={256: 0.1, (64, "sparse", ""): 0.6})
    made.levels("task", [256], **LEVELS).levels("task", [64], test_set="sparse", **LEVELS)
    assert compared(made, evaluated=64)["met"] is True
    assert compared(made, evaluated=256)["met"] is False
    assert compared(made, evaluated=256, verdict="AT CHANCE")["met"] is True
    assert compared(made, test_set="sparse")["met"] is False
    assert compared(made, test_set="sparse", verdict="AT SHORTCUT (chunk)")["met"] is True
    nowhere = compared(made, test_set="dense")
    there = "no test result there; there are results at 64 tokens, 64 tokens sparse, 256 tokens"
    assert (nowhere["met"], nowhere["reason"]) == (None, there)
    mistyped = compared(made, verdict="AT SHORTCUT (chunks)")
    assert mistyped["met"] is None
    assert mistyped["reason"].startswith("there is no level chunks there; there are ")


def test_without_a_length_every_training_length_is_compared():
    made = scored([0.99]).levels("task", [32], **LEVELS).cell("model", "task", 32, 0, 0.2)
    made.about["config"] = {
        "expect": [
            {"model": "model", "task": "task", "seqlen": None, "evaluated": None, "test_set": "",
             "verdict": "SOLVED", "why": ""}
        ]
    }  # fmt: skip
    read = made.read()
    rows = expectations.build(read, summary.build(read)).to_pylist()
    assert [(r["seqlen_tokens"], r["met"]) for r in rows] == [(32, False), (64, True)]


def test_the_report_sets_expected_against_observed(tmp_path):
    made = scored([0.99, 0.5])
    compared(made)  # sets what is expected
    page = write(made.write(tmp_path)).read_text()
    section = page.partition("## Expected against observed")[2].partition("\n## ")[0]
    assert "Of 1 expectations 0 are met, 1 are not, and 0 cannot be told yet." in section
    assert "| NO" in section
    assert "1 of 2 seeds solved it" in section
    assert pq.read_table(tmp_path / "expectations.parquet").num_rows == 1
    assert "Expected against" not in write(scored([0.99]).write(tmp_path)).read_text()


# -- the controls behind another study -----------------------------------------------------------


def test_a_failed_control_marks_every_group_of_its_task(tmp_path):
    made = scored([0.99, 0.98, 0.97]).levels("other", [64], **LEVELS)
    made.cells("model", "other", 64, [0.99, 0.98, 0.97]).control("other")
    made.control("task", state="failed")
    page = write(made.write(tmp_path)).read_text()
    verdicts = pq.read_table(tmp_path / "verdicts.parquet").to_pylist()
    [failed] = [v for v in verdicts if v["verdict"] == "CONTROL FAILED"]
    assert failed["task"] == "task"
    [evidence] = json.loads(failed["evidence"])["controls"]
    assert evidence["expected"] == "SOLVED"
    assert evidence["paths"] == ["gru/task/L8/seed0-0123456789"]
    first_screen = " ".join(page.partition("## 1 Coverage")[0].split())
    assert "1 of 2 controls of these tasks passed" in first_screen
    assert "**CONTROL FAILED** on task: gru, trained at 8 tokens: SOLVED expected, AT" in page
    assert "model at 64 (CONTROL FAILED)" in first_screen
    assert first_screen.count("(CONTROL FAILED)") == 1


def test_controls_that_were_not_run_are_named(tmp_path):
    made = scored([0.99]).control("task", state="not run", observed="PARTIAL 0/1")
    made.control("bare", state="not declared", control="", study="", paths=[])
    made.control("half").control("half", state="partial", study="controls_gpu")
    page = write(made.write(tmp_path)).read_text()
    answer = " ".join(page.partition("## 1 Coverage")[0].split())
    assert "No control has been run of task: nothing shows that" in answer
    assert "Not every control was run of half." in answer
    assert "No control is declared for bare." in answer
    section = page.partition("Controls\n")[2]
    assert "snakemake controls\n" in section
    assert "snakemake --config study=controls_gpu\n" in section
    verdicts = pq.read_table(tmp_path / "verdicts.parquet").to_pylist()
    assert "CONTROL FAILED" not in {v["verdict"] for v in verdicts}


def test_the_state_of_a_control_follows_from_its_expectation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adding = "tasks: {adding_problem: {settings: {markers: halves}}}\nmodels: {gru: }\n"
    entry = "expect: [{model: gru, task: adding_problem, verdict: SOLVED, why: known}]\n"
    text = f"question: which?\n{adding}lengths: [8]\nseeds: 0..1\n{entry}"
    results = Results(tmp_path, text, "controls")
    made = Tables(config={"expect": [e.model_dump() for e in results.study.expect]})
    made.levels("adding_problem", [8], **LEVELS)
    states = []
    for cells in ([("missing", None)] * 2, [("finished", 0.99), ("missing", None)],
                  [("finished", 0.99)] * 2, [("finished", 0.5)] * 2):  # fmt: skip
        made.rows["cells"] = []
        made.rows["evaluations"] = []
        for seed, (outcome, value) in enumerate(cells):
            made.cell("gru", "adding_problem", 8, seed, value, outcome=outcome)
        found = controls.Controls("controls", results.study, results.plan())
        rows = control_results.rows(["adding_problem", "mqar"], [(found, made.read())])
        states.append([row["state"] for row in rows])
        assert json.loads(rows[0]["settings"]) == {"markers": "halves"}
    first = [state for state, _ in states]
    assert first == ["not run", "partial", "passed", "failed"]
    assert {last for _, last in states} == {"not declared"}


ADDING = """
question: which one?
models: {gru: , lstm: }
tasks: {adding_problem: }
lengths: [8]
seeds: [0]
"""
CONTROLS = """
question: can it be learned?
models: {gru: {settings: {d_model: 8}}}
tasks: {adding_problem: , mqar: }
lengths: [16]
seeds: [0]
expect: [{model: gru, task: adding_problem, verdict: SOLVED}]
"""


@pytest.fixture
def both(tmp_path, monkeypatch):
    """A study, and the controls of its task and of another."""
    monkeypatch.chdir(tmp_path)
    return Results(tmp_path, ADDING), Results(tmp_path, CONTROLS, "controls")


def digest(results):
    behind = controls.behind("small", results.rows, results.folder)
    return collection.digest(results.study, results.plan(), behind)


def test_a_report_is_made_anew_when_controls_have_been_run(both):
    small, known = both
    before = digest(small)
    assert digest(small) == before
    known.part("finished", row=1, evaluated=True)  # of a task that the study does not use
    assert known.rows[1].cell.task == "mqar"
    assert digest(small) == before
    known.part("finished", row=0, evaluated=True)
    after = digest(small)
    assert after != before
    write_study(Path(), CONTROLS.replace("SOLVED", "AT CHANCE"), "controls")
    assert digest(small) not in (before, after)


def test_a_run_asks_for_a_new_report_and_then_for_nothing(both):
    small, known = both
    for row in range(2):
        small.part("finished", row=row, evaluated=True)
    folder = collection.stamps(small.folder, "small")
    folder.mkdir(parents=True)
    for name in ("cells.parquet", "report.md", "report.html"):
        (folder.parent / name).write_text("made")
    (folder / "1.collected").write_text(digest(small))
    assert driver.start({"study": "small"}).targets[0].endswith("/1.reported")
    known.part("finished", row=0, evaluated=True)
    assert driver.start({"study": "small"}).targets[0].endswith("/2.reported")


def test_no_control_stands_behind_a_control_study_and_a_broken_one_stops_nothing(both, capsys):
    small, known = both
    assert controls.behind("controls", known.rows, known.folder) == []
    [found] = controls.behind("small", small.rows, small.folder)
    assert [s.row.cell.task for s in found.standings] == ["adding_problem"]
    write_study(Path(), "question: [", "controls")
    assert controls.behind("small", small.rows, small.folder) == []
    assert "the controls cannot be read" in capsys.readouterr().err


# -- seen in training ----------------------------------------------------------------------------


def seen(bits, examples, **columns):
    made = scored([0.99] * 3, log2_inputs=bits, seen_examples=examples, **columns)
    rows = summary.build(made.read())["verdicts"].to_pylist()
    return [v for v in rows if v["verdict"] == "SEEN IN TRAINING"]


def test_tests_seen_in_training_are_counted_as_drawing_counts_them():
    [found] = seen(10.0, 500)
    share = json.loads(found["evidence"])["share"]
    random = np.random.default_rng(0)
    drawn = [np.isin(random.integers(1024, size=50), random.integers(1024, size=500)).mean()
             for _ in range(400)]  # fmt: skip
    assert share == pytest.approx(np.mean(drawn), abs=0.015)
    assert found["label"] == "SEEN IN TRAINING up to 39%"
    assert "memorising could have scored that much" in found["statement"]


@pytest.mark.parametrize(
    ("bits", "examples", "label"),
    [
        (0.0, 1, "SEEN IN TRAINING up to 100%"),
        (20.0, 10_540, "SEEN IN TRAINING up to 1%"),  # 1.0001 %
        (20.0, 10_000, None),
        (float("inf"), 10**12, None),
        (None, 10**6, None),
        (3.0, 0, None),
    ],
)
def test_few_inputs_are_said_and_many_are_not(bits, examples, label):
    assert [v["label"] for v in seen(bits, examples)] == ([label] if label else [])


def test_other_lengths_and_test_sets_hold_other_inputs():
    places = {128: 0.9, (64, "sparse", ""): 0.9}
    [found] = seen(3.0, 100, elsewhere=places)
    assert (found["evaluated_seqlen_tokens"], found["test_set"]) == (64, "")


def test_a_fixed_training_set_is_no_larger_than_it_is():
    cell = Cell(model="gru", task="adding_problem", seqlen=8, seed=0)
    fixed = cell.model_copy(update={"training": Training(examples=100, batch_size=8)})
    assert [facts.seen(c, 50) for c in (cell, fixed)] == [50 * 64, 100]
    assert facts.seen(fixed, 3) == 24
    assert facts.log2_inputs(cell) == float("inf")


# -- from the task file to the report ------------------------------------------------------------

FIRST = (ROOT / "docs/add-a-task.md").read_text().partition("```python\n")[2].partition("```")[0]
DECLARED = """
    controls: ClassVar = (
        Control(
            "lstm", 3, "SOLVED", "three tokens are no burden", settings={"d_model": 16},
            training={"steps": 400, "learning_rate": 1e-2, "validation": {"every_steps": 50}},
            cpu_minutes=0.1,
        ),
        Control(
            "lstm", 12, "SOLVED", "it is not, in two steps", settings={"d_model": 16},
            training={"steps": 2, "validation": {"every_steps": 2}}, cpu_minutes=0.1,
        ),
    )
    settings: Settings

    @property
    def shape"""
OTHER = """
question: and what else?
models: {gru: {settings: {d_model: 8}}}
tasks: {first_token: }
lengths: [4]
seeds: [0]
training: {steps: 2, batch_size: 4}
validation: {every_steps: 2, examples: 8}
evaluation: {examples: 8}
"""


@pytest.fixture
def controlled(project):
    """A project whose only task has two controls, one of which fails."""
    for path in (project.folder / "workflow/seqgrid/tasks").glob("[a-z]*.py"):
        path.unlink()
    text = FIRST.replace("import Level, Task", "import Control, Level, Task")
    text = text.replace(
        "    settings: Settings\n\n    @property\n    def shape", DECLARED.strip("\n")
    )
    project.add("task", "first_token", text)
    done = project.run("seqgrid.controls")
    assert done.returncode == 0, done.stderr
    project.study(OTHER)
    return project


def test_the_target_chooses_the_study(controlled):
    known = {"train": 2, "evaluate": 2, "collect": 1, "report": 1}
    assert controlled.missing("controls") == known | {"controls": 1}
    assert controlled.missing(study="controls") == known


@pytest.mark.slow
def test_controls_from_the_task_file_to_every_report(controlled):
    done = controlled.snakemake()
    assert done.returncode == 0, done.text
    report = controlled.folder / "results/studies/small/report.md"
    assert "No control has been run of first_token" in " ".join(report.read_text().split())

    done = controlled.snakemake("controls")
    assert done.returncode == 0, done.text
    assert "expectations: 1 met, 1 NOT MET" in done.text
    assert "NOT MET first_token 2: lstm d_model=16, trained at 12 tokens" in done.text
    assert "results/studies/controls/report.md" in done.text
    assert controlled.missing(study="controls") == {}
    assert controlled.missing("controls") == {"controls": 1}
    checked = controlled.run("seqgrid.controls", "--check", "controls")
    assert checked.returncode == 1
    assert "expectations: 1 met, 1 NOT MET" in checked.stdout

    assert controlled.missing() == {"collect": 1, "report": 1}
    done = controlled.snakemake()
    assert done.returncode == 0, done.text
    text = " ".join(report.read_text().split())
    assert "1 of 2 controls of these tasks passed" in text
    assert "**CONTROL FAILED** on first_token" in text
    [row] = pq.read_table(report.parent / "cells.parquet").to_pylist()
    assert (row["seen_examples"], row["log2_inputs"]) == (8, float("inf"))
    assert controlled.missing() == {}
