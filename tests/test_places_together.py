"""One answer over several places: what may enter its mean, and what contradicts it."""

import pytest
from tables_factory import Tables
from test_comparison_rows import HIGH, LOW, X, rows

NEAR = [0.9 + 0.001 * i for i in range(8)]
B_BETTER = {"statement": "q is better", "compare": "x", "verdict": "B BETTER"}
A_BETTER = B_BETTER | {"verdict": "A BETTER"}


def study(places, claims=(), groups=None, compare=None, metric="r2", solved=0.95):
    """{task: {model: values}} on levels 0 to 1."""
    config = {"compare": compare or X, "claims": list(claims), "groups": groups or {}}
    made = Tables(config=config)
    for task, models in places.items():
        made.levels(task, [64], metric=metric, chance=0.0, ceiling=1.0, solved=solved)
        for model, values in models.items():
            made.cells(model, task, 64, values, metric=metric)
    return made


def test_how_far_below_chance_a_side_is_decides_nothing():
    places = {t: {"p": NEAR, "q": [0.2] * 8} for t in "tu"}
    places["v"] = {"p": [-5.0 - i for i in range(8)], "q": [-0.01] * 8}
    made = study(places, [B_BETTER])
    pooled = rows(made)[-1]
    assert pooled["outcome"] == "A BETTER"
    assert pooled["differences"][0] == pytest.approx(0.7)
    assert (
        "not in it, as both sides are at one end of the task: v at 64 tokens"
        in (pooled["statement"])
    )
    assert rows(made, "claims")[0]["status"] == "refuted"
    places["v"]["q"] = [0.1] * 8  # q alone has learned something there
    pooled = rows(study(places))[-1]
    assert pooled["differences"][0] == pytest.approx((0.7 + 0.7 - 0.1) / 3)


def test_places_that_contradict_each_other_support_nothing():
    places = {"t": {"p": NEAR, "q": [0.2] * 8}, "u": {"p": [0.3] * 8, "q": [0.6] * 8}}
    made = study(places, [A_BETTER, B_BETTER])
    found = rows(made)
    assert [row["outcome"] for row in found] == ["A BETTER", "B BETTER", "NO DIFFERENCE SHOWN"]
    assert "the places contradict each other" in found[-1]["blockers"][0]
    assert {row["status"] for row in rows(made, "claims")} == {"not testable yet"}


def test_a_place_that_cannot_be_compared_stands_against_a_claim_about_all():
    compare = {"x": X["x"] | {"on": {"evaluated": 512}}}
    made = Tables(config={"compare": compare, "claims": [A_BETTER]})
    made.levels("t", [32, 64, 128, 512], chance=0.0, ceiling=1.0, solved=0.95)
    for length in (32, 64, 128):
        for seed in range(8):
            there = None if length == 128 else {512: 0.3}
            made.cell("p", "t", length, seed, 0.8, elsewhere={512: 0.7 + 0.001 * seed})
            made.cell("q", "t", length, seed, 0.4, elsewhere=there)
    assert [row["outcome"] for row in rows(made)][2:] == ["NOT COMPARABLE"] * 2
    assert rows(made, "claims")[0]["status"] == "not testable yet"


def test_a_place_of_no_difference_keeps_a_claim_about_all_open():
    places = {"t": {"p": NEAR, "q": [0.2] * 8}, "u": {"p": HIGH, "q": HIGH}}
    compare = {"x": X["x"] | {"margin": 0.02}}
    made = study(places, [A_BETTER], compare=compare)
    assert [r["outcome"] for r in rows(made)] == ["A BETTER", "NO DIFFERENCE", "A BETTER"]
    claim = rows(made, "claims")[0]
    assert claim["status"] == "not testable yet"
    assert "but u at 64 tokens is NO DIFFERENCE" in claim["reason"]


def test_one_model_far_below_chance_does_not_outweigh_its_group():
    compare = {"x": {"a": {"group": "g"}, "b": "q"}}
    bad = [-50.0 - i for i in range(8)]
    places = {"t": {"p": NEAR, "r": bad, "q": [0.2 + 0.01 * i for i in range(8)]}}
    row = rows(study(places, groups={"g": ["p", "r"]}, compare=compare))[0]
    assert row["differences"][0] == pytest.approx(0.45 - 0.2)


def test_an_error_rate_without_levels_is_better_low():
    made = Tables(config={"compare": {"x": X["x"] | {"metric": "error_rate"}}})
    made.levels("t", [64], chance=0.0, ceiling=1.0, solved=0.95)
    made.cells("p", "t", 64, HIGH).cells("q", "t", 64, LOW)
    for row in list(made.rows["evaluations"]):
        ends = {"low": 1 - row["high"], "high": 1 - row["low"], "value": 1 - row["value"]}
        other = row | ends | {"metric": "error_rate", "primary": False}
        made.rows["evaluations"].append(other)
    [row] = rows(made)
    assert (row["metric"], row["better"], row["outcome"]) == ("error_rate", "lower", "A BETTER")


@pytest.mark.parametrize("value", [None, float("nan")])
def test_two_sides_without_a_number_are_not_equivalent(value):
    made = study({"t": {}}, compare={"x": X["x"] | {"margin": 0.02}})
    for model in "pq":
        outcome = "finished" if value is not None else "diverged"
        made.cells(model, "t", 64, [value] * 8, metric="r2", outcome=outcome)
    [row] = rows(made)
    assert row["outcome"] == "NO DIFFERENCE SHOWN"
    assert row["p_equivalent"] == 1


def test_a_learning_rate_that_diverged_has_ended():
    made = study({"t": {}})
    for model in "pq":
        good = NEAR if model == "p" else LOW
        made.cells(model, "t", 64, good, metric="r2", variant="learning_rate=0.001")
        variant = "learning_rate=0.1"
        made.cells(model, "t", 64, [None] * 8, outcome="diverged", variant=variant)
    [row] = rows(made)
    assert row["outcome"] == "A BETTER"
