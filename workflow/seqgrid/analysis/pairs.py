"""The seeds of both sides of a comparison at one place, as pairs of values."""

from dataclasses import dataclass, field
from math import inf, isinf

from seqgrid.analysis.bounds import bounded, difference
from seqgrid.analysis.sides import NEVER, WAITING, WORST, Side


@dataclass(frozen=True)
class Pairs:
    """Two sides at one place, seed by seed.

    values: seed -> (a, b), a worst value as an infinity.
    waiting: seeds that are still to come on a side, and never impossible on the other.
    unpaired: cells of either side whose seed has no final value on both.
    chance: its level there; None where none is known.
    """

    values: dict[int, tuple[float, float]]
    waiting: list[int]
    unpaired: int
    diverged: list[str]
    never: list[str] = field(default_factory=list)
    chance: float | None = None
    better: str = "higher"

    @property
    def differences(self) -> dict[int, float]:
        """A - b of each seed; 0 where both sides are worse than any number."""
        return {s: difference(a, b) for s, (a, b) in self.values.items()}

    @property
    def from_chance(self) -> dict[int, float]:
        """A - b of each seed, for a mean: what is worse than chance counts as chance."""
        found = {}
        for seed, pair in self.values.items():
            a, b = (bounded(v, self.chance, self.better) for v in pair)
            found[seed] = 0.0 if a is None or b is None else difference(a, b)
        return found

    @property
    def without(self) -> set[int]:
        """Seeds that have a number on neither side."""
        return {s for s, (a, b) in self.values.items() if isinf(a) and isinf(b)}


def pairs(a: Side, b: Side, better: str) -> Pairs:
    """The seeds of both sides."""
    grouped = len(a.members) > 1 or len(b.members) > 1
    one, two = a.seeds(grouped), b.seeds(grouped)
    worst = -inf if better == "higher" else inf
    values, waiting, diverged, never = {}, [], [], []
    for seed in sorted(set(one) | set(two)):
        both = [(side, found.get(seed)) for side, found in (("a", one), ("b", two))]
        kinds = {standing.kind if standing else NEVER for _, standing in both}
        never += [
            f"seed {seed} of {side}: {standing.why if standing else 'not asked for'}"
            for side, standing in both
            if standing is None or standing.kind == NEVER
        ]
        if NEVER in kinds:
            continue
        if WAITING in kinds:
            waiting.append(seed)
            continue
        diverged += [f"seed {seed} of {s}: {x.why}" for s, x in both if x and x.kind == WORST]
        left, right = (worst if x is None or x.value is None else float(x.value) for _, x in both)
        values[seed] = (left, right)
    cells = sum(len(m.cells) for side in (a, b) for m in side.members)
    paired = len(values) * (len(a.members) + len(b.members))
    chance = next((m.chance for m in (*a.members, *b.members) if m.chance is not None), None)
    return Pairs(values, waiting, cells - paired, diverged, never, chance, better)
