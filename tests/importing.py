"""A foreign study of three runs to change, and what changes it."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from seqgrid import __main__ as command

MAPPING = {
    "name": "elsewhere",
    "question": "Does it recall?",
    "origin": {"who": "somebody", "where": "a repository", "date": "2026-01-19"},
    "models": {"theirs": {"parameters": 1000}, "ours": {"model": "gru"}},
    "tasks": {
        "recall": {
            "metric": "accuracy",
            "examples": 200,
            "levels": [
                {"level": "chance", "kind": "chance", "value": 0.1, "derivation": "one of ten"},
                {"level": "ceiling", "kind": "ceiling", "value": 1.0, "derivation": "all of it"},
            ],
        }
    },
    "tables": [
        {
            "file": "runs.csv",
            "rows": "cells",
            "columns": {"model": "net", "seed": "seed", "status": "state", "outcome": "state"},
            "values": {
                "model": {"A": "theirs", "B": "ours"},
                "outcome": {"DONE": "finished", "CUT": "timed_out"},
            },
            "constants": {"task": "recall", "seqlen_tokens": 64},
        },
        {
            "file": "scores.csv",
            "rows": "evaluations",
            "columns": {"model": "net", "seed": "seed", "value": "acc"},
            "values": {"model": {"A": "theirs", "B": "ours"}},
            "scale": {"value": 0.01},
            "constants": {"task": "recall", "seqlen_tokens": 64, "metric": "accuracy"},
        },
    ],
}
RUNS = "net,seed,state\nA,0,DONE\nA,1,DONE\nB,0,CUT\n"
SCORES = "net,seed,acc\nA,0,91\nA,1,\n"


def study_in(tmp_path, monkeypatch):
    """A function that writes the files of a study and imports it: the exit code and the folder."""
    monkeypatch.chdir(tmp_path)

    def run(change=lambda mapping: None, **files):
        mapping = json.loads(json.dumps(MAPPING))
        change(mapping)
        content = {"runs.csv": RUNS, "scores.csv": SCORES} | files
        for name, text in content.items():
            if isinstance(text, bytes):
                Path(name).write_bytes(text)
            else:
                Path(name).write_text(text)
        Path("mapping.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
        code = command.main(["import", "mapping.yaml", "--no-report"])
        return code, tmp_path / "results" / "studies" / "elsewhere"

    return run


def rows(folder, table):
    return pq.read_table(folder / f"{table}.parquet").to_pylist()


def with_table(table, **changes):
    def change(mapping):
        mapping["tables"][table] |= changes

    return change


def column(table, ours, theirs):
    def change(mapping):
        mapping["tables"][table]["columns"][ours] = theirs

    return change


def intervals(**columns):
    """A change of the mapping: columns of percent on the interval of a score."""

    def change(mapping):
        mapping["tables"][1]["columns"] |= columns
        mapping["tables"][1]["scale"] |= dict.fromkeys(columns, 0.01)

    return change


def keys(**changes):
    return lambda mapping: mapping.update(changes)


def parquet(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
