"""A flip-flop of many symbols, scored where nothing can be known: a fixture for the verdicts.

    inputs    C  1  A  0  C  1  B  1  A  1  C  0
    targets   .  A  .  C  .  B  .  A  .  C  .  .

Source: ebaenamar/yoon-kim-hack, tasks/flip_flop.py, at commit 58a56d7. Symbols and values
alternate. A symbol is any of S alike; its value is its last one, but random at its first occurrence
and redrawn with probability `flip_prob`. What was meant to be scored is the value. The targets are
shifted to the next token, though, and the mask, made for others, stands at the values:
what is scored is the next symbol, which nothing before it tells.

Chance is the ceiling: accuracy 1/S, loss ln S, and there is no score that solves the task. Had the
values been scored at their symbols, the ceiling were 1 - flip_prob / 2 after a first occurrence.
The original also scores the last position, whose target is a constant, so that 10.7 % is possible
at 256 tokens; here it has none.

B batch, L sequence length, n = L/2 pairs, S symbols.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task

CERTAIN = 50.0  # a logit: exp(-50) times any vocabulary is nothing
SLIGHT = 1e-4  # a logit that settles a tie and leaves the loss alone


class Settings(TaskSettings):
    """How many symbols, and how often a value changes."""

    next_token: ClassVar[bool] = True

    num_symbols: int = Field(10, ge=2, le=2**20, description="symbols, all alike; each has a bit")
    flip_prob: float = Field(
        0.5, ge=0, le=1, description="how often a symbol's value is redrawn; half of these flip it"
    )

    def impossible(self, seqlen: int) -> str | None:
        """Symbols and values alternate, and a second symbol is the first that is scored."""
        if seqlen < 4:
            return f"two symbols and values need 4 tokens and there are {seqlen}; use a longer one"
        if seqlen % 2:
            return (
                f"{seqlen} tokens are no pairs of a symbol and a value; "
                f"use {seqlen - 1} or {seqlen + 1}"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Those of the symbols alone; values add to them."""
        return seqlen // 2 * math.log2(self.num_symbols)


class UnlearnableFlipFlop(Task):
    """Tokens in, logits out, scored at the values for what comes after them."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = (
        Control(
            "lstm",
            64,
            "UNLEARNABLE AS SCORED",
            "the ceiling is chance, 1 of 10 symbols: no model scores more",
            settings={"num_layers": 1},
            training={"steps": 300, "batch_size": 16},
            cpu_minutes=0.1,
        ),
    )
    published: ClassVar = tuple(
        Published(
            "ebaenamar/yoon-kim-hack, committed results",
            f"{model}, 4 layers",
            "L 256, 10 symbols, AdamW 1e-3, batch 16, mean of 10 runs on 200 examples",
            f"accuracy {accuracy} %",
            "the constant target of the last position is scored, which makes 10.7 % possible",
        )
        for model, accuracy in (
            ("LSTM", "10.0"),
            ("GRU", "9.9"),
            ("DeltaNet", "10.2"),
            ("GLA", "10.2"),
            ("RoPE transformer", "10.7"),
            ("transformer", "10.8"),
        )
    )

    @property
    def shape(self) -> Shape:
        """Symbols and two values to logits over the same vocabulary."""
        V = self.settings.num_symbols + 2
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Letters while they last, and the two values."""
        many = self.settings.num_symbols
        names = [chr(ord("A") + i) if many <= 26 else f"s{i}" for i in range(many)]
        return [*names, "0", "1"]

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        pairs = self.seqlen // 2
        symbols = stream.integers(pairs, self.settings.num_symbols)  # (B, n)
        words = stream.words(pairs)
        bits, redrawn = words & 1, words >> 1 < round(self.settings.flip_prob * 2**31)
        order = symbols.argsort(dim=1, stable=True)  # the occurrences of a symbol stand together
        grouped = symbols.gather(1, order)
        fresh = redrawn.gather(1, order)
        fresh[:, 1:] |= grouped[:, 1:] != grouped[:, :-1]
        fresh[:, 0] = True
        place = torch.arange(pairs, device=stream.device)
        source = order.gather(1, torch.where(fresh, place, 0).cummax(1).values)
        values = torch.empty_like(bits).scatter_(1, order, bits.gather(1, source))
        inputs = torch.stack((symbols, self.settings.num_symbols + values), dim=2).flatten(1)
        targets = torch.full_like(inputs, IGNORE)
        targets[:, 1:-1:2] = symbols[:, 1:]
        return Batch(inputs, targets)

    def levels(self) -> list[Level]:
        """Accuracy and loss; the ceiling is chance, and nothing is solved."""
        many = self.settings.num_symbols
        alike = f"the next of {many} symbols, whatever came before"
        return [
            Level("accuracy", "chance", "chance", 1 / many, alike),
            Level("accuracy", "ceiling", "ceiling", 1 / many, alike),
            Level("loss", "chance", "chance", math.log(many), f"ln {many}, uniform on the symbols"),
            Level("loss", "ceiling", "ceiling", math.log(many), f"ln {many}, {alike}"),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V): no more can be known than that a symbol is next."""
        return self.constant(batch)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on the symbols; the first wins the tie."""
        many = self.settings.num_symbols
        logits = torch.zeros(*batch.inputs.shape, many + 2, device=batch.inputs.device)
        logits[..., many:] = -CERTAIN
        logits[..., 0] = SLIGHT
        return logits
