"""What scores mean: chance, shortcuts, the ceiling and the solved level of a task."""

from dataclasses import dataclass
from math import inf, isnan

from seqgrid.thresholds import DEFAULTS, Thresholds


@dataclass(frozen=True)
class Levels:
    """What a metric's values mean for one task at one evaluated length.

    thresholds: how close is close; those of the study.
    """

    better: str = "higher"
    chance: float | None = None
    shortcuts: tuple[tuple[str, float], ...] = ()
    ceiling: float | None = None
    solved: float | None = None
    thresholds: Thresholds = DEFAULTS

    def goodness(self, value: float | None) -> float:
        """The value turned so that more is better; a NaN is worse than every number."""
        if value is None or isnan(value):
            return -inf
        return value if self.better == "higher" else -value

    @property
    def span(self) -> float:
        """Distance from chance to ceiling; 0 where either is unknown."""
        if self.chance is None or self.ceiling is None:
            return 0.0
        return abs(self.ceiling - self.chance)

    @property
    def unlearnable(self) -> bool:
        """Whether even a perfect model scores chance."""
        if self.chance is None or self.ceiling is None:
            return False
        largest = max(abs(self.ceiling), abs(self.chance))
        return self.span <= self.thresholds.unlearnable_share * largest

    @property
    def bar(self) -> float | None:
        """The solved level where it can show the skill: not where a shortcut reaches it, too."""
        if self.solved is None or self.unlearnable or self.sufficient:
            return None
        return self.solved

    @property
    def sufficient(self) -> list[tuple[str, float]]:
        """Shortcuts that score the solved level, best first."""
        bar = self.goodness(self.solved)
        held = [pair for pair in self.shortcuts if self.goodness(pair[1]) >= bar]
        known = held if self.solved is not None else []
        return sorted(known, key=lambda pair: -self.goodness(pair[1]))

    @property
    def passable(self) -> list[tuple[str, float]]:
        """Levels that a value can lie above, worst first."""
        named = [] if self.chance is None else [("chance", self.chance)]
        return sorted([*named, *self.shortcuts], key=lambda pair: self.goodness(pair[1]))


@dataclass(frozen=True)
class ModelCeiling:
    """The best that a model can score that does not see all of the order of positions."""

    name: str
    value: float
    derivation: str
