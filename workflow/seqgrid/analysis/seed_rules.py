"""The rules about the seeds of a group: whether one number can stand for them."""

from itertools import combinations, pairwise
from math import inf, prod

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Cell, Group, short
from seqgrid.analysis.level_rules import evidence, withheld
from seqgrid.analysis.rules import Finding, rule


@rule(
    "UNSTABLE ACROSS SEEDS",
    "level",
    "Values of final seeds, with everything worse than chance taken as chance, whose intervals "
    "({confidence} jointly) do not overlap are apart: the median difference of two seeds is more "
    "than {unstable_share} of the span, or two seeds are that far from each other and one gap "
    "parts them, or one seed solved the task and another did not. A gap parts them where it is so "
    "much larger than the next (or the interval of a seed) as the largest of evenly spread values "
    "is with less than 1 - {confidence}; values with a long tail have that more often. It is named "
    "as one seed apart from all others, or as two groups where it is wider than either of them: a "
    "tail is wider than its gaps.",
)
def unstable(group: Group) -> Finding | None:
    """The seeds disagree, so no single number describes them."""
    if withheld(group) or len(group.final) < 2:
        return None
    goodness = _goodness(group)
    apart = max(w for w, _ in group.bands) > min(b for _, b in group.bands)
    far = group.thresholds.unstable_share * group.levels.span
    chance, lower, upper = two_groups(group)
    split = chance < 1 - group.thresholds.confidence
    # Not the range: of ten seeds it is wide however little any two of them differ.
    differences = [abs(a - b) for a, b in combinations(goodness, 2)]
    typical = stats.median(differences, "lower")
    wide = group.levels.span > 0 and (typical > far or (split and max(differences) > far))
    mixed = 0 < len(group.solved) < len(group.final)
    if not (apart and (wide or mixed)):
        return None
    low, high = stats.extremes(group.values, group.levels.better)
    alone = min(len(lower), len(upper)) == 1
    if split and (alone or _separate(group, lower, upper)):
        kind = "one seed apart" if alone else "two groups"
        words = f"{kind}{' of seeds' if kind == 'two groups' else ''}: "
        words += f"{_named(group, lower)}; {_named(group, upper)} (among values spread evenly so "
        words += f"large a gap has probability {chance:.2g}; a long tail makes it likelier)"
    else:
        kind, words = "", f"values from {short(low)} to {short(high)}"
    return (
        f"UNSTABLE ACROSS SEEDS{f' ({kind})' if kind else ''}",
        f"{_success(group)}{words}: no mean or median stands for them",
        {"solved": len(group.solved), "min": low, "max": high, "p_even": chance}
        | {"groups": [[c.seed for c in part] for part in (lower, upper)] if kind else []}
        | evidence(group),
    )


@rule(
    "NO INTERVAL",
    "level",
    "No interval over test examples is known of a final value: nothing is said of the seed that "
    "takes one, and it counts as neither solved nor not.",
)
def no_interval(group: Group) -> Finding | None:
    """Values that could be off by any amount."""
    seeds = [c.seed for c in group.boundless]
    if not seeds:
        return None
    return (
        "NO INTERVAL" if group.value_of else f"NO INTERVAL {len(seeds)}/{len(group.final)}",
        f"of {group.named(seeds)} nobody knows how far other test examples could move it",
        {"seeds": seeds, **evidence(group)},
    )


def two_groups(group: Group) -> tuple[float, list[Cell], list[Cell]]:
    """Final cells split at the largest gap between their values, the worse first.

    And the probability of such a gap among as many evenly spread values: of m gaps that share a
    range as evenly spread values do, the largest is at least r times the next with probability
    prod of j / (j + r - 1) over j = 2 .. m (spacings of uniform order statistics are exponentials
    over their sum: David & Nagaraja, Order Statistics, 3rd ed., section 6.4). The next gap counts
    as no smaller than half the median interval of a seed, which is noise.
    """
    order = sorted(zip(_goodness(group), group.final, strict=True), key=lambda pair: pair[0])
    values, cells = [v for v, _ in order], [c for _, c in order]
    gaps = [b - a if a > -inf else inf for a, b in pairwise(values)]
    if len(gaps) < 2 or not max(gaps) > 0 or inf in gaps or group.boundless:
        return 1.0, cells, []
    at = gaps.index(max(gaps))
    noise = stats.median([(b - w) / 2 for w, b in group.bands if b > -inf])
    ratio = gaps[at] / max(noise, *(g for i, g in enumerate(gaps) if i != at), 1e-300)
    chance = prod(j / (j + max(ratio, 1.0) - 1) for j in range(2, len(gaps) + 1))
    return chance, cells[: at + 1], cells[at + 1 :]


def _separate(group: Group, lower: list[Cell], upper: list[Cell]) -> bool:
    """Whether the gap between two parts is wider than either of them.

    The largest gap of a long tail is large beside the others, and rarely beside the tail itself:
    docs/calibration.md has the rates.
    """
    worth = dict(zip((c.seed for c in group.final), _goodness(group), strict=True))
    below, above = (sorted(worth[c.seed] for c in part) for part in (lower, upper))
    return above[0] - below[-1] > max(part[-1] - part[0] for part in (below, above))


def _goodness(group: Group) -> list[float]:
    """Of each final cell, with everything worse than chance taken as chance."""
    floor = group.levels.goodness(group.levels.chance)
    return [max(group.levels.goodness(v), floor) for v in group.values]


def _success(group: Group) -> str:
    """How many seeds solved the task, where that is asked, with the interval of the rate."""
    if group.levels.bar is None:
        return ""
    k, n = len(group.solved), len(group.final)
    rate = stats.wilson(k, n, group.thresholds.confidence)
    ends = f"{100 * rate.coverage:.4g} % interval {rate.low:.2f} to {rate.high:.2f}"
    return f"{k} of {n} final seeds solved it (success rate {k / n:.2f}, {ends}), "


def _named(group: Group, cells: list[Cell]) -> str:
    values = [c.value for c in cells if c.value is not None]
    low, high = stats.extremes(values, group.levels.better)
    ends = short(low) if low == high else f"{short(low)} to {short(high)}"
    return f"{ends} (seed {', '.join(str(c.seed) for c in cells)})"
