"""Whether scores exclude a verdict that no rule has said of them.

A rule that did not fire is no evidence against it: with wide intervals nothing fires. What refutes
a verdict is an interval of a final seed that cannot be had with it.
"""

from seqgrid.analysis.groups import Group
from seqgrid.analysis.level_rules import slack
from seqgrid.analysis.model_ceiling_rules import model_slack

AT = ("AT SHORTCUT", "AT CEILING", "AT MODEL CEILING")


def excludes(group: Group, rule: str, level: str) -> bool:
    """Whether the interval of a final seed excludes a verdict about a level.

    level: name of a level where the verdict names one, '' for any.
    """
    levels = group.levels
    if rule == "AT CHANCE":
        chance = levels.goodness(levels.chance)
        return levels.chance is not None and any(worse > chance for worse, _ in group.bands)
    if rule == "ABOVE":
        named = [value for name, value in levels.passable if level in ("", name)]
        lowest = min(map(levels.goodness, named), default=None)
        return lowest is not None and any(better <= lowest for _, better in group.bands)
    if rule == "UNLEARNABLE AS SCORED":
        return levels.span > 0 and not levels.unlearnable
    held = _held(group, rule, level)
    return rule in AT and bool(held) and not any(_holds(group, *one) for one in held)


def _held(group: Group, rule: str, level: str) -> list[tuple[float, float]]:
    """Each level that scores may be at, and by how much they may miss it."""
    if rule == "AT SHORTCUT":
        # What lies beyond the solved level for sure is beyond every shortcut below it.
        miss = 0.0 if group.surely_solved else slack(group)
        return [(v, miss) for name, v in group.levels.shortcuts if level in ("", name)]
    if rule == "AT CEILING" and group.levels.ceiling is not None:
        return [(group.levels.ceiling, slack(group))]
    if rule == "AT MODEL CEILING" and group.model_ceiling is not None:
        return [(group.model_ceiling.value, model_slack(group, group.model_ceiling))]
    return []


def _holds(group: Group, level: float, miss: float) -> bool:
    """Whether no interval excludes a level; one without ends excludes nothing."""
    goodness = group.levels.goodness(level)
    return all(worse - miss <= goodness <= better + miss for worse, better in group.bands)
