"""What a median of pairs hides: losses that outweigh it, and sides that only seem alike."""

import pytest
from test_claims import judged
from test_claims import made as models
from test_comparison_rows import X, only, rows, study

from seqgrid.analysis import paired, spread
from seqgrid.analysis.spread import Spread

MARGIN = {"x": X["x"] | {"margin": 0.05}}
COLLAPSES = [0.99, 0.99, 0.99, 0.1] * 6
STEADY = [0.965] * 24


def outweighed(differences, unstable=()):
    found = paired.compare(differences)
    return spread.outweighed(Spread(tuple(differences), unstable), found, paired.judge([found])[0])


def test_a_model_that_wins_narrowly_and_collapses_elsewhere_is_not_better():
    row = only(study(p=COLLAPSES, q=STEADY))
    assert row["p_corrected"] <= 0.05
    assert row["outcome"] == "NO DIFFERENCE SHOWN"
    assert "b is ahead by up to 0.865 in other seeds" in row["statement"]
    assert "a is UNSTABLE ACROSS SEEDS" in row["statement"]
    claim = judged(models(p=COLLAPSES, q=STEADY), {"compare": "x", "verdict": "A BETTER"})
    assert claim["status"] == "not testable yet"


def test_the_mean_need_not_be_shown_where_no_loss_exceeds_the_median():
    assert not outweighed([0.1] * 12 + [-0.05])
    assert not outweighed([0.01] * 12 + [0.9, -0.005])  # nor where a gain spreads it
    assert not outweighed([0.2] * 12 + [-0.3])  # larger, and yet the mean shows the same
    assert outweighed([0.1] * 12 + [-1.5])
    assert outweighed([-0.1] * 12 + [1.5])
    assert outweighed([0.1] * 12 + [-float("inf")])


def test_an_unstable_side_that_is_better_in_every_seed_is_better_and_said_to_be_unstable():
    unsteady, low = [0.99, 0.99, 0.99, 0.6] * 3, [0.4] * 12
    row = only(study(p=unsteady, q=low))
    assert row["outcome"] == "A BETTER"
    assert "a is UNSTABLE ACROSS SEEDS, so no median stands for it" in row["statement"]
    claim = {"compare": "x", "verdict": "A BETTER", "expected": [0.0, 1.0]}
    found = judged(models(p=unsteady, q=low), claim)
    assert (found["found"], found["status"]) == ("cannot be told", "not testable yet")


@pytest.mark.parametrize("many", [0, 6])
def test_no_equivalence_of_medians_where_one_side_solves_it_in_some_seeds(many):
    solving = [0.99] * many + [0.3] * (24 - many)
    row = only(study(MARGIN, p=solving, q=[0.3] * 24))
    assert row["outcome"] == ("NO DIFFERENCE SHOWN" if many else "NO DIFFERENCE")
    words = ("a is UNSTABLE", "a solved the task in 6 of 24 seeds, b in 0", "the mean difference")
    assert all((word in row["statement"]) == bool(many) for word in words)


def test_a_better_side_is_not_equivalent_as_well_where_its_median_hides_what_seeds_do():
    solving = [0.99] * 6 + [0.305] * 18
    row = only(study(MARGIN, p=solving, q=[0.3] * 24))
    assert (row["outcome"], row["p_equivalent"]) == ("A BETTER", None)
    assert "no equivalence is claimed" in row["statement"]


def test_no_equivalence_within_a_margin_that_one_test_example_exceeds():
    made = study(MARGIN, p=[0.75] * 8, q=[0.75] * 8)
    for row in made.rows["evaluations"]:
        row |= {"examples": 4, "scored": 4}
    row = only(made)
    assert row["outcome"] == "NO DIFFERENCE SHOWN"
    assert "one of 4 test examples is 0.25, more than the margin" in row["statement"]


def test_what_a_median_hides_at_one_place_it_hides_over_all():
    made = study(MARGIN, p=[0.99] * 10 + [0.3] * 30, q=[0.3] * 40)
    made.levels("copy", [64], chance=0.01, ceiling=1.0, solved=0.95)
    for model in "pq":
        made.cells(model, "copy", 64, [0.5] * 40)
    row = next(r for r in rows(made) if r["task"] is None)
    assert row["outcome"] == "NO DIFFERENCE SHOWN"
    assert "a on mqar at 64 tokens is UNSTABLE ACROSS SEEDS" in row["statement"]
