"""The rules that hold a group's scores against its levels: chance, the ceilings, the solved level.

Those on shortcuts stand in `shortcut_rules`.
"""

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Group, short, values_of
from seqgrid.analysis.rules import Finding, rule


@rule(
    "UNLEARNABLE AS SCORED",
    "level",
    "The ceiling lies within {unlearnable_share} of chance, so no score can show learning; every "
    "other statement about quality is withheld.",
)
def unlearnable(group: Group) -> Finding | None:
    """The task cannot be learned as it is scored."""
    levels = group.levels
    if levels.chance is None or levels.ceiling is None or not levels.unlearnable:
        return None
    return (
        "UNLEARNABLE AS SCORED",
        f"the ceiling {short(levels.ceiling)} is chance {short(levels.chance)}: "
        f"{group.metric} cannot show learning",
        {"chance": levels.chance, "ceiling": levels.ceiling},
    )


@rule(
    "ABOVE CEILING",
    "level",
    "A final seed's interval ({confidence} jointly) lies beyond the best score there can be, by "
    "more than {level_share} of the span from chance, or of the ceiling where that is chance: the "
    "input gives the answer away, or the level is wrong. No other statement about quality holds "
    "then.",
)
def above_ceiling(group: Group) -> Finding | None:
    """A score that cannot be."""
    levels = group.levels
    if levels.ceiling is None:
        return None
    scale = levels.span if not levels.unlearnable else abs(levels.ceiling)
    limit = levels.goodness(levels.ceiling) + group.thresholds.level_share * scale
    seeds = [
        c.seed for c, (worse, _) in zip(group.final, group.bands, strict=True) if worse > limit
    ]
    if not seeds:
        return None
    return (
        "ABOVE CEILING",
        f"{group.named(seeds)} lies beyond the best score there can be, "
        f"{short(levels.ceiling)}: the answers leak, or the level is wrong",
        {"ceiling": levels.ceiling, "seeds": seeds, **evidence(group)},
    )


@rule(
    "SOLVED",
    "level",
    "k of n: k seeds finished and reached the solved level on the test split with the weights best "
    "on validation, with an interval that excludes chance, of n seeds asked for and not skipped; "
    "unfinished and failed ones are unknown, diverged ones have not solved it. Where an interval "
    "({confidence} jointly) holds that level, it is said how many lie beyond it: m surely. Steps "
    "and seconds are those of training up to the first validation at the solved level, each the "
    "median over the seeds that solved it and of which it is known. Not said where a shortcut "
    "reaches the solved level.",
)
def solved(group: Group) -> Finding | None:
    """How many seeds passed the solved level."""
    bar = group.levels.bar
    if bar is None or not group.solved or withheld(group):
        return None
    k, n, unknown = len(group.solved), len(group.asked), len(group.undecided)
    steps, seconds = group.solved_steps, group.solved_seconds
    times = [_median_of(values, unit, k) for values, unit in
             ((steps, "steps"), (seconds, "s of training")) if values]  # fmt: skip
    after = f", after a median of {' and '.join(times)}" if times else ""
    open_ = f", {unknown} unknown" if unknown else ""
    close = sum(cell in group.beside_bar for cell in group.solved)
    open_ += f", {k - close} of them by more than test noise" if close else ""
    short_of_it = len(group.beside_bar) - close
    open_ += f", {short_of_it} more within test noise of it" if short_of_it else ""
    return (
        f"SOLVED {k}/{n}" + (f" ({k - close} surely)" if close else ""),
        f"{k} of {n} seeds reached {short(bar)} {group.metric}{open_}{after}",
        {
            "solved": k,
            "asked": n,
            "unknown": unknown,
            "beside": close,
            "steps": steps,
            "seconds": seconds,
            **evidence(group),
        },
    )


@rule(
    "AT CEILING",
    "level",
    "Every final seed's interval ({confidence} jointly, over test examples) excludes chance and "
    "holds the ceiling, as does that of their mean: they cannot be told from the best score there "
    "can be. No half interval is more than {interval_share} of the span. A ceiling below a perfect "
    "score, which may be an estimate, counts as held within {level_share} of the span. Where a "
    "shortcut is as near, the intervals must hold the ceiling itself and exclude the shortcut.",
)
def at_ceiling(group: Group) -> Finding | None:
    """No seed can be told from the ceiling."""
    ceiling = group.levels.ceiling
    if ceiling is None or not beside_ceiling(group):
        return None
    rivals = near(group)
    if rivals and not (group.at(ceiling, 0.0) and all(group.beyond(v) for _, v in rivals)):
        return None
    return (
        "AT CEILING",
        f"{stands(group, ceiling)} the ceiling {short(ceiling)}",
        {"ceiling": ceiling, **evidence(group)},
    )


@rule(
    "AT CHANCE",
    "level",
    "Every final seed's interval ({confidence} jointly, over test examples) holds chance or lies "
    "on its worse side, and so does that of the mean of those that hold it; a score worse than "
    "chance is chance, not a finding. One of which half is more than {interval_share} of the "
    "span may not reach further beyond chance than that.",
)
def at_chance(group: Group) -> Finding | None:
    """No seed can be told from chance."""
    levels = group.levels
    if levels.chance is None or not group.bands or withheld(group):
        return None
    if group.not_numbers or group.boundless:
        return None
    chance, pairs = levels.goodness(levels.chance), zip(group.final, group.bands, strict=True)
    far = chance + group.thresholds.interval_share * levels.scale
    if any(w > chance or (b > far and not group.narrow((w, b))) for w, b in group.bands):
        return None
    # Seeds below chance would hide those above it in the mean.
    if group.together(chance)[0] > chance:
        return None
    below = [cell.seed for cell, (_, better) in pairs if better < chance]
    words = f"{group.cannot_be_told} from chance {short(levels.chance)}"
    if below:
        none = f"{group.value_of or 'no seed'} is {'not ' if group.value_of else ''}better than"
        words = f"{none} chance {short(levels.chance)}; {group.named(below)} is worse than it"
    return "AT CHANCE", words, {"chance": levels.chance, "below": below, **evidence(group)}


def withheld(group: Group) -> bool:
    """Whether nothing can be said of quality: no score can show any, or one cannot be."""
    return group.levels.unlearnable or above_ceiling.find(group) is not None


def beside_ceiling(group: Group) -> bool:
    """Whether every seed holds the ceiling, one that may be an estimate within the slack."""
    levels = group.levels
    if levels.ceiling is None or withheld(group) or not group.above_chance:
        return False
    perfect = levels.ceiling == (1.0 if levels.better == "higher" else 0.0)
    return group.at(levels.ceiling, 0.0 if perfect else slack(group))


def near(group: Group) -> list[tuple[str, float]]:
    """The shortcuts that every seed holds within the slack; none where all surely solved it."""
    if withheld(group) or not group.final or not group.above_chance:
        return []
    if len(group.surely_solved) == len(group.final):
        return []
    return [pair for pair in group.levels.shortcuts if group.at(pair[1], slack(group))]


def stands(group: Group, level: float, whole: str = "the span") -> str:
    """How every value stands to a level that it is at; where only the slack holds it, so said."""
    if group.at(level, 0.0):
        return f"{group.cannot_be_told} from"
    whose = group.value_of or "every seed"
    close = f"{100 * group.thresholds.level_share:.4g} % of {whole}"
    return f"the interval of {whose} comes within {close} of"


def _median_of(values: list, unit: str, solved: int) -> str:
    """A median over the seeds that solved the task; of how many, where not of all."""
    of = f" (of {len(values)} of them)" if len(values) < solved else ""
    return f"{short(stats.median(values, 'lower'))} {unit}{of}"


def slack(group: Group) -> float:
    """By how much a score may miss a level of its task and still count as at it."""
    return group.thresholds.level_share * group.levels.span


def evidence(group: Group) -> dict:
    """The values a statement rests on, and where they were measured."""
    place = {"evaluated_seqlen_tokens": group.evaluated_seqlen, "test_set": group.test_set}
    return {"values": values_of(group.final), **place}
