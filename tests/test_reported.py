"""What the rules say of reported values whose seeds nobody knows."""

import json

import pytest
from tables_factory import Tables

from seqgrid.analysis import summary

LEVELS = {"chance": 0.0, "ceiling": 1.0, "solved": 0.95}


def verdicts(value, error=0.01, ceiling=None, statistic="mean", levels=LEVELS, **about):
    made = Tables(**about).levels("copy", [64], metric="r2", **levels)
    row = {"model": "2d", "task": "copy", "variant": "", "seqlen_tokens": 64, "value": value}
    row |= {"evaluated_seqlen_tokens": 64, "test_set": "", "metric": "r2", "seeds": 3}
    row |= {"statistic": statistic, "standard_error": error, "origin": "validation"}
    if ceiling is not None:
        row |= {"model_ceiling": ceiling, "model_ceiling_name": "a bag"}
        row |= {"model_ceiling_derivation": "without the order"}
    made.rows["reported"].append(row | {"source": "table 4"})
    found = summary.build(made.read())["verdicts"].to_pylist()
    assert all(r["scope"] == "reported" and r["seed"] is None for r in found)
    return {r["verdict"]: r for r in found}


@pytest.mark.parametrize(
    ("value", "ceiling", "shortcuts", "expected"),
    [
        (-0.0162, None, {}, {"AT CHANCE"}),
        (0.131, 0.133, {}, {"AT MODEL CEILING", "ABOVE"}),
        (0.131, 0.2, {}, {"ABOVE"}),
        (0.31, 0.2, {}, {"ABOVE MODEL CEILING", "ABOVE"}),
        (0.131, None, {"bag": 0.125}, {"AT SHORTCUT", "ABOVE"}),
        (0.999, None, {}, {"AT CEILING", "ABOVE"}),
        (1.2, None, {}, {"ABOVE CEILING"}),
    ],
)
def test_a_reported_mean_is_held_against_the_levels(value, ceiling, shortcuts, expected):
    found = verdicts(value, ceiling=ceiling, levels=LEVELS | {"shortcuts": shortcuts})
    assert found.keys() == expected


def test_the_statement_says_what_the_value_is_of():
    found = verdicts(-0.0162)["AT CHANCE"]
    told = "the reported mean of 3 runs (from checkpoints) cannot be told from chance 0"
    assert told in found["statement"]
    assert "seeds may differ by more" in found["rule"]
    assert json.loads(found["evidence"])["source"] == "table 4"


def test_without_a_standard_error_only_that_is_said():
    assert verdicts(0.5, error=None).keys() == {"NO INTERVAL"}


def test_a_peak_shows_nothing_but_chance():
    assert verdicts(0.999, statistic="peak").keys() == set()
    assert verdicts(-0.01, statistic="peak").keys() == {"AT CHANCE"}


def test_an_unlearnable_task_and_a_wider_confidence_hold_here_too():
    flat = {"chance": 0.1, "ceiling": 0.1}
    assert verdicts(0.1, levels=flat).keys() == {"UNLEARNABLE AS SCORED"}
    sure = {"thresholds": {"confidence": 0.9999}}
    assert "AT CHANCE" not in verdicts(0.03)
    assert "AT CHANCE" in verdicts(0.03, config=sure)
