"""The rules that hold scores against the best that one model can have, by the order it sees."""

from seqgrid.analysis.groups import Group, short
from seqgrid.analysis.level_rules import evidence, stands, withheld
from seqgrid.analysis.levels import ModelCeiling
from seqgrid.analysis.rules import Finding, rule


@rule(
    "AT MODEL CEILING",
    "level",
    "Every final seed's interval ({confidence} jointly) excludes chance and holds, within "
    "{level_share} of its distance from chance, the best score of any model that sees as little of "
    "the order of positions as this one does, as does that of their mean; no half interval is more "
    "than {interval_share} of the span. No training can raise a score beyond that level.",
)
def at_model_ceiling(group: Group) -> Finding | None:
    """The model scores all that it can."""
    ceiling = group.model_ceiling
    if ceiling is None or withheld(group) or not group.above_chance:
        return None
    if not group.at(ceiling.value, model_slack(group, ceiling)):
        return None
    return (
        f"AT MODEL CEILING ({ceiling.name})",
        f"{stands(group, ceiling.value, 'its distance from chance')} {short(ceiling.value)}, the "
        f"best there can be {ceiling.derivation}",
        {"model_ceiling": ceiling.value, "name": ceiling.name, **evidence(group)},
    )


@rule(
    "ABOVE MODEL CEILING",
    "level",
    "A final seed's interval ({confidence} jointly) lies beyond the best score of any model that "
    "sees as little of the order of positions, by more than {level_share} of its distance from "
    "chance: what is said of this model's sight is wrong, or the answers leak.",
)
def above_model_ceiling(group: Group) -> Finding | None:
    """The explanation by what the model cannot see is refuted."""
    ceiling, levels = group.model_ceiling, group.levels
    if ceiling is None or withheld(group):
        return None
    limit = levels.goodness(ceiling.value) + model_slack(group, ceiling)
    seeds = [
        c.seed for c, (worse, _) in zip(group.final, group.bands, strict=True) if worse > limit
    ]
    if not seeds:
        return None
    return (
        f"ABOVE MODEL CEILING ({ceiling.name})",
        f"{group.named(seeds)} lies beyond {short(ceiling.value)}, said to be the "
        f"best there can be {ceiling.derivation}: the model sees more than its file says",
        {"model_ceiling": ceiling.value, "name": ceiling.name, "seeds": seeds, **evidence(group)},
    )


def model_slack(group: Group, ceiling: ModelCeiling) -> float:
    """Of its own distance from chance: that of the task's ceiling can be ten times as far."""
    chance = group.levels.chance
    return 0.0 if chance is None else group.thresholds.level_share * abs(ceiling.value - chance)
