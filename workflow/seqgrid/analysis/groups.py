"""What the verdict rules look at: groups of cells with their levels; and what a rule is.

A `Group` is the cells of one model, task, variant and training length, with their test values at
one evaluated length. Only final values (the cell finished) can make a statement about quality;
cells cut short enter counts and nothing else.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from math import expm1, hypot, inf, isnan, log1p, nan

from seqgrid.analysis import stats
from seqgrid.analysis.levels import Levels, ModelCeiling
from seqgrid.thresholds import Thresholds

SKIPPED = "skipped"


@dataclass(frozen=True)
class Cell:
    """What the rules need of one cell; value, low and high are at the group's evaluated length.

    low, high: 95 % interval of the value over test examples; None where none is known.
    solved: whether its test score has reached the solved level; None where it does not say.
    origin: 'test', or 'validation' where the value was taken from a checkpoint.
    scored, correct: outputs behind the value, and how many of them are right; None as well.
    log2_inputs, seen_examples: log2 of the number of different inputs of the task, and how many
        different training examples were seen.
    known_plateau: steps that the task's longest known plateau lasted before it broke, as the task's
        file says or in this study.
    rate_known: whether a learning rate is named; false for imported studies that name none.
    history: (steps, validation metric, its standard error or NaN), by steps.
    """

    seed: int
    outcome: str
    reason: str = ""
    evaluated: bool = False
    stale: bool = False
    reused: bool = False
    step: int | None = None
    budget: int | None = None
    solved: bool | None = None
    solved_step: int | None = None
    solved_seconds: float | None = None
    best_validation: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    origin: str | None = None
    scored: int | None = None
    correct: int | None = None
    log2_inputs: float | None = None
    seen_examples: int | None = None
    known_plateau: int | None = None
    rate_known: bool = True
    history: tuple[tuple[int, float, float], ...] = ()

    @property
    def final(self) -> bool:
        """Whether the value may enter a statistic: a test value of training gone to its end."""
        return self.outcome == "finished" and self.value is not None and self.origin != "validation"

    @property
    def seen_share(self) -> float:
        """Expected share of test examples whose input was among the training examples, too."""
        if self.log2_inputs is None or not self.seen_examples:
            return 0.0
        likely = 2.0**-self.log2_inputs  # that two examples have the same input
        return 1.0 if likely >= 1 else -expm1(self.seen_examples * log1p(-likely))


@dataclass(frozen=True)
class Selection:
    """A group's place among the variants of its model, task and training length.

    asked, finished: cells of all variants together, those that can exist and those that have
        ended, which one that diverged has.
    unvalidated: finished cells of several variants that have no validation to select by.
    """

    selected: bool = True
    variants: tuple[str, ...] = ("",)
    asked: int = 0
    finished: int = 0
    unvalidated: int = 0

    @property
    def preliminary(self) -> bool:
        """Whether it was selected before all of its rivals had ended."""
        return self.selected and len(self.variants) > 1 and self.finished < self.asked


@dataclass(frozen=True)
class Group:
    """The seeds of one model, task, variant and training length, at one place.

    A place is an evaluated length, a test set of the task, and a slice of it: '' where the test set
    is drawn as training is, and where the slice is all of it.

    value_of: in words, what the only value is of, where that is not a seed but a reported mean.
    """

    model: str
    task: str
    variant: str
    seqlen: int
    evaluated_seqlen: int
    test_set: str
    slice: str
    metric: str
    levels: Levels
    cells: tuple[Cell, ...]
    swept: tuple[str, ...] = field(default=())
    failed_controls: tuple[dict, ...] = field(default=())
    selection: Selection = Selection()
    model_ceiling: ModelCeiling | None = None
    value_of: str = ""

    @cached_property
    def final(self) -> tuple[Cell, ...]:
        """The cells whose value is final."""
        return tuple(c for c in self.cells if c.final)

    @cached_property
    def values(self) -> list[float]:
        """The final values, in the order of `final`."""
        return [c.value for c in self.final if c.value is not None]

    @cached_property
    def asked(self) -> tuple[Cell, ...]:
        """The cells that can exist: all but the skipped ones."""
        return tuple(c for c in self.cells if c.outcome != SKIPPED)

    @cached_property
    def solved(self) -> tuple[Cell, ...]:
        """Final cells at or beyond the solved level, with an interval that excludes chance."""
        if self.levels.bar is None:
            return ()
        bar, chance = (self.levels.goodness(v) for v in (self.levels.bar, self.levels.chance))
        return tuple(
            cell
            for cell, (worse, _) in zip(self.final, self.bands, strict=True)
            if self.levels.goodness(cell.value) >= bar and worse > chance
        )

    @property
    def solved_steps(self) -> list[int]:
        """First validation at the solved level, of the seeds that solved the task.

        Empty away from the training length and its own test set, where no validation takes place.
        """
        cells = self.solved if self.as_trained else ()
        return [c.solved_step for c in cells if c.solved_step is not None]

    @property
    def solved_seconds(self) -> list[float]:
        """Training time up to then."""
        cells = self.solved if self.as_trained else ()
        return [c.solved_seconds for c in cells if c.solved_seconds is not None]

    @property
    def as_trained(self) -> bool:
        """Whether the test set is drawn as training is, and whole."""
        return self.evaluated_seqlen == self.seqlen and not (self.test_set or self.slice)

    @property
    def not_numbers(self) -> tuple[Cell, ...]:
        """Final cells whose value is NaN."""
        return tuple(c for c, v in zip(self.final, self.values, strict=True) if isnan(v))

    @cached_property
    def undecided(self) -> tuple[Cell, ...]:
        """Cells that may or may not solve the task: cut short, broken, missing, not evaluated.

        Also those beyond the solved level of whose value no interval is known.
        """
        bar = self.levels.goodness(self.levels.bar)
        open_ = [c for c in self.boundless if self.levels.goodness(c.value) >= bar]
        left = [c for c in self.asked if not c.final and c.outcome != "diverged"]
        return (*left, *open_) if self.levels.bar is not None else tuple(left)

    @cached_property
    def boundless(self) -> tuple[Cell, ...]:
        """Final cells whose value is a number without an interval, as some studies report them."""
        pairs = zip(self.final, self.bands, strict=True)
        return tuple(cell for cell, band in pairs if band == (-inf, inf))

    @property
    def thresholds(self) -> Thresholds:
        """Those of the study."""
        return self.levels.thresholds

    @cached_property
    def bands(self) -> list[tuple[float, float]]:
        """Interval of each final cell as (worse, better) goodness, jointly; boundless unknown."""
        bands: list[tuple[float, float]] = []
        for cell, value in zip(self.final, self.values, strict=True):
            goodness, low, high = self.levels.goodness(value), cell.low, cell.high
            if goodness == -inf:
                bands.append((goodness, goodness))
            elif low is None or high is None or isnan(low + high):
                bands.append((-inf, inf))
            else:
                ends = stats.widened(value, low, high, len(self.final), self.thresholds.confidence)
                worse, better = sorted(self.levels.goodness(e) for e in ends)
                bands.append((worse, better))
        return bands

    @property
    def beside_bar(self) -> tuple[Cell, ...]:
        """Final cells whose interval holds the solved level: other test examples may turn them."""
        if self.levels.bar is None:
            return ()
        bar, pairs = self.levels.goodness(self.levels.bar), zip(self.final, self.bands, strict=True)
        return tuple(cell for cell, (worse, better) in pairs if worse < bar <= better)

    @property
    def surely_solved(self) -> tuple[Cell, ...]:
        """The seeds that solved the task by more than test noise."""
        return tuple(cell for cell in self.solved if cell not in self.beside_bar)

    def together(self, least: float = -inf) -> tuple[float, float]:
        """Interval over test examples of the mean of the seeds whose own reaches `least` goodness.

        As (worse, better). The seeds' errors are taken as independent; where they share test
        examples it is too narrow, so that it holds a level less often than it should.
        """
        pairs = zip(self.values, self.bands, strict=True)
        seeds = [(self.levels.goodness(v), (b - w) / 2) for v, (w, b) in pairs if b >= least]
        if not seeds:
            return -inf, inf
        middle = sum(goodness for goodness, _ in seeds) / len(seeds)
        half = hypot(*(half for _, half in seeds)) / len(seeds)
        confidence = self.thresholds.confidence
        half *= stats.simultaneous_z(1, confidence)
        half /= stats.simultaneous_z(len(self.final), confidence)
        return middle - half, middle + half

    def narrow(self, band: tuple[float, float]) -> bool:
        """Whether an interval is so narrow that the level it holds says something of the value."""
        return band[1] - band[0] <= 2 * self.thresholds.interval_share * self.levels.scale

    def beyond(self, level: float) -> bool:
        """Whether every final cell's interval lies on the better side of the level."""
        return bool(self.bands) and all(w > self.levels.goodness(level) for w, _ in self.bands)

    def reaches(self, level: float) -> bool:
        """Whether every final cell's interval, and that of their mean, may lie at it or beyond."""
        goodness = self.levels.goodness(level)
        return all(better >= goodness for _, better in (*self.bands, self.together()))

    def at(self, level: float, slack: float) -> bool:
        """Whether every interval, each narrow, and that of their mean hold it, within the slack."""
        goodness = self.levels.goodness(level)
        if not self.bands or self.boundless or not all(map(self.narrow, self.bands)):
            return False
        held = [*self.bands, self.together()]
        return all(w - slack <= goodness <= b + slack for w, b in held)

    def named(self, seeds: list[int]) -> str:
        """Seeds in a statement."""
        return self.value_of or f"seed {', '.join(map(str, seeds))}"

    @property
    def cannot_be_told(self) -> str:
        """The beginning of a statement that every value may be some level."""
        return f"{self.value_of} cannot be told" if self.value_of else "no seed can be told"

    @property
    def above_chance(self) -> bool:
        """Whether chance is excluded for every final cell; true where chance is unknown."""
        return self.levels.chance is None or self.beyond(self.levels.chance)


def counted(words: list[str]) -> str:
    """`timed_out 2, missing 1`: what occurs how often, most frequent first."""
    return ", ".join(f"{word} {n}" for word, n in Counter(words).most_common())


def reasons(cells: list[Cell]) -> str:
    """Why the cells ended as they did: seeds by outcome and the reason's first line."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        why = (cell.reason or "no reason recorded").strip().split("\n")[0]
        by_reason.setdefault((cell.outcome, why), []).append(str(cell.seed))
    return "; ".join(
        f"{outcome} (seed {', '.join(seeds)}): {why}" for (outcome, why), seeds in by_reason.items()
    )


def values_of(cells: tuple[Cell, ...]) -> dict:
    """The values a statement rests on, by seed."""
    return {str(c.seed): nan if c.value is None else c.value for c in cells}


def short(value: float) -> str:
    """A number in a statement: four digits; from 10,000 a whole number, up to a million."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
