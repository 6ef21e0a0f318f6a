"""Marks, intervals and numbers of a report: one rule each, wherever they stand."""

from math import inf, nan
from pathlib import Path

import pytest
from report_text import tables_of
from tables_factory import Tables

from seqgrid.analysis.build import build
from seqgrid.analysis.groups import short
from seqgrid.report import (
    across,
    checks,
    convergence,
    groups,
    length,
    published,
    results,
    seeds,
    sensitivity,
)
from seqgrid.report.content import Content
from seqgrid.report.markdown import DAGGER, REUSED, STALE, interval, number

SCORES = (0.5, 0.51, 0.52)


def content(made):
    read = made.read()
    return Content.of(Path("study"), read, build(read))


def made(**config):
    found = Tables(config=config)
    for task in ("t", "u"):
        found.levels(task, [16, 32, 64], chance=0.1, ceiling=1.0, solved=0.95)
    return found


def test_a_median_of_models_carries_the_marks_of_its_members():
    found = made(groups={"old": ["a"], "cut": ["b"], "lent": ["c"], "all": ["a", "b", "d"]})
    found.cells("a", "t", 16, SCORES, stale=True)
    found.cells("b", "t", 16, SCORES[:2]).cell("b", "t", 16, 2, 0.9, outcome="timed_out")
    found.cells("c", "t", 16, SCORES, reused=True)
    [rows] = tables_of(groups.medians(content(found)))
    assert {r["group"]: r["median"] for r in rows} == {
        "old": f"0.5100{STALE}",
        "cut": f"0.5050{DAGGER}",
        "lent": f"0.5100{REUSED}",
        "all": f"0.5075{DAGGER}{STALE}",
    }


def test_times_to_solve_carry_the_marks_of_their_cells():
    found, solved = made(), {"solved_step_steps": 500}
    found.cells("a", "t", 16, [0.99] * 3, stale=True, **solved)
    found.cells("b", "t", 16, [0.99] * 2, **solved)
    found.cell("b", "t", 16, 2, 0.2, outcome="timed_out")
    found.cells("c", "t", 16, [0.99] * 3, **solved)
    [rows] = tables_of(convergence.convergence(content(found)))
    for line, of in zip(rows, (f"3/3{STALE}", f"2/3{DAGGER}", "3/3"), strict=True):
        mark = of[3:]
        assert line["solved"] == of
        assert line["median"] == f"500{mark}"
        assert line["mean"].split(" ")[0].endswith(f"0{mark}")


def test_courses_published_numbers_and_expectations_carry_the_marks():
    place = {"model": "a", "task": "t", "seqlen": 16, "evaluated": None, "test_set": ""}
    expect = [place | {"verdict": "ABOVE chance", "why": ""}]
    found = made(published=[place | {"value": 0.5, "source": "a paper"}], expect=expect)
    for at in (16, 32, 64):
        found.cells("a", "t", at, SCORES, stale=at == 16)
        found.cells("b", "t", at, SCORES)
    told = content(found)
    assert tables_of(published.published(told))[0][0]["ours"] == f"0.5100{STALE}"
    assert tables_of(checks.expected(told))[0][0]["median"] == f"0.5100{STALE}"
    _, (old, new), each = tables_of(length.length(told))
    assert old["first to last"] == f"0.5100 to 0.5100{STALE}"
    assert new["first to last"] == "0.5100 to 0.5100"
    assert old["share, a doubling"].endswith(STALE)
    assert list(each[0].values()) == ["a", f"0.5100{STALE}", "0.5100", "0.5100"]


def test_a_range_of_seeds_and_a_number_over_tasks_carry_the_marks():
    found = made()
    for task in ("t", "u"):
        found.cells("a", task, 16, SCORES, reused=task == "u")
        found.cells("b", task, 16, SCORES, variant="learning_rate=0.001", stale=True)
        found.cells("b", task, 16, SCORES, variant="learning_rate=0.01")
    told = content(found)
    rows = tables_of(across.across(told))[0]
    assert rows[0]["IQM"].endswith(REUSED)
    by_task = [rows[0] for rows in tables_of(seeds.seeds(told))]
    assert [r["min"] for r in by_task] == ["0.5000", f"0.5000{REUSED}"]
    assert f"0.5{STALE} 0.51{STALE} 0.52{STALE}" in sensitivity.sensitivity(told)


def test_no_interval_has_an_end_that_is_no_number():
    found = made()
    found.cells("a", "t", 16, (0.5, 0.6, nan)).cells("b", "t", 16, (0.9, 0.2, nan))
    found.cells("c", "t", 16, SCORES)
    told = content(found)
    shown = results.results(told)
    assert "[nan" not in shown
    intervals = {r["model"]: r["interval"] for r in tables_of(shown)[0]}
    none = "none: 2 of 3 values are numbers"
    assert intervals == {"a": none, "b": none, "c": "[0.5000, 0.5200]"}
    [said] = [v["statement"] for v in told.verdicts if v["model"] == "b"
              and v["verdict"] == "UNSTABLE ACROSS SEEDS"]  # fmt: skip
    assert "nan" not in said
    assert "0.2 to 0.9, and 1 of 3 is no number" in said


def test_a_cut_run_that_scored_no_number_is_at_no_level():
    found = made().cell("a", "t", 16, 0, nan, outcome="timed_out")
    assert not [v for v in content(found).verdicts if v["verdict"] == "AT CHANCE SO FAR"]


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        ((0.1, 0.6), "[0.1000, 0.6000]"),
        ((nan, 0.6), "[unbounded, 0.6000]"),
        ((0.1, None), "[0.1000, unbounded]"),
        ((-inf, inf), "-"),
        ((nan, nan), "-"),
    ],
)
def test_an_interval_without_an_end_says_so(ends, shown):
    assert interval(*ends) == shown


@pytest.mark.parametrize(
    ("value", "table", "sentence"),
    [
        (0.97349, "0.9735", "0.9735"),
        (1.0, "1.0000", "1"),
        (2.30259, "2.3026", "2.303"),
        (-12.345, "-12.35", "-12.35"),
        (654.63, "654.63", "654.6"),
        (51200.0, "51200.00", "51200"),
        (1234567.0, "1.23e+06", "1.235e+06"),
        (0.00012345, "0.000123", "0.0001234"),
        (0.0, "0.0000", "0"),
    ],
)
def test_one_rule_for_the_digits_of_a_number(value, table, sentence):
    assert (number(value), short(value)) == (table, sentence)
