"""The table `convergence`: steps to solve, model by model and compared.

Per model, task and length: the Kaplan-Meier median with its interval, and the mean up to the common
horizon of the place. Per place: whether its models solve alike, by a log-rank test. Its usual
p-value comes from a normal approximation that claims too much at three seeds, so the labels of the
seeds are permuted instead: exactly where all assignments can be counted, else by random ones. Such
a p-value cannot be smaller than the number of seeds allows, and that is said.
"""

import json
from collections import Counter, defaultdict
from math import comb, factorial, prod

import numpy as np
import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis.selection import PRELIMINARY
from seqgrid.analysis.summary import meta
from seqgrid.analysis.survival import Time, kaplan_meier
from seqgrid.seeds import derive

# After one of these no time of a task is held against another.
VOID = {
    "CONTROL FAILED": "a control of the task failed",
    "GATE FAILED": "a gate of the task failed",
}
RESAMPLES = 9_999  # with the observed one 10,000: steps of 0.0001

Place = tuple[str, int]  # task, training length


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `convergence` of a study from survival and history."""
    about = meta(read["cells"])
    limits = thresholds.of(about)
    places: dict[Place, dict[tuple[str, str], list[Time]]] = defaultdict(dict)
    for row in built["survival"].to_pylist():
        group = places[row["task"], row["seqlen_tokens"]]
        times = group.setdefault((row["model"], row["variant"]), [])
        times += [Time(row["step_steps"], True)] * row["solved"]
        times += [Time(row["step_steps"], False)] * row["censored"]
    spacing = _spacing(read["history"])
    barred = _barred(built)
    rows: list[dict] = []
    tests: list[dict] = []
    for place, groups in places.items():
        end = horizon(list(groups.values()))
        for (model, variant), times in groups.items():
            who = (model, place[0], variant, place[1])
            rows.append(_model(who, times, end, limits.confidence, spacing.get(who)))
        if len(groups) > 1:
            tests.append(_place(place, groups, end, barred))
            rows.append(tests[-1])
    _correct(tests, 1 - limits.confidence)
    return tables.from_rows("convergence", rows, {"seqgrid.study": json.dumps(about)})


def horizon(groups: list[list[Time]]) -> int:
    """Steps up to which the curve of every group is known: one that fell to 0 is known for ever."""
    ends = []
    for times in groups:
        last = max(t.steps for t in times)
        if not all(t.solved for t in times if t.steps == last):
            ends.append(last)
    return min(ends) if ends else max(t.steps for times in groups for t in times)


def median(
    times: list[Time], coverage: float
) -> tuple[float | None, float | None, float | None, float]:
    """Kaplan-Meier median of steps to solve, the ends of its interval, and its coverage.

    The interval holds the times at which half the seeds may have solved the task, by the intervals
    of the curve (Brookmeyer & Crowley, Biometrics 38 (1982) 29). Below six seeds none has 95 %, and
    it is that of 1 - 2 * 0.5^n, which without censoring is the range. None: not reached, or open.
    """
    coverage = min(coverage, 1 - 2 * 0.5 ** len(times))
    if coverage <= 0:
        curve = kaplan_meier(times, 0.5)
        return _first(curve.steps, curve.unsolved <= 0.5), None, None, 0.0
    curve = kaplan_meier(times, coverage)
    middle = _first(curve.steps, curve.unsolved <= 0.5 + 1e-9)
    low = _first(curve.steps, curve.low < 0.5 - 1e-9)
    return middle, low, _first(curve.steps, curve.high <= 0.5 + 1e-9), coverage


def _first(steps: np.ndarray, holds: np.ndarray) -> float | None:
    """The first time at which something holds; None where it never does."""
    return float(steps[holds.argmax()]) if holds.any() else None


def restricted_mean(times: list[Time], end: int) -> float:
    """Mean steps to solve, cut at `end`: the area under the Kaplan-Meier curve up to there."""
    curve = kaplan_meier(times, 0.5)
    inside = curve.steps < end
    edges = np.concatenate([[0], curve.steps[inside], [end]])
    return float(np.diff(edges) @ np.concatenate([[1.0], curve.unsolved[inside]]))


def log_rank(groups: list[list[Time]], generator: np.random.Generator) -> tuple[float, str]:
    """p-value that the groups solve alike, by permuting their seeds, and how it was made.

    The statistic is the sum over groups of (sum of scores)^2 / seeds, where a seed's score is its
    event less the Nelson-Aalen hazard that it went through: observed less expected events, as in
    the log-rank test (Peto & Peto, J. R. Stat. Soc. A 135 (1972) 185). The permutation is exact
    where models are followed equally long, as with one budget for all.
    """
    from scipy.stats import permutation_test

    every = [t for times in groups for t in times]
    steps = np.array([t.steps for t in every])
    solved = np.array([t.solved for t in every])
    hazard = np.array(
        [sum(1 / (steps >= s).sum() for s in steps[solved & (steps <= own)]) for own in steps]
    )
    scores = np.split(solved - hazard, np.cumsum([len(times) for times in groups])[:-1])

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        return sum(x.sum(axis) ** 2 / x.shape[axis] for x in samples)

    found = permutation_test(
        scores, statistic, vectorized=True, n_resamples=RESAMPLES, alternative="greater",
        rng=generator,
    )  # fmt: skip
    count = assignments([len(times) for times in groups])
    how = f"all {count:,}" if count <= RESAMPLES else f"{RESAMPLES:,} random"
    return float(found.pvalue), f"log-rank, {how} permutations of seeds"


def assignments(sizes: list[int]) -> int:
    """Ways to hand all seeds out to groups of these sizes."""
    return prod(comb(sum(sizes[: i + 1]), size) for i, size in enumerate(sizes))


def smallest_p(sizes: list[int]) -> float:
    """The smallest p-value there can be: groups of one size can swap places with no change."""
    swaps = prod(factorial(n) for n in Counter(sizes).values())
    least = swaps / assignments(sizes)
    return least if assignments(sizes) <= RESAMPLES else max(least, 1 / (RESAMPLES + 1))


def _model(
    who: tuple[str, str, str, int], times: list[Time], end: int, coverage: float,
    spacing: int | None,
) -> dict:  # fmt: skip
    model, task, variant, seqlen = who
    middle, low, high, reached = median(times, coverage)
    solved = sum(t.solved for t in times)
    ordered = sorted(times, key=lambda t: (t.steps, not t.solved))
    row = {
        "model": model,
        "task": task,
        "variant": variant,
        "seqlen_tokens": seqlen,
        "seeds": len(times),
        "solved": solved,
        "censored": len(times) - solved,
        "horizon_steps": end,
        "times_steps": [t.steps if t.solved else -t.steps for t in ordered],
        "median_steps": middle,
        "low": low,
        "high": high,
        "interval": "inverted beta product" if reached else "none: one seed",
        "coverage": reached,
        "spacing_steps": spacing,
        "restricted_mean_steps": restricted_mean(times, end),
    }
    return row | {"statement": _said(row)}


def _said(row: dict) -> str:
    """One model at one place, in words."""
    n, solved, last = row["seeds"], row["solved"], max(map(abs, row["times_steps"]))
    if not solved:
        return f"no seed of {n} solved the task: never, censored at {last:,} steps at the latest"
    words = [f"{solved} of {n} seeds solved the task"]
    if row["median_steps"] is None:
        words.append(f"fewer than half of them within {last:,} steps")
    else:
        ends = ", ".join("open" if row[e] is None else f"{row[e]:,.0f}" for e in ("low", "high"))
        interval = f" [{ends}], {100 * row['coverage']:.4g}% coverage" if row["coverage"] else ""
        words.append(f"median {row['median_steps']:,.0f} steps{interval}")
    if row["spacing_steps"]:
        words.append(f"validated every {row['spacing_steps']:,} steps: times may be so much late")
    return "; ".join(words)


def _barred(built: dict[str, pa.Table]) -> dict[tuple, str]:
    """Why times are not compared, by task, or by model, task, variant and training length."""
    found: dict[tuple, str] = {
        (v["task"],): VOID[v["verdict"]]
        for v in built["verdicts"].to_pylist()
        if v["verdict"] in VOID
    }
    for row in built["summary"].to_pylist():
        if row["preliminary"]:
            who = ("model", "task", "variant", "seqlen_tokens")
            found[tuple(row[name] for name in who)] = PRELIMINARY
    return found


def _place(
    place: Place,
    groups: dict[tuple[str, str], list[Time]],
    end: int,
    barred: dict[tuple, str],
) -> dict:
    """The test among the models of one place; nothing to test where none solved the task."""
    # One seed of a model says nothing of how its times vary.
    times = [found for found in groups.values() if len(found) > 1]
    left = [model for (model, _), found in groups.items() if len(found) == 1]
    sizes = [len(found) for found in groups.values()]
    solved = sum(t.solved for seeds in groups.values() for t in seeds)
    row = {
        "model": None,
        "task": place[0],
        "variant": "",
        "seqlen_tokens": place[1],
        "seeds": sum(sizes),
        "solved": solved,
        "censored": sum(sizes) - solved,
        "horizon_steps": end,
    }
    who = [(place[0],), *((model, place[0], variant, place[1]) for model, variant in groups)]
    if against := [barred[key] for key in who if key in barred]:
        return row | {"statement": f"not compared, as {against[0]}"}
    if not solved:
        return row | {"statement": f"no seed of {len(groups)} models solved the task"}
    if len(times) < 2:
        return row | {"statement": "fewer than two models have two seeds: nothing to compare"}
    generator = np.random.default_rng(derive("log-rank", *place))
    p_value, how = log_rank(times, generator)
    how += f", without {', '.join(left)} (one seed)" if left else ""
    smallest = smallest_p([len(found) for found in times])
    return row | {"p_value": p_value, "p_smallest": smallest, "test": how}


def _correct(rows: list[dict], level: float) -> None:
    """Adds the p-values corrected after Holm, Scand. J. Stat. 6 (1979) 65, and what they say."""
    from statsmodels.stats.multitest import multipletests

    tested = [row for row in rows if row.get("p_value") is not None]
    if not tested:
        return
    corrected = multipletests([row["p_value"] for row in tested], method="holm")[1]
    many = f"after Holm over {len(tested)} places" if len(tested) > 1 else "one place"
    for row, p in zip(tested, corrected, strict=True):
        row["p_corrected"] = float(p)
        if p <= level:
            words = "the models do not all solve the task alike"
        elif row["p_smallest"] > level:
            words = "so few seeds can show no difference, whatever their times"
        else:
            words = "no difference is shown, which does not mean that there is none"
        row["statement"] = f"p = {row['p_value']:.2g}, {p:.2g} {many} ({row['test']}): {words}"


def _spacing(history: pa.Table) -> dict[tuple[str, str, str, int], int]:
    """Most steps between two validations of a cell, by model, task, variant and length."""
    who = ["model", "task", "variant", "seqlen_tokens"]
    steps: dict[tuple, set[int]] = defaultdict(set)
    for row in history.select([*who, "seed", "step_steps", "validation_metric"]).to_pylist():
        if row["step_steps"] is not None and row["validation_metric"] is not None:
            group = (row["model"], row["task"], row["variant"] or "", row["seqlen_tokens"])
            steps[*group, row["seed"]].add(row["step_steps"])
    found: dict[tuple[str, str, str, int], int] = {}
    for (*group, _), at in steps.items():
        gap = int(np.diff(sorted({0, *at})).max(initial=0))
        found[tuple(group)] = max(gap, found.get(tuple(group), 0))
    return found
