"""Scores over training lengths: the slopes, and what is said of each kind of course."""

from dataclasses import replace
from math import log2, nan, sqrt

import numpy as np
import pytest
from scipy import stats
from tables_factory import Tables

from seqgrid.analysis import scaling, summary
from seqgrid.analysis.courses import REPORTED, SEEDS, Course, Point
from seqgrid.analysis.slopes import of_means, of_values
from seqgrid.thresholds import Thresholds

LENGTHS = (100, 200, 500, 1000)
LIMITS = Thresholds()

# R2 on selective copying as published, and the best that a model can score that knows only the
# chunk that each of the 8 values came from: occupied chunks / 8.
PUBLISHED = {
    "2d": ([0.169, 0.169, 0.156, 0.131], [0.161, 0.160, 0.160, 0.133]),
    "2d unordered": ([0.169, 0.169, 0.156, 0.131], [0.186, 0.175, 0.165, 0.135]),
    "1b": ([0.333, 0.514, 0.731, 0.791], [0.396, 0.604, 0.810, 0.898]),
    "1c": ([0.394, 0.658, 0.859, 0.895], [0.495, 0.733, 0.894, 0.936]),
}


def built(made):
    read = made.read()
    tables = summary.build(read)
    return scaling.build(read, tables).to_pylist()


def one(made):
    (row,) = built(made)
    return row


def grid(values, lengths=LENGTHS, *, spread=0.01, ceilings=None, kinds=None, **columns):
    """Three seeds around each value: at it, and `spread` to either side."""
    made = Tables(models=["m"], tasks=["t"])
    columns = {"metric": "r2"} | columns
    kinds = {"chance": 0.0, "ceiling": 1.0, "solved": 0.99} | (kinds or {})
    made.levels("t", lengths, metric=columns["metric"], **kinds)
    for i, (length, value) in enumerate(zip(lengths, values, strict=True)):
        own = {"model_ceiling": ("what it sees", ceilings[i])} if ceilings else {}
        turned = np.roll([-spread, 0, spread], i)
        # Long done: nothing here is still improving.
        done = {"curve": [value] * 20}
        made.cells("m", "t", length, [value + s for s in turned], **(done | columns | own))
    return made


def report(values, ceilings=None, error=None, **columns):
    made = Tables(models=["m"], tasks=["t"])
    made.levels("t", LENGTHS, metric="r2", chance=0.0, ceiling=1.0)
    for i, (length, value) in enumerate(zip(LENGTHS, values, strict=True)):
        made.rows["reported"].append(
            {
                **{"model": "m", "task": "t", "variant": "", "test_set": "", "metric": "r2"},
                **{"seqlen_tokens": length, "evaluated_seqlen_tokens": length},
                **{"statistic": "mean", "value": value, "standard_error": error},
                **{"seeds": 3, "asked": 3, "origin": "test", "source": "table 3"},
                "model_ceiling": ceilings and ceilings[i],
                "model_ceiling_name": "chunks of 32" if ceilings else None,
            }
            | {name: column[i] for name, column in columns.items()}
        )
    return made


# -- slopes ----------------------------------------------------------------------------------------


def test_a_slope_through_values_is_that_of_scipy_where_all_lengths_scatter_alike():
    x, values = [0, 1, 2, 3], [[0.0, 0.2, 0.4], [0.1, 0.3, 0.5], [0.7, 0.3, 0.5], [0.6, 0.4, 0.8]]
    fit = of_values(x, values, [nan] * 4)
    known = stats.linregress(np.repeat(x, 3), np.concatenate(values))
    assert fit.value == pytest.approx(known.slope)
    half = stats.t.ppf(0.975, 10) * known.stderr
    # Welch's, by hand: every spread is 0.2, the weights of the means are (x - 1.5) / 5.
    welch = stats.t.ppf(0.975, 2 * (2 * 2.25 + 2 * 0.25) ** 2 / (2 * 2.25**2 + 2 * 0.25**2))
    welch *= sqrt(0.04 / 15)
    assert fit.high - fit.value == pytest.approx(max(half, welch))
    assert fit.method == "Welch-Satterthwaite, 4.9 degrees of freedom"


def test_a_slope_is_never_surer_than_the_test_examples_allow():
    values = [[0.5] * 3, [0.5] * 3, [0.5] * 3]
    assert of_values([0, 1, 2], values, [nan] * 3).high == pytest.approx(0.5 - 0.5)
    fit = of_values([0, 1, 2], values, [0.03] * 3)
    assert fit.high - fit.value >= stats.t.ppf(0.975, 7) * 0.03 / sqrt(6) * (1 - 1e-9)


def test_a_slope_through_means_takes_the_wider_of_scatter_and_errors():
    x, means = [0.0, 1.0, 2.0, 3.0], [0.1, 0.2, 0.3, 0.4]
    sure = of_means(x, means, [0.01] * 4)
    assert sure.value == pytest.approx(0.1)
    assert sure.high - sure.value == pytest.approx(1.959964 * 0.01 / sqrt(5), rel=1e-5)
    rough = of_means(x, [0.1, 0.4, 0.1, 0.4], [0.001] * 4)
    known = stats.linregress(x, [0.1, 0.4, 0.1, 0.4])
    assert rough.high - rough.value == pytest.approx(stats.t.ppf(0.975, 2) * known.stderr)
    with pytest.raises(ValueError, match="needs 3"):
        of_means([0, 1], [0, 1], [nan, nan])


# -- outcomes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("error", [0.0087, None])
def test_the_published_courses_go_with_their_ceilings(name, error):
    values, ceilings = PUBLISHED[name]
    row = one(report(values, ceilings, error))
    stands = error is not None and name.startswith("2d")
    outcome = "CEILING MOVES" if stands else "CANNOT BE TOLD"
    assert (row["origin"], row["outcome"]) == (REPORTED, outcome)
    assert row["change"] == pytest.approx(values[-1] / values[0] - 1)
    assert row["ceiling_change"] == pytest.approx(ceilings[-1] / ceilings[0] - 1)
    assert row["shares"] == pytest.approx(np.divide(values, ceilings))
    assert (row["share_slope"] is None) == (error is None)
    assert error is None or row["share_low"] < 0 < row["share_high"]
    assert "not known singly" in row["statement"]
    assert stands or "so no change of the model is shown" in row["statement"]


def test_how_much_of_a_change_is_the_ceiling_s_is_said():
    words = one(report(*PUBLISHED["1c"], 0.0087))["statement"]
    assert "from 0.394 at 100 tokens to 0.895 at 1,000 (+127%)" in words
    assert "goes from 0.495 to 0.936 (+89%)" in words
    assert "would come to 0.745, 70% of the change" in words
    assert "cannot be told from the best" in one(report(*PUBLISHED["2d"], 0.0087))["statement"]


def test_unfinished_means_keep_a_note_and_support_no_course():
    mixed = ["test", "test", "mixed", "mixed"]
    row = one(report(*PUBLISHED["2d"], 0.0087, origin=mixed))
    assert row["outcome"] == "CEILING MOVES"
    assert not row["complete"]
    assert "not final test values at 500, 1000" in row["statement"]
    straight = [0.1, 0.2, 0.3322, 0.4322]
    assert one(report(straight, error=0.01))["outcome"] == "RISES"
    assert one(report(straight, error=0.01, origin=mixed))["outcome"] == "CANNOT BE TOLD"
    fewer = one(report(straight, error=0.01, seeds=[3, 3, 3, 2]))
    assert fewer["outcome"] == "CANNOT BE TOLD"
    assert "2 of 3 at 1000" in fewer["statement"]


def test_reported_means_at_chance_or_beyond_the_ceiling_have_no_course():
    assert "from chance" in one(report([0.01, -0.01, 0.02, -0.2], error=0.01))["statement"]
    over = one(report([0.4] * 4, [0.2] * 4, error=0.01))
    assert over["outcome"] == "CANNOT BE TOLD"
    assert "beyond the best" in over["statement"]


def test_a_share_that_rises_or_falls_is_said_to():
    up = one(grid([0.2, 0.3, 0.45, 0.55]))
    assert (up["origin"], up["outcome"], up["finals"]) == (SEEDS, "RISES", [3] * 4)
    assert up["share_slope"] == pytest.approx(up["slope"])
    assert one(grid([0.55, 0.45, 0.3, 0.2]))["outcome"] == "FALLS"


def test_lower_is_better_turns_the_share_and_not_the_metric():
    kinds = {"better": "lower", "chance": 1.0, "ceiling": 0.0, "solved": 0.01}
    row = one(grid([0.8, 0.7, 0.55, 0.45], kinds=kinds, metric="mse"))
    assert row["outcome"] == "RISES"
    assert row["slope"] == pytest.approx(-row["share_slope"])
    assert row["slope"] < 0


def test_a_metric_that_rises_while_the_share_falls_falls():
    row = one(grid([0.36, 0.44, 0.5, 0.5], ceilings=[0.4, 0.55, 0.8, 0.95]))
    assert row["low"] > 0
    assert row["outcome"] == "FALLS"


def test_a_metric_that_follows_its_ceiling_shows_no_change():
    values, ceilings = [0.30, 0.45, 0.6075, 0.675], [0.40, 0.60, 0.81, 0.90]
    row = one(grid(values, ceilings=ceilings, spread=0.003, half=0.004))
    assert row["outcome"] == "CEILING MOVES"
    assert row["ceiling_name"] == "what it sees"
    assert "no two lengths differ by more than 5 % of the way" in row["statement"]


@pytest.mark.parametrize("shares", [[0.88, 0.8, 0.72, 0.75], [0.75] * 4])
def test_a_share_that_is_merely_not_shown_to_change_is_no_statement(shares):
    """Seeds too far apart: the score goes along with its ceiling, and what it does nobody knows."""
    ceilings = [0.40, 0.60, 0.81, 0.90]
    row = one(grid(np.multiply(shares, ceilings), ceilings=ceilings, spread=0.04, half=0.004))
    assert row["share_low"] < 0 < row["share_high"]
    assert row["outcome"] == "CANNOT BE TOLD"
    assert "the ceiling itself rises by 125%, so no change of the model" in row["statement"]


def test_a_score_that_falls_behind_its_ceiling_is_said_to():
    words = one(grid([0.38, 0.5, 0.5, 0.5], ceilings=[0.4, 0.6, 0.81, 0.9]))["statement"]
    assert "more than the change: the score has fallen behind" in words
    words = one(grid([0.5, 0.5, 0.5, 0.38], ceilings=[0.9, 0.81, 0.6, 0.4]))["statement"]
    assert "more than the change: the score held up better" in words


def test_three_of_ten_seeds_at_the_ceiling_are_no_course_at_it():
    whole = [0.998] * 4
    assert one(grid(whole, spread=0.001))["outcome"] == "AT CEILING"
    for outcome in ("diverged", "timed_out"):
        made = grid(whole, spread=0.001)
        for seed in range(3, 10):
            made.cell("m", "t", 1000, seed, None, outcome=outcome, metric="r2")
        row = one(made)
        assert row["outcome"] == "CANNOT BE TOLD"
        assert "may be a selection" in row["statement"]
    missing = report([0.999] * 4, error=0.001, seeds=[3, 3, 3, 2])
    assert one(missing)["outcome"] == "CANNOT BE TOLD"


def test_reported_means_without_standard_errors_show_no_change():
    straight = [0.60, 0.65, 0.70, 0.75]
    row = one(report(straight))
    assert (row["outcome"], row["slope"], row["share_slope"]) == ("CANNOT BE TOLD", None, None)
    assert "no standard error" in row["statement"]
    peaks = one(report(straight, error=0.001, statistic=["peak"] * 4))
    assert peaks["outcome"] == "CANNOT BE TOLD"
    assert "best of several looks" in peaks["statement"]
    at = one(report([0.999] * 4, error=0.001, statistic=["peak"] * 4))
    assert at["outcome"] == "CANNOT BE TOLD"


def test_large_errors_hold_the_ceiling_and_show_nothing():
    assert one(report([0.9, 0.85, 0.8, 0.9], error=0.25))["outcome"] == "CANNOT BE TOLD"
    assert one(report([0.99, 0.98, 0.99, 0.99], error=0.02))["outcome"] == "AT CEILING"


def test_standing_at_the_ceiling_is_told_from_following_one_that_moves():
    assert one(grid([0.998] * 4, spread=0.001))["outcome"] == "AT CEILING"
    values = [0.4, 0.6, 0.8, 0.9]
    assert one(grid(values, ceilings=values, spread=0.005))["outcome"] == "CEILING MOVES"


def test_flat_is_said_only_where_the_interval_is_narrow():
    assert one(grid([0.5] * 4, spread=0.003, half=0.003))["outcome"] == "FLAT"
    wide = one(grid([0.5] * 4, spread=0.1))
    assert wide["outcome"] == "CANNOT BE TOLD"
    assert "not excluded" in wide["statement"]
    strict = Tables(config={"thresholds": {"flat_share": 0.001}})
    strict.rows = grid([0.5] * 4, spread=0.003, half=0.003).rows
    assert one(strict)["outcome"] == "CANNOT BE TOLD"


def test_a_course_that_bends_is_neither_flat_nor_a_line():
    dip = one(grid([0.8, 0.7, 0.7, 0.8], spread=0.002, half=0.002))
    assert dip["share_low"] < 0 < dip["share_high"]
    assert dip["outcome"] == "CANNOT BE TOLD"
    assert "and its mean falls from 80% at 100 to 70% at 200" in dip["statement"]
    assert "the course is no line" in dip["statement"]
    # Its slope leaves no room for a change that would matter, and two lengths differ by 4 %.
    tight = one(grid([0.80, 0.76, 0.80, 0.79], spread=0.001, half=0.001))
    assert max(abs(tight["share_low"]), tight["share_high"]) * log2(10) < 0.05
    loose = one(grid([0.80, 0.74, 0.795, 0.79], spread=0.001, half=0.001))
    assert (tight["outcome"], loose["outcome"]) == ("FLAT", "CANNOT BE TOLD")
    peak = one(grid([0.3, 0.9, 0.85, 0.8], spread=0.002))
    assert peak["share_low"] > 0
    assert peak["outcome"] == "CANNOT BE TOLD"
    assert "a straight line rises, but its mean falls from 90% at 200 to 80%" in peak["statement"]
    bare = one(grid([0.3, 0.9, 0.85, 0.8], spread=0.002, kinds={"ceiling": None}))
    assert bare["low"] > 0
    assert bare["outcome"] == "CANNOT BE TOLD"
    assert one(grid([0.3, 0.9, 0.9, 0.9], spread=0.002))["outcome"] == "RISES"


def test_a_change_of_scores_on_a_shortcut_is_the_shortcut_s():
    def made(bags, values):
        grown = grid(values, (64, 128, 256), spread=0.002)
        for length, bag in zip((64, 128, 256), bags, strict=True):
            grown.levels("t", [length], metric="r2", shortcuts={"bag": bag})
        return grown

    row = one(made((0.5, 0.3, 0.15), (0.5, 0.3, 0.15)))
    assert row["share_high"] < 0
    assert row["outcome"] == "CANNOT BE TOLD"
    assert "goes along with bag, so no change of the model" in row["statement"]
    to_chance = one(made((0.5, 0.3, 0.0), (0.5, 0.3, 0.0)))
    assert "along with bag at 64, 128; chance at 256" in to_chance["statement"]
    assert one(made((0.5, 0.3, 0.15), (0.5, 0.3, 0.05)))["outcome"] == "FALLS"
    means = report([0.5, 0.3, 0.2, 0.1], error=0.004)
    assert one(means)["outcome"] == "FALLS"
    for length, bag in zip(LENGTHS, (0.5, 0.3, 0.2, 0.1), strict=True):
        means.levels("t", [length], metric="r2", shortcuts={"bag": bag})
    assert "goes along with bag" in one(means)["statement"]


def test_unequal_budgets_and_preliminary_selections_make_no_course():
    def made(budgets):
        grown = grid([], ())
        for i, (length, steps) in enumerate(zip((64, 128, 256), budgets, strict=True)):
            done = {"metric": "r2", "curve": [0.3 + 0.2 * i] * 20, "budget_steps": steps}
            grown.cells("m", "t", length, [0.3 + 0.2 * i + s for s in (-0.01, 0, 0.01)], **done)
        grown.levels("t", (64, 128, 256), metric="r2", chance=0.0, ceiling=1.0)
        return grown

    assert one(made((500, 500, 500)))["outcome"] == "RISES"
    row = one(made((500, 2000, 8000)))
    assert (row["outcome"], row["share_low"] > 0) == ("CANNOT BE TOLD", True)
    assert "the budget of steps differs: 500 at 64, 2,000 at 128, 8,000 at 256" in row["statement"]

    def swept(open_):
        """Steps are swept: each length is offered both, and selects its own."""
        grown = made((500, 500, 2000))
        for cell in grown.rows["cells"] + grown.rows["evaluations"] + grown.rows["history"]:
            cell["variant"] = f"steps={2000 if cell['seqlen_tokens'] == 256 else 500}"
        for length, steps in ((64, 2000), (128, 2000), (256, 500)):
            ran = {} if not open_ else {"outcome": "missing"}
            value = None if open_ else 0.1
            grown.cells("m", "t", length, [value] * 3, variant=f"steps={steps}", metric="r2",
                        budget_steps=steps, **ran)  # fmt: skip
        return grown

    assert one(swept(open_=False))["outcome"] == "RISES"
    row = one(swept(open_=True))
    assert row["outcome"] == "CANNOT BE TOLD"
    assert "selected before all of their grids had finished" in row["statement"]


def test_a_change_that_hangs_on_seeds_still_improving_is_open():
    def made(values, improving):
        """Of each length, how many of the three seeds still rise by 0.1."""
        grown = grid([], ())
        for length, value, rise in zip(LENGTHS, values, improving, strict=True):
            for seed, off in enumerate((-0.005, 0.0, 0.005)):
                start = value - 0.3 if seed < rise else value
                curve = list(np.linspace(start, value, 20))
                grown.cell("m", "t", length, seed, value + off, metric="r2", curve=curve)
        grown.levels("t", LENGTHS, metric="r2", chance=0.0, ceiling=1.0, solved=0.99)
        return grown

    falls = [0.8, 0.7, 0.6, 0.5]
    row = one(made(falls, [3, 3, 3, 3]))
    assert (row["outcome"], row["share_high"] < 0) == ("CANNOT BE TOLD", True)
    assert "at this budget only: seeds were still improving" in row["statement"]
    # Where the best lengths would have gone on rising, the fall is real all the more.
    assert one(made(falls, [3, 0, 0, 0]))["outcome"] == "FALLS"
    assert one(made(falls[::-1], [0, 0, 0, 3]))["outcome"] == "RISES"
    assert one(made(falls[::-1], [3, 3, 0, 0]))["outcome"] == "CANNOT BE TOLD"
    same = one(made([0.5] * 4, [2, 0, 0, 0]))
    assert same["outcome"] == "CANNOT BE TOLD"
    assert "half of the seeds or more were still improving at 100" in same["statement"]
    assert one(made([0.5] * 4, [1, 0, 0, 0]))["outcome"] == "FLAT"


def test_wide_intervals_hold_the_ceiling_and_show_no_course_at_it():
    def course(scores, error):
        points = [
            Point(length, (score,) * 3, error, 0.0, 1.0, verdicts=frozenset({"AT CEILING"}))
            for length, score in zip((64, 128, 256), scores, strict=True)
        ]
        return Course("m", "t", "", "accuracy", "higher", SEEDS, tuple(points))

    outcome, why = scaling.judge(course((0.98, 1.0, 0.99), 0.19), LIMITS)
    assert (outcome, "of all lengths together" in why) == ("CANNOT BE TOLD", True)
    # No length alone lies below the ceiling; all of them together do.
    assert scaling.judge(course((0.80, 0.84, 0.80), 0.12), LIMITS)[0] == "CANNOT BE TOLD"
    assert scaling.judge(course((0.97, 1.0, 0.99), 0.02), LIMITS)[0] == "AT CEILING"


def test_no_course_at_chance_nor_where_chance_is_the_ceiling():
    row = one(grid([0.004, -0.002, 0.006, 0.001], half=0.03))
    assert row["outcome"] == "CANNOT BE TOLD"
    assert "chance at any length" in row["statement"]
    unlearnable = {"chance": 0.5, "ceiling": 0.5, "solved": None}
    row = one(grid([0.5, 0.6, 0.7, 0.8], kinds=unlearnable))
    assert (row["outcome"], row["share_slope"]) == ("CANNOT BE TOLD", None)


def test_two_lengths_make_no_row_and_two_with_values_no_slope():
    assert built(grid([0.3, 0.5], lengths=(100, 200))) == []
    made = grid([0.3, 0.5], lengths=(100, 200))
    made.cells("m", "t", 400, [None] * 3, outcome="missing")
    row = one(made)
    assert (row["outcome"], row["slope"], row["lengths"]) == ("CANNOT BE TOLD", None, [100, 200])


@pytest.mark.parametrize("outcome", ["timed_out", "diverged"])
def test_partial_values_support_no_course(outcome):
    made = grid([0.2, 0.3, 0.45, 0.55])
    made.cell("m", "t", 1000, 3, 0.9, outcome=outcome, metric="r2")
    row = one(made)
    assert (row["outcome"], row["complete"], row["values"]) == ("CANNOT BE TOLD", False, 12)
    assert "without a final value: 1 at 1000" in row["statement"]


def test_too_few_seeds_at_one_length_and_unequal_numbers_are_said():
    made = grid([0.2, 0.3, 0.45], lengths=(100, 200, 500))
    made.cells("m", "t", 1000, [0.54, 0.55], metric="r2")
    row = one(made)
    assert row["outcome"] == "CANNOT BE TOLD"
    assert "2 at 1000 final seeds, 3 needed" in row["statement"]
    assert "number of final seeds differs" in row["statement"]


def test_what_else_differs_between_lengths_is_said():
    made = Tables()
    made.levels("t", LENGTHS, metric="r2", chance=0.0, ceiling=1.0)
    for i, length in enumerate(LENGTHS):
        for lr, gain in (("0.001", 0.0), ("0.01", 0.1 if i else -0.1)):
            values = [0.2 + 0.1 * i + gain + s for s in (-0.01, 0.0, 0.01)]
            made.cells("m", "t", length, values, variant=f"lr={lr}", metric="r2",
                       budget_steps=1000 * (i + 1))  # fmt: skip
    row = one(made)
    assert row["variant"] == "lr=0.001 at 100; lr=0.01 at 200, 500, 1000"
    assert "the budget of steps differs: 1,000 at 100" in row["statement"]
    fixed = grid([0.2, 0.3, 0.45, 0.55], settings='{"training": {"data_seed": 7}}')
    assert "share their data" in one(fixed)["statement"]


def test_without_a_ceiling_the_metric_itself_is_followed():
    row = one(grid([0.2, 0.3, 0.45, 0.55], kinds={"ceiling": None}))
    assert (row["outcome"], row["share_slope"]) == ("RISES", None)
    assert "no ceiling is known" in row["statement"]


def test_a_failed_control_or_a_score_beyond_the_ceiling_voids_the_course():
    made = grid([0.2, 0.3, 0.45, 0.55]).control("t", state="failed")
    assert "CONTROL FAILED at 100, 200, 500, 1000" in one(made)["statement"]
    over = one(grid([0.2, 0.3, 0.45, 0.55], ceilings=[0.1, 0.3, 0.5, 0.6]))
    assert "ABOVE MODEL CEILING at 100" in over["statement"]


def test_a_score_that_is_no_number_voids_the_course():
    made = grid([0.2, 0.3, 0.45], lengths=(100, 200, 500))
    made.cells("m", "t", 1000, [0.5, nan, 0.6], metric="r2")
    assert one(made)["outcome"] == "CANNOT BE TOLD"


@pytest.mark.parametrize("errors", [[0.001] * 4, [0.03] * 4, [nan] * 4])
def test_an_interval_of_the_coverage_that_is_left_just_reaches_zero(errors):
    x, values = (
        [0.0, 1.0, 2.0, 3.0],
        [[0.5, 0.55, 0.6], [0.5, 0.6, 0.7], [0.6, 0.6, 0.7], [0.7] * 3],
    )
    p = of_values(x, values, errors).p_value
    assert 0.001 < p < 0.5
    assert of_values(x, values, errors, 1 - p).low == pytest.approx(0, abs=1e-9)
    means = [v[1] for v in values]
    p = of_means(x, means, errors).p_value
    assert of_means(x, means, errors, 1 - p).low == pytest.approx(0, abs=1e-9)


def test_courses_are_corrected_for_their_number():
    """One course in twenty changes by chance: what is a change alone is none among eight."""
    slight = course(np.array([[0.48, 0.50, 0.52], [0.52, 0.50, 0.54], [0.53, 0.57, 0.49],
                              [0.57, 0.55, 0.53]]))  # fmt: skip
    still = course([[0.4, 0.5, 0.6]] * 4)
    steep = course([[v - 0.001, v, v + 0.001] for v in (0.2, 0.4, 0.6, 0.8)])
    peak = replace(still, origin=REPORTED, peak=True)
    assert 0.05 / 8 < slight.p_value < 0.05

    def judged(*others):
        first = scaling.corrected([slight, *others], LIMITS.confidence)[0]
        return scaling.row(first, LIMITS)

    alone, among = judged(peak), judged(*[still] * 7)
    assert (alone["outcome"], alone["coverage"]) == ("RISES", 0.95)
    assert (among["outcome"], among["share_low"] < 0) == ("CANNOT BE TOLD", True)
    assert "; 99.38 % after Holm over 8 courses)" in among["statement"]
    # Holm's: those that are shown to change no longer count.
    assert judged(*[steep] * 7)["coverage"] == pytest.approx(0.95)
    assert judged(*[steep] * 7)["outcome"] == "RISES"


# -- how often a course is seen where there is none ------------------------------------------------


def course(values, error=nan):
    """A course without any verdict: what is left is the slope."""
    points = tuple(
        Point(length, tuple(seeds), error, 0.0, 1.0)
        for length, seeds in zip(LENGTHS, values, strict=True)
    )
    return Course("m", "t", "", "r2", "higher", SEEDS, points)


def rate(draw, trials):
    generator = np.random.default_rng(5)
    said = [scaling.judge(course(draw(generator)), LIMITS)[0] for _ in range(trials)]
    return np.mean([word in ("RISES", "FALLS") for word in said])


NULLS = {
    "equal spread": lambda g: 0.5 + 0.05 * g.normal(size=(4, 3)),
    "ten times the spread at the end": lambda g: (
        0.5 + np.array([[0.01], [0.01], [0.01], [0.1]]) * g.normal(size=(4, 3))
    ),
    "ten times the spread at both ends": lambda g: (
        0.5 + np.array([[0.1], [0.01], [0.01], [0.1]]) * g.normal(size=(4, 3))
    ),
    "all or nothing": lambda g: (g.random((4, 3)) < 0.5) * 0.9 + 0.01 * g.normal(size=(4, 3)),
    "one in five": lambda g: (g.random((4, 3)) < 0.2) * 0.9 + 0.01 * g.normal(size=(4, 3)),
    "seeds alike over lengths": lambda g: (
        0.5 + 0.1 * g.normal(size=(1, 3)) + 0.02 * g.normal(size=(4, 3))
    ),
}


@pytest.mark.parametrize("name", NULLS)
def test_a_course_is_rarely_seen_where_there_is_none(name):
    # Three standard errors of a rate of 5 % in 800 trials are 2.3 points.
    assert rate(NULLS[name], 800) <= 0.05 + 0.023


def test_a_real_course_is_seen():
    x = np.array([log2(at / 100) for at in LENGTHS])[:, None]
    assert rate(lambda g: 0.3 + 0.06 * x + 0.03 * g.normal(size=(4, 3)), 200) > 0.95
