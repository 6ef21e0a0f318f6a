"""All places of a comparison together: what enters the mean, and what contradicts it."""

import numpy as np

from seqgrid.analysis.pairs import Pairs


def means(found: list[Pairs]) -> tuple[list[int], list[int], list[float], int]:
    """The mean difference of each seed over places.

    Gives the seeds with a value everywhere, those still to come, the mean of each of the first,
    and how many of these have a number on neither side at some place.

    Values worse than chance count as chance, so that no place outweighs the others by how far a
    side failed there.
    """
    every = set().union(*({*p.values, *p.waiting} for p in found))
    whole = sorted(s for s in every if all(s in p.values for p in found))
    to_come = [
        s for s in every if s not in whole and all(s in p.values or s in p.waiting for p in found)
    ]
    with np.errstate(invalid="ignore"):
        each = [[p.from_chance[s] for s in whole] for p in found]
        mean = np.mean(each, axis=0) if whole else np.zeros(0)
    mean[np.isnan(mean)] = 0.0  # worse than any number on either side
    mean[np.abs(mean) < 1e-12] = 0.0  # places that cancel out but for rounding
    without = {s for p in found for s in p.without if s in whole}
    return whole, to_come, mean.tolist(), len(without)


def contradicting(parts: list[tuple[str, str]], outcome: str) -> list[str]:
    """What stands against an outcome of all places: those (place, outcome) that say the opposite.

    No mean stands for places that differ in their answer.
    """
    opposite = {"A BETTER": ["B BETTER"], "B BETTER": ["A BETTER"]}
    opposite["NO DIFFERENCE"] = ["A BETTER", "B BETTER"]
    said = [f"{where}: {found}" for where, found in parts if found in opposite.get(outcome, ())]
    words = "the places contradict each other, so no mean stands for them"
    return [f"{words}: {'; '.join(said)}"] if said else []
