"""Recall in context: keys and values in turn, and whoever meets a key again says its value.

    position   0   1   2   3   4   5   6   7   8   9   10
    inputs     k1  v4  k3  v0  k1  v4  k2  v0  k3  v0  k1
    answers    .   .   .   .   v4  .   .   .   v0  .   v4

Source: MAD, Poli et al., arXiv:2403.17844, task in-context-recall of github.com/athms/mad-lab, with
`multi_query` as its settings have it. Keys are uniform with replacement, each key's value is
uniform on the values and new in every example. The last key is one of those seen, each as likely.
The loss is on every next token, scores only on values of keys seen before. What the first sight of
a key is followed by nobody can know, and it is not scored: the ceiling is 1.

MAD at length L reads one token less than here, where the last value is read and nothing follows.
Its accuracy is a mean over classes, here it is one over answers.

Levels. Values are alike: chance is 1 / values. Who knows the m keys seen and their values and does
not look at the key asked for, which is each of the m alike, answers the commonest value, right with
E[largest of the counts of m uniform values] / m; m follows the chain in which a key is new with
probability 1 - m / keys, weighted by m / keys, the probability of a key that is scored. The value
read last is right with 1 / m + (1 - 1 / m) / values. Who keeps one pair, the last, and else guesses
among the other keys' values, is right with (1 + E[largest of the counts of m - 1]) / m: attention
of two layers stays near that for a while before it recalls.

B batch, L sequence length, P pairs, V vocabulary.
"""

import math
from typing import ClassVar, Literal

from pydantic import Field

from seqgrid.settings import TaskSettings
from seqgrid.tasks._base import Control
from seqgrid.tasks._pairs import PairRecall
from seqgrid.tasks._recall import mad_published


class Settings(TaskSettings):
    """Vocabulary, and what the loss is on."""

    next_token: ClassVar[bool] = True

    vocab_size: int = Field(
        16, ge=4, le=8192, description="tokens, half of them keys; published 16, 32, 64, 128"
    )
    loss_on: Literal["every_token", "answers"] = Field(
        "every_token", description="what the loss is on; every next token as published"
    )

    def impossible(self, seqlen: int) -> str | None:
        """A pair, and its key again."""
        if seqlen < 3:
            return "a pair and its key again need 3 tokens; use a longer sequence"
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Two examples are alike where their keys are, and the values of the keys that occur."""
        keys, values = self.vocab_size // 2, self.vocab_size - self.vocab_size // 2
        weights, log2 = {0: 1.0}, 0.0  # by the number of different keys
        for _ in range((seqlen + 1) // 2 - 1):
            grown: dict[int, float] = {}
            for seen, weight in weights.items():
                grown[seen] = grown.get(seen, 0.0) + weight * seen / keys
                if seen < keys:
                    grown[seen + 1] = weight * (1 - seen / keys) / values
            scale = sum(grown.values())
            log2 += math.log2(keys) - math.log2(scale)
            weights = {seen: weight / scale for seen, weight in grown.items() if seen}
        return log2 - math.log2(sum(weight / seen for seen, weight in weights.items()))


class InContextRecall(PairRecall):
    """Tokens in, logits out, scored at keys seen before."""

    settings: Settings
    published: ClassVar = mad_published("in_context", "the last value is read too")
    controls: ClassVar = (
        Control(
            "deltanet",
            32,
            "SOLVED",
            "the delta rule writes each key's value once; 100 % in arXiv:2406.06484",
            settings={"d_model": 32, "num_heads": 2},
            training={
                "steps": 1000,
                "batch_size": 32,
                "learning_rate": 5e-3,
                "validation": {"every_steps": 50, "examples": 200},
            },
            seeds=2,
            cpu_minutes=0.2,
        ),
        Control(
            "attention",
            32,
            "SOLVED",
            "two layers make an induction head, arXiv:2209.11895",
            settings={"num_heads": 1, "initializer_std": 0.1},
            task_settings={"loss_on": "answers"},
            training={"steps": 2000, "learning_rate": 3e-3},
            cpu_minutes=0.4,
        ),
        Control(
            "attention",
            32,
            "NOT SOLVED",
            "one layer makes no induction head, arXiv:2209.11895",
            settings={"num_layers": 1, "d_model": 32, "num_heads": 1},
            task_settings={"loss_on": "answers"},
            training={"steps": 500, "learning_rate": 5e-3},
            cpu_minutes=0.1,
        ),
        Control(
            "deltanet",
            128,
            "SOLVED",
            "the setting of MAD; 100 % in arXiv:2406.06484",
            settings={"d_model": 128},
            training={"steps": 20000, "batch_size": 128, "examples": 12800, "learning_rate": 5e-4},
        ),
    )

    @property
    def kinds(self) -> tuple[int, int, int]:
        """Keys, values, no noise."""
        V = self.settings.vocab_size
        return V // 2, V - V // 2, 0

    @property
    def frac_noise(self) -> float:
        """None."""
        return 0.0

    @property
    def every_token(self) -> bool:
        """Whether the loss is on every next token."""
        return self.settings.loss_on == "every_token"
