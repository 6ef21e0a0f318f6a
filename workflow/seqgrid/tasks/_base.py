"""What every task gives: data as a pure function of (seed, split, index), and its own truth.

B batch, L sequence length, C channels, V vocabulary, D width of a pooled target.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream, split_key


@dataclass(frozen=True)
class Level:
    """A score that means something, in the unit of its metric.

    kind: 'chance' is the best score that ignores the input; 'shortcut' the best of a named strategy
    that lacks the skill tested; 'ceiling' the best possible; 'solved' the threshold of success.
    """

    metric: str
    name: str
    kind: Literal["chance", "shortcut", "ceiling", "solved"]
    value: float
    derivation: str


class Task(ABC):
    """A task at one sequence length. A task file holds one subclass, and its `Settings`."""

    metric: ClassVar[str]  # the metric the task is judged by
    better: ClassVar[Literal["higher", "lower"]]
    loss: ClassVar[Literal["cross_entropy", "mse"]]

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

    @abstractmethod
    def oracle(self, batch: Batch) -> Tensor:
        """Outputs that score the ceiling, in a model's shape, from `batch.inputs` alone."""

    @abstractmethod
    def constant(self, batch: Batch) -> Tensor:
        """Outputs that score chance, in a model's shape: the same for every example."""

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """For each level of kind 'shortcut', by name, what scores it from `batch.inputs` alone."""
        return {}

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
