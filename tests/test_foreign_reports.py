"""Two published reports, fed with their own tables: the same numbers, without what they overstate.

The tables lie in tests/foreign/NAME with the mapping that says which part of the original each
is; the original's conclusions are the claims of that mapping.
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqgrid import imports
from seqgrid.analysis.build import build
from seqgrid.report.__main__ import page
from seqgrid.report.content import Content
from seqgrid.report.reading import read

HERE = Path(__file__).parent / "foreign"


def report_of(name, folder):
    """The tables and the page of an imported study; figures are left out, they take seconds."""
    study = imports.write(HERE / name / "mapping.yaml", folder)
    found = read(study)
    built = build(found)
    content = Content.of(study, found, built)
    rows = {table: made.to_pylist() for table, made in (found | built).items()}
    text = page(content)
    lines = [re.split(r"\s*\|\s*", line.strip("| \n")) for line in text.splitlines()]
    return SimpleNamespace(**rows, text=" ".join(text.split()), lines=lines)


@pytest.fixture(scope="module")
def quantum(tmp_path_factory):
    return report_of("quantum_hydra", tmp_path_factory.mktemp("quantum"))


@pytest.fixture(scope="module")
def pentathlon(tmp_path_factory):
    return report_of("pentathlon", tmp_path_factory.mktemp("pentathlon"))


def has(report, *cells):
    """Whether a table of the page has a row with these cells, in this order, others between."""

    def fits(line):
        rest = iter(line)
        return all(cell in rest for cell in cells)

    return any(fits(line) for line in report.lines)


def labels(report, scope, **place):
    return {
        v["label"]
        for v in report.verdicts
        if v["scope"] == scope and all(v[key] == value for key, value in place.items())
    }


def claim(report, words):
    (found,) = [c for c in report.claims if words in c["statement"]]
    return found


def test_quantum_hydra_has_the_statuses_with_their_counts(quantum):
    assert has(quantum, "COMPLETED", "finished", "85")
    assert has(quantum, "TIMED_OUT", "timed_out", "13")
    assert has(quantum, "RUNNING", "running", "1")
    checkpoints = [r for r in quantum.inventory if r["file"].startswith("checkpoint_")]
    assert len(checkpoints) == 99


CUT = [
    ("2d", "adding_problem", 500, 2024, "39", "7.3e-05§", "0.9996§", "2026-01-08 18:20"),
    ("2d", "adding_problem", 500, 2026, "19", "8.1e-05§", "0.9995§", "2026-01-08 18:02"),
    ("2d", "adding_problem", 1000, 2024, "29", "6.1e-05§", "0.9996§", "2026-01-08 05:56"),
    ("2d", "adding_problem", 1000, 2025, "29", "9.1e-05§", "0.9995§", "2026-01-08 05:51"),
    ("2d", "adding_problem", 1000, 2026, "19", "0.000115§", "0.9993§", "2026-01-07 23:21"),
    ("2d", "selective_copy", 500, 2024, "59", "0.069801§", "0.1590§", "2026-01-18 12:49"),
    ("2d", "selective_copy", 500, 2025, "59", "0.071139§", "0.1429§", "2026-01-18 12:48"),
    ("2d", "selective_copy", 500, 2026, "49", "0.069114§", "0.1673§", "2026-01-18 18:39"),
    ("2d", "selective_copy", 1000, 2024, "9", "0.071032§", "0.1442§", "2026-01-08 18:08"),
    ("2d", "selective_copy", 1000, 2025, "29", "0.073443§", "0.1151§", "2026-01-11 13:39"),
    ("2d", "selective_copy", 1000, 2026, "29", "0.071984§", "0.1327§", "2026-01-11 20:26"),
    ("2e", "adding_problem", 1000, 2024, "9", "0.000675§", "0.9960§", "2026-01-18 14:35"),
    ("2e", "adding_problem", 1000, 2025, "9", "0.169668§", "-0.0160§", "2026-01-19 00:20"),
    ("2e", "adding_problem", 1000, 2026, "9", "0.17466§", "-0.0459§", "2026-01-19 02:02"),
]


@pytest.mark.parametrize("row", CUT, ids=lambda row: "-".join(map(str, row[:4])))
def test_quantum_hydra_has_its_cut_runs(quantum, row):
    *_, written = row
    model, task, seqlen, seed = row[:4]
    file = f"checkpoint_{model}_{task}_L{seqlen}_seed{seed}.pt"
    days = str(19 - int(written[8:10]))
    shown = [str(value) for value in row]
    assert has(quantum, *shown[:7], written, days, file)


def test_quantum_hydra_has_its_completeness_and_what_is_left_of_it(quantum):
    for model, adding, copying, both in (
        ("1a", "12/12", "12/12", "24/24"),
        ("2a", "12/12", "11/12", "23/24"),
        ("2d", "7/12", "6/12", "13/24"),
        ("2e", "0/12", "0/12", "0/24"),
        ("all", "55/72", "53/72", "108/144"),  # called complete
        ("all", "60/72", "59/72", "119/144"),  # with the checkpoints that it counts
        ("all", "7/72", "16/72", "23/144"),  # with a result that can be read
        ("all", "0/72", "0/72", "0/144"),  # with a test value of its own
    ):
        assert has(quantum, model, adding, copying, both)
    done = [c for c in quantum.cells if c["outcome"] == "finished"]
    assert len(done) == 108
    assert not any(c["evaluated"] for c in done)
    assert sum("cannot be read" in c["reason"] for c in done) == 85
    assert has(quantum, "finished, not evaluated", "108")


def test_quantum_hydra_has_its_scaling_tables(quantum):
    copying = ["0.1690", "0.1690 (+0.0%)", "0.1560§ (-7.7%)", "0.1310§ (-22.5%)"]
    assert has(quantum, "2d", *copying)
    assert has(quantum, "2d", "0.9997", "0.9998 (+0.0%)", "0.9995§ (-0.0%)", "0.9995§ (-0.0%)")
    assert has(quantum, "1c", "0.3940", "0.8950 (+127.2%)")
    assert has(quantum, "1b", "0.3330", "0.7910 (+137.5%)")
    errors = {
        (r["task"], r["seqlen_tokens"]): r["value"]
        for r in quantum.reported
        if (r["model"], r["metric"]) == ("2d", "mse")
    }
    assert errors["selective_copy", 1000] == pytest.approx(0.0722)
    assert errors["adding_problem", 200] == pytest.approx(0.000035)


def test_no_value_of_a_checkpoint_is_final(quantum):
    values = [r for r in quantum.evaluations if r["metric"] == "r2"]
    assert len(values) == 14
    assert {r["origin"] for r in values} == {"validation"}
    assert not any(any(r["finals"]) for r in quantum.summary)


@pytest.mark.parametrize(
    ("model", "change", "ceiling", "outcome", "status"),
    [
        ("2d", -0.22, -0.27, "CEILING MOVES", "refuted"),
        ("1b", 1.38, 1.27, "CANNOT BE TOLD", "not testable yet"),
        ("1c", 1.27, 0.89, "CANNOT BE TOLD", "not testable yet"),
    ],
)
def test_the_change_with_length_is_the_ceilings(quantum, model, change, ceiling, outcome, status):
    """-22 %, +137 %, +127 %: what the model can score at best changes, and the score with it."""
    (course,) = [
        s
        for s in quantum.scaling
        if (s["model"], s["task"], s["metric"]) == (model, "selective_copy", "r2")
    ]
    assert course["outcome"] == outcome
    assert course["change"] == pytest.approx(change, abs=0.01)
    assert course["ceiling_change"] == pytest.approx(ceiling, abs=0.01)
    assert course["origin"] == "reported means"
    words = {"2d": "degrades with length", "1b": "1b improves", "1c": "1c improves"}[model]
    found = claim(quantum, words)
    assert found["status"] == status
    assert f"({100 * ceiling:+.0f}%)" in found["reason"]
    if model != "2d":
        told = f"the ceiling itself rises by {100 * ceiling:.0f}%, so no change of the model"
        assert told in found["reason"]
        assert told in quantum.text


@pytest.mark.parametrize("model", ["2d", "1c"])
def test_the_examples_of_the_page_on_length_are_what_the_report_says(quantum, model):
    page = (HERE.parents[1] / "docs/length-and-convergence.md").read_text(encoding="utf-8")
    quoted = " ".join(re.sub("^> ?", "", page, flags=re.M).split())
    (course,) = [
        s
        for s in quantum.scaling
        if (s["model"], s["task"], s["metric"]) == (model, "selective_copy", "r2")
    ]
    assert f"**{model}**. {course['statement']}" in quoted
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines()]
    assert [model, "r2", *(f"{v:.3f}" for v in course["medians"])] in lines
    (at,) = [i for i, line in enumerate(lines) if line[:2] == [model, "r2"]]
    assert lines[at + 1][-5:] == ["ceiling", *(f"{v:.3f}" for v in course["ceilings"])]


@pytest.mark.parametrize("seqlen", [100, 200, 500, 1000])
def test_2d_stands_at_what_it_can_see(quantum, seqlen):
    found = labels(quantum, "reported", model="2d", task="selective_copy", seqlen_tokens=seqlen)
    assert "AT MODEL CEILING (unordered_chunks of 32)" in found


def test_not_converging_is_chance_so_far_and_no_divergence(quantum):
    place = {"model": "2e", "task": "adding_problem", "seqlen_tokens": 1000}
    found = [v for v in quantum.verdicts if v["verdict"] == "AT CHANCE SO FAR"]
    assert {(v["model"], v["seed"]) for v in found} == {("2e", 2025), ("2e", 2026)}
    assert not any("DIVERGED" in label for label in labels(quantum, "group", **place))
    evidence = json.loads(found[0]["evidence"])
    assert evidence["low"] < evidence["chance"] < evidence["high"]
    assert claim(quantum, "2e does not converge")["status"] == "not testable yet"


def test_no_claim_of_quantum_hydra_is_supported(quantum):
    assert len(quantum.claims) == 6
    assert not [c["statement"] for c in quantum.claims if c["status"] == "supported"]
    assert claim(quantum, "significantly more effective")["observed"] == "TOO FEW PAIRS"
    assert {c["outcome"] for c in quantum.comparisons} == {"TOO FEW PAIRS"}
    waits = claim(quantum, "can be used as they are")
    assert waits["status"] == "not testable yet"
    assert len(waits["missing"]) == 3


def test_the_pages_say_where_they_come_from_and_give_no_command(quantum, pentathlon):
    for report, where in (
        (quantum, "github.com/JHPark9090/Quantum-Hydra-Mamba"),
        (pentathlon, "github.com/ebaenamar/yoon-kim-hack"),
    ):
        assert "seqgrid did not run this study" in report.text
        assert where in report.text
        assert "histories, so nothing is said of convergence" in report.text
        assert "snakemake" not in report.text
        assert not [r for r in report.advice if r["command"] or r["edit"]]


def test_cells_at_their_ceiling_are_left_and_those_at_chance_are_not_given_up(quantum):
    found = defaultdict(set)
    for row in quantum.advice:
        if row["scope"] == "cell":
            found[row["model"], row["task"]].add((row["action"], row["verdict"]))
    assert found["2d", "adding_problem"] == {("do not resume", "SOLVED")}
    assert found["2d", "selective_copy"] == {("do not resume", "AT MODEL CEILING")}
    assert found["2e", "adding_problem"] == {
        ("do not resume", "SOLVED"),
        ("cannot be told", "AT CHANCE"),
        ("monitor", "RUNNING"),
    }


RECALL = [
    ("DeltaNet", "0.9131", "1,630,000", "above 80 % from epoch 18 on"),
    ("Vanilla Transformer", "0.0297", "3,290,000", "never above 80 %"),
    ("GRU", "0.0288", "1,640,000", "never above 80 %"),
    ("RoPE", "0.0219", "3,160,000", "never above 80 %"),
    ("LSTM", "0.0088", "2,140,000", "never above 80 %"),
]


@pytest.mark.parametrize("row", RECALL, ids=lambda row: row[0])
def test_pentathlon_has_its_table_of_recall(pentathlon, row):
    assert has(pentathlon, row[0], "MQAR", *row[1:])


def test_pentathlon_has_its_other_scores(pentathlon):
    for model, task, score in (
        ("RoPE", "Flip-Flop", "0.1068"),
        ("LSTM", "Flip-Flop", "0.1028"),
        ("DeltaNet", "Flip-Flop", "0.1000"),
        ("LSTM", "Knapsack", "0.0100"),
        ("DeltaNet", "Knapsack", "0.0000"),
        ("DeltaNet", "MQAR phase 0", "0.0071875"),
    ):
        assert has(pentathlon, model, task, score)


@pytest.mark.parametrize(
    ("model", "task", "label"),
    [
        ("RoPE", "Flip-Flop", "UNLEARNABLE AS SCORED"),
        ("LSTM", "Flip-Flop", "UNLEARNABLE AS SCORED"),
        ("DeltaNet", "Flip-Flop", "UNLEARNABLE AS SCORED"),
        ("LSTM", "MQAR", "AT CHANCE"),
        ("GRU", "MQAR", "AT SHORTCUT (in_context_value)"),
        ("RoPE", "MQAR", "AT SHORTCUT (in_context_value)"),
        ("Vanilla Transformer", "MQAR", "AT SHORTCUT (in_context_value)"),
        ("LSTM", "Knapsack", "AT CHANCE"),
        ("DeltaNet", "Knapsack", "AT CHANCE"),
        ("DeltaNet", "MQAR phase 0", "AT CHANCE"),
    ],
)
def test_pentathlon_is_held_against_chance_and_shortcuts(pentathlon, model, task, label):
    assert label in labels(pentathlon, "level", model=model, task=task)


def test_one_seed_supports_no_claim_of_pentathlon(pentathlon):
    assert len(pentathlon.claims) == 6
    assert not [c["statement"] for c in pentathlon.claims if c["status"] == "supported"]
    assert claim(pentathlon, "fundamental advantage")["observed"] == "TOO FEW PAIRS"
    assert "UNLEARNABLE AS SCORED" in claim(pentathlon, "flip-flop")["observed"]
    assert "AT CHANCE" in claim(pentathlon, "minimally")["observed"]
    assert "AT SHORTCUT" in claim(pentathlon, "recalls 3 %")["observed"]


def test_two_phases_are_two_experiments(pentathlon):
    """+12,587 % compares 64 pairs and 30 epochs with 32 pairs and 300."""
    phases = [c for c in pentathlon.comparisons if c["comparison"] == "phase 1 or phase 0"]
    assert {c["outcome"] for c in phases} == {"NOT COMPARABLE"}
    assert any("num_pairs: 32 of a, 64 of b" in line for line in phases[0]["blockers"])
    (row,) = pentathlon.published
    assert row["outcome"] == "DIFFERENT SETTINGS"
    assert any("num_pairs" in line for line in row["different"])


def test_runs_that_are_not_worth_it_are_not_to_be_finished_and_no_cost_is_said(quantum):
    left = sum((row["scope"], row["action"]) == ("cell", "do not resume") for row in quantum.advice)
    assert 0 < left < 36
    words = f"finish or drop the {36 - left} runs that have not finished; {left} more are not"
    assert words in quantum.text
    assert "Cost No time is recorded." in quantum.text
