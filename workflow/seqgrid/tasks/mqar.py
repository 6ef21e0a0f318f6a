"""Multi-query associative recall: key-value pairs, then each key again, to be answered.

    position   0    1    2    3    4    5    6    7    8    9    10   11
    inputs     2    8    4    7    0    0    4    0    0    0    2    0
    targets    .    .    .    .    .    .    7    .    .    .    8    .

Source: Arora et al., arXiv:2312.04927 (Zoology), with V = 12 and two pairs above. Keys are distinct
tokens of 1..V/2-1, values distinct tokens of V/2..V-1, the answer is due at the key's second
occurrence, and 0 fills the rest. A query stands 2g positions after the context; the gap g follows a
power law, P(g) ~ (g + 1)^(power_a - 1), without replacement, the first pair drawing first. So an
early query is rather the first pair's: its position alone says something about its answer.

With `fewest_pairs` the number of pairs differs between examples, as in the mixes of Arora et al.,
arXiv:2402.18668 (Based), but within one length: it is any of fewest_pairs, twice that, four times
that and so on up to num_pairs. The sums below then run over these sizes n.

Levels. A constant knows the values' tokens: 1 of V/2. Who answers with some value of the context is
right once in n queries: 1/n, or sum(1) / sum(n), and its loss is sum(n ln n) / sum(n). The guess by
position is counted on one half of some draws of gaps, and judged on the other.

B batch, L sequence length, P most pairs, S sizes, V vocabulary.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Level, Task
from seqgrid.tasks._gaps import gap_weights, likeliest_pair
from seqgrid.tasks._mqar_known import CONTROLS, PUBLISHED

CERTAIN = 50.0  # a logit: exp(-50) times any vocabulary is nothing
SLIGHT = 1e-4  # a logit that settles a tie and leaves the loss alone
TRIALS = 16384  # draws of the gaps behind a level that has no closed form; its error is < 0.005


class Settings(TaskSettings):
    """Vocabulary, pairs and where the queries stand."""

    vocab_size: int = Field(
        256, ge=4, le=2**20, description="tokens, keys and values together; 8192 as published"
    )
    num_pairs: int = Field(
        4, ge=1, description="key-value pairs; published with L: 4 at 64, 8 at 128, 16 at 256"
    )
    power_a: float = Field(
        0.01, gt=0, le=10, description="power law of the gap before a query; 1: uniform"
    )
    random_non_queries: bool = Field(
        False,
        description="fill with random tokens, not 0; false in the paper's configurations, though "
        "its code defaults to true",
    )
    fewest_pairs: int | None = Field(
        None,
        ge=1,
        description="fewest pairs: this, twice this and so on up to num_pairs occur alike; "
        "null: always num_pairs",
    )

    @model_validator(mode="after")
    def _sizes_can_be_told(self) -> Self:
        if self.fewest_pairs is not None:
            if self.fewest_pairs > self.num_pairs:
                raise ValueError(
                    f"fewest_pairs={self.fewest_pairs} is above num_pairs={self.num_pairs}"
                )
            if self.random_non_queries:
                raise ValueError(
                    "random_non_queries hides where the pairs end; with fewest_pairs it is false"
                )
        return self

    @property
    def sizes(self) -> list[int]:
        """The numbers of pairs that occur, all alike."""
        sizes = [self.num_pairs if self.fewest_pairs is None else self.fewest_pairs]
        while 2 * sizes[-1] <= self.num_pairs:
            sizes.append(2 * sizes[-1])
        return sizes

    def known_plateau(self, seqlen: int) -> int | None:
        """As measured here: 300, of attention.

        With one head, L 64, a rate of 2e-3 and weights of standard deviation 0.05 it answered with
        some value of the context from step 100 to 400, and had solved the task by 700.
        """
        return 300

    def log2_inputs(self, seqlen: int) -> float:
        """Those of keys and values in their order; places and fillers add to them."""
        keys, values = self.vocab_size // 2 - 1, self.vocab_size - self.vocab_size // 2
        orders = [
            sum(math.lgamma(k + 1) - math.lgamma(k - n + 1) for k in (keys, values)) / math.log(2)
            for n in self.sizes
        ]
        alike = math.fsum(2 ** (orders[0] - bits) for bits in orders)
        return orders[0] + 2 * math.log2(len(orders)) - math.log2(alike)

    def impossible(self, seqlen: int) -> str | None:
        """Pairs and queries need places, and tokens to tell them apart."""
        if 4 * self.num_pairs > seqlen:
            return (
                f"{self.num_pairs} pairs and their queries need {4 * self.num_pairs} tokens; "
                "use fewer pairs or a longer sequence"
            )
        if self.num_pairs > self.vocab_size // 2 - 1:
            return (
                f"a vocabulary of {self.vocab_size} has {self.vocab_size // 2 - 1} keys for "
                f"{self.num_pairs} pairs; use vocab_size >= {2 * self.num_pairs + 2}"
            )
        return None


class MultiQueryAssociativeRecall(Task):
    """Tokens in, logits out, scored at the queries."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = CONTROLS
    published: ClassVar = PUBLISHED

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.first_value = settings.vocab_size // 2
        self.num_values = settings.vocab_size - self.first_value
        self.context = 2 * settings.num_pairs  # tokens
        self.sizes = settings.sizes
        # (S, gaps), 0 for gaps that end beyond the sequence
        weights = [gap_weights(seqlen // 2 - size, settings.power_a) for size in self.sizes]
        self.weights = pad_sequence(weights, batch_first=True)

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        vocab_size = self.settings.vocab_size
        return Shape(
            num_outputs=vocab_size, pooled=False, seqlen=self.seqlen, vocab_size=vocab_size
        )

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        pairs = self.settings.num_pairs
        keys = 1 + stream.choose(pairs, self.first_value - 1)  # (B, P)
        values = self.first_value + stream.choose(pairs, self.num_values)  # (B, P)
        size, weights = pairs, self.weights[0]
        if len(self.sizes) > 1:
            drawn = stream.integers(1, len(self.sizes))  # (B, 1)
            size = torch.tensor(self.sizes, device=drawn.device)[drawn]
            weights = self.weights.to(drawn.device)[drawn[:, 0]]  # (B, gaps)
        queries = 2 * size + 2 * stream.choose_weighted(pairs, weights)  # (B, P)
        absent = torch.arange(pairs, device=keys.device) >= size
        queries = torch.where(absent, self.seqlen, queries)  # one place too many holds these
        inputs = keys.new_zeros(len(stream), self.seqlen + 1)
        inputs[:, 0 : self.context : 2] = keys.masked_fill(absent, 0)
        inputs[:, 1 : self.context : 2] = values.masked_fill(absent, 0)
        inputs.scatter_(1, queries, keys)
        targets = torch.full_like(inputs, IGNORE).scatter_(1, queries, values)
        inputs, targets = inputs[:, :-1].contiguous(), targets[:, :-1].contiguous()
        if self.settings.random_non_queries:
            fill = stream.integers(self.seqlen, self.settings.vocab_size)
            inputs = torch.where(inputs == 0, fill, inputs)
        return Batch(inputs, targets)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        values = self.num_values
        every_key = "every query's key is in the context"
        levels = [
            Level("accuracy", "chance", "chance", 1 / values, f"one of {values} values"),
            *self._shortcut_levels(self.sizes, ""),
            Level("accuracy", "ceiling", "ceiling", 1.0, every_key),
            Level("accuracy", "solved", "solved", 0.99, "where Arora et al. stop training"),
            Level("loss", "chance", "chance", math.log(values), f"ln {values}, uniform on values"),
            Level("loss", "ceiling", "ceiling", 0.0, every_key),
        ]
        if len(self.sizes) > 1:
            for size in self.sizes:
                levels += self._shortcut_levels([size], f"pairs {size}")
        return levels

    def _shortcut_levels(self, sizes: list[int], part: str) -> list[Level]:
        """For examples of these numbers of pairs, which are the slice `part`."""
        total = sum(sizes)
        named = " or ".join(str(size) for size in sizes)
        entropy = sum(size * math.log(size) for size in sizes) / total
        context = f"the {named} values in the context, each of them asked for once"
        rows = [
            ("accuracy", "in_context_value", len(sizes) / total, f"one of {context}"),
            ("loss", "in_context_value", entropy, f"uniform on {context}"),
        ]
        if self._positions_tell:
            how = f"the value of the pair likeliest to be queried there, from {TRIALS} draws"
            right = sum(size * self._by_position[size][1] for size in sizes)
            rows.append(("accuracy", "value_by_position", right / total, how))
        return [
            Level(metric, name, "shortcut", value, how, slice=part)
            for metric, name, value, how in rows
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V) for the value that followed the same key in the context."""
        keys = batch.inputs[:, 0 : self.context : 2]  # (B, P)
        values = batch.inputs[:, 1 : self.context : 2]  # (B, P)
        match = batch.inputs[..., None] == keys[:, None]  # (B, L, P)
        answer = values.gather(1, match.to(torch.uint8).argmax(2))  # (B, L)
        return self._blank(batch).scatter_(2, answer[..., None], CERTAIN)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on the values; the first wins the tie."""
        logits = self._blank(batch) - CERTAIN
        logits[..., self.first_value :] = 0
        logits[..., self.first_value] = SLIGHT
        return logits

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Guesses among the values of the context, that do not look at the query's key."""
        solvers = {"in_context_value": self._in_context_value}
        if self._positions_tell:
            solvers["value_by_position"] = self._value_by_position
        return solvers

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """Examples by their number of pairs, where that differs."""
        if len(self.sizes) == 1:
            return {}
        found = (batch.targets != IGNORE).sum(1)
        return {f"pairs {size}": found == size for size in self.sizes}

    @property
    def _positions_tell(self) -> bool:
        return self.settings.power_a != 1 and self.settings.num_pairs > 1

    @cached_property
    def _by_position(self) -> dict[int, tuple[Tensor, float]]:
        """For each size the likeliest pair at each gap, (gaps,) int64, and how often it is."""
        return {
            size: likeliest_pair(size, self.seqlen // 2 - size, self.settings.power_a, TRIALS)
            for size in self.sizes
        }

    def _size(self, batch: Batch) -> Tensor:
        """Pairs of each example, (B, 1), from the inputs."""
        if len(self.sizes) == 1:
            return torch.full_like(batch.inputs[:, :1], self.sizes[0])
        # a query may stand where longer examples have a key, but none where they have a value
        return (batch.inputs[:, 1 : self.context : 2] != 0).sum(1, keepdim=True)

    def _in_context_value(self, batch: Batch) -> Tensor:
        there = torch.arange(self.settings.num_pairs, device=batch.inputs.device)
        values = batch.inputs[:, 1 : self.context : 2]
        first = values[:, :1]
        values = torch.where(there < self._size(batch), values, first)
        logits = self._blank(batch)
        logits.scatter_(2, values[:, None].expand(-1, self.seqlen, -1), CERTAIN)
        return logits.scatter_(2, first[:, None].expand(-1, self.seqlen, 1), CERTAIN + SLIGHT)

    def _value_by_position(self, batch: Batch) -> Tensor:
        size = self._size(batch)
        best = pad_sequence([self._by_position[n][0] for n in self.sizes], batch_first=True)
        best = best.to(size.device)  # (S, gaps)
        row = torch.searchsorted(torch.tensor(self.sizes, device=size.device), size)  # (B, 1)
        gap = (torch.arange(self.seqlen, device=size.device) - 2 * size) // 2  # (B, L)
        pair = best[row, gap.clamp(0, best.shape[1] - 1)]  # (B, L)
        values = batch.inputs[:, 1 : self.context : 2].gather(1, pair)
        return self._blank(batch).scatter_(2, values[..., None], CERTAIN)

    def _blank(self, batch: Batch) -> Tensor:
        """Zero logits, (B, L, V)."""
        return torch.zeros(
            *batch.inputs.shape, self.settings.vocab_size, device=batch.inputs.device
        )
