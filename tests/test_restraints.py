"""What holds a claim of a comparison back although its pairs show something."""

import json

import pytest
from tables_factory import Tables
from test_comparison_rows import HIGH, LOW, X, only, rows, study, training

from seqgrid.report.comparisons import place

NEAR = [v + s for v, s in zip(HIGH, [0.003, -0.002, 0.001, -0.003] * 2, strict=True)]


def claims(*wanted):
    return [{"statement": word, "compare": "x", "verdict": word} for word in wanted]


# -- margins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.25, 0.39, 0.9, 5.0])
def test_a_margin_as_wide_as_the_scale_hides_no_difference(margin):
    compare = {"x": X["x"] | {"margin": margin}}
    for seeds in (5, 6, 7, 8):
        made = study(compare, HIGH[:seeds], LOW[:seeds], claims=claims("A BETTER", "NO DIFFERENCE"))
        row = only(made)
        assert row["outcome"] == ("A BETTER" if seeds > 5 else "TOO FEW PAIRS")
        assert row["p_equivalent"] is None
        assert "what there is to show (0.01 to 1), so equivalence is not" in row["statement"]
        found = rows(made, "claims")
        assert found[1]["status"] != "supported"
        assert found[0]["status"] != "refuted"


def test_without_levels_a_score_from_0_to_1_spans_as_much():
    made = Tables(config={"compare": {"x": X["x"] | {"margin": 0.3}}})
    made.cells("p", "t", 64, HIGH).cells("q", "t", 64, NEAR)
    assert only(made)["outcome"] == "NO DIFFERENCE SHOWN"
    made = Tables(config={"compare": {"x": X["x"] | {"margin": 0.3}}})
    made.cells("p", "t", 64, HIGH, metric="loss").cells("q", "t", 64, NEAR, metric="loss")
    assert only(made)["outcome"] == "NO DIFFERENCE"


def test_a_small_difference_with_a_direction_does_not_refute_that_there_is_one():
    compare = {"x": X["x"] | {"margin": 0.1}, "y": X["x"]}
    q = [v - 0.01 - 0.001 * i for i, v in enumerate(HIGH[:7])]
    made = study(compare, HIGH[:7], q, claims=claims("A BETTER", "NO DIFFERENCE"))
    assert rows(made)[0]["outcome"] == "A BETTER"
    made = study(compare, HIGH[:6], q[:6], claims=claims("A BETTER", "NO DIFFERENCE"))
    row = rows(made)[0]  # of three tests, 3/64 is enough and 3/32 is not
    assert (row["outcome"], row["low"] > 0) == ("NO DIFFERENCE", True)
    assert "within it a is ahead in 6, b in 0" in row["statement"]
    assert [c["status"] for c in rows(made, "claims")] == ["not testable yet", "supported"]


# -- examples that seeds share --------------------------------------------------------------------


def shared(p, q, seed=0, half=0.01, start=None, **about):
    made = Tables(config={"compare": X}, **about)
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95)
    settings = json.dumps({"training": {"batch_size": 64, "data_seed": seed, "init_seed": start}})
    for model, values in (("p", p), ("q", q)):
        made.cells(model, "mqar", 64, values, settings=settings, half=half)
    return made


def test_seeds_that_share_their_examples_make_no_population_difference():
    close = [v - 0.02 for v in HIGH]
    assert only(shared(HIGH, close, seed=None))["outcome"] == "A BETTER"
    row = only(shared(HIGH, close, half=0.02))
    assert row["outcome"] == "NOT COMPARABLE"
    assert "all seeds share their examples (data_seed 0)" in row["blockers"][0]
    far = only(shared(HIGH, LOW, half=0.02))
    assert (far["outcome"], far["blockers"]) == ("A BETTER", [])
    assert "more than one set of test examples makes by chance" in far["statement"]


def test_seeds_of_one_initialisation_make_no_difference_of_the_models():
    row = only(shared(HIGH, LOW, seed=None, start=3))
    assert row["outcome"] == "NOT COMPARABLE"
    assert "one initialisation (init_seed 3), which their spread does not" in row["blockers"][0]
    one = only(
        shared(HIGH[:1], LOW[:1], seed=None, start=3)
    )  # of one run each nothing else is said
    assert (one["outcome"], one["blockers"]) == ("TOO FEW PAIRS", [])


def test_without_the_noise_of_a_shared_test_set_no_difference_is_claimed():
    made = shared(HIGH, LOW)
    for row in made.rows["evaluations"]:
        row |= {"low": None, "high": None}
    assert only(made)["outcome"] == "NOT COMPARABLE"


def test_a_study_run_elsewhere_says_whether_its_seeds_share_a_test_set():
    close = [v - 0.005 for v in HIGH]
    made = study(q=close, settings=(training(), training()))
    assert only(made)["outcome"] == "A BETTER"
    made.about["imported"] = True
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    assert "whether all seeds share their test examples is not recorded" in row["blockers"][0]
    made = study(q=close, settings=(training(data_seed=None),) * 2)
    made.about["imported"] = True
    assert only(made)["outcome"] == "A BETTER"


# -- words ----------------------------------------------------------------------------------------


def test_pairs_that_differ_at_chance_are_not_said_to_show_no_difference():
    made = study(p=[0.013, 0.014] * 4, q=[0.012, 0.011] * 4)
    read = only_with(made, "AT CHANCE")
    assert read["outcome"] == "NO DIFFERENCE SHOWN"
    assert read["statement"].startswith("the pairs differ (")
    assert "both sides are AT CHANCE" in read["statement"]
    assert "no difference is shown" not in read["statement"]


def only_with(made, verdict):
    row = only(made)
    assert any(verdict in line for line in row["blockers"])
    return row


def swept(compare):
    made = Tables(config={"compare": compare})
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95)
    for rate, loss in ((0.001, 0.0), (0.01, 0.05)):
        settings = training(learning_rate=rate)
        for model, values in (("p", HIGH), ("q", LOW)):
            less = [v - loss for v in values]
            name = f"learning_rate={rate}"
            made.cells(model, "mqar", 64, less, variant=name, settings=settings)
    return made


def test_selected_variants_are_said_to_be_too_high():
    row = only(swept(X))
    assert row["outcome"] == "A BETTER"
    assert "the variant of a was selected of 2 on these seeds" in row["statement"]


def test_variants_chosen_by_the_study_are_said_to_be():
    one, two = "learning_rate=0.001", "learning_rate=0.01"
    sides = {"a": {"model": "p", "variant": one}, "b": {"model": "q", "variant": two}}
    row = only(swept({"x": sides}))
    assert "the variant of a was chosen by the study, of 2 that were tried" in row["statement"]
    assert "it may be one of learning rates" in row["statement"]


# -- groups ---------------------------------------------------------------------------------------


def test_a_model_that_is_worse_contradicts_its_group():
    groups = {"g": ["p", "r"]}
    compare = {"x": {"a": {"group": "g"}, "b": "q"}}
    made = study(compare, p=[0.95 + 0.001 * i for i in range(8)], groups=groups)
    made.cells("r", "mqar", 64, [0.5 + 0.002 * i for i in range(8)])
    assert only(made)["outcome"] == "A BETTER"
    made = study(compare, p=[0.95 + 0.001 * i for i in range(8)], groups=groups)
    made.cells("r", "mqar", 64, [0.1 + 0.002 * i for i in range(8)])
    row = only(made)
    assert (row["outcome"], row["difference"] > 0) == ("NO DIFFERENCE SHOWN", True)
    assert "r against q is B BETTER (p 0.007812)" in row["blockers"][0]
    assert "the pairs differ" in row["statement"]


# -- selection ------------------------------------------------------------------------------------


def test_a_best_of_many_variants_that_other_seeds_do_not_find_is_not_claimed():
    made = Tables(config={"compare": X})
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95)
    high = {0: range(0, 5), 1: (5, 6, 7, 0)}  # seeds on which a variant of p is lucky
    for variant, lucky in high.items():
        for seed in range(8):
            luck = 0.9 if seed in lucky else 0.62 if variant == 0 else 0.3
            made.cell("p", "mqar", 64, seed, luck, variant=f"v={variant}")
            made.cell("q", "mqar", 64, seed, 0.6, variant=f"v={variant}")
    assert only(made)["outcome"] == "A BETTER"  # each half selects the first variant as well
    made = Tables(config={"compare": X})
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95)
    for seed in range(8):
        made.cell("p", "mqar", 64, seed, 0.65, curve=[0.6], variant="v=0")
        even = seed % 2 == 0  # the second looks better to one half, and is bad for the other
        made.cell("p", "mqar", 64, seed, 0.3, curve=[0.8 if even else 0.1], variant="v=1")
        for variant in (0, 1):
            made.cell("q", "mqar", 64, seed, 0.6, variant=f"v={variant}")
    row = only(made)
    assert (row["outcome"], row["p_corrected"]) == ("NO DIFFERENCE SHOWN", pytest.approx(2 / 2**8))
    assert "what the other half selects the difference is not shown" in row["statement"]


# -- places ---------------------------------------------------------------------------------------


def test_a_mean_over_some_places_is_not_said_of_all():
    made = study(claims=claims("A BETTER", "B BETTER"))
    for task in ("t", "u"):
        made.levels(task, [64], chance=0.0, ceiling=1.0, solved=0.95)
        made.cells("p", task, 64, [1.0] * 8).cells("q", task, 64, [1.0] * 8)
    row = rows(made)[-1]
    assert (row["outcome"], row["places"], row["places_asked"]) == ("A BETTER", 1, 3)
    assert place(row) == "1 of 3 places (accuracy)"
    found = rows(made, "claims")
    assert [claim["status"] for claim in found] == ["not testable yet", "refuted"]
    assert "it rests on 1 of 3 places" in found[0]["reason"]
