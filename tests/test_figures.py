"""Which figures are drawn, and that they show the tables' numbers in the same looks."""

import math
import warnings

import figures_factory
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from tables_factory import Tables, everything

from seqgrid.analysis.build import build
from seqgrid.report import figures, looks, maps, tradeoffs
from seqgrid.report.content import Content

# Machado, Oliveira & Fernandes, IEEE TVCG 15:1291 (2009), table 1: deuteranopia, linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968],
     [0.280085, 0.672501, 0.047413],
     [-0.011820, 0.042940, 0.968881]]
)  # fmt: skip


def content_of(made, folder):
    read = made.read()
    return Content.of(folder, read, build(read))


def axes_of(content, name):
    """The axes of a figure by their titles."""
    plan = figures.plans(content)[name]
    look = looks.looks(content.models, content.groups)
    with mpl.rc_context(figures.STYLE):
        figure, _ = figures.made(content, plan, look)
    return {axis.get_title() or axis.get_label(): axis for axis in figure.axes}, look


def heights(axis, colour, hollow=None):
    """y of all markers in a colour, rings left out."""
    return sorted(
        float(y)
        for line in axis.lines
        if line.get_marker() not in ("None", "", None)
        and to_hex(line.get_markeredgecolor()) == colour.lower()
        and line.get_markerfacecolor() != "none"
        and (hollow is None or (line.get_markerfacecolor() == "white") == hollow)
        for y in line.get_ydata()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return content_of(everything(), tmp_path_factory.mktemp("everything"))


def test_results_show_every_seed_of_the_table_and_which_are_not_final(whole):
    axes, look = axes_of(whole, "results")
    rows = [r for r in whole.rows("mqar") if r["model"] == "deltanet"]
    pairs = [p for r in rows for p in zip(r["values"], r["finals"], strict=True)]
    drawn = heights(axes["mqar"], look["deltanet"].colour)
    assert drawn == sorted(v for v, _ in pairs if v is not None)
    hollow = heights(axes["mqar"], look["deltanet"].colour, hollow=True)
    assert hollow == sorted(v for v, final in pairs if v is not None and not final) == [0.5]


def test_levels_are_drawn_where_they_stand_and_move_with_the_length(whole):
    axes, _ = axes_of(whole, "length")
    paths = [tuple(line.get_ydata()) for line in axes["selective_copy"].lines]
    assert (0.161, 0.161, 0.131, 0.131) in paths
    assert (1.0, 1.0, 1.0, 1.0) in paths


def test_far_values_stand_at_the_edge_with_their_number(whole):
    axes, _ = axes_of(whole, "results")
    assert {"-40", "nan"} <= {text.get_text() for text in axes["selective_copy"].texts}


def test_words_of_far_values_never_cover_each_other(tmp_path):
    made = Tables().levels("t", [8], chance=0.0, ceiling=1.0)
    for i in range(12):
        made.cells(f"m{i}", "t", 8, [-1.25 - i])
    axes, _ = axes_of(content_of(made, tmp_path), "results")
    words = {text.get_text() for text in axes["t"].texts}
    assert "12 beyond:\n-12.2 to -1.25" in words
    assert not {"-1.25", "-2.25"} & words


def test_names_of_levels_stay_apart_and_below_the_top(tmp_path):
    levels = {"chance": 0.0, "ceiling": 1.0, "solved": 0.99}
    made = Tables().levels("t", [8], **levels, shortcuts={f"s{i}": 0.995 for i in range(4)})
    axes, _ = axes_of(content_of(made.cells("a", "t", 8, [0.5]), tmp_path), "results")
    low, high = axes["t"].get_ylim()
    heights = sorted(text.xyann[1] for text in axes["t"].texts)
    assert len(heights) == 7
    assert min(np.diff(heights)) > 0.05 * (high - low)
    assert heights[-1] <= high


def test_data_far_from_a_lone_level_are_in_view_and_a_hair_stays_a_hair(tmp_path):
    made = Tables().levels("far", [8], metric="perplexity", better="lower", chance=50_000.0)
    made.levels("near", [8], chance=0.1, ceiling=0.1)
    made.cells("a", "far", 8, [600.0, 2000.0, 2100.0], metric="perplexity")
    made.cells("a", "near", 8, [0.1, 0.1028, 0.1068])
    axes, _ = axes_of(content_of(made, tmp_path), "results")
    low, high = axes["far"].get_ylim()
    assert low < 600 < 50_000 < high
    assert axes["far"].get_yscale() == "log"
    low, high = axes["near"].get_ylim()
    assert high - low > 8 * (0.1068 - 0.1)


def test_the_heatmap_prints_shares_of_the_same_scale_for_all_models(whole):
    [axis, *_], _ = [
        list(x.values()) if isinstance(x, dict) else x for x in axes_of(whole, "heatmap")
    ]
    words = [text.get_text() for text in axis.texts]
    row = next(r for r in whole.rows("mqar", 128) if r["model"] == "lstm")
    assert f"{(row['median'] - 0.01) / 0.99:.2f}" in words
    assert {"nan", "0.51", "-0.01"} <= set(words)
    assert maps.heatmap_words(whole, {**row, "skipped": 3, "asked": 3}) == ("skipped", None)


def test_what_is_not_final_colours_no_cell_of_the_heatmap(tmp_path):
    made = Tables().levels("t", [64], chance=0.0, ceiling=1.0)
    made.cells("a", "t", 64, [0.2, 0.4], outcome="timed_out").cells("b", "t", 64, [0.9])
    content = content_of(made, tmp_path)
    row = content.rows("t")[0]
    assert maps.heatmap_words(content, row) == ("(0.20\n0.40)", None)
    assert maps.heatmap_words(content, content.rows("t")[1]) == ("0.90", 0.9)


def test_lower_is_better_turns_the_scale_and_is_said(tmp_path):
    made = Tables().levels("t", (8, 16), metric="mse", better="lower", chance=0.2, ceiling=0.0)
    made.cells("a", "t", 8, [0.05], metric="mse").cells("a", "t", 16, [0.2], metric="mse")
    content = content_of(made, tmp_path)
    words = [maps.heatmap_words(content, row)[0] for row in content.rows("t")]
    assert words == ["0.75", "0.00"]
    axes, _ = axes_of(content, "results")
    assert axes["t"].get_ylabel() == "mse\n(lower is better)"


def test_an_unlearnable_task_has_no_score_on_the_map(tmp_path):
    made = Tables().levels("t", [8], chance=0.5, ceiling=0.5).levels("u", [8], chance=0, ceiling=1)
    made.cells("a", "t", 8, [0.5] * 3).cells("a", "u", 8, [0.5] * 3)
    content = content_of(made, tmp_path)
    assert maps.heatmap_words(content, content.rows("t")[0]) == ("unlearnable", None)


def test_coverage_has_a_strip_for_every_class_of_cell(whole):
    assert maps.standings_at(whole, "deltanet", ("mqar", 128)) == [
        "finished and evaluated", "cut short, goes on", "missing",
    ]  # fmt: skip
    keys = {patch.get_label() for patch in maps.keys_of_coverage(whole)}
    assert keys == set(maps.CLASSES) - {"finished, not evaluated", "under way"}


def test_survival_curves_are_those_of_the_table(whole):
    rows = whole.survival
    whole.survival = [
        *figures_factory.survival("attention", "mqar", 64, [(900, 3, 0)]),
        *figures_factory.survival("lstm", "mqar", 64, [(1000, 0, 1), (2000, 0, 2)]),
    ]
    axes, look = axes_of(whole, "survival")
    lines = [x for x in axes["mqar, 64 tokens"].lines if x.get_drawstyle() == "steps-post"]
    [solved] = [x for x in lines if x.get_color() == look["attention"].colour]
    assert list(solved.get_xdata()) == [0, 900]
    assert np.allclose(solved.get_ydata(), [1, 0], atol=0.01)
    ticks = [x for x in axes["mqar, 64 tokens"].lines if x.get_marker() == "|"]
    assert [list(x.get_xdata()) for x in ticks] == [[1000, 2000]]
    [never] = [x for x in lines if x.get_color() == look["lstm"].colour]
    assert np.allclose(never.get_ydata(), 1, atol=0.01)
    whole.survival = figures_factory.survival("lstm", "mqar", 64, [(2000, 0, 3)])
    assert "survival" not in figures.plans(whole)  # nothing solved, no curve that falls
    whole.survival = rows


def test_the_pareto_front_has_no_model_that_another_beats():
    spots = [
        tradeoffs.Spot(name, cost, share, final)
        for name, cost, share, final in (
            ("small", 1, 0.2, True), ("worse", 2, 0.1, True), ("good", 3, 0.9, True),
            ("cut", 2, 1.0, False), ("same", 4, 0.9, True),
        )
    ]  # fmt: skip
    assert [spot.model for spot in tradeoffs.front(spots)] == ["small", "good"]
    spots[0] = spots[0]._replace(at_chance=True)
    assert [spot.model for spot in tradeoffs.front(spots)] == ["worse", "good"]


def test_means_of_a_report_are_open_squares_with_error_bars(whole):
    rows = whole.reported
    whole.reported = [
        {"model": "lstm", "task": "mqar", "seqlen_tokens": 64, "evaluated_seqlen_tokens": 64,
         "test_set": "", "metric": "accuracy", "value": 0.6, "standard_error": 0.05}
    ]  # fmt: skip
    axes, look = axes_of(whole, "results")
    whole.reported = rows
    mine = [x for x in axes["mqar"].lines if x.get_color() == look["lstm"].colour]
    assert any(np.allclose(x.get_ydata(), [0.502, 0.698]) for x in mine if len(x.get_ydata()) == 2)
    assert 0.6 in heights(axes["mqar"], look["lstm"].colour, hollow=True)


def test_a_task_that_only_a_report_has_values_of_is_drawn_at_all_its_lengths(tmp_path):
    made = Tables(models=["p"], tasks=["t"], seeds=[0], lengths=[64, 128])
    made.levels("t", [64, 128], chance=0.1, ceiling=1.0)
    for seqlen, value in ((64, 0.5), (128, 0.7)):
        made.rows["reported"].append(
            {"model": "p", "task": "t", "variant": "", "seqlen_tokens": seqlen,
             "evaluated_seqlen_tokens": seqlen, "test_set": "", "metric": "accuracy",
             "statistic": "mean", "value": value, "source": "table 1"}
        )  # fmt: skip
    content = content_of(made, tmp_path)
    for name in ("results", "length"):
        axes, look = axes_of(content, name)
        assert {0.5, 0.7} <= set(heights(axes["t"], look["p"].colour, hollow=True))
        assert {0.1, 1.0} <= {y for line in axes["t"].lines for y in line.get_ydata()}
        assert [word.get_text() for word in axes["t"].get_xticklabels()] == ["64", "128"]


@pytest.mark.parametrize("models", [4, 8, 9, 12, 21])
def test_no_two_models_look_the_same(models):
    found = looks.looks([f"m{i}" for i in range(models)], {})
    assert len(set(found.values())) == models
    assert len({(x.colour, x.marker) for x in found.values()}) == models
    assert len({(x.marker, x.dash) for x in found.values()}) == models  # in black and white


def test_what_is_added_at_the_end_changes_no_look():
    models, groups = (
        list(figures_factory.GROUPS["recurrent"]),
        {"recurrent": ["rnn", "lstm", "gru"]},
    )
    before = looks.looks(models, groups)
    after = looks.looks([*models, "mamba", "x"], groups | {"state space": ["mamba"]})
    assert {m: after[m] for m in models} == before
    assert after["mamba"].colour in looks.FAMILIES[1]
    assert after["x"].colour in looks.FAMILIES[-1]


def test_colours_are_told_apart_with_deuteranopia_and_by_lightness_within_a_family():
    for colours, least in ((looks.COLOURS[:7], 0.07), *((f, 0.07) for f in looks.FAMILIES)):
        seen = [DEUTERANOPIA @ _linear(c) for c in colours]
        gaps = [np.linalg.norm(_root(a) - _root(b)) for i, a in enumerate(seen) for b in seen[:i]]
        assert min(gaps) > least
    for family in looks.FAMILIES:
        grey = sorted(float(_root(_linear(c) @ [0.2126, 0.7152, 0.0722])) for c in family)
        assert min(np.diff(grey)) > 0.05, family


def _linear(colour):
    return np.array(mpl.colors.to_rgb(colour)) ** 2.2


def _root(light):
    return np.clip(light, 0, 1) ** (1 / 2.2)


def test_a_large_grid_is_drawn_without_warnings_and_twice_the_same(tmp_path):
    content = content_of(figures_factory.grid(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = figures.draw(content, tmp_path / "a")
    again = {n: p for n, p in figures.plans(content).items() if n in ("heatmap", "length")}
    with mpl.rc_context(figures.STYLE):
        for name, plan in again.items():
            figure, _ = figures.made(content, plan, looks.looks(content.models, content.groups))
            figures._save(figure, tmp_path / "b" / name, first[name])
            for end in (".svg", ".png"):
                same = [(tmp_path / x / f"{name}{end}").read_bytes() for x in "ab"]
                assert same[0] == same[1]
    expected = ["coverage", "heatmap", "results", "length", "curves", "peaks", "cost", "pareto"]
    assert set(expected) <= set(first)
    assert "beyond" not in first
    assert "sensitivity" not in first
    colours = looks.looks(content.models, content.groups)
    for name in ("results", "length", "curves", "cost", "pareto"):
        svg = (tmp_path / "a" / f"{name}.svg").read_text(encoding="utf-8").lower()
        assert all(look.colour.lower() in svg for look in colours.values()), name
        assert f"<dc:title>{name}" in svg


def test_a_study_of_one_cell_draws_no_comparison(tmp_path):
    drawn = figures.plans(content_of(figures_factory.one_cell(), tmp_path))
    assert {"results", "coverage"} <= set(drawn)
    assert not {"heatmap", "pareto", "length"} & set(drawn)


def test_panels_past_the_most_are_left_out_and_said(tmp_path):
    made = Tables()
    for i in range(figures.MOST_PANELS + 2):
        made.cells("a", f"t{i}", 8, [0.5])
    content = content_of(made, tmp_path)
    plan = figures.plans(content)["results"]
    assert figures._caption(content, "results", plan, clipped=False).endswith(
        "14 panels, 12 shown."
    )
    with mpl.rc_context(figures.STYLE):
        figure, _ = figures.made(content, plan, looks.looks(content.models, {}))
    assert len(figure.axes) == figures.MOST_PANELS


def test_a_nan_share_colours_nothing(tmp_path):
    made = Tables().levels("t", [8], chance=0.0, ceiling=1.0).cells("a", "t", 8, [math.nan] * 3)
    made.cells("b", "t", 8, [0.5] * 3)
    content = content_of(made, tmp_path)
    assert maps.heatmap_words(content, content.rows("t")[0]) == ("nan", None)
