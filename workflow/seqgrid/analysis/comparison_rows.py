"""Finished rows of `comparisons`: the outcome of a place, its numbers, what stands against it."""

from dataclasses import dataclass, replace
from math import isfinite

from seqgrid.analysis import (
    comparison_words,
    cross_fitting,
    paired,
    pooling,
    restraints,
    spread,
    stats,
    successes,
)
from seqgrid.analysis.obstacles import Obstacles
from seqgrid.analysis.paired import Judged, Paired
from seqgrid.analysis.pairs import Pairs
from seqgrid.analysis.restraints import Shared
from seqgrid.analysis.single_runs import Told
from seqgrid.analysis.spread import Spread
from seqgrid.analysis.stats import Interval
from seqgrid.metric_names import SOLVED, STEPS

CLAIMS = ("A BETTER", "B BETTER", "NO DIFFERENCE")


@dataclass
class Place:
    """One row of the table in the making.

    paired: None where there is nothing to pair.
    values: (a, b) of each seed, to compare as distributions.
    """

    row: dict
    obstacles: Obstacles
    paired: Paired | None = None
    values: tuple[tuple[float, float], ...] = ()
    single: Told | None = None
    preliminary: bool = False
    untuned: bool = False  # one variant of each side was tried
    notes: tuple[str, ...] = ()
    noise: float = 0.0  # standard error of a difference over test examples
    margin: float | None = None  # that equivalence is tested against
    crossed: Paired | None = None  # with variants that other seeds have selected
    crossed_pairs: Pairs | None = None
    shared: Shared | None = None  # examples that seeds have in common
    members: tuple[tuple[str, Paired], ...] = ()  # each model of a group by itself
    spread: Spread | None = None  # of the pairs, which a median says nothing of
    parts: tuple["Place", ...] = ()  # the places of a row over all of them

    @property
    def where(self) -> str:
        """Its task and training length, in words."""
        return f"{self.row['task']} at {self.row['seqlen_tokens']} tokens"


def finished(place: Place, judged: Judged | None, confidence: float) -> dict:
    """The finished row of `comparisons`; confidence: of the study."""
    row, found, obstacles = place.row, place.paired, place.obstacles
    if found is not None and judged is not None:
        parts = [(part.where, part.row["outcome"]) for part in place.parts]
        obstacles.level += pooling.contradicting(parts, judged.outcome)
        members = restraints.contradicting(place.members, judged.outcome, 1 - confidence)
        obstacles.level += members
        if place.crossed:
            obstacles.level += cross_fitting.held_back(place.crossed, found, judged)
        if place.spread:
            obstacles.level += spread.outweighed(place.spread, found, judged)
            judged = _equivalent(place, found, judged, confidence)
        if place.shared and restraints.exceeded(place.shared, found, judged):
            words = "the difference is more than one set of test examples makes by chance"
            place.notes += (f"{place.shared.words}; {words}",)
        elif place.shared:
            words = "a difference is known to hold for these examples only"
            obstacles.unknown.append(f"{place.shared.words}: {words}")
    row["blockers"], row["unequal"] = obstacles.blockers, obstacles.unequal
    if found is None or judged is None:
        row |= {"pairs": 0, "outcome": "NOT COMPARABLE"}
    else:
        row |= _numbers(place, found, judged, confidence)
        row["outcome"] = _outcome(place, judged)
        if place.preliminary and row["outcome"] == "NOT TESTABLE YET":
            row["blockers"] = [*row["blockers"], "a variant was selected before all had ended"]
    if place.untuned and row["outcome"] in ("A BETTER", "B BETTER"):
        place.notes += ("one setting of each is compared, so it may be one of learning rates",)
    row["statement"] = comparison_words.statement(
        row, found, judged, place.single.statement if place.single else "", list(place.notes)
    )
    del row["confidence"]  # the same for all
    return row


def _equivalent(place: Place, found: Paired, judged: Judged, confidence: float) -> Judged:
    """What is left of equivalence, where its median hides what the seeds do."""
    assert place.spread is not None
    p = judged.p_equivalent_corrected
    against = spread.apart(place.spread, found.margin)
    if p is not None and p <= 1 - confidence and against:
        if judged.outcome == "NO DIFFERENCE":
            place.obstacles.level.append(against)
            return judged
        place.notes += (f"no equivalence is claimed: {against}",)
        judged = replace(judged, p_equivalent_corrected=None)
    elif caveat := place.spread.caveat:
        place.notes += (caveat,)
    return judged


def _numbers(place: Place, found: Paired, judged: Judged, confidence: float) -> dict:
    if found.asked == 0:
        return {"pairs": 0, "pairs_needed": judged.pairs_needed}
    tested = {
        "pairs": len(found.differences),
        "p_value": found.p_value,
        "p_corrected": judged.p_corrected,
        "correction": f"Holm, {judged.tests} test{'' if judged.tests == 1 else 's'}",
        "pairs_needed": judged.pairs_needed,
        "p_equivalent": judged.p_equivalent_corrected,
    }
    if place.row["metric"] == STEPS:
        return tested
    if place.row["metric"] == SOLVED:
        return tested | _rates(place, found, judged)
    size, middle = (
        paired.effect_size(found.differences, place.noise),
        stats.median(found.differences),
    )
    return (
        tested
        | {
            "differences": list(found.differences),
            "difference": middle if isfinite(middle) else None,
            "effect_size": size,
            "effect": None if size is None else paired.EFFECT,
        }
        | _improvement(place, confidence)
        | ({} if place.row.get("interval") else _ends(judged.interval))
    )


def _rates(place: Place, found: Paired, judged: Judged) -> dict:
    """Columns of success rates: how many runs solved the task, and the difference of the shares."""
    if not place.values:
        return {}
    solved = [int(sum(pair[side] for pair in place.values)) for side in (0, 1)]
    return {
        "differences": list(found.differences),
        "difference": (solved[0] - solved[1]) / len(place.values),
        "solved_a": solved[0],
        "solved_b": solved[1],
    } | _ends(successes.interval(found, judged.outcome, judged.coverage))


def _ends(interval: Interval) -> dict:
    if not interval.coverage:
        return {}
    return {
        "low": interval.low if isfinite(interval.low) else None,
        "high": interval.high if isfinite(interval.high) else None,
        "interval": interval.method,
        "coverage": interval.coverage,
    }


def _improvement(place: Place, confidence: float) -> dict:
    if not place.values:
        return {}
    sign = 1 if place.row["better"] == "higher" else -1
    a, b = ([sign * v[i] for v in place.values] for i in (0, 1))
    estimate = stats.superiority(a, b)
    if len(a) < 2:
        return {"improvement": estimate}
    interval = stats.superiority_interval(estimate, len(a), len(b), confidence)
    return {
        "improvement": estimate,
        "improvement_low": interval.low,
        "improvement_high": interval.high,
    }


def _outcome(place: Place, judged: Judged) -> str:
    """The outcome of the differences, and what stands against it."""
    obstacles, outcome = place.obstacles, judged.outcome
    if obstacles.settings or obstacles.different:
        return "NOT COMPARABLE"
    if place.paired is not None and place.paired.asked == 0:
        return "TOO FEW PAIRS"
    if place.preliminary and outcome in (*CLAIMS, "NO DIFFERENCE SHOWN"):
        return "NOT TESTABLE YET"
    if place.single and not place.single.apart:
        return "NO DIFFERENCE SHOWN"
    if outcome in CLAIMS and obstacles.unknown:
        return "NOT COMPARABLE"
    if outcome in CLAIMS and obstacles.level:
        return "NO DIFFERENCE SHOWN"
    return outcome
