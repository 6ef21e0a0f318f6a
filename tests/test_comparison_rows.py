"""Comparisons of a study's tables: every outcome, and everything that stands against a claim."""

import json
from math import nan

import pytest
from tables_factory import Tables

from seqgrid.analysis import claims, comparisons, scaling, summary
from seqgrid.report.__main__ import write

HIGH = [0.81, 0.82, 0.84, 0.83, 0.80, 0.85, 0.82, 0.81]
LOW = [0.41, 0.44, 0.42, 0.40, 0.43, 0.45, 0.41, 0.42]
X = {"x": {"a": "p", "b": "q"}}


def study(compare=None, p=tuple(HIGH), q=tuple(LOW), settings=(None, None), **config):
    """Two models on one task; `settings` of each, as `cells` has them."""
    made = Tables(config={"compare": compare or X} | config)
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95)
    for model, values, given in zip("pq", (p, q), settings, strict=True):
        made.cells(model, "mqar", 64, values, **({"settings": given} if given else {}))
    return made


def rows(made, name="comparisons"):
    read = made.read()
    built = summary.build(read)
    for table, module in (("comparisons", comparisons), ("scaling", scaling), ("claims", claims)):
        built[table] = module.build(read, built)
    return built[name].to_pylist()


def only(made):
    found = rows(made)
    assert len(found) == 1
    return found[0]


def reported(model, value=0.01):
    """A row of `reported`."""
    who = {"model": model, "task": "mqar", "seqlen_tokens": 64, "evaluated_seqlen_tokens": 64}
    value = {"value": value, "standard_error": 0.002, "statistic": "mean", "seeds": 3}
    return who | value | {"metric": "accuracy", "origin": "test", "source": "r.csv line 2"}


def training(**training):
    return json.dumps({"training": {"batch_size": 64, "learning_rate": 0.001} | training})


# -- outcomes -------------------------------------------------------------------------------------


def test_a_difference_of_all_pairs_is_claimed_with_its_interval():
    row = only(study())
    assert (row["outcome"], row["pairs"], row["unpaired"]) == ("A BETTER", 8, 0)
    assert row["blockers"] == []
    assert 0 < row["low"] <= row["difference"] <= row["high"]
    assert row["p_corrected"] == pytest.approx(2 / 2**8)
    assert row["improvement"] == 1
    assert row["effect"] == "Cohen's d_z"
    mirrored = only(study({"x": {"a": "q", "b": "p"}}))
    assert mirrored["outcome"] == "B BETTER"
    assert mirrored["difference"] == -row["difference"]


def test_a_metric_to_be_low_turns_the_answer_round():
    made = Tables(config={"compare": X})
    for model, values in (("p", HIGH), ("q", LOW)):
        made.cells(model, "lm", 64, values, metric="loss")
    made.levels("lm", [64], metric="loss", better="lower", chance=3.0, ceiling=0.0)
    assert only(made)["outcome"] == "B BETTER"


def test_values_that_are_close_are_no_difference_only_within_a_declared_margin():
    near = [v + s for v, s in zip(HIGH, [0.003, -0.002, 0.001, -0.003] * 2, strict=True)]
    assert only(study(q=near))["outcome"] == "NO DIFFERENCE SHOWN"
    row = only(study({"x": X["x"] | {"margin": 0.02}}, q=near))
    assert row["outcome"] == "NO DIFFERENCE"
    assert row["p_equivalent"] <= 0.05


def test_three_seeds_can_show_nothing_and_the_row_says_how_many_could():
    row = only(study(p=HIGH[:3], q=LOW[:3]))
    assert row["outcome"] == "TOO FEW PAIRS"
    assert row["pairs_needed"] == 6
    assert "3 pairs can give no p below 0.25" in row["statement"]
    assert row["coverage"] == 0.75


def test_every_further_comparison_asks_for_more_pairs():
    compare = {f"x{i}": {"a": "p", "b": "q", "why": str(i)} for i in range(4)}
    found = rows(study(compare, p=HIGH[:6], q=LOW[:6]))
    assert {row["pairs_needed"] for row in found} == {8}
    assert {row["correction"] for row in found} == {"Holm, 4 tests"}
    assert {row["outcome"] for row in found} == {"TOO FEW PAIRS"}


def test_cells_to_come_are_unpaired_and_hold_an_answer_back_that_they_could_change():
    made = study(p=HIGH[:6], q=LOW[:6])
    for seed in (6, 7):
        made.cell("p", "mqar", 64, seed, 0.8)
        made.cell("q", "mqar", 64, seed, 0.9, outcome="timed_out")
    row = only(made)
    assert (row["outcome"], row["pairs"], row["unpaired"]) == ("NOT TESTABLE YET", 6, 4)
    assert [path.split("/")[1] for path in row["missing"]] == ["q", "q"]


def test_a_diverged_run_counts_as_the_worst_and_is_not_left_out():
    made = study(p=HIGH[:5], q=LOW[:5])
    for seed in range(5, 8):
        made.cell("p", "mqar", 64, seed, 0.8)
        made.cell("q", "mqar", 64, seed, outcome="diverged")
    row = only(made)
    assert (row["outcome"], row["pairs"]) == ("A BETTER", 8)
    assert "worse than every number: seed 5 of b: diverged" in row["statement"]


# -- single runs ----------------------------------------------------------------------------------


def test_three_single_runs_on_200_examples_are_one_value():
    made = Tables(config={"compare": {f"{a}{b}": {"a": a, "b": b} for a, b in ("pq", "pr", "qr")}})
    for model, correct in (("p", 129), ("q", 125), ("r", 131)):
        made.cell(model, "gsm8k", 64, 1234, correct / 200)
    for row in made.rows["evaluations"]:
        correct = round(row["value"] * 200)
        row |= {"low": None, "high": None, "scored": 200, "correct": correct, "examples": 200}
    found = rows(made)
    assert {row["outcome"] for row in found} == {"NO DIFFERENCE SHOWN"}
    for row in found:
        assert row["low"] < 0 < row["high"]
        assert "over 200 test examples no difference can be told" in row["statement"]
        assert "it speaks for these runs only" in row["statement"]


def test_two_single_runs_far_apart_say_nothing_of_other_seeds():
    row = only(study(p=HIGH[:1], q=LOW[:1]))
    assert row["outcome"] == "TOO FEW PAIRS"
    assert "the two runs differ" in row["statement"]
    claims = [{"statement": "s", "compare": "x", "verdict": "A BETTER", "expected": [0.1, 0.9]}]
    claim = rows(study(p=HIGH[:1], q=LOW[:1], claims=claims), "claims")[0]
    assert (claim["status"], claim["found"]) == ("not testable yet", "cannot be told")


# -- what stands against a claim ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "blocker"),
    [
        ((training(), training(batch_size=128)), "batch size: 64 of a, 128 of b"),
        ((training(), training(weight_decay=0.1)), None),
    ],
)
def test_unequal_budgets_cannot_be_compared_and_what_else_differs_is_said(settings, blocker):
    row = only(study(settings=settings))
    assert row["blockers"] == ([blocker] if blocker else [])
    assert row["outcome"] == ("NOT COMPARABLE" if blocker else "A BETTER")
    other = ["optimiser settings: weight_decay none of a and 0.1 of b"]
    assert row["unequal"] == ([] if blocker else other)


@pytest.mark.parametrize(
    ("column", "value", "blocker"),
    [
        ("budget_steps", 4000, "steps asked for: 2,000 of a, 4,000 of b"),
        ("seen_tokens", 10**6, "tokens in the steps asked for: 8,192,000 of a, 1,000,000 of b"),
    ],
)
def test_steps_and_tokens_are_part_of_the_budget(column, value, blocker):
    made = study()
    for row in made.rows["cells"]:
        if row["model"] == "q":
            row[column] = value
    row = only(made)
    assert blocker in row["blockers"]
    assert row["outcome"] == "NOT COMPARABLE"


def test_test_sets_of_unlike_size_are_not_the_same():
    made = study()
    for row in made.rows["evaluations"]:
        row["examples"] = 50_000 if row["model"] == "q" else 50
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    assert row["blockers"] == ["test examples: 50 of a, 50,000 of b"]


def test_budgets_that_are_not_recorded_hold_a_claim_back():
    made = study()
    for row in made.rows["cells"]:
        row["budget_steps"] = None
    row = only(made)
    assert (row["outcome"], row["blockers"]) == (
        "NOT COMPARABLE",
        ["steps asked for: not recorded"],
    )


def test_more_variants_tried_is_a_larger_budget_unless_both_are_named():
    made = study(q=())
    for rate in (0.001, 0.01):
        made.cells("q", "mqar", 64, LOW, variant=f"learning_rate={rate}")
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    assert row["blockers"] == ["variants tried: 1 of a, 2 of b"]


def test_other_parameters_and_precision_are_said_and_do_not_stand_against_a_claim():
    made = study()
    for row in made.rows["cells"]:
        if row["model"] == "q":
            row |= {"parameters": 200_000, "dtype": "bfloat16"}
    row = only(made)
    assert row["outcome"] == "A BETTER"
    assert row["unequal"] == [
        "parameters: 100,000 of a, 200,000 of b",
        "precision: float32 of a, bfloat16 of b",
    ]


def test_two_tasks_are_not_compared_whatever_their_names():
    compare = {"x": {"a": {"model": "p", "task": "kv32"}, "b": {"model": "p", "task": "kv64"}}}
    made = Tables(config={"compare": compare})
    for task, pairs, chance in (("kv32", 32, 1 / 128), ("kv64", 64, 1 / 256)):
        made.levels(task, [64], chance=chance, ceiling=1.0, solved=0.9)
        given = json.dumps({"task_settings": {"num_pairs": pairs}, "training": {}})
        made.cells("p", task, 64, HIGH, task_file="mqar", settings=given)
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    assert row["blockers"] == [
        "task setting num_pairs: 32 of a, 64 of b",
        "chance: 0.007812 of a, 0.003906 of b",
    ]
    assert row["difference"] is None


@pytest.mark.parametrize(
    ("values", "level"), [([0.009, 0.011] * 4, "AT CHANCE"), ([1.0] * 8, "AT CEILING")]
)
def test_where_both_are_at_an_end_of_the_task_no_difference_can_show(values, level):
    other = [v - 0.0005 for v in values]
    row = only(study(p=values, q=other))
    assert row["p_corrected"] <= 0.05
    assert row["outcome"] == "NO DIFFERENCE SHOWN"
    assert row["blockers"] == [f"both sides are {level}: this place cannot tell them apart"]


def test_nothing_is_claimed_on_a_task_whose_control_failed():
    row = only(study().control("mqar", state="failed"))
    assert row["outcome"] == "NOT COMPARABLE"
    assert row["blockers"][0].startswith("CONTROL FAILED")


def test_nothing_is_claimed_where_no_score_shows_learning():
    made = Tables(config={"compare": X})
    made.levels("mqar", [64], chance=0.1, ceiling=0.1)
    made.cells("p", "mqar", 64, [0.12] * 8).cells("q", "mqar", 64, [0.1] * 8)
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    assert row["blockers"][0].startswith("UNLEARNABLE AS SCORED")


def test_sides_that_never_met_and_a_metric_that_nobody_has_are_said():
    made = study({"x": {"a": "p", "b": "r"}, "y": X["x"] | {"metric": "f1"}})
    made.cells("r", "other", 64, HIGH)
    found = rows(made)
    assert [row["outcome"] for row in found] == ["NOT COMPARABLE"] * 2
    assert found[0]["blockers"] == ["the sides have not run at the same place"]
    assert found[1]["blockers"][0] == "no test result of a in this metric, at this place"


def test_reported_values_have_no_pairs():
    made = Tables(config={"compare": X})
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95)
    for model in "pq":
        made.rows["reported"].append(reported(model))
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    assert row["blockers"] == ["reported values have no pairs: runs are compared seed by seed"]


def test_a_selection_that_may_change_holds_the_answer_back():
    made = study(p=(), q=())
    for rate, values in ((0.001, LOW), (0.01, HIGH)):
        made.cells("p", "mqar", 64, values, variant=f"learning_rate={rate}")
        made.cells("q", "mqar", 64, LOW, variant=f"learning_rate={rate}")
    made.cell("q", "mqar", 64, 9, outcome="missing", variant="learning_rate=0.001")
    row = only(made)
    assert row["outcome"] == "NOT TESTABLE YET"
    assert row["blockers"] == ["a variant was selected before all had ended"]


def test_a_side_of_which_no_variant_is_selected_is_not_comparable():
    made = study(p=(), q=())
    for rate, values in ((0.001, LOW), (0.01, HIGH)):
        for model in "pq":
            made.cells(model, "mqar", 64, values, variant=f"learning_rate={rate}")
    for row in made.rows["cells"]:
        if row["model"] == "q":
            row["best_validation_metric"] = None
    row = only(made)
    assert row["outcome"] == "NOT COMPARABLE"
    words = "b: NO SELECTION, no variant is selected, as finished ones have no validation"
    assert row["blockers"] == [words]
    assert "the variant of b" not in row["statement"]
    named = {"variant": "learning_rate=0.01"}
    sides = {"a": {"model": "p"} | named, "b": {"model": "q"} | named}
    made.about["config"] = {"compare": {"x": sides}}
    assert only(made)["outcome"] == "NO DIFFERENCE SHOWN"  # of variants that both sides name


def test_seeds_closer_than_the_test_can_tell_give_no_effect_size():
    assert only(study())["effect_size"] > 1
    row = only(study(p=[0.8 + 0.0001 * i for i in range(8)], q=[0.4] * 8))
    assert (row["outcome"], row["effect_size"], row["effect"]) == ("A BETTER", None, None)


# -- groups, places and steps ---------------------------------------------------------------------


def test_a_group_is_the_mean_of_its_models_and_speaks_for_them():
    made = study({"x": {"a": {"group": "g"}, "b": "q"}}, groups={"g": ["p", "r"]})
    made.cells("r", "mqar", 64, [v - 0.1 for v in HIGH])
    row = only(made)
    assert row["outcome"] == "A BETTER"
    assert row["differences"][0] == pytest.approx(HIGH[0] - 0.05 - LOW[0])
    assert "a is the mean of p, r at each seed: it speaks for these alone" in row["statement"]


def test_over_all_places_the_seed_is_the_unit():
    made = study()
    made.levels("mqar", [128], chance=0.01, ceiling=1.0, solved=0.95)
    made.cells("p", "mqar", 128, [v - 0.1 for v in HIGH]).cells("q", "mqar", 128, LOW)
    found = rows(made)
    assert [row["seqlen_tokens"] for row in found] == [64, 128, None]
    pooled = found[-1]
    assert (pooled["outcome"], pooled["pairs"]) == ("A BETTER", 8)
    assert pooled["differences"][0] == pytest.approx(HIGH[0] - LOW[0] - 0.05)
    assert {row["correction"] for row in found} == {"Holm, 3 tests"}


def test_steps_to_solve_count_runs_that_never_did():
    made = Tables(config={"compare": {"x": X["x"] | {"metric": "steps"}}})
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.7)
    made.cells("p", "mqar", 64, HIGH, solved_step_steps=500).cells("q", "mqar", 64, LOW)
    row = only(made)
    assert (row["outcome"], row["difference"]) == ("A BETTER", None)
    assert "steps of a 500 (8x); of b >2000 (8x)" in row["statement"]


def steps(p, q, shortcut=None, **columns):
    made = Tables(config={"compare": {"x": X["x"] | {"metric": "steps"}}})
    shortcuts = {"bag": shortcut} if shortcut else None
    made.levels("mqar", [64], chance=0.01, ceiling=1.0, solved=0.95, shortcuts=shortcuts)
    for model, values, at in (("p", p, 100), ("q", q, 900)):
        given = columns if model == "p" else {}
        made.cells(model, "mqar", 64, values, **{"solved_step_steps": at} | given)
    return only(made)


def test_steps_are_of_runs_whose_test_score_says_that_they_solved_it():
    assert steps([0.97] * 8, [0.97] * 8)["outcome"] == "A BETTER"
    assert steps([1.0] * 8, [1.0] * 8)["outcome"] == "A BETTER"  # both at the ceiling
    # Solved in validation alone.
    assert steps([0.5] * 8, [0.97] * 8)["outcome"] == "B BETTER"
    curve = {"outcome": "diverged", "curve": [0.96, 0.5]}
    row = steps([None] * 8, [0.97] * 8, **curve)
    assert row["outcome"] == "B BETTER"
    assert "steps of a >2000 (8x); of b 900 (8x)" in row["statement"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"solved_step_steps": None, "curve": []}, "8 runs of a solved the task before their last"),
        ({"curve": [nan] * 4 + [0.97]}, "up to 500 steps between validations of a, 100 of b"),
        ({"curve": [0.1, 0.97]}, ""),
    ],
)
def test_steps_that_nobody_knows_are_not_compared(columns, words):
    row = steps([0.97] * 8, [0.97] * 8, **columns)
    assert (row["outcome"] == "NOT COMPARABLE") == bool(words)
    assert words in row["statement"]


def test_steps_to_what_a_shortcut_reaches_are_not_compared():
    row = steps([0.97] * 8, [0.97] * 8, shortcut=0.97)
    assert row["outcome"] == "NOT COMPARABLE"
    assert "a shortcut reaches it" in row["statement"]


# -- the report -----------------------------------------------------------------------------------


def test_what_is_worse_than_chance_counts_alike_in_a_group_and_beside_it():
    made = Tables(
        config={"groups": {"g": ["p", "q"]}, "compare": {"x": {"a": {"group": "g"}, "b": "r"}}}
    )
    made.levels("add", [16], metric="r2", chance=0.0, ceiling=1.0, solved=0.95)
    for seed in range(14):
        for model, value in (("p", 0.9 if seed < 2 else -0.9), ("q", -0.9), ("r", -0.4)):
            made.cell(model, "add", 16, seed, value, metric="r2")
    row = only(made)
    assert row["outcome"] == "NO DIFFERENCE SHOWN"
    assert row["difference"] == 0


def test_rounding_is_no_difference_of_places_that_cancel_out():
    made = Tables(config={"compare": X})
    made.levels("mqar", [16, 32], chance=0.0, ceiling=1.0, solved=0.99)
    pairs = {16: (0.65, 0.9), 32: (0.55, 0.3)}  # (0.65 - 0.9) + (0.55 - 0.3) is 5.6e-17
    for seqlen, (one, other) in pairs.items():
        made.cells("p", "mqar", seqlen, [one] * 8)
        made.cells("q", "mqar", seqlen, [other] * 8)
    (together,) = (row for row in rows(made) if row["task"] is None)
    assert together["differences"] == [0.0] * 8
    assert together["outcome"] != "A BETTER"


def test_the_report_shows_what_was_compared_and_how_to_declare_it(tmp_path):
    sides = {"x": {"a": {"model": "p"}, "b": {"model": "q"}}}
    sides["y"] = sides["x"] | {"metric": "steps"}
    sides["z"] = sides["x"] | {"metric": "solved"}
    made = study(sides, models={"p": {}, "q": {}}, tasks={"mqar": {}})
    page = write(made.write(tmp_path / "a")).read_text(encoding="utf-8")
    assert "**x**: a is p, b is q; accuracy." in page
    assert "| A BETTER" in page
    assert "**z**: a is p, b is q; solved." in page
    assert "no difference in success rate is shown" in " ".join(page.split())
    assert "compared by McNemar's exact test" in " ".join(page.split())
    said = "Holm, 3 tests; each row with pairs is one, and one more, of equivalence, where a margin"
    assert said in " ".join(page.split())
    bare = Tables(config={}).levels("mqar", [64], chance=0.01).cells("p", "mqar", 64, LOW)
    page = write(bare.write(tmp_path / "b")).read_text(encoding="utf-8")
    assert "The study declares no comparison" in page
    assert "The study declares no claim" in page
