"""The report on toroidal attention, imported: its table with its numbers, and no optimal depth."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from report_text import section, tables_of

from seqgrid import imports
from seqgrid.report.__main__ import write

MAPPING = Path(__file__).parent / "foreign/toroidal/mapping.yaml"
# layers and depth: val loss, val perplexity, change against the baseline, GB, minutes, status
ROWS = {
    "Phi-2 unchanged": (6.4841, 654.63, None, None, 2, "done"),
    "layers=0 depth=2": (7.4297, 1685.32, "-157%", 6.0, 3, "done"),
    "layers=0+16 depth=2": (7.6521, 2105.09, "-222%", 6.4, 3, "done"),
    "layers=0 depth=4": (7.5773, 1953.15, "-198%", 6.2, 3, "done"),
    "layers=0 depth=8": (7.6030, 2004.27, "-206%", 6.4, 3, "done"),
    "layers=0+8+16+24 depth=2": (None, None, None, 7.6, 0, "FAILED (OOM)"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = imports.write(MAPPING, tmp_path_factory.mktemp("toroidal"))
    write(made)
    return made


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.md").read_text(encoding="utf-8")


def rows(folder, name):
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def test_the_tables_hold_the_numbers_of_the_report(folder):
    said = {(r["model"], r["metric"]): r["value"] for r in rows(folder, "reported")}
    cells = {r["model"]: r for r in rows(folder, "cells")}
    notes = {r["model"]: r["note"] for r in rows(folder, "inventory")}
    assert cells.keys() == ROWS.keys()
    for model, (loss, perplexity, change, memory, minutes, _) in ROWS.items():
        assert said.get((model, "loss")) == loss
        assert said.get((model, "perplexity")) == perplexity
        assert cells[model]["training_seconds"] == 60 * minutes
        assert cells[model]["peak_memory_bytes"] == (None if memory is None else memory * 1e9)
        assert notes[model] == (change and f"improvement on the baseline {change}")
        if change:
            got = 100 * (1 - perplexity / said["Phi-2 unchanged", "perplexity"])
            assert f"{got:.0f}%" == change
    assert cells["layers=0+8+16+24 depth=2"]["outcome"] == "out_of_memory"


def test_the_page_prints_them(page):
    printed = {}
    for metric in ("perplexity", "loss"):
        text = page.split(f"**wikitext2: {metric}, as reported**")[1]
        table = next(t for t in tables_of(text) if "source" in t[0])
        printed[metric] = {row["model"]: row["value"].rstrip("§") for row in table}
    cost = {row["model"]: row for row in tables_of(section(page, "Cost"))[0]}
    runs = page.split("## Runs as their study reports them")[1].split("\n## ")[0]
    told = next(t for t in tables_of(runs) if "peak memory" in t[0])
    assert [row["model"] for row in told] == list(ROWS)
    for row, (_, _, _, memory, minutes, _) in zip(told, ROWS.values(), strict=True):
        assert row["training"] == (f"{minutes} min" if minutes else "0 s")
        assert row["peak memory"] == (f"{memory:g} GB" if memory else "-")
    for model, (loss, perplexity, change, memory, minutes, status) in ROWS.items():
        if loss is not None:
            assert printed["loss"][model] == f"{loss:.4f}"
            assert float(printed["perplexity"][model]) == perplexity
        if minutes:
            assert cost[model]["training, ended"] == f"{minutes} min"
            assert cost[model]["peak memory"] == (f"{memory:g} GB" if memory else "-")
        assert status in runs
        assert change is None or change in page


def test_no_depth_is_optimal_with_one_run_and_a_baseline_far_from_its_published_value(folder, page):
    [gate] = rows(folder, "gates")
    assert (gate["state"], gate["expected"], gate["observed"]) == (
        "failed", "8 to 15", "654.6"
    )  # fmt: skip
    assert {r["outcome"] for r in rows(folder, "comparisons")} == {"NOT COMPARABLE"}
    assert {r["status"] for r in rows(folder, "claims")} == {"not testable yet"}
    flat = " ".join(page.split())
    assert "**CONTROL FAILED** on wikitext2" in flat
    assert "8 to 15 expected, 654.6 observed" in flat
    assert "anything general from fewer than 3 final seeds (6 of 6 settings)" in flat
    assert not re.search(r"optimal[^.|]*\| *(A BETTER|supported)", page)


def test_lower_is_better(folder):
    levels = rows(folder, "levels")
    assert {r["better"] for r in levels} == {"lower"}
    assert {r["metric"] for r in levels} == {"perplexity", "loss"}


def test_the_metric_is_known_before_any_run_has_a_value_of_its_own(page):
    flat = " ".join(page.split())
    assert "Metric: perplexity, lower is better. Levels: uniform 51200.00." in flat
    assert "no metric" not in flat
    assert "b is layers=0 depth=4." in flat
    assert "finish or drop the run that has not finished." in flat


def test_values_of_validation_are_no_test_and_so_it_says(page):
    text = " ".join(page.split())
    assert "its value is of the validation split, not of a test: see Results" in text
    assert "stands in no table" not in text
    assert "5 that its study calls finished, without a valid test result" in text
