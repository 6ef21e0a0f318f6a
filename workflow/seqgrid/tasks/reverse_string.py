"""A string, to be given back in reverse.

    position   0  1  2  3  4  5  6  7
    inputs     0  1  1  ?  ?  ?  _  _
    targets    .  .  .  1  1  0  .  .

Source: Deletang et al., arXiv:2207.02098, "Neural networks and the Chomsky hierarchy", a
deterministic context-free task; tasks/dcf/reverse_string.py of
google-deepmind/neural_networks_chomsky_hierarchy. There the strings of a batch have one length, and
the answer is read at as many empty tokens as it has symbols; here `?` is that token, lengths differ
inside a batch, and `_` pads.

Symbols are uniform. Guessing the commonest is right, for n coins, in
1/2 + C(n-1, floor((n-1)/2)) / 2^n of the places, the mean of max(k, n-k) over k ~ Bin(n, 1/2).
With both ends of the string known as well, 2 symbols are right, and the commonest of the n-2 others
as often as among n-2 coins.
The first answer is the symbol just read, which needs no memory of the others: who gives it at every
query is right in (1 + (n-1)/V) / n of the places.

B batch, L sequence length.
"""

import math
from collections.abc import Callable
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from seqgrid.data import Batch
from seqgrid.settings import TaskSettings
from seqgrid.tasks._base import Control, Level, Published
from seqgrid.tasks._strings import StringTask, certain


class Settings(TaskSettings):
    """Alphabet and lengths."""

    vocab_size: int = Field(2, ge=2, le=4096, description="symbols; 2 as published")
    shortest: int | None = Field(
        None,
        ge=2,
        description="shortest example, tokens; null: all as long as the sequence length",
    )

    def impossible(self, seqlen: int) -> str | None:
        """A string of one symbol and its queries must fit, and the shortest example."""
        if (self.shortest or 2) > seqlen - seqlen % 2:
            return (
                f"the shortest example has {self.shortest or 2} tokens and {seqlen} hold whole "
                f"strings of {seqlen - seqlen % 2}; use a smaller `shortest` or a longer sequence"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Two examples are alike where both have n symbols, the same ones."""
        longest = seqlen // 2
        least = longest if self.shortest is None else -(-self.shortest // 2)
        count = longest - least + 1
        alike = math.fsum(float(self.vocab_size) ** -n for n in range(count)) / count**2
        return least * math.log2(self.vocab_size) - math.log2(alike)


class ReverseString(StringTask):
    """Tokens in, logits out, scored at the queries."""

    tokens_per_symbol: ClassVar = 2
    settings: Settings
    controls: ClassVar = (
        Control(
            "gru",
            16,
            "SOLVED",
            "8 digits fit into the state of a GRU of width 128; it is no proof of a stack",
            settings={"d_model": 128, "num_layers": 1},
            task_settings={"vocab_size": 10},  # of 10^8 strings hardly one is seen twice
            training={"steps": 1000, "batch_size": 128, "learning_rate": 3e-3},
            cpu_minutes=0.35,
        ),
    )
    published: ClassVar = tuple(
        Published(
            "Deletang et al., arXiv:2207.02098",
            model,
            "trained on 1 to 40 symbols, tested on 41 to 500; best of seeds and settings",
            f"{result} % accuracy",
            "best seed, not all; one length a batch; mean over lengths",
        )
        for model, result in (
            ("RNN", 62.0),
            ("stack RNN", 100),
            ("LSTM", 60.9),
            ("transformer", 62.3),
        )
    )

    def source(self, place: Tensor, size: Tensor) -> Tensor:
        """The string from its end."""
        return size - 1 - place

    def levels(self) -> list[Level]:
        """Those of every string task, and that of the symbol just read."""
        share = sum(1 + (n - 1) / self.num_symbols for n in self.sizes) / sum(self.sizes)
        how = "the last symbol at every query: right at the first, else by chance"
        return [*super().levels(), Level("accuracy", "last_symbol", "shortcut", share, how)]

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Those of every string task; the last symbol."""
        return {**super().shortcuts(), "last_symbol": self._last_symbol}

    def _last_symbol(self, batch: Batch) -> Tensor:
        last = batch.inputs.gather(1, self._size(batch.inputs) - 1)  # (B, 1)
        return certain(last.expand_as(batch.inputs), self.num_symbols)
