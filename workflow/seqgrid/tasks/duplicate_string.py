"""A string, to be given back twice.

    position   0  1  2  3  4  5  6  7  8  9
    inputs     0  1  1  ?  ?  ?  ?  ?  ?  _
    targets    .  .  .  0  1  1  0  1  1  .

Source: Deletang et al., arXiv:2207.02098, "Neural networks and the Chomsky hierarchy", a
context-sensitive task; tasks/cs/duplicate_string.py of
google-deepmind/neural_networks_chomsky_hierarchy. There the strings of a batch have one length, and
the answer is read at as many empty tokens as it has symbols; here `?` is that token, lengths differ
inside a batch, and `_` pads.

Symbols are uniform. Guessing the commonest is right, for n coins, in
1/2 + C(n-1, floor((n-1)/2)) / 2^n of the places, the mean of max(k, n-k) over k ~ Bin(n, 1/2).
With both ends of the string known as well, 2 symbols are right, and the commonest of the n-2 others
as often as among n-2 coins.

B batch, L sequence length.
"""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from seqgrid.settings import TaskSettings
from seqgrid.tasks._base import Control, Published
from seqgrid.tasks._strings import StringTask


class Settings(TaskSettings):
    """Alphabet and lengths."""

    vocab_size: int = Field(2, ge=2, le=4096, description="symbols; 2 as published")
    shortest: int | None = Field(
        None,
        ge=3,
        description="shortest example, tokens; null: all as long as the sequence length",
    )

    def impossible(self, seqlen: int) -> str | None:
        """A string of one symbol and its queries must fit, and the shortest example."""
        if (self.shortest or 3) > seqlen - seqlen % 3:
            return (
                f"the shortest example has {self.shortest or 3} tokens and {seqlen} hold whole "
                f"strings of {seqlen - seqlen % 3}; use a smaller `shortest` or a longer sequence"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Two examples are alike where both have n symbols, the same ones."""
        longest = seqlen // 3
        least = longest if self.shortest is None else -(-self.shortest // 3)
        count = longest - least + 1
        alike = math.fsum(float(self.vocab_size) ** -n for n in range(count)) / count**2
        return least * math.log2(self.vocab_size) - math.log2(alike)


class DuplicateString(StringTask):
    """Tokens in, logits out, scored at the queries."""

    tokens_per_symbol: ClassVar = 3
    settings: Settings
    controls: ClassVar = (
        Control(
            "attention",
            24,
            "SOLVED",
            "at one length the distance from a query to its symbol is one of two",
            task_settings={"vocab_size": 10},  # of 10^8 strings hardly one is seen twice
            training={"steps": 800, "learning_rate": 2e-3},
            cpu_minutes=0.1,
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
            ("RNN", 50.3),
            ("stack RNN", 52.8),
            ("LSTM", 57.6),
            ("transformer", 52.8),
            ("tape RNN", 100),
        )
    )

    def source(self, place: Tensor, size: Tensor) -> Tensor:
        """The string, and once more."""
        return place % size
