"""What a report says of values that are not what they seem, of groups, and first of all."""

import os
import re
import time
from datetime import UTC, datetime

import pytest
from report_text import section, tables_of
from tables_factory import Tables

from seqgrid.report.__main__ import write
from seqgrid.report.markdown import CHECKPOINT, DAGGER, REUSED


def page_of(made, folder):
    return write(made.write(folder)).read_text(encoding="utf-8")


def foreign():
    """Two groups of models; cells of our own, reused, from checkpoints, without result."""
    made = Tables(
        models=["2d", "1b", "1c"],
        tasks=["adding", "copy"],
        config={"groups": {"1": ["1b", "1c"], "2": ["2d"]}, "thresholds": {"enough_seeds": 2}},
    )
    for task in ("adding", "copy"):
        made.levels(task, [100], chance=0.0, ceiling=1.0, solved=0.95)
        made.cells("1b", task, 100, [0.5, 0.52, 0.51])
        made.cells("1c", task, 100, [0.7, 0.72, 0.71], reused=True, trained_for="earlier")
    made.cells("2d", "adding", 100, [0.96, 0.97, 0.98])
    cut = {"outcome": "timed_out", "reason": "no result file", "origin": "validation"}
    cut["ended_at"] = None
    made.cell("2d", "copy", 100, 0, 0.159, **cut, evaluated=False)
    made.cell("2d", "copy", 100, 1, 0.143, **cut, evaluated=False)
    made.cell("2d", "copy", 100, 2, reason="its result file is empty")
    return made


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(foreign(), tmp_path_factory.mktemp("foreign"))


def test_completeness_has_totals_and_what_checkpoints_add(page):
    found = [t for t in tables_of(section(page, "Coverage")) if "all tasks" in t[0]]
    (rows,) = found
    assert [row["model"] for row in rows] == ["1b", "1c", "2d", "all"]
    plus = f" +2{CHECKPOINT}"
    assert [r["all tasks"] for r in rows] == ["6/6", "6/6", f"3/6{plus}", f"15/18{plus}"]
    assert rows[-1]["copy"] == f"6/9{plus}"


def test_a_cell_said_to_be_finished_without_a_result_is_not_done_and_named(page):
    coverage = section(page, "Coverage")
    assert "without a valid test result: 1 cells" in " ".join(coverage.split())
    rows = [t for t in tables_of(coverage) if list(t[0]) == ["model", "task", "length", "seeds"]]
    assert [list(row.values()) for row in rows[0]] == [["2d", "copy", "100", "2"]]
    assert page.split("## Answer\n")[1].strip().startswith("15 of 18 cells")


def test_an_imported_study_says_where_it_comes_from_and_when_runs_were_last_seen(tmp_path):
    made = foreign()
    made.about["imported"] = True
    read = {"file": "inventory.csv", "rows": 2, "of": "cells", "sha256": "6c02014ecee34d82"}
    read["unread"] = []
    made.about["files"] = [read]
    made.about["origin"] = {"where": "a report", "commit": "321e312", "date": "2026-01-19"}
    made.rows["inventory"] = [
        {
            "model": "2d", "task": "copy", "variant": "", "seqlen_tokens": 100, "seed": seed,
            "status": "TIMED_OUT", "outcome": "timed_out", "value_origin": "validation",
            "epochs": 59.0, "file": f"checkpoint_2d_{seed}.pt", "source": "inventory.csv:1",
            "modified_at": datetime(2026, 1, 18 + seed, 12, 49, tzinfo=UTC),
        }
        for seed in (0, 1)
    ]  # fmt: skip
    page = page_of(made, tmp_path)
    coverage = section(page, "Coverage")
    cut = next(t for t in tables_of(coverage) if "epochs" in t[0])
    assert [row["last update"] for row in cut] == [
        "2026-01-18 12:49 (24 h)", "2026-01-19 12:49 (newest)"
    ]  # fmt: skip
    assert "Run elsewhere and imported from a report" in page
    named = next(t for t in tables_of(section(page, "Files")) if "status" in t[0])
    assert [row["file"] for row in named] == ["`checkpoint_2d_0.pt`", "`checkpoint_2d_1.pt`"]
    assert "321e312" in section(page, "Provenance")
    assert "1 that its study calls finished, without a valid test result" in " ".join(page.split())


def test_values_from_checkpoints_carry_their_mark_and_enter_no_median(page):
    rows = next(t for t in tables_of(section(page, "Results")) if "not final" in t[0])
    (line,) = (row for row in rows if row["model"] == "2d")
    assert (line["n"], line["median"]) == ("0/3", "-")
    assert line["not final"] == f"0.1590{DAGGER}{CHECKPOINT} 0.1430{DAGGER}{CHECKPOINT}"
    assert f"{CHECKPOINT} of the validation split" in " ".join(section(page, "Results").split())
    assert f"0.1590{DAGGER}{CHECKPOINT}" in section(page, "Seeds")


def test_reused_cells_are_listed_with_their_study_and_marked(page):
    rows = next(t for t in tables_of(section(page, "Coverage")) if "trained for" in t[0])
    assert [(r["trained for"], r["model"], r["task"], r["seeds"]) for r in rows] == [
        ("earlier", "1c", task, "0, 1, 2") for task in ("adding", "copy")
    ]
    assert f"0.7100{REUSED}" in section(page, "Results")
    assert f"0.7200{REUSED}" in section(page, "Seeds")
    assert "1b" in page
    assert f"0.5100{REUSED}" not in page


def test_every_mark_of_a_section_is_explained_there_and_no_other(page):
    for text in re.split(r"^## ", page, flags=re.M)[2:]:
        legend = " ".join(text.split("Marks: ")[1].split()) if "Marks: " in text else ""
        body = text.split("Marks: ")[0]
        for mark in (DAGGER, CHECKPOINT, REUSED):
            assert (mark in body) == (mark in legend), text[:40]


def test_groups_come_in_order_with_their_members_beside_their_median(page):
    rows = next(t for t in tables_of(section(page, "Results")) if "members" in t[0])
    copy = {row["group"]: row for row in rows if row["task"] == "copy"}
    assert copy["1"]["members"] == f"1b 0.5100, 1c 0.7100{REUSED}"
    assert (copy["1"]["of models"], copy["2"]["of models"]) == ("2/2", "0/1")
    assert copy["1"]["median"] == f"0.6100{REUSED}"
    assert copy["2"]["median"] == "-"
    assert "speaks for these models alone" in " ".join(page.split())


def test_the_answer_names_limits_and_changed_thresholds(page):
    answer = " ".join(section(page, "Answer").split())
    assert answer.count("enough_seeds 2 (usually 3)") == 1
    assert "fewer than 2 final seeds (1 of 6 settings)" in answer
    assert "only one learning rate was tried (1b, 1c, 2d)" in answer
    assert "reused, trained by another study or for another run: 6" in answer


def test_the_paragraph_stays_short_for_many_models_and_lengths(tmp_path):
    made = Tables(models=[f"model_{i}" for i in range(12)], tasks=["adding", "copy"])
    lengths = (100, 200, 500, 1000)
    for task in ("adding", "copy"):
        made.levels(task, lengths, chance=0.0, ceiling=1.0, solved=0.95)
        for number in range(12):
            for seqlen in lengths:
                values = [min(1.0, 0.08 * number + 0.01 * s) for s in range(2 + number % 2)]
                made.cells(f"model_{number}", task, seqlen, values, curve=[0.1, 0.2])
    answer = section(page_of(made, tmp_path), "Answer").strip()
    paragraph = answer.split("\n\n")[0].splitlines()
    assert len(paragraph) <= 12
    assert "Of 96 settings" in " ".join(paragraph)


def test_reported_means_stand_apart_with_their_levels(tmp_path):
    made = foreign()
    made.rows["reported"] += [
        {
            "model": "1c", "task": "copy", "variant": "", "seqlen_tokens": length, "metric": "r2",
            "evaluated_seqlen_tokens": length, "test_set": "", "statistic": "mean", "value": value,
            "standard_error": 0.01, "seeds": 3, "asked": 3, "origin": origin, "source": "report.md",
        }
        for length, value, origin in ((100, 0.39, "test"), (1000, 0.9, "mixed"))
    ]  # fmt: skip
    made.levels("copy", [1000], metric="r2", chance=0.0, ceiling=0.92)
    found = tables_of(section(page_of(made, tmp_path), "Results"))
    levels = next(t for t in found if "level at" in t[0])
    assert [r["1000"] for r in levels] == ["0.0000", "0.9200"]
    short, long = next(t for t in found if "statistic" in t[0])
    assert (short["value"], short["runs"]) == ("0.3900 ± 0.0100", "3 of 3")
    assert long["value"] == f"0.9000{CHECKPOINT} ± 0.0100"


def test_the_answer_says_one_thing_of_each_place_with_values_reported_without_seeds(tmp_path):
    made = Tables(models=["a"], tasks=["copy"])
    made.levels("copy", [64, 128], metric="r2", chance=0.0, ceiling=1.0, solved=0.9)
    made.cell("a", "copy", 64, 0, outcome="missing", metric="r2")
    made.rows["reported"] += [
        {
            "model": "a", "task": "copy", "variant": "", "seqlen_tokens": length, "metric": "r2",
            "evaluated_seqlen_tokens": length, "test_set": "", "statistic": "mean", "value": 0.99,
            "standard_error": 0.001, "seeds": 3, "asked": 3, "origin": "test", "source": "x",
        }
        for length in (64, 128)
    ]  # fmt: skip
    answer = " ".join(section(page_of(made, tmp_path), "Answer").split())
    assert "values reported without seeds, under Results: 2" in answer
    assert re.search(r"Of 2 values reported without seeds and judged by a rule: 2 \w", answer)
    assert "without being solved" not in answer


def test_reported_values_of_one_place_have_verdicts_of_their_own(tmp_path):
    made = Tables(models=["a"], tasks=["copy"])
    made.levels("copy", [64], chance=0.1, ceiling=1.0, solved=0.9)
    made.cell("a", "copy", 64, 0, outcome="missing")
    made.rows["reported"] += [
        {
            "model": "a", "task": "copy", "variant": "", "seqlen_tokens": 64, "metric": "accuracy",
            "evaluated_seqlen_tokens": 64, "test_set": "", "statistic": statistic, "value": value,
            "standard_error": 0.005, "seeds": 3, "asked": 3, "origin": "test", "source": "x",
        }
        for statistic, value in (("mean", 0.1), ("peak", 0.95))
    ]  # fmt: skip
    page = page_of(made, tmp_path)
    (rows,) = (t for t in tables_of(section(page, "Results")) if "statistic" in t[0])
    assert {row["statistic"]: row["verdict"] for row in rows} == {"mean": "AT CHANCE", "peak": "-"}
    answer = " ".join(section(page, "Answer").split())
    assert "Of 1 values reported without seeds and judged by a rule: 1 AT CHANCE" in answer


def test_the_answer_counts_no_success_where_a_control_failed(tmp_path):
    made = Tables()
    for task in ("copy", "recall"):
        made.levels(task, [64], chance=0.1, ceiling=1.0, solved=0.9)
        made.cells("a", task, 64, [0.95, 0.96, 0.97])
    made.control("recall", state="failed", observed="AT CHANCE")
    answer = " ".join(section(page_of(made, tmp_path), "Answer").split())
    assert "1 SOLVED by every seed (a on copy)" in answer
    assert "1 on tasks whose control failed, of which nothing is said (a on recall)" in answer


def test_a_study_is_named_or_its_folder_is(tmp_path, monkeypatch, capsys):
    from seqgrid.report.__main__ import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/studies/small").mkdir(parents=True)
    (tmp_path / "config/studies").mkdir(parents=True)
    (tmp_path / "config/studies/small.yaml").touch()
    assert main(["small"]) == 2
    error = capsys.readouterr().err
    assert "results/studies/small/cells.parquet is missing" in error
    assert "make them with: seqgrid report --collect small" in error
    assert main(["nowhere"]) == 2
    assert "'nowhere' is not a folder" in capsys.readouterr().err
    Tables(name="small").cells("lstm", "mqar", 64, [0.5]).write(tmp_path / "results/studies/small")
    monkeypatch.setattr("seqgrid.report.figures.draw", lambda *_: {})
    assert main(["small"]) == 0
    told = capsys.readouterr()
    assert told.out == "results/studies/small/report.md\n"
    assert told.err == ""
    later = time.time() + 60
    os.utime("config/studies/small.yaml", (later, later))
    assert main(["small"]) == 0
    assert "config/studies/small.yaml was written after these tables" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: seqgrid report [-h] [--collect] study")
    assert "copy" not in told


def test_a_caveat_that_all_share_is_said_once_and_others_with_what_they_are_about(tmp_path):
    made = Tables(models=["a", "b", "c"], tasks=["t", "u"])
    for task in ("t", "u"):
        made.levels(task, [8, 16], chance=0.0, ceiling=1.0, solved=0.95)
    for length in (8, 16):
        made.cells("a", "t", length, [0.5], stale=length == 16)
        made.cells("b", "t", length, [0.5])
        made.cells("c", "t", length, [0.0])
        made.cells("a", "u", length, [0.5], stale=True)
    made.cell("b", "u", 8, 0, outcome="skipped", reason="too long", stale=True)
    answer = " ".join(section(page_of(made, tmp_path), "Answer").split())
    said = answer.split("Task by task")[1]
    assert "All but what was skipped have in common: TOO FEW SEEDS (1)." in said
    assert said.count("TOO FEW SEEDS") == 1
    assert (
        "- **t**. AT CHANCE: c at 8, 16. ABOVE chance: a at 8, 16 (STALE 1/1); b at 8, 16." in said
    )
    assert "- **u**, all STALE 1/1. ABOVE chance: a at 8, 16. SKIPPED: b at 8." in said
    assert "Cells trained by sources that have changed since: 3." in answer


def test_a_column_and_a_section_without_content_are_left_out(tmp_path):
    page = page_of(Tables(tasks=["t"]).cells("a", "t", 8, [0.5] * 3), tmp_path)
    assert section(page, "Length").strip() == "No task has values at more than one length."
    assert "collapsed" not in tables_of(section(page, "Convergence"))[0][0]
