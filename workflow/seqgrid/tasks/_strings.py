"""What tasks on strings of different lengths share.

B batch, L sequence length, V symbols of the alphabet.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.seeds import derive
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Level, Task

CERTAIN = 50.0  # a logit: exp(-50) times any vocabulary is nothing
SLIGHT = 1e-4  # a logit that settles a tie and leaves the loss alone
TRIALS = 4096  # examples behind a level without closed form; its error is < 0.008


def draw_length(stream: Stream, sizes: range) -> Tensor:
    """One of consecutive sizes for each example, all alike, (B, 1) int64."""
    return sizes.start + stream.integers(1, len(sizes))


def certain(answers: Tensor, num_outputs: int) -> Tensor:
    """Logits (..., num_outputs), certain of the answers (...) int64."""
    logits = torch.zeros(*answers.shape, num_outputs, device=answers.device)
    return logits.scatter_(-1, answers[..., None], CERTAIN)


def quarters(batch: Batch, lengths: list[int]) -> dict[str, Tensor]:
    """Slices (B,) of a quarter each of the lengths that examples have, in rising order."""
    edges = [i * len(lengths) // 4 for i in range(5)] if len(lengths) > 1 else []
    return {
        f"length {lengths[start]}-{lengths[stop - 1]}": (batch.lengths >= lengths[start])
        & (batch.lengths <= lengths[stop - 1])
        for start, stop in pairwise(edges)
        if start < stop and batch.lengths is not None
    }


def central(n: int) -> float:
    """C(n - 1, floor((n - 1) / 2)) / 2^n, half the mean of |heads - tails| / n over n coins."""
    half = (n - 1) // 2
    log = math.lgamma(n) - math.lgamma(half + 1) - math.lgamma(n - half)
    return math.exp(log - n * math.log(2))


class StringTask(Task):
    """A string, then as many query tokens as the answer has symbols: each answer at its query.

    Every symbol of the answer is one symbol of the string, so the task is a map of positions.
    """

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    tokens_per_symbol: ClassVar[int]  # of the string, its queries counted

    def __init__(self, settings: TaskSettings, seqlen: int):
        super().__init__(settings, seqlen)
        self.num_symbols: int = settings.vocab_size  # ty: ignore[missing-attribute]
        shortest: int | None = settings.shortest  # ty: ignore[missing-attribute]
        longest = seqlen // self.tokens_per_symbol
        least = longest if shortest is None else -(-shortest // self.tokens_per_symbol)
        self.sizes = range(least, longest + 1)  # symbols
        self.query, self.padding = self.num_symbols, self.num_symbols + 1

    @abstractmethod
    def source(self, place: Tensor, size: Tensor) -> Tensor:
        """Which symbol of the string stands at a place of the answer.

        place: (L,) int64, counted from 0; size: (B, 1), symbols of each string. Returns (B, L),
        whatever it likes where the answer has no such place.
        """

    @property
    def shape(self) -> Shape:
        """Symbols, query and padding to logits over the symbols."""
        return Shape(
            num_outputs=self.num_symbols,
            pooled=False,
            seqlen=self.seqlen,
            vocab_size=self.num_symbols + 2,
        )

    @property
    def symbols(self) -> list[str]:
        """The symbols, `?` for a query, `_` for padding."""
        return [*(str(symbol) for symbol in range(self.num_symbols)), "?", "_"]

    @property
    def variations(self) -> dict[str, dict]:
        """Strings as long as fit, where training has shorter ones too."""
        return {"longest": {"shortest": None}} if len(self.sizes) > 1 else {}

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """Quarters of the lengths."""
        return quarters(batch, [size * self.tokens_per_symbol for size in self.sizes])

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L); lengths (B,)."""
        size = draw_length(stream, self.sizes)  # (B, 1)
        symbols = stream.integers(self.seqlen, self.num_symbols)  # (B, L)
        position = torch.arange(self.seqlen, device=size.device)
        length = size * self.tokens_per_symbol
        asked = (position >= size) & (position < length)
        answers = symbols.gather(1, self._sources(position, size))
        inputs = torch.where(position < size, symbols, self.padding)
        inputs = torch.where(asked, self.query, inputs)
        targets = torch.where(asked, answers, IGNORE)
        whole = len(self.sizes) == 1 and self.sizes[0] * self.tokens_per_symbol == self.seqlen
        return Batch(inputs, targets, None if whole else length.squeeze(1))

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of knowing nothing and all."""
        V = self.num_symbols
        levels = [
            Level("accuracy", "chance", "chance", 1 / V, f"one of {V} symbols"),
            Level("accuracy", "ceiling", "ceiling", 1.0, "the string is in the input"),
            Level("accuracy", "solved", "solved", 0.9, "where Deletang et al. call it solved"),
            Level("loss", "chance", "chance", math.log(V), f"ln {V}, uniform"),
            Level("loss", "ceiling", "ceiling", 0.0, "the string is in the input"),
        ]
        measured = "" if V == 2 else f", {TRIALS} examples"
        hows = {
            "majority": "the commonest symbol at every query",
            "ends": "the first and the last of the string, elsewhere the commonest of the others",
        }
        return levels + [
            Level("accuracy", name, "shortcut", self._shares[name], how + measured)
            for name, how in hows.items()
        ]

    @cached_property
    def _shares(self) -> dict[str, float]:
        """How often the commonest symbol is right, and both ends with that of the others."""
        if self.num_symbols == 2:  # of n symbols, 1/2 + C(n-1, floor((n-1)/2)) / 2^n are alike
            asked = sum(self.sizes)
            alike = sum(n * (0.5 + central(n)) for n in self.sizes)
            others = [n - 2 for n in self.sizes if n > 2]
            ends = sum(min(n, 2) for n in self.sizes) + sum(n * (0.5 + central(n)) for n in others)
            return {"majority": alike / asked, "ends": ends / asked}
        alike = ends = asked = 0
        for indices in torch.arange(TRIALS).split(512):  # a count for every symbol takes memory
            inputs = self.sample(Stream(derive("strings majority"), indices)).inputs
            size = self._size(inputs)
            alike += int(self._counts(inputs).amax(1).sum())
            ends += int(size.clamp(max=2).sum() + self._others(inputs).amax(1).sum())
            asked += int(size.sum())
        return {"majority": alike / asked, "ends": ends / asked}

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), certain of the symbol that each query asks for."""
        answers, _ = self._answers(batch.inputs)
        return certain(answers, self.num_symbols)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform; symbol 0 wins the tie."""
        logits = torch.zeros(*batch.inputs.shape, self.num_symbols, device=batch.inputs.device)
        logits[..., 0] = SLIGHT
        return logits

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Hardly more than the bag of symbols."""
        return {"majority": self._majority, "ends": self._ends}

    def _majority(self, batch: Batch) -> Tensor:
        answer = self._counts(batch.inputs).argmax(1, keepdim=True)  # (B, 1)
        return certain(answer.expand_as(batch.inputs), self.num_symbols)

    def _ends(self, batch: Batch) -> Tensor:
        answers, end = self._answers(batch.inputs)
        usual = self._others(batch.inputs).argmax(1, keepdim=True)  # (B, 1)
        return certain(torch.where(end, answers, usual), self.num_symbols)

    def _answers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The symbol that each query asks for, and whether it stands at an end, (B, L) each."""
        size = self._size(inputs)
        source = self._sources(torch.arange(self.seqlen, device=inputs.device), size)
        end = (source == 0) | (source == size - 1)
        return inputs.gather(1, source).clamp(max=self.num_symbols - 1), end

    def _others(self, inputs: Tensor) -> Tensor:
        """How often each symbol occurs between the first and the last, (B, V)."""
        last = inputs.gather(1, self._size(inputs) - 1)
        ends = torch.cat((inputs[:, :1], last), dim=1)  # (B, 2)
        return self._counts(inputs).scatter_add_(1, ends, torch.full_like(ends, -1)).clamp(min=0)

    def _counts(self, inputs: Tensor) -> Tensor:
        """How often each symbol occurs, (B, V)."""
        counts = inputs.new_zeros(len(inputs), self.num_symbols + 2)
        counts.scatter_add_(1, inputs, torch.ones_like(inputs))
        return counts[:, : self.num_symbols]

    def _size(self, inputs: Tensor) -> Tensor:
        """Symbols of each string, (B, 1)."""
        return (inputs < self.num_symbols).sum(1, keepdim=True)

    def _sources(self, position: Tensor, size: Tensor) -> Tensor:
        """The position of the symbol that is asked for, (B, L); some position where none is."""
        # places are counted from the end of the string, which differs by example
        return self.source(position - size, size).clamp(0, self.seqlen - 1)
