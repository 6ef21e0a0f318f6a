"""Multi-query associative recall: key-value pairs, then each key again, to be answered.

    position   0    1    2    3    4    5    6    7    8    9    10   11
    inputs     2    8    4    7    0    0    4    0    0    0    2    0
    targets    .    .    .    .    .    .    7    .    .    .    8    .

Source: Arora et al., arXiv:2312.04927 (Zoology), with V = 12 and two pairs above. Keys are distinct
tokens of 1..V/2-1, values distinct tokens of V/2..V-1, the answer is due at the key's second
occurrence, and 0 fills the rest. A query stands 2g positions after the context; the gap g follows a
power law, P(g) ~ (g + 1)^(power_a - 1), without replacement, the first pair drawing first. So an
early query is rather the first pair's: its position alone says something about its answer.

B batch, L sequence length, P pairs, V vocabulary.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.seeds import derive
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Level, Task

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

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.first_value = settings.vocab_size // 2
        self.num_values = settings.vocab_size - self.first_value
        self.context = 2 * settings.num_pairs  # tokens
        places = range(1, (seqlen - self.context) // 2 + 1)
        # to 30 bits of the largest: the last bit of a power differs between C libraries
        weights = [p ** (settings.power_a - 1) for p in places]
        scale = 2.0**30 / max(weights)
        self.weights = torch.tensor(
            [max(1, round(w * scale)) for w in weights], dtype=torch.float64
        )

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
        queries = self.context + 2 * stream.choose_weighted(pairs, self.weights)  # (B, P)
        inputs = keys.new_zeros(len(stream), self.seqlen)
        inputs[:, 0 : self.context : 2] = keys
        inputs[:, 1 : self.context : 2] = values
        inputs.scatter_(1, queries, keys)
        targets = torch.full_like(inputs, IGNORE).scatter_(1, queries, values)
        if self.settings.random_non_queries:
            fill = stream.integers(self.seqlen, self.settings.vocab_size)
            inputs = torch.where(inputs == 0, fill, inputs)
        return Batch(inputs, targets)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        pairs, values = self.settings.num_pairs, self.num_values
        levels = [
            Level("accuracy", "chance", "chance", 1 / values, f"one of {values} values"),
            Level(
                "accuracy",
                "in_context_value",
                "shortcut",
                1 / pairs,
                f"one of the {pairs} values in the context, each of them asked for once",
            ),
            Level("accuracy", "ceiling", "ceiling", 1.0, "every query's key is in the context"),
            Level("accuracy", "solved", "solved", 0.99, "where Arora et al. stop training"),
            Level("loss", "chance", "chance", math.log(values), f"ln {values}, uniform on values"),
            Level(
                "loss",
                "in_context_value",
                "shortcut",
                math.log(pairs),
                f"ln {pairs}, uniform on the values in the context",
            ),
            Level("loss", "ceiling", "ceiling", 0.0, "every query's key is in the context"),
        ]
        if self._positions_tell:
            how = f"the value of the pair likeliest to be queried there, from {TRIALS} draws"
            value = self._by_position[1]
            levels.append(Level("accuracy", "value_by_position", "shortcut", value, how))
        return levels

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

    @property
    def _positions_tell(self) -> bool:
        return self.settings.power_a != 1 and self.settings.num_pairs > 1

    @cached_property
    def _by_position(self) -> tuple[Tensor, float]:
        """The likeliest pair at each gap, (gaps,) int64, and how often that guess is right."""
        pairs, num_gaps = self.settings.num_pairs, len(self.weights)
        # two independent counts: choosing and judging by one would flatter the guess
        counts = torch.zeros(2, pairs * num_gaps, dtype=torch.int64)
        for half, count in enumerate(counts):
            for trials in torch.arange(TRIALS).split(1024):  # long sequences would fill the memory
                stream = Stream(derive("mqar positions", half), trials)
                gaps = stream.choose_weighted(pairs, self.weights)  # (1024, P)
                cells = gaps + num_gaps * torch.arange(pairs)
                count += cells.flatten().bincount(minlength=pairs * num_gaps)
        counts = counts.view(2, pairs, num_gaps)
        best = counts[0].argmax(0)  # (gaps,)
        return best, counts[1].gather(0, best[None]).sum().item() / (TRIALS * pairs)

    def _in_context_value(self, batch: Batch) -> Tensor:
        values = batch.inputs[:, None, 1 : self.context : 2]  # (B, 1, P)
        logits = self._blank(batch)
        logits.scatter_(2, values.expand(-1, self.seqlen, -1), CERTAIN)
        return logits.scatter_(2, values[..., :1].expand(-1, self.seqlen, 1), CERTAIN + SLIGHT)

    def _value_by_position(self, batch: Batch) -> Tensor:
        best = self._by_position[0].to(batch.inputs.device)
        gap = (torch.arange(self.seqlen, device=best.device) - self.context) // 2
        pair = best[gap.clamp(0, len(best) - 1)]  # (L,)
        values = batch.inputs[:, 1 : self.context : 2][:, pair]  # (B, L)
        return self._blank(batch).scatter_(2, values[..., None], CERTAIN)

    def _blank(self, batch: Batch) -> Tensor:
        """Zero logits, (B, L, V)."""
        return torch.zeros(
            *batch.inputs.shape, self.settings.vocab_size, device=batch.inputs.device
        )
