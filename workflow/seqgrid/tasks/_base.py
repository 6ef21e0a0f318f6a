"""What every task gives: data as a pure function of (seed, split, index), and its own truth.

B batch, L sequence length, C channels, V vocabulary, D width of a pooled target.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.settings import Sight, TaskSettings
from seqgrid.streams import Stream, split_key


@dataclass(frozen=True)
class Level:
    """A score that means something, in the unit of its metric.

    kind: 'chance' is the best score that ignores the input; 'shortcut' the best of a named strategy
    that lacks the skill tested; 'ceiling' the best possible; 'solved' the threshold of success.
    test_set, slice: the test set of the task and the slice of it that the level is for.
    """

    metric: str
    name: str
    kind: Literal["chance", "shortcut", "ceiling", "solved"]
    value: float
    derivation: str
    test_set: str = ""
    slice: str = ""


@dataclass(frozen=True)
class Control:
    """A model and a budget for which the verdict on the task is known beforehand.

    A positive control (`expect` is SOLVED) shows that the task can be learned as it is posed; an
    expected failure shows that it tests what it is for.

    settings, training, task_settings: as under the same names of a study; what is left out has its
        default. `training` may hold what a study's `validation` and `stopping` hold under those
        keys.
    at: evaluated length that the verdict is for, tokens; the training length where None.
    cpu_minutes: of one thread for all seeds, as measured; None: needs a GPU.
    why: the reason, with its source.
    """

    model: str
    seqlen: int
    expect: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)
    task_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    at: int | None = None
    test_set: str = ""
    seeds: int = 1
    cpu_minutes: float | None = None


@dataclass(frozen=True)
class Published:
    """A number of the literature, and how its setting differs from what this task can be set to.

    verified: whether the figure was checked against the source.
    """

    source: str
    model: str
    settings: str
    result: str
    differences: str
    verified: bool = True


class Task(ABC):
    """A task at one sequence length. A task file holds one subclass, and its `Settings`."""

    metric: ClassVar[str]  # the metric the task is judged by
    better: ClassVar[Literal["higher", "lower"]]
    loss: ClassVar[Literal["cross_entropy", "mse"]]
    tolerance: ClassVar[float | None] = None  # of a value that counts as right, where loss is mse
    controls: ClassVar[tuple[Control, ...]] = ()
    published: ClassVar[tuple[Published, ...]] = ()

    def __init__(self, settings: TaskSettings, seqlen: int):
        """The task with these settings at `seqlen` tokens.

        Raises:
            ValueError: the task does not exist at this length.
        """
        if reason := settings.impossible(seqlen):
            raise ValueError(f"no {type(self).__name__} at {seqlen} tokens: {reason}")
        self.settings = settings
        self.seqlen = seqlen

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """What a model of this task reads and gives."""

    @abstractmethod
    def sample(self, stream: Stream) -> Batch:
        """The examples of the stream: always the same draws, whatever they turn out to be."""

    @abstractmethod
    def levels(self) -> list[Level]:
        """Chance, every known shortcut, ceiling and the threshold of success."""

    def model_ceilings(self, sight: Sight) -> list[Level]:
        """The best that a model can score that sees so little of the order; empty: not known."""
        return []

    @abstractmethod
    def oracle(self, batch: Batch) -> Tensor:
        """Outputs that score the ceiling, in a model's shape, from `batch.inputs` alone."""

    @abstractmethod
    def constant(self, batch: Batch) -> Tensor:
        """Outputs that score chance, in a model's shape: the same for every example."""

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """For each level of kind 'shortcut', by name, what scores it from `batch.inputs` alone."""
        return {}

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """Parts of a test set that are scored by themselves too, such as `distance 9-16`.

        For each name, in the same order for every batch, a bool tensor: (B,) for whole examples, or
        in the shape of the targets. A level for a slice has its name.
        """
        return {}

    @property
    def variations(self) -> dict[str, dict[str, Any]]:
        """Further test sets: their names, and the settings in which they differ from training."""
        return {}

    @property
    def symbols(self) -> list[str] | None:
        """What a reader calls each token, by its id; None where the input is no token."""
        vocab_size = self.shape.vocab_size
        return None if vocab_size is None else [str(token) for token in range(vocab_size)]

    def test_sets(self) -> dict[str, "Task"]:
        """The task as it is tested: under '' as it is trained, and in its variations."""
        found: dict[str, Task] = {"": self}
        for name, changes in self.variations.items():
            settings = self.settings.model_copy(update=changes)
            if settings != self.settings and not settings.impossible(self.seqlen):
                found[name] = type(self)(settings, self.seqlen)
        return found

    def tested(self, trained: int) -> dict[str, "Task"]:
        """The test sets of this length for models trained at `trained` tokens.

        Where lengths vary and this is another length, examples as long as those of training would
        hide how the others fare: there only those of full length count.
        """
        found = self.test_sets()
        varied = getattr(self.settings, "shortest", None) is not None
        if varied and trained != self.seqlen and len(found) > 1:
            del found[""]
        return found

    def batch(self, data_seed: int, split: str, indices: Tensor) -> Batch:
        """The examples `indices`, (B,) int64, of a split, on the device of `indices`."""
        return self.sample(Stream(split_key(data_seed, split), indices))


def regression_level(
    name: str,
    kind: Literal["chance", "shortcut", "ceiling", "solved"],
    r2: float,
    variance: float,
    derivation: str,
) -> list[Level]:
    """A level of a regression in both its metrics: R2, and the MSE at that share of variance."""
    mse = (1 - r2) * variance
    return [
        Level("r2", name, kind, r2, derivation),
        Level("mse", name, kind, mse, f"(1 - R2) x target variance {variance:.4g}; {derivation}"),
    ]
