"""The whole way from Parquet to the page, on synthetic studies of every kind."""

import json
import re
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_text import section, tables_of
from tables_factory import Tables, everything

from seqgrid.analysis.build import build
from seqgrid.report import answer, seeds
from seqgrid.report.__main__ import main, write
from seqgrid.report.content import Content
from seqgrid.report.markdown import DAGGER, STALE, number, table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = everything().write(tmp_path_factory.mktemp("study"))
    write(made)
    return made


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.md").read_text(encoding="utf-8")


def results_tables(page):
    """(task, length, rows) of each results table."""
    parts = re.split(r"^\*\*(.+), trained and evaluated at (\d+) tokens\*\*$", page, flags=re.M)
    for task, length, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        yield task, int(length), tables_of(text)[0]


def test_a_task_that_only_the_test_score_solved_was_solved_by_the_last_step(page):
    rows = tables_of(section(page, "Convergence"))[0]
    at = {(r["model"], r["task"], r["length"]): r["at"] for r in rows}
    assert at["deltanet", "selective_copy", "64"] == "by 2,000"
    assert at["deltanet", "mqar", "64"] == "900"


def test_every_number_of_a_results_table_is_the_one_of_the_summary(folder, page):
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    seen = 0
    for task, length, printed in results_tables(section(page, "Results")):
        for line in printed:
            (row,) = (
                r
                for r in rows
                if (r["task"], r["seqlen_tokens"], r["model"]) == (task, length, line["model"])
                and r["evaluated_seqlen_tokens"] == length
                and r["weights"] == "best"
            )
            seen += 1
            assert line["n"] == f"{row['final']}/{row['asked'] - row['skipped']}"
            assert line["median"].rstrip(DAGGER + STALE) == number(row["median"])
            if row["coverage"]:
                ends = re.match(r"\[(\S+), (\S+)\]", line["interval"]).groups()
                assert ends == (number(row["low"]), number(row["high"]))
            if row["successes"] is not None and row["asked"] > row["skipped"]:
                ends = re.search(r"\[(\S+), (\S+)\]", line["success"]).groups()
                assert ends == (f"{row['success_low']:.2f}", f"{row['success_high']:.2f}")
    assert seen == 16


def test_every_seed_is_printed_and_what_is_not_final_carries_the_mark(folder, page):
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    printed = [t for t in tables_of(section(page, "Seeds")) if "seed 0" in t[0]]
    by_task = dict(zip(("mqar", "selective_copy"), printed, strict=True))
    for row in rows:
        at_home = row["evaluated_seqlen_tokens"] == row["seqlen_tokens"]
        if row["weights"] != "best" or not at_home or not any(v is not None for v in row["values"]):
            continue
        (line,) = (
            p
            for p in by_task[row["task"]]
            if (p["model"], p["length"]) == (row["model"], str(row["seqlen_tokens"]))
        )
        for seed, value, final in zip(row["seeds"], row["values"], row["finals"], strict=True):
            shown = line[f"seed {seed}"]
            assert shown.split(" ± ")[0].rstrip(DAGGER + STALE) == number(value) or value is None
            assert (DAGGER in shown) == (value is not None and not final)


def test_each_seed_has_its_interval_and_a_count_of_solved_seeds_those_beyond_noise(tmp_path):
    made = Tables().levels("recall", [64], chance=0.1, ceiling=1.0, solved=0.95)
    made.cells("surely", "recall", 64, [0.99, 0.98, 0.97], half=0.005)
    made.cells("partly", "recall", 64, [0.99, 0.96, 0.955], half=0.02)
    made.cells("hardly", "recall", 64, [0.951, 0.951, 0.2], half=0.02)
    for row in made.rows["evaluations"]:
        row["examples"] = 1000
        if row["model"] == "hardly" and row["seed"] == 2:
            row |= {"low": None, "high": None}
    read = made.read()
    content = Content.of(tmp_path, read, build(read))
    [rows] = tables_of(seeds.seeds(content))
    assert {row["test examples"] for row in rows} == {"1,000"}
    shown = {row["model"]: [row[f"seed {seed}"] for seed in range(3)] for row in rows}
    assert shown["partly"] == ["0.9900 ± 0.02", "0.9600 ± 0.02", "0.9550 ± 0.02"]
    assert shown["hardly"][2] == "0.2000"
    said = " ".join(answer.answer(content).split())
    assert "1 SOLVED by every seed (surely on recall)" in said
    assert "1 SOLVED by every seed, not all surely (partly on recall)" in said
    assert "1 SOLVED by some seeds, none surely (hardly on recall)" in said
    assert "SOLVED 3/3: surely at 64. SOLVED 3/3 (1 surely): partly at 64." in said
    assert "m lie beyond it by more than test noise" in said


def test_numbers_of_an_incomplete_group_carry_the_mark_everywhere(page):
    for title in ("Results", "Length", "Peak against final"):
        assert f"0.9960{DAGGER}" in section(page, title)
    bare = [line for line in page.splitlines() if re.search(r"\b0\.5000(?!†)", line)]
    assert not [line for line in bare if "deltanet" in line]
    assert f"0.5100{STALE}" in page


def test_three_seeds_are_never_labelled_95_percent(folder, page):
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    assert {r["coverage"] for r in rows if r["final"] == 3} == {0.75}
    assert "min-max of 3, 75.0% coverage" in page
    assert not re.search(r"95[. 0]*%[^.]*min-max", page)


def test_the_answer_opens_with_coverage_and_compares_nothing(page):
    answer = " ".join(section(page, "Answer").split())
    assert answer.startswith("38 of 45 cells have finished and are evaluated")
    assert "3 more cannot exist" in answer
    assert answer.index("SOLVED 3/3 (0 surely): attention at 64, 128") < answer.index("SOLVED 1/3")
    assert "AT SHORTCUT (random_value_in_context): lstm at 128" in answer
    assert not re.search(r"better than|outperform|worse than|best model|degrad", answer)


def test_reasons_and_commands_are_there(page):
    coverage = section(page, "Coverage")
    for reason in ("needs a multiple of 96 tokens", "RuntimeError: boom", "ran out of time"):
        assert reason in coverage
    assert f"0.4966{DAGGER}" in coverage
    commands = section(page, "What to do next")
    for end in ("", " rerun=failed", " rerun=stale", " rerun=out_of_memory"):
        assert f"\nsnakemake --config study=synthetic{end}\n" in commands


def test_deaths_are_counted_by_how_they_came_about(page):
    words = " ".join(page.split())
    assert "Of 4 parts a process died without a word: 3 NODE_FAIL, 1 OUT_OF_MEMORY." in words


def test_text_is_wrapped_and_tables_line_up(page):
    for line in page.splitlines():
        if not line.startswith("|"):
            assert len(line) <= 100 or line.startswith("![")
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.M):
        assert len({len(line) for line in block.splitlines()}) == 1


def test_figures_exist_and_are_linked(folder, page):
    for name in ("results", "length", "beyond", "curves", "peaks", "cost"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5000
        assert f"figures/{name}.png" in page
        svg = (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert "order_blind" in svg or name == "beyond"
        assert "chance" in svg
    assert "values beyond it, written" in page.replace("\n", " ")


def test_the_same_tables_give_the_same_report(folder, page):
    before = (folder / "figures" / "results.svg").read_bytes()
    html = (folder / "report.html").read_bytes()
    write(folder)
    assert (folder / "report.html").read_bytes() == html
    assert (folder / "report.md").read_text(encoding="utf-8") == page
    assert (folder / "figures" / "results.svg").read_bytes() == before


def test_pandas_polars_and_duckdb_read_the_tables_with_their_types(folder):
    path = folder / "summary.parquet"
    frame = pd.read_parquet(path)
    assert frame["median"].dtype == "float64"
    assert frame["seqlen_tokens"].dtype == "int64"
    assert len(frame["values"][0]) == 3
    polars = pl.read_parquet(path)
    assert polars.schema["values"] == pl.List(pl.Float64)
    assert polars.schema["primary"] == pl.Boolean
    query = f"select typeof(\"values\"), typeof(selected), median from '{path}' limit 1"
    assert duckdb.sql(query).fetchall()[0][:2] == ("DOUBLE[]", "BOOLEAN")
    evidence = pd.read_parquet(folder / "verdicts.parquet")["evidence"]
    assert all(isinstance(json.loads(text), dict) for text in evidence)


GRIDS = {
    "nothing at all": Tables(),
    "nothing finished": Tables().cells("m", "t", 64, [None] * 3, outcome="missing"),
    "all skipped": Tables().cells("m", "t", 64, [None] * 3, outcome="skipped", reason="no"),
    "one cell, no levels": Tables().cell("m", "t", 64, 0, 0.5),
    "one seed": Tables().levels("t", [64], chance=0.1, ceiling=1.0).cells("m", "t", 64, [0.5]),
    "all NaN": Tables().levels("t", [64], chance=0.1, solved=0.9).cells("m", "t", 64, [np.nan] * 3),
    "half a training": Tables().cell("m", "t", 64, 0, 0.4, outcome="interrupted", reason="SIGTERM"),
    "two learning rates": Tables()
    .levels("t", [64], chance=0.1, ceiling=1.0)
    .cells("m", "t", 64, [0.5] * 3, variant="learning_rate=0.1")
    .cells("m", "t", 64, [0.6] * 3, variant="learning_rate=0.01"),
    "no meta": Tables(),
}


@pytest.mark.parametrize("name", GRIDS)
def test_odd_grids_give_a_sensible_report(name, tmp_path):
    made = GRIDS[name]
    if name == "no meta":
        made.about = {}
    written = write(made.write(tmp_path)).read_text(encoding="utf-8")
    assert all(f"## {n} " in written for n in range(1, 11))
    assert "0 of 0" in written or "cells have finished" in written
    if name == "two learning rates":
        assert "learning_rate=0.01 (selected)" in written
    if name == "half a training":
        assert f"0.4000{DAGGER}" in written
        assert "There is no final value" in written


@pytest.mark.slow
def test_a_large_grid_stays_readable(tmp_path):
    made = Tables(models=[f"m{i}" for i in range(10)])
    for task in range(5):
        made.levels(f"t{task}", [64, 128, 256, 512], chance=0.1, ceiling=1.0, solved=0.9)
        for model in range(10):
            for seqlen in (64, 128, 256, 512):
                values = np.linspace(0.1, 1.0, 10)
                made.cells(f"m{model}", f"t{task}", seqlen, values, curve=[0.1, 0.5])
    written = write(made.write(tmp_path)).read_text(encoding="utf-8")
    assert "2000 of 2000 cells" in written
    assert len(written.splitlines()) < 1700
    assert "stand in `summary.parquet`" in written


def missing(folder):
    (folder / "levels.parquet").unlink()


def garbled(folder):
    (folder / "cells.parquet").write_bytes(b"not parquet")


def foreign(folder):
    pq.write_table(pa.table({"a": [1]}), folder / "history.parquet")


@pytest.mark.parametrize("spoil", [missing, garbled, foreign])
def test_a_missing_or_foreign_file_is_one_line_and_exit_2(spoil, tmp_path, capsys):
    spoil(GRIDS["one seed"].write(tmp_path))
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ".parquet" in said
    assert not (tmp_path / "report.md").exists()


def test_the_command_prints_the_path(tmp_path):
    GRIDS["one seed"].write(tmp_path)
    command = [sys.executable, "-m", "seqgrid.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/report.md\n", "")
    assert subprocess.run(command[:-1], capture_output=True, check=False).returncode == 2


def on_a_cluster(made, minutes=(60, 60, 120), seconds=(900.0, 1800.0, 3600.0)):
    """Three trainings of one model that a scheduler was asked for, and one that it was not."""
    asked = {"job_id": "17", "asked_mb": 2048, "jobs": 1}
    for seed, (minute, second) in enumerate(zip(minutes, seconds, strict=True)):
        made.cell("gru", "mqar", 64, seed, 0.5, pieces=4)
        made.rows["parts"][-1] |= asked | {"asked_minutes": minute, "wall_seconds": second}
    made.cell("lstm", "mqar", 64, 0, 0.5)
    made.rows["parts"][-1] |= {"jobs": 1, "asked_minutes": 60, "asked_mb": 1, "wall_seconds": 1.0}
    return made


def test_what_was_asked_of_the_scheduler_stands_beside_what_was_used(tmp_path):
    page = write(on_a_cluster(Tables()).write(tmp_path)).read_text(encoding="utf-8")
    (line,) = next(t for t in tables_of(section(page, "Cost")) if "share used" in t[0])
    assert line == {
        "model": "gru",
        "task": "mqar",
        "length": "64",
        "parts": "3",
        "time asked": "1 h",
        "time used": "30 min",
        "share used": "44%",  # 6300 s of 4 h
        "memory asked": "2.15 GB",
        "memory used": "250 MB",
    }


def test_without_a_scheduler_nothing_was_asked(page):
    assert "Asked of the scheduler" not in page


def test_models_that_had_to_cut_their_batches_are_not_equal_and_named(tmp_path):
    page = write(on_a_cluster(Tables()).write(tmp_path)).read_text(encoding="utf-8")
    fairness = " ".join(section(page, "Fairness").split())
    assert "Not equal: pieces a batch was cut into by up to " in fairness
    assert "each batch in pieces: 3 of gru" in " ".join(page.split())


def test_a_bar_in_a_cell_does_not_break_a_table():
    assert table(["a"], [["x | y"]]).splitlines()[-1] == "| x \\| y |"


def test_a_report_says_what_a_model_can_score_at_best(tmp_path):
    made = Tables(models=["blind", "seeing"], tasks=["copy"])
    levels = {"chance": 0.0, "ceiling": 1.0, "solved": 0.95}
    for seqlen, best in ((100, 0.4), (200, 0.6)):
        made.levels("copy", [seqlen], metric="r2", **levels)
        values = [best - 0.004, best, best + 0.004]
        known = {"metric": "r2", "model_ceiling": ("chunks of 32", best)}
        made.cells("blind", "copy", seqlen, values, **known)
        made.cells("seeing", "copy", seqlen, [0.9, 0.91, 0.92], metric="r2")
    write(made.write(tmp_path))
    page = " ".join((tmp_path / "report.md").read_text(encoding="utf-8").split())
    assert "The best that a model can score here: blind 0.4000 (knowing this much)." in page
    assert "AT MODEL CEILING (chunks of 32): blind at 100, 200" in page
    assert "a strip in a model's colour: the best that it can score" in page
