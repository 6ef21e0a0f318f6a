"""Studies run elsewhere: their tables become ours."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from importing import (
    RUNS,
    intervals,
    rows,
    study_in,
    with_table,
)

from seqgrid import imports, tables
from seqgrid.analysis.build import build
from seqgrid.foreign import mapping
from seqgrid.foreign.intervals import interval
from seqgrid.metrics import wilson
from seqgrid.report import reading


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A function that writes the files of a study and imports it: the exit code and the folder."""
    return study_in(tmp_path, monkeypatch)


def test_cells_values_and_levels_are_ours(study):
    code, folder = study()
    assert code == 0
    cells = {(c["model"], c["seed"]): c for c in rows(folder, "cells")}
    assert cells["theirs", 0]["evaluated"]
    assert cells["theirs", 0]["parameters"] == 1000
    done = cells["theirs", 1]
    assert (done["outcome"], done["evaluated"]) == ("finished", False)  # a blank is no value
    assert cells["ours", 0]["outcome"] == "timed_out"
    (value,) = rows(folder, "evaluations")
    assert value["value"] == pytest.approx(0.91)
    assert value["primary"]
    low, high = wilson(0.91, 200)
    assert (value["low"], value["high"]) == pytest.approx((low, high))
    assert [v["level"] for v in rows(folder, "levels")] == ["chance", "ceiling"]
    assert {r["status"] for r in rows(folder, "inventory")} == {"DONE", "CUT"}


def test_every_table_has_the_schema_of_ours_and_says_that_it_is_imported(study):
    _, folder = study()
    for name in ("cells", "parts", "history", "evaluations", "levels", "controls", "reported"):
        found = pq.read_schema(folder / f"{name}.parquet")
        assert found.names == tables.schema(name).names
        about = json.loads(found.metadata[b"seqgrid.study"])
        assert about["imported"] is True
        assert len(about["files"][0]["sha256"]) == 64


def test_runs_that_were_asked_for_and_stand_nowhere_are_missing(study):
    _, folder = study(lambda m: m.update(lengths=[64], seeds="0..2"))
    found = [c["outcome"] for c in rows(folder, "cells")]
    assert len(found) == 6
    assert found.count("missing") == 3


def test_learning_rates_that_no_table_names_are_not_said_to_be_one(study):
    for named, name in ((False, "LR UNKNOWN"), (True, "SINGLE LR")):
        rate = {"training": {"learning_rate": 1e-3}} if named else {}
        _, folder = study(lambda m, rate=rate: m.update(rate))
        found = {v["verdict"] for v in build(reading.read(folder))["verdicts"].to_pylist()}
        assert found & {"LR UNKNOWN", "SINGLE LR"} == {name}


def test_a_result_that_cannot_be_read_is_not_evaluated(study):
    def change(mapping):
        mapping["tables"][0]["columns"]["result_valid"] = "ok"

    valid = "net,seed,state,ok\nA,0,DONE,yes\nA,1,DONE,no\nB,0,CUT,\n"
    _, folder = study(change, **{"runs.csv": valid})
    second = next(c for c in rows(folder, "cells") if c["seed"] == 1)
    assert not second["evaluated"]
    assert "cannot be read" in second["reason"]


def test_a_value_of_a_checkpoint_is_of_validation(study):
    def change(mapping):
        mapping["tables"][1]["constants"]["origin"] = "validation"

    _, folder = study(change)
    assert rows(folder, "evaluations")[0]["origin"] == "validation"
    assert not any(c["evaluated"] for c in rows(folder, "cells"))
    assert rows(folder, "cells")[0]["best_validation_metric"] == pytest.approx(0.91)


def test_lines_of_json_may_hold_any_character(study):
    content = '{"net": "A", "seed": 0, "acc": 91, "note": "a\u2028b"}\n'
    code, folder = study(with_table(1, file="scores.jsonl"), **{"scores.jsonl": content})
    assert (code, len(rows(folder, "evaluations"))) == (0, 1)


FORMS = {
    "rows.json": json.dumps({"all": [{"net": "A", "run": {"seed": 0}, "acc": 91.0}]}),
    "rows.jsonl": '{"net": "A", "run": {"seed": 0}, "acc": 91.0}\n\n',
    "rows.tsv": "net\trun.seed\tacc\nA\t0\t91\n",
}


@pytest.mark.parametrize("name", [*FORMS, "rows.parquet"])
def test_the_same_rows_in_every_format(study, name):
    if name == "rows.parquet":
        pq.write_table(pa.table({"net": ["A"], "run": [{"seed": 0}], "acc": [91.0]}), name)
    at = "all" if name == "rows.json" else ""
    columns = {"model": "net", "seed": "run.seed", "value": "acc"}
    change = with_table(1, file=name, at=at, columns=columns)
    code, folder = study(change, **{k: v for k, v in FORMS.items() if k == name})
    assert code == 0
    assert [r["value"] for r in rows(folder, "evaluations")] == [pytest.approx(0.91)]


def test_steps_to_solve_are_those_of_the_first_validation_at_the_solved_level(study):
    """Its last step came later: a run that trains on would seem the slower one."""
    history = {
        "file": "curves.csv",
        "rows": "history",
        "columns": {"model": "net", "seed": "seed", "step_steps": "step", "metric": "what"},
        "values": {"model": {"A": "theirs", "B": "ours"}},
        "constants": {"task": "recall", "seqlen_tokens": 64},
    }
    history["columns"]["validation_metric"] = "value"
    solved = {"level": "bar", "kind": "solved", "value": 0.9, "derivation": "theirs"}

    def change(mapping):
        mapping["tables"].append(history)
        mapping["tasks"]["recall"]["levels"].append(solved)

    curves = "net,seed,step,what,value\nA,0,300,accuracy,0.95\nA,0,100,accuracy,0.5\n"
    curves += "A,0,200,accuracy,0.9\nA,1,100,loss,2.5\nB,0,100,accuracy,0.89\n"
    _, folder = study(change, **{"curves.csv": curves})
    cells = {(c["model"], c["seed"]): c for c in rows(folder, "cells")}
    found = [cells[key]["solved_step_steps"] for key in (("theirs", 0), ("theirs", 1), ("ours", 0))]
    assert found == [200, None, None]
    assert cells["theirs", 1]["best_validation_metric"] is None  # a loss is no accuracy
    # What the study itself says goes first.
    given = RUNS.replace("state\n", "state,at\n", 1).replace("0,DONE", "0,DONE,150")
    given = given.replace("1,DONE", "1,DONE,").replace("0,CUT", "0,CUT,")

    def says(mapping):
        change(mapping)
        mapping["tables"][0]["columns"]["solved_step_steps"] = "at"

    _, folder = study(says, **{"curves.csv": curves, "runs.csv": given})
    assert rows(folder, "cells")[0]["solved_step_steps"] == 150


@pytest.mark.parametrize(
    "text",
    [
        "net;seed;acc\nA;0;91,5\nA;1;1,234\n",
        "net\tseed\tacc\nA\t0\t91,5\nA\t1\t1,234\n",
        "net|seed|acc\nA|0|91.5\nA|1|1.234\n",
        "net,seed,acc\nA,0,91.5\nA,1,1.234\n",
        "net;seed;acc;of 90, rounded\nA;0;91,5;x\nA;1;1,234;x\n",
        'net,"seed",acc,"a;b;c"\nA,0,91.5,;\nA,1,1.234,;\n',
    ],
)
def test_columns_and_decimals_are_told_by_the_file(study, text):
    code, folder = study(**{"scores.csv": text})
    assert code == 0
    found = [r["value"] for r in rows(folder, "evaluations")]
    assert found == [pytest.approx(0.915), pytest.approx(0.01234)]


@pytest.mark.parametrize(("decimal", "written"), [("point", "1.234"), ("comma", "1,234")])
def test_what_numbers_do_not_tell_can_be_said(study, decimal, written):
    text = f"net;seed;acc\nA;0;{written}\n"
    code, folder = study(with_table(1, decimal=decimal), **{"scores.csv": text})
    assert code == 0
    assert rows(folder, "evaluations")[0]["value"] == pytest.approx(0.01234)


def test_wide_tables_names_of_files_and_epochs(study, tmp_path):
    def change(mapping):
        mapping["tables"] = [
            {
                "file": "log_*.csv",
                "rows": "history",
                "columns": {"step_steps": "epoch", "validation_metric": "val"},
                "parse": [{"pattern": "log_(?P<model>[a-z]+)_s(?P<seed>[0-9]+)"}],
                "epochs": {"steps": 100, "first": 0},
                "constants": {"task": "recall", "seqlen_tokens": 64},
            },
            {
                "file": "table.csv",
                "rows": "evaluations",
                "columns": {"model": "net"},
                "wide": {"s0": {"seed": 0}, "s1": {"seed": 1}},
                "constants": {
                    **{"task": "recall", "seqlen_tokens": 64},
                    **{"metric": "accuracy", "outcome": "finished"},
                },
            },
        ]

    files = {
        "log_theirs_s0.csv": "epoch,val\n0,0.2\n1,0.6\n2,0.5\n",
        "log_theirs_s1.csv": "epoch,val\n0,0.3\n",
        "table.csv": "net,s0,s1\ntheirs,0.5,0.4\nours,-,0.2\n",
    }
    code, folder = study(change, **files)
    assert code == 0
    steps = [r["step_steps"] for r in rows(folder, "history") if r["seed"] == 0]
    assert steps == [100, 200, 300]
    first = next(c for c in rows(folder, "cells") if (c["model"], c["seed"]) == ("theirs", 0))
    assert (first["best_validation_metric"], first["best_step_steps"]) == (0.6, 200)
    assert (first["last_validation_metric"], first["step_steps"]) == (0.5, 300)
    values = {(r["model"], r["seed"]): r["value"] for r in rows(folder, "evaluations")}
    assert values == {("theirs", 0): 0.5, ("theirs", 1): 0.4, ("ours", 1): 0.2}


def test_a_broken_result_file_can_stand_for_a_run_without_a_valid_result(study):
    def change(mapping):
        mapping["tables"] = [
            {
                "file": "result_*.json",
                "rows": "cells",
                "parse": [{"pattern": "result_(?P<model>[a-z]+)_s(?P<seed>[0-9]+)"}],
                "constants": {"task": "recall", "seqlen_tokens": 64, "outcome": "finished"},
                "unreadable": "invalid",
            }
        ]

    broken = {"result_theirs_s0.json": '{"test_mse": 0.1, "test', "result_ours_s0.json": "{}"}
    code, folder = study(change, **broken)
    assert code == 0
    found = {r["model"]: r["result_valid"] for r in rows(folder, "inventory")}
    assert found == {"theirs": False, "ours": None}
    assert "cannot be read" in rows(folder, "cells")[0]["reason"]


def test_intervals_are_of_what_is_known():
    given = {"low": 0.1, "high": 0.3, "examples": 10}
    assert interval("accuracy", 0.2, given, 1)["interval"] == "as given"
    stated = interval("loss", 2.0, {"standard_error": 0.1}, 1)
    assert (stated["low"], stated["high"]) == pytest.approx((1.804, 2.196), abs=1e-3)
    assert interval("loss", 2.0, {"examples": 100}, 1) == {}
    assert interval("r2", 0.5, {}, 1) == {}
    assert interval("accuracy", float("nan"), {"examples": 10}, 1) == {}


def test_an_interval_of_no_width_is_none():
    assert interval("accuracy", 0.5, {"standard_error": 0.0}, 1) == {}
    assert interval("accuracy", 0.5, {"low": 0.5, "high": 0.5}, 1) == {}
    assert interval("mse", 0.0, {"examples": 100}, 1) == {}
    exact = interval("saved_mb", 16.0, {"standard_error": 0.0}, 1)
    assert exact["low"] == exact["high"] == 16
    counted = interval("accuracy", 1.0, {"low": 1.0, "high": 1.0, "examples": 100}, 1)
    assert (counted["low"], counted["high"]) == wilson(1.0, 100)


def test_a_row_that_states_an_interval_of_no_width_has_none(study):
    columns = intervals(low="low", high="high")
    code, folder = study(columns, **{"scores.csv": "net,seed,acc,low,high\nA,0,99,99,99\n"})
    assert code == 0
    (found,) = rows(folder, "evaluations")
    assert (found["low"], found["high"]) == wilson(0.99, 200)


def test_a_reported_value_of_one_has_the_width_that_its_examples_leave(study):
    def change(mapping):
        about = {"rows": "reported", "columns": {"model": "net", "value": "acc"}}
        mapping["tables"][1] |= about
        mapping["tables"][1]["constants"] |= {"statistic": "mean"}

    code, folder = study(change, **{"scores.csv": "net,acc\nA,100\n"})
    assert code == 0
    (found,) = rows(folder, "reported")
    assert 1 - 1.96 * found["standard_error"] == pytest.approx(wilson(1.0, 200)[0], abs=1e-4)


def test_the_interval_of_r2_covers_a_constant_guess():
    """Of the sum of two uniforms a constant 1 has R2 0: 95 % intervals of 500 examples hold it."""
    import numpy as np

    generator = np.random.default_rng(0)
    errors = generator.random((400, 500)) + generator.random((400, 500)) - 1
    values = 1 - 6 * (errors**2).mean(1)
    held = [
        found["low"] <= 0 <= found["high"]
        for found in (interval("r2", value, {"examples": 500}, 1) for value in values)
    ]
    assert sum(held) / len(held) >= 0.95


def test_our_files_count_parameters_and_give_levels(study):
    def change(mapping):
        mapping["tasks"] = {"recall": {"task": "adding_problem", "examples": 100}}
        mapping["tables"][1]["constants"]["metric"] = "r2"

    code, folder = study(change)
    assert code == 0
    assert {"chance", "solved", "ceiling"} <= {v["level"] for v in rows(folder, "levels")}
    ours = next(c for c in rows(folder, "cells") if c["model"] == "ours")
    assert ours["parameters"] > 1000
    assert ours["model_file"] == "gru"


def test_a_task_that_does_not_exist_at_a_length_is_said(study, capsys):
    def change(mapping):
        mapping["tasks"] = {"recall": {"task": "flip_flop_unlearnable"}}
        for table in mapping["tables"]:
            table["constants"]["seqlen_tokens"] = 63

    assert study(change)[0] == 2
    said = capsys.readouterr().err
    assert "tasks.recall" in said
    assert "63" in said


def test_the_report_is_written_and_advises_no_command(study, tmp_path, capsys):
    study()
    assert imports.main(["mapping.yaml"]) == 0
    text = (tmp_path / "results" / "studies" / "elsewhere" / "report.md").read_text()
    assert "seqgrid did not run this study" in text
    assert "snakemake" not in text


PAGE = Path(__file__).parents[1] / "docs" / "import.md"


def test_the_example_of_the_page_gives_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = re.findall(r"`([\w.]+)`:\n\n```\w*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in files] == ["mapping.yaml", "runs.csv", "scores.csv"]
    for name, text in files:
        Path(name).write_text(text)
    folder = imports.write(Path("mapping.yaml"), tmp_path / "results")
    built = build(reading.read(folder))
    said = {(v["model"], v["label"]) for v in built["verdicts"].to_pylist()}
    assert {("theirs", "SOLVED 2/3 (0 surely)"), ("theirs", "PARTIAL 2/3")} <= said
    assert {("gru", "AT CHANCE"), ("gru", "PARTIAL 2/3")} <= said
    assert [c["status"] for c in built["claims"].to_pylist()] == ["not testable yet"]
    steps = {c["seed"]: c["step_steps"] for c in rows(folder, "cells") if c["model"] == "theirs"}
    assert steps == {0: 5000, 1: 5000, 2: 3100}


def test_the_page_names_every_key():
    text = PAGE.read_text()
    records = (mapping.Mapping, mapping.TableEntry, mapping.Origin, mapping.Epochs, mapping.Parse)
    missing = [
        name
        for record in (*records, mapping.TaskEntry, mapping.ModelEntry)
        for name in record.model_fields
        if f"`{name}`" not in text
    ]
    assert not missing


def test_a_run_that_a_row_names_as_missing_is_named(study):
    def change(mapping):
        mapping["tables"][0]["values"]["outcome"]["TODO"] = "missing"
        mapping["seeds"], mapping["lengths"] = [0, 1], [64]

    code, folder = study(change, **{"runs.csv": "net,seed,state\nA,0,DONE\nA,1,DONE\nB,0,TODO\n"})
    assert code == 0
    reasons = {(c["model"], c["seed"]): c["reason"] for c in rows(folder, "cells")}
    assert reasons["ours", 0] == "TODO, says its study"
    assert reasons["ours", 1] == "no table names it"


def test_levels_out_of_order_are_refused(study, capsys):
    def higher(mapping):
        levels = mapping["tasks"]["recall"]["levels"]
        levels[0]["value"], levels[1]["value"] = 0.9, 0.5
        levels.append({**levels[0], "level": "at other lengths", "lengths": [128], "value": 0.4})

    assert study(higher)[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tasks.recall.levels: chance chance 0.9 lies beyond ceiling ceiling 0.5" in line
    assert "accuracy, higher is better" in line

    def lower(mapping):
        levels = mapping["tasks"]["recall"]["levels"]
        for level, value in zip(levels, (2.0, 0.5), strict=True):
            level |= {"metric": "loss", "value": value}
        levels.append({**levels[0], "level": "solved", "kind": "solved", "value": 3.0})

    assert study(lower)[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "chance chance 2 lies beyond solved solved 3: loss, lower is better" in line
