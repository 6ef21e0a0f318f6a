"""The rule about a value of a run that has not finished: what it does not show."""

from math import isnan

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Cell, short
from seqgrid.analysis.levels import Levels
from seqgrid.analysis.rules import Finding, rule


@rule(
    "AT CHANCE SO FAR",
    "cell",
    "A value from before the end of training, whose {confidence} interval holds chance or lies on "
    "its worse side: it shows neither learning nor that training went wrong.",
)
def at_chance_so_far(cell: Cell, levels: Levels) -> Finding | None:
    """A cut run inside the chance band; diverged is what its outcome says, and nothing else."""
    if cell.final or cell.value is None or cell.low is None or cell.high is None:
        return None
    if isnan(cell.value + cell.low + cell.high):
        return None
    if levels.chance is None or levels.unlearnable or cell.outcome == "diverged":
        return None
    low, high = stats.widened(cell.value, cell.low, cell.high, 1, levels.thresholds.confidence)
    worse = min(levels.goodness(low), levels.goodness(high))
    if worse > levels.goodness(levels.chance):
        return None
    return (
        "AT CHANCE SO FAR",
        f"seed {cell.seed}: {short(cell.value)} when it stood at {cell.outcome}, and chance "
        f"{short(levels.chance)} lies in its band from {short(low)} to {short(high)}",
        {"value": cell.value, "low": low, "high": high, "chance": levels.chance},
    )
