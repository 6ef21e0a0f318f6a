"""What an import refuses: every mistake of a mapping or its tables gets its line."""

from pathlib import Path

import pyarrow as pa
import pytest
from importing import (
    RUNS,
    SCORES,
    column,
    intervals,
    keys,
    parquet,
    study_in,
    with_table,
)

from seqgrid import __main__ as command
from seqgrid import imports, tables


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A function that writes the files of a study and imports it: the exit code and the folder."""
    return study_in(tmp_path, monkeypatch)


PUBLISHED = {"model": "theirs", "task": "recall", "seqlen": 64, "value": 0.9, "source": "a paper"}


MISTAKES = {
    "unknown key": (keys(nmae="x"), {}, ["nmae", "did you mean 'name'"]),
    "unknown column of ours": (column(1, "valeu", "acc"), {}, ["tables.1.columns.valeu", "value"]),
    "unknown column of theirs": (
        column(1, "value", "accuracy"),
        {},
        ["'accuracy' is not a column of", "net, seed, acc"],
    ),
    "no such file": (with_table(0, file="nowhere.csv"), {}, ["tables.0.file", "nowhere.csv"]),
    "column left out": (
        with_table(1, constants={"task": "recall", "metric": "accuracy"}),
        {},
        ["seqlen_tokens is needed in rows: evaluations"],
    ),
    "unknown label": (
        None,
        {"scores.csv": "net,seed,acc\nC,0,91\n"},
        ["scores.csv line 2 column 'net'", "'C'", "theirs, ours"],
    ),
    "no number": (
        None,
        {"scores.csv": "net,seed,acc\nA,0,91%\n"},
        ["scores.csv line 2 column 'acc'", "a number is needed", "'91%'"],
    ),
    "no whole number": (
        None,
        {"scores.csv": "net,seed,acc\nA,0.5,91\n"},
        ["line 2 column 'seed'", "a whole number"],
    ),
    "a length of nothing": (
        with_table(1, constants={"task": "recall", "seqlen_tokens": 0, "metric": "accuracy"}),
        {},
        ["scores.csv: constants.seqlen_tokens", "from 1 on", "got 0"],
    ),
    "a seed too large": (
        None,
        {
            "runs.csv": "net,seed,state\nA,99999999999999999999,DONE\n",
            "scores.csv": "net,seed,acc\n",
        },
        ["runs.csv line 2 column 'seed'", "a whole number"],
    ),
    "unknown outcome": (
        None,
        {"runs.csv": "net,seed,state\nA,0,CRASHED\n"},
        ["runs.csv line 2 column 'state'", "finished", "values: {outcome:"],
    ),
    "percent": (with_table(1, scale={}), {}, ["share from 0 to 1", "scale: {value: 0.01}"]),
    "run twice": (
        None,
        {"runs.csv": RUNS + "A,0,CUT\n"},
        ["runs.csv line 5", "runs.csv line 2", "theirs on recall at 64 tokens, seed 0"],
    ),
    "value twice": (
        None,
        {"scores.csv": SCORES + "A,0,92\n"},
        ["scores.csv line 4", "scores.csv line 2", "seed 0"],
    ),
    "no outcome": (
        None,
        {"scores.csv": SCORES + "A,7,92\n"},
        ["scores.csv line 4", "nothing says how", "outcome"],
    ),
    "blank key": (
        None,
        {"scores.csv": "net,seed,acc\nA,,91\n"},
        ["scores.csv line 2 column 'seed'", "seed is needed"],
    ),
    "ragged": (None, {"scores.csv": "net,seed,acc\nA,0\n"}, ["scores.csv line 2", "2 fields"]),
    "not text": (None, {"scores.csv": b"net\xff\xfe\n"}, ["scores.csv", "not UTF-8"]),
    "not JSON": (
        with_table(1, file="scores.json"),
        {"scores.json": '[{"net": "A",'},
        ["scores.json line 1", "not JSON"],
    ),
    "not Parquet": (
        with_table(1, file="scores.parquet"),
        {"scores.parquet": b"PAR1 nonsense"},
        ["scores.parquet", "no Parquet file"],
    ),
    "a pickle": (
        with_table(1, file="scores.pkl"),
        {"scores.pkl": b"\x80\x04."},
        ["scores.pkl", "csv, tsv, json, jsonl, parquet"],
    ),
    "pattern": (
        with_table(1, parse=[{"pattern": "(?P<seed>["}]),
        {},
        ["tables.1.parse.0.pattern", "not a regular expression"],
    ),
    "pattern that does not match": (
        with_table(
            1, columns={"model": "net", "value": "acc"}, parse=[{"pattern": "L(?P<seed>[0-9])"}]
        ),
        {},
        ["'scores.csv' does not match"],
    ),
    "unknown model file": (
        keys(models={"theirs": {"model": "gur"}, "ours": {}}),
        {},
        ["models.theirs.model", "did you mean 'gru'"],
    ),
    "unknown claim label": (
        keys(
            claims=[{"statement": "x", "place": {"model": "x", "task": "recall"}, "is": "SOLVED"}]
        ),
        {},
        ["claims.0.place.model", "theirs, ours"],
    ),
    "metric without a direction": (
        with_table(1, constants={"task": "recall", "seqlen_tokens": 64, "metric": "perplexity"}),
        {},
        ["scores.csv line 2", "which values of 'perplexity' are better"],
    ),
    "invalid result with a test value": (
        column(0, "result_valid", "ok"),
        {"runs.csv": "net,seed,state,ok\nA,0,DONE,no\nA,1,DONE,yes\n"},
        ["scores.csv line 2", "runs.csv line 2", "origin validation"],
    ),
    "a pattern that takes for ever": (
        with_table(
            1,
            columns={"model": "net", "value": "acc"},
            parse=[{"column": "net", "pattern": "^(?P<seed>(?:[0-9]+)+)$"}],
        ),
        {"scores.csv": f"net,seed,acc\n{'1' * 60}x,0,91\n"},
        ["tables.1.parse.0.pattern: ^(?P<seed>(?:[0-9]+)+)$ is not done with '1111", "write a+"],
    ),
    "a pattern that repeats too often": (
        with_table(1, parse=[{"pattern": "(?P<seed>a{99999999999})"}]),
        {},
        ["tables.1.parse.0.pattern: not a regular expression: the repetition number is too large"],
    ),
    "columns between two marks": (
        None,
        {"scores.csv": "net,seed,acc,x;net;seed;acc;y\nA,0,91,x;A;0;91;y\n"},
        ["tables.1.file: scores.csv: its columns may stand between commas or semicolons"],
    ),
    "a thousand, or three decimals": (
        None,
        {"scores.csv": "net;seed;acc\nA;0;1.234\n"},
        ["tables.1.decimal: scores.csv: '1.234' may be a thousand", "say `decimal: comma` or"],
    ),
    "decimals by comma and by point": (
        None,
        {"scores.csv": "net;seed;acc\nA;0;91,5\nA;1;0.5\n"},
        ["tables.1.decimal: scores.csv: it has numbers like '91,5' and like '0.5'"],
    ),
    "a point in a file of decimal commas": (
        with_table(1, decimal="comma"),
        {"scores.csv": "net\tseed\tacc\nA\t0\t1.234\n"},
        ["scores.csv line 2 column 'acc': a number with a decimal comma, and no point", "'1.234'"],
    ),
    "thousands by commas": (
        None,
        {"scores.csv": "net\tseed\tacc\nA\t0\t1,234\nA\t1\t12.5\n"},
        ["scores.csv line 2 column 'acc': a number is needed, got '1,234'"],
    ),
    "a value on two lines": (
        None,
        {"scores.csv": 'net,seed,acc\n"A\nB",0,91\n'},
        ["scores.csv line 3 column 'net': 'A\\nB' is not a model here"],
    ),
    "an underscore": (
        None,
        {"scores.csv": "net,seed,acc\nA,0,9_1\n"},
        ["column 'acc': a number is needed, got '9_1'"],
    ),
    "thousands": (
        None,
        {"scores.csv": 'net,seed,acc\nA,0,"1,091"\n'},
        ["column 'acc': a number is needed, got '1,091'"],
    ),
    "a factor of nothing": (
        with_table(1, scale={"value": 0}),
        {},
        ["a factor of 0 leaves nothing"],
    ),
    "a name too long": (with_table(1, file="x" * 5000), {}, ["tables.1.file: no such file: xxx"]),
    "a number too long": (
        with_table(1, file="scores.json"),
        {"scores.json": '[{"net": "A", "seed": 0, "acc": ' + "9" * 5000 + "}]"},
        ["scores.json: Exceeds the limit"],
    ),
    "a seed of 400 digits": (
        with_table(1, file="scores.json"),
        {"scores.json": '[{"net": "A", "seed": ' + "9" * 400 + ', "acc": 91}]'},
        ["scores.json row 1 column 'seed': a number is needed"],
    ),
    "a key twice in an object": (
        with_table(1, file="scores.json"),
        {"scores.json": '[{"net": "A", "seed": 0, "acc": 91, "acc": 92}]'},
        ["scores.json: key 'acc' stands twice in one object"],
    ),
    "text that is none": (
        with_table(1, file="scores.json"),
        {"scores.json": r'[{"net": "\ud800", "seed": 0, "acc": 91}]'},
        ["scores.json row 1 column 'net'", "UTF-8"],
    ),
    "nested Parquet": (
        with_table(1, file="scores.parquet"),
        {"scores.parquet": parquet(net=["A"], seed=[0], acc=[{"best": 91}])},
        ["'acc' is not a column of scores.parquet", "allowed: net, seed, acc.best"],
    ),
    "a time beyond all": (
        with_table(1, file="scores.parquet"),
        {"scores.parquet": parquet(net=["A"], t=pa.array([2**62], pa.timestamp("ms")))},
        ["scores.parquet: a value that cannot be read"],
    ),
    "a time that is no time": (
        lambda mapping: mapping["tables"][0].update(
            file="runs.json", columns=mapping["tables"][0]["columns"] | {"started_at": "t"}
        ),
        {"runs.json": '[{"net": "A", "seed": 0, "state": "DONE", "t": 1e300}]'},
        ["runs.json row 1 column 't': a time such as"],
    ),
    "an outcome that is none": (
        lambda mapping: mapping["tables"][0]["values"].pop("outcome"),
        {"runs.csv": "net,seed,state\nA,0,DONE\n"},
        ["'DONE' is not an outcome here"],
    ),
    "a comparison where nothing was trained": (
        keys(compare={"x": {"a": "theirs", "b": "ours", "on": {"seqlen": 99}}}),
        {},
        ["compare.x.on.seqlen: 99 is not a length at which both are trained; allowed: 64"],
    ),
    "a gate of no metric": (
        keys(gates=[{"model": "theirs", "task": "recall", "metric": "acc", "low": 0.5}]),
        {},
        ["gates.0.metric: 'acc' is not a metric; allowed: accuracy"],
    ),
    "a gate of a metric that no table has": (
        keys(gates=[{"model": "theirs", "task": "recall", "metric": "loss", "low": 0.5}]),
        {},
        ["gates.0.metric: 'loss' is not a metric of recall; allowed: accuracy"],
    ),
    "a published length that is none": (
        keys(published=[PUBLISHED | {"seqlen": 99}]),
        {},
        ["published.0.seqlen: 99 is not a length at which theirs is trained on recall; allowed"],
    ),
    "published percent": (
        keys(published=[PUBLISHED | {"value": 97}]),
        {},
        ["published.0.value: accuracy is a share from 0 to 1, got 97; for 97 % write 0.97"],
    ),
    "a level in percent": (
        lambda mapping: mapping["tasks"]["recall"]["levels"][1].update(value=100),
        {},
        [
            "tasks.recall.levels.1.value: ceiling: accuracy is a share from 0 to 1, got 100; for "
            "100 % write 1"
        ],
    ),
    "an interval that leaves its value out": (
        intervals(low="low", high="high"),
        {"scores.csv": "net,seed,acc,low,high\nA,0,99,8,12\n"},
        ["scores.csv line 2: low <= value <= high is needed, got 0.08, 0.99, 0.12"],
    ),
    "an interval the wrong way round": (
        intervals(low="low", high="high"),
        {"scores.csv": "net,seed,acc,low,high\nA,0,50,60,40\n"},
        ["scores.csv line 2: low <= value <= high is needed, got 0.6, 0.5, 0.4"],
    ),
    "a negative standard error": (
        intervals(standard_error="se"),
        {"scores.csv": "net,seed,acc,se\nA,0,50,-1\n"},
        ["scores.csv line 2: a standard_error is 0 or more, got -0.01"],
    ),
    "a published setting that is none": (
        keys(published=[PUBLISHED | {"settings": {"training.step": 3}}]),
        {},
        ["published.0.settings.training.step: 'step' is not a key of training"],
    ),
    "a level that is none": (
        keys(expect=[{"model": "theirs", "task": "recall", "verdict": "ABOVE chanc"}]),
        {},
        ["expect.0.verdict: 'chanc' is not a level of recall; allowed: ceiling, chance"],
    ),
    "a run of a seed that was not asked for": (
        lambda m: m.update(lengths=[64], seeds=[0]),
        {},
        ["runs.csv line 3: theirs on recall at 64 tokens, seed 1: 1 is not in `seeds` ([0])"],
    ),
    "a run of a length that was not asked for": (
        lambda m: m["tasks"]["recall"].update(lengths=[32]),
        {"runs.csv": RUNS.split("A,1")[0], "scores.csv": SCORES.split("A,1")[0]},
        ["64 is not in `lengths` ([32]); add it there"],
    ),
    "a test set that is none": (
        keys(expect=[{"model": "ours", "task": "recall", "verdict": "SOLVED", "test_set": "x"}]),
        {},
        ["expect.0.test_set: 'x' is not a test set of recall; allowed: none"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_one_line_and_nothing_is_written(study, capsys, monkeypatch, name):
    monkeypatch.setattr("seqgrid.foreign.patterns.SECONDS", 0.02)
    change, files, words = MISTAKES[name]
    code, folder = study(change or (lambda mapping: None), **files)
    said = capsys.readouterr().err
    assert code == 2
    assert not folder.exists()
    assert len(said.strip().splitlines()) == 1
    assert "Traceback" not in said
    assert said.startswith("mapping.yaml")
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"name: x\n\torigin: y\n", "line 2: a tab, where YAML has spaces"),
        (b"name: " + b"[" * 3000, "nested too deeply"),
        (b"name: \xff\n", "not UTF-8 text: byte 6 is 0xff"),
        (b"name: a\nname: b\n", "line 2: key 'name' stands here and in line 1"),
        (b"name: !!python/object/apply:os.system ['touch ran']\n", "could not determine"),
        (b"- 1\n", "a mapping with the keys name, question"),
        (b"", "a mapping with the keys name, question"),
    ],
)
def test_a_mapping_that_is_no_mapping_is_one_line(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.chdir(tmp_path)
    Path("mapping.yaml").write_bytes(text)
    assert command.main(["import", "mapping.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mapping.yaml: ")
    assert said in error
    assert error.count("\n") == 1
    assert not Path("ran").exists()


def test_every_mistake_gets_its_line(study, capsys):
    bad = {"scores.csv": "net,seed,acc\nC,0,91\nA,1,x\n", "runs.csv": RUNS + "A,2,GONE\n"}
    assert study(**bad)[0] == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3


def test_the_folder_of_a_study_that_was_run_here_is_never_overwritten(study, tmp_path, capsys):
    folder = tmp_path / "results" / "studies" / "elsewhere"
    (folder / ".made").mkdir(parents=True)
    assert study()[0] == 2
    assert "run here" in capsys.readouterr().err
    (folder / ".made").rmdir()
    tables.write(tables.from_rows("cells", []), folder / "cells.parquet")
    assert study()[0] == 2
    assert "not imported" in capsys.readouterr().err
    (folder / "cells.parquet").unlink()
    config = tmp_path / "config" / "studies"
    config.mkdir(parents=True)
    (config / "elsewhere.yaml").write_text("")
    assert study()[0] == 2
    assert "another name" in capsys.readouterr().err
    (config / "elsewhere.yaml").unlink()
    assert study()[0] == 0
    assert study()[0] == 0


def test_a_results_folder_that_cannot_be_is_one_line(study, tmp_path, capsys):
    study()
    (tmp_path / "taken").write_text("")
    assert imports.main(["mapping.yaml", "--no-report", "--results", "taken"]) == 2
    assert "cannot be written" in capsys.readouterr().err
