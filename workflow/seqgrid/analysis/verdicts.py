"""The rules that turn numbers into statements: one pure function each, with its threshold named.

A rule looks at a group of seeds, and says nothing where it does not apply. `level_rules` has those
on levels, `model_ceiling_rules` those on what one model can see, `seed_rules` those on how seeds
agree, `coverage_rules` those on how cells ended, `curve_rules` those on one cell's training,
`unfinished_rules` that on a run cut short. No rule compares models, variants or lengths: a level
can move with the length, and a comparison needs pairs. Shares are of the span, the distance from
chance to ceiling. Thresholds are those of `seqgrid.thresholds`, which a study may set.
"""

from seqgrid.analysis.coverage_rules import (
    control_failed,
    diverged,
    failed,
    partial,
    single_learning_rate,
    skipped,
    stale,
    too_few_seeds,
    unknown_learning_rate,
)
from seqgrid.analysis.curve_rules import collapsed, improving, no_clear_plateau, plateau
from seqgrid.analysis.groups import Group
from seqgrid.analysis.level_rules import (
    above_ceiling,
    at_ceiling,
    at_chance,
    solved,
    unlearnable,
)
from seqgrid.analysis.model_ceiling_rules import above_model_ceiling, at_model_ceiling
from seqgrid.analysis.rules import Finding, Rule, rule
from seqgrid.analysis.seed_rules import no_interval, unstable
from seqgrid.analysis.selection import at_grid_edge, no_selection, preliminary
from seqgrid.analysis.shortcut_rules import (
    above,
    at_shortcut,
    shortcut_not_excluded,
    shortcut_suffices,
)
from seqgrid.analysis.unfinished_rules import at_chance_so_far


@rule(
    "NOT A NUMBER",
    "level",
    "A finished cell's test metric is NaN or infinite; it counts as worse than every number and as "
    "not solved.",
)
def not_a_number(group: Group) -> Finding | None:
    """A test metric that is no number."""
    seeds = [c.seed for c in group.not_numbers]
    if not seeds:
        return None
    return (
        f"NOT A NUMBER {len(seeds)}/{len(group.final)}",
        f"{group.metric} is no number for seed {', '.join(map(str, seeds))}",
        {"seeds": seeds},
    )


@rule(
    "SEEN IN TRAINING",
    "level",
    "Tested as trained, possibly more than {seen_share} of the test examples occurred among the "
    "training examples of the seed that saw most: an upper bound, from the probability that two "
    "examples have the same input. Memorising could have scored up to that much.",
)
def seen_in_training(group: Group) -> Finding | None:
    """Test examples that memory alone could answer."""
    if group.evaluated_seqlen != group.seqlen or group.test_set:
        return None  # other inputs than those of training
    seen = max(group.final, key=lambda c: c.seen_share, default=None)
    if seen is None or seen.seen_share <= group.thresholds.seen_share:
        return None
    share, bits, n = seen.seen_share, seen.log2_inputs, seen.seen_examples
    return (
        f"SEEN IN TRAINING up to {share:.0%}",
        f"up to {share:.0%} of the test examples also occurred among {n:,} training examples, as "
        f"two inputs are the same in one of 2^{bits:.3g} pairs: memorising could have scored that "
        "much",
        {"share": share, "log2_inputs": bits, "training_examples": n, "seed": seen.seed},
    )


# In the order in which a report lists them.
RULES: tuple[Rule, ...] = (
    control_failed,
    above_ceiling,
    unlearnable,
    shortcut_suffices,
    solved,
    at_ceiling,
    above_model_ceiling,
    at_model_ceiling,
    at_shortcut,
    shortcut_not_excluded,
    at_chance,
    above,
    unstable,
    no_interval,
    not_a_number,
    seen_in_training,
    collapsed,
    improving,
    plateau,
    no_clear_plateau,
    at_chance_so_far,
    diverged,
    failed,
    skipped,
    partial,
    too_few_seeds,
    single_learning_rate,
    unknown_learning_rate,
    preliminary,
    no_selection,
    at_grid_edge,
    stale,
)
