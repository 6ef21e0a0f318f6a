"""The rules that hold a group's scores against solvers without the skill that is tested."""

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Group, short
from seqgrid.analysis.level_rules import (
    at_ceiling,
    beside_ceiling,
    evidence,
    near,
    stands,
    withheld,
)
from seqgrid.analysis.rules import Finding, rule


@rule(
    "SHORTCUT SUFFICES",
    "level",
    "A solver without the skill tested reaches the solved level, so that no score at that level "
    "shows the skill: SOLVED is not said.",
)
def shortcut_suffices(group: Group) -> Finding | None:
    """The threshold of success does not separate."""
    held = group.levels.sufficient
    if not held or group.levels.unlearnable or not group.final:
        return None
    name, value = held[0]
    return (
        f"SHORTCUT SUFFICES ({name})",
        f"{name} scores {short(value)} without the skill tested, and solved is "
        f"{short(group.levels.solved or 0.0)}",
        {"shortcuts": dict(held), "solved": group.levels.solved},
    )


@rule(
    "AT SHORTCUT",
    "level",
    "Every final seed's interval ({confidence} jointly) excludes chance and holds the score of a "
    "named solver without the skill tested, or comes within {level_share} of the span, as does "
    "that of their mean; no half interval is more than {interval_share} of the span. The nearest "
    "such level is named. Not said where a seed lies beyond the solved level for sure, or where "
    "SHORTCUT NOT EXCLUDED is.",
)
def at_shortcut(group: Group) -> Finding | None:
    """The score is what a solver without the skill gets."""
    held = near(group)
    if not held or group.surely_solved or may_be(group):
        return None
    name, value = nearest(group, held)
    return (
        f"AT SHORTCUT ({name})",
        f"{stands(group, value)} {name} at {short(value)}, which needs none of the skill tested",
        {"shortcut": name, "level": value, "held": dict(held), **evidence(group)}
        | {"close": close(group, held)},
    )


@rule(
    "SHORTCUT NOT EXCLUDED",
    "level",
    "Every final seed's interval ({confidence} jointly) holds the score of a named solver without "
    "the skill tested, or comes within {level_share} of the span, and reaches the solved level or "
    "the ceiling as well: which of them it is cannot be told, and neither AT SHORTCUT nor AT "
    "CEILING is said. A seed counted as SOLVED may be at the shortcut.",
)
def shortcut_not_excluded(group: Group) -> Finding | None:
    """The score may be what a solver without the skill gets, or may be success."""
    held = near(group)
    if not held or group.surely_solved or not may_be(group) or at_ceiling.find(group):
        return None
    name, value = nearest(group, held)
    return (
        f"SHORTCUT NOT EXCLUDED ({name})",
        f"{stands(group, value)} {name} at {short(value)}, which needs none of the skill tested; "
        f"every interval also reaches {' and '.join(may_be(group))}: which it is cannot be told",
        {"shortcut": name, "level": value, "near": dict(held), **evidence(group)}
        | {"ceiling": beside_ceiling(group), "close": close(group, held)},
    )


@rule(
    "ABOVE",
    "level",
    "The best of chance and the shortcuts that every final seed's interval ({confidence} jointly) "
    "excludes on its better side, and that is no shortcut within {level_share} of the span of them "
    "all, unless each seed lies beyond the solved level for sure.",
)
def above(group: Group) -> Finding | None:
    """The highest level that every seed has passed."""
    if withheld(group):
        return None
    at = {name for name, _ in near(group)}
    passed = [
        (name, value)
        for name, value in group.levels.passable
        if name not in at and group.beyond(value)
    ]
    if not passed:
        return None
    name, value = passed[-1]
    return (
        f"ABOVE {name}",
        f"{group.value_of or 'every final seed'} lies above {name} at {short(value)}",
        {"level": value, "name": name, "passed": dict(passed), **evidence(group)},
    )


def may_be(group: Group) -> list[str]:
    """What else scores near a shortcut may be, in words: the task solved, or its ceiling.

    Not a ceiling that every interval excludes, where all hold a shortcut itself.
    """
    found, levels = [], group.levels
    if levels.bar is not None and group.reaches(levels.bar):
        found.append(f"the solved level {short(levels.bar)}")
    if levels.ceiling is not None and beside_ceiling(group):
        top = levels.goodness(levels.ceiling)
        below = all(better < top for _, better in group.bands)
        if not (below and any(group.at(value, 0.0) for _, value in near(group))):
            share = f"{100 * group.thresholds.level_share:.4g} % of the span to"
            found.append(f"{f'within {share} ' * below}the ceiling {short(levels.ceiling)}")
    return found


def nearest(group: Group, held: list[tuple[str, float]]) -> tuple[str, float]:
    """The shortcut nearest to the median of the seeds."""
    middle = stats.median(group.values, group.levels.better)
    return min(held, key=lambda pair: abs(pair[1] - middle))


def close(group: Group, held: list[tuple[str, float]]) -> list[str]:
    """Names of those that only the slack holds."""
    return [name for name, value in held if not group.at(value, 0.0)]
