"""Recall in context among noise: keys and values in turn, and slots of tokens that mean nothing.

    position   0   1   2   3   4   5   6   7   8   9   10
    inputs     k1  v4  n7  n2  k1  v4  k2  v0  n1  n1  k2
    answers    .   .   .   .   v4  .   .   .   .   .   v0

Source: MAD, Poli et al., arXiv:2403.17844, task noisy-in-context-recall of
github.com/athms/mad-lab. As in_context_recall, but each slot of two tokens is noise with
probability `frac_noise`, two tokens of a vocabulary of their own. One slot, uniform among those
before the last, always holds a pair. The original draws that slot among all, the last with them,
and where it draws that one and all else is noise it fails, for there is no key to ask for.

Levels as in in_context_recall, with the number of keys seen from a chain over the slots in which a
slot may be noise. What was read last is the value of the last pair, not noise.

B batch, L sequence length, P slots, V vocabulary.
"""

import math
from typing import ClassVar, Literal

from pydantic import Field

from seqgrid.settings import TaskSettings
from seqgrid.tasks._base import Control
from seqgrid.tasks._pairs import PairRecall
from seqgrid.tasks._recall import mad_published


class Settings(TaskSettings):
    """Vocabulary, noise, and what the loss is on."""

    next_token: ClassVar[bool] = True

    vocab_size: int = Field(
        32,
        ge=5,
        le=8192,
        description="tokens: noise, and half of the rest keys; published 32, 48, 80, 144",
    )
    noise_vocab_size: int = Field(16, ge=1, description="tokens that are noise")
    frac_noise: float = Field(
        0.2, ge=0, lt=1, description="probability that a slot is noise; published 0.2 to 0.8"
    )
    loss_on: Literal["every_token", "answers"] = Field(
        "every_token", description="what the loss is on; every next token as published"
    )

    def impossible(self, seqlen: int) -> str | None:
        """A pair and its key again, of two keys and two values."""
        if seqlen < 3:
            return "a pair and its key again need 3 tokens; use a longer sequence"
        if self.vocab_size - self.noise_vocab_size < 4:
            return (
                f"{self.vocab_size} tokens less {self.noise_vocab_size} of noise leave fewer than "
                f"4 for keys and values; use vocab_size >= {self.noise_vocab_size + 4}"
            )
        return None

    def known_plateau(self, seqlen: int) -> int | None:
        """As measured here: 150, of DeltaNet.

        At L 32, with batches of 32 and a rate of 5e-3, it gained nothing from step 50 to 200, and
        had solved the task by 600.
        """
        return 150

    def log2_inputs(self, seqlen: int) -> float:
        """Two examples are alike where noise, keys, and values of the keys that occur are."""
        slots, rest = (seqlen + 1) // 2 - 1, self.vocab_size - self.noise_vocab_size
        keys, values = rest // 2, rest - rest // 2
        weights, alike = {0: 1.0}, 0.0  # by the number of different keys in `pairs` slots
        terms: list[float] = []
        for pairs in range(1, slots + 1):
            grown: dict[int, float] = {}
            for seen, weight in weights.items():
                grown[seen] = grown.get(seen, 0.0) + weight * seen / keys
                if seen < keys:
                    grown[seen + 1] = weight * (1 - seen / keys) / values
            scale = sum(grown.values())
            alike += math.log2(scale) - math.log2(keys)
            weights = {seen: weight / scale for seen, weight in grown.items() if seen}
            term = alike + math.log2(sum(weight / seen for seen, weight in weights.items()))
            if noisy := slots - pairs:
                if not self.frac_noise:
                    continue
                term += 2 * noisy * math.log2(self.frac_noise / self.noise_vocab_size)
                ways = math.lgamma(slots + 1) - math.lgamma(noisy + 1) - math.lgamma(pairs + 1)
                term += ways / math.log(2)
            # one of the pairs is where one has to be
            term += 2 * ((pairs - 1) * math.log2(1 - self.frac_noise) + math.log2(pairs / slots))
            terms.append(term)
        largest = max(terms)
        return -largest - math.log2(sum(2 ** (term - largest) for term in terms))


class NoisyInContextRecall(PairRecall):
    """Tokens in, logits out, scored at keys seen before."""

    settings: Settings
    published: ClassVar = mad_published("noisy", "the last value is read too")
    controls: ClassVar = (
        Control(
            "deltanet",
            32,
            "SOLVED",
            "the delta rule writes each key's value once; 100 % in arXiv:2406.06484",
            settings={"d_model": 32, "num_heads": 2},
            training={
                "steps": 1500,
                "batch_size": 32,
                "learning_rate": 5e-3,
                "validation": {"every_steps": 50, "examples": 200},
            },
            seeds=2,
            cpu_minutes=0.5,
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
        """Keys, values and noise."""
        noise = self.settings.noise_vocab_size
        rest = self.settings.vocab_size - noise
        return rest // 2, rest - rest // 2, noise

    @property
    def frac_noise(self) -> float:
        """Probability that a slot holds noise."""
        return self.settings.frac_noise

    @property
    def every_token(self) -> bool:
        """Whether the loss is on every next token."""
        return self.settings.loss_on == "every_token"
