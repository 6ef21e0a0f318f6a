"""Associative recall with keys and values of one vocabulary, asked for by a question mark.

    inputs    5  2  7  5  7  ?  5  ?  7  ?
    targets   .  .  .  .  .  5  .  2  .  5

Source: ebaenamar/yoon-kim-hack, tasks/mqar.py and run_benchmark.py, at commit 58a56d7; with P pairs
it was run on 4 P + 1 tokens at length 2 P + 32, that is with 16 queries. Keys are distinct tokens
of the V - 1 before the question mark. So are values, and of the same tokens: one may be a key here
and a value there. Then come (L - 2 P) / 2 queries, each a key and a question mark, where the answer
is due. A query is for the pair at rank p with probability ~ p^-power, whatever was asked before.

It is another task than `mqar`: a model must tell keys from values by their places, and queries fill
the end of the sequence instead of lying scattered in it.

Levels. A constant is right in 1 / (V - 1), as all tokens are alike. Who answers with a value of the
context, but does not look at the key, does best with the first pair's, right in 1 / sum(p^-power),
little more than 1/P; the loss of that knowledge is the entropy of the rank.

B batch, L sequence length, P pairs, Q queries, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task

CERTAIN = 50.0  # a logit: exp(-50) times any vocabulary is nothing


class Settings(TaskSettings):
    """Vocabulary, pairs and which of them are asked for."""

    num_pairs: int = Field(
        16, ge=1, le=1024, description="key-value pairs; published: 32 at length 96, 64 at 160"
    )
    vocab_size: int | None = Field(
        None, ge=3, le=2**20, description="tokens with the question mark; null: 4 x num_pairs + 1"
    )
    power: float = Field(
        0.01, ge=0, le=10, description="power law of the pair asked for, by its rank; 0: uniform"
    )

    @property
    def tokens(self) -> int:
        """The size of the vocabulary."""
        return 4 * self.num_pairs + 1 if self.vocab_size is None else self.vocab_size

    def impossible(self, seqlen: int) -> str | None:
        """Pairs and at least one query need places, and pairs tokens."""
        if seqlen < 2 * self.num_pairs + 2:
            return (
                f"{self.num_pairs} pairs and a query need {2 * self.num_pairs + 2} tokens and "
                f"there are {seqlen}; use fewer pairs or a longer sequence"
            )
        if seqlen % 2:
            return (
                f"{seqlen} tokens are no pairs of a key and a value or question mark; "
                f"use {seqlen - 1} or {seqlen + 1}"
            )
        if self.num_pairs > self.tokens - 1:
            return (
                f"a vocabulary of {self.tokens} has {self.tokens - 1} keys for {self.num_pairs} "
                f"pairs; use vocab_size >= {self.num_pairs + 1}"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Keys and values in their order, and which pair each query is for."""
        tokens = self.tokens - 1
        orders = math.lgamma(tokens + 1) - math.lgamma(tokens - self.num_pairs + 1)
        odds = [rank**-self.power for rank in range(1, 1 + self.num_pairs)]
        alike = math.fsum(odd**2 for odd in odds) / math.fsum(odds) ** 2
        queries = (seqlen - 2 * self.num_pairs) // 2
        return 2 * orders / math.log(2) - queries * math.log2(alike)


class PentathlonRecall(Task):
    """Tokens in, logits out, scored at the question marks."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = (
        Control(
            "deltanet",
            16,
            "SOLVED",
            "the delta rule writes each key's value once, arXiv:2406.06484; as measured here",
            settings={"d_model": 32, "num_heads": 2},
            task_settings={"num_pairs": 3},
            training={
                "steps": 1500,
                "batch_size": 32,
                "learning_rate": 5e-3,
                "schedule": "cosine",
                "stopping": {"solved_validations": None},
            },
            seeds=2,
            cpu_minutes=0.8,
        ),
    )
    published: ClassVar = tuple(
        Published(
            f"ebaenamar/yoon-kim-hack, {where}",
            f"{model}, 4 layers",
            settings,
            f"accuracy {accuracy} %",
            "embeddings of standard deviation 1 tied to the head; no warm-up, one learning rate"
            + unsure,
            verified=not unsure,
        )
        for where, settings, unsure, results in (
            (
                "committed results",
                "32 pairs, AdamW 1e-3, batch 16, 15 epochs by its script, mean of 10 runs on 200 "
                "examples",
                "",
                {
                    "LSTM": 0.58,
                    "GRU": 0.78,
                    "DeltaNet": 1.07,
                    "transformer": 1.12,
                    "RoPE transformer": 1.52,
                },
            ),
            (
                "committed results",
                "64 pairs, AdamW 1e-3, batch 16, 30 epochs, one run on 200 examples",
                "",
                {
                    "LSTM": 0.28,
                    "GRU": 0.25,
                    "DeltaNet": 0.72,
                    "transformer": 0.44,
                    "RoPE transformer": 0.53,
                },
            ),
            (
                "FINAL_REPORT.md and PHASE1_RESULTS.md",
                "32 pairs by its script, AdamW 3e-4, batch 32, 300 epochs, one run",
                "; in no committed log, and the committed script has learning rate 1e-3 and batch "
                "16, and no such run of DeltaNet",
                {
                    "LSTM": 0.88,
                    "GRU": 2.88,
                    "DeltaNet": 91.31,
                    "transformer": 2.97,
                    "RoPE transformer": 2.19,
                },
            ),
        )
        for model, accuracy in results.items()
    )

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.context = 2 * settings.num_pairs  # tokens
        self.question = settings.tokens - 1
        # whole numbers, so that every machine draws alike; 20 bits keep their sum below 2^31
        self.weights = torch.tensor(
            [max(1, round(rank**-settings.power * 2**20)) for rank in range(1, 1 + self.pairs)]
        )

    @property
    def pairs(self) -> int:
        """Key-value pairs, P."""
        return self.settings.num_pairs

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        V = self.settings.tokens
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Numbers and the question mark."""
        return [*(str(token) for token in range(self.question)), "?"]

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        keys = stream.choose(self.pairs, self.question)  # (B, P)
        values = stream.choose(self.pairs, self.question)  # (B, P)
        ends = self.weights.to(stream.device).cumsum(0)
        queries = (self.seqlen - self.context) // 2
        drawn = stream.integers(queries, int(self.weights.sum()))
        pair = torch.searchsorted(ends, drawn.contiguous(), right=True)  # (B, Q)
        inputs = keys.new_full((len(stream), self.seqlen), self.question)
        inputs[:, 0 : self.context : 2] = keys
        inputs[:, 1 : self.context : 2] = values
        inputs[:, self.context :: 2] = keys.gather(1, pair)
        targets = torch.full_like(inputs, IGNORE)
        targets[:, self.context + 1 :: 2] = values.gather(1, pair)
        return Batch(inputs, targets)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        tokens = self.question
        share = self.weights.double() / self.weights.sum()
        entropy = -(share * share.log()).sum().item()
        every_key = "every query's key is in the context"
        blind = f"one of the {self.pairs} values in the context, by how often their rank is asked"
        return [
            Level("accuracy", "chance", "chance", 1 / tokens, f"one of {tokens} tokens"),
            Level("accuracy", "in_context_value", "shortcut", share[0].item(), f"first {blind}"),
            Level("accuracy", "ceiling", "ceiling", 1.0, every_key),
            Level("accuracy", "solved", "solved", 0.99, "as in mqar"),
            Level("loss", "chance", "chance", math.log(tokens), f"ln {tokens}, uniform on tokens"),
            Level("loss", "in_context_value", "shortcut", entropy, blind),
            Level("loss", "ceiling", "ceiling", 0.0, every_key),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V) for the value that followed the key just read among the keys."""
        keys = batch.inputs[:, 0 : self.context : 2]  # (B, P)
        values = batch.inputs[:, 1 : self.context : 2]  # (B, P)
        asked = batch.inputs.roll(1, dims=1)
        match = asked[..., None] == keys[:, None]  # (B, L, P)
        answer = values.gather(1, match.to(torch.uint8).argmax(2))  # (B, L)
        return self._blank(batch).scatter_(2, answer[..., None], CERTAIN)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on all but the question mark."""
        logits = self._blank(batch)
        logits[..., self.question] = -CERTAIN
        return logits

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """A guess among the values of the context, that does not look at the key."""
        return {"in_context_value": self._in_context_value}

    def _in_context_value(self, batch: Batch) -> Tensor:
        values = batch.inputs[:, 1 : self.context : 2]  # (B, P)
        # ranks that are alike are a tie, which the first wins
        odds = (self.weights / self.weights[0]).log().to(values.device) + CERTAIN
        odds[0] += 1e-4
        row = torch.zeros(len(values), self.settings.tokens, device=values.device)
        row.scatter_(1, values, odds.expand(len(values), -1))
        return row[:, None].expand(-1, self.seqlen, -1).clone()

    def _blank(self, batch: Batch) -> Tensor:
        """Zero logits, (B, L, V)."""
        return torch.zeros(*batch.inputs.shape, self.settings.tokens, device=batch.inputs.device)
