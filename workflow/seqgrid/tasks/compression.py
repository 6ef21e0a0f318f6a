"""Compression: random tokens have to be told from one vector.

    inputs     3  0  8  8  1  C        targets (3, 0, 8, 8, 1), all at once

Source: MAD, Poli et al., arXiv:2403.17844, task compression of github.com/athms/mad-lab: L - 1
uniform tokens of V - 1, and the last token asks for all of them. There an autoencoder adds a code
of each position to the output at the last token and decodes the sum with an MLP of two layers; here
a linear head reads all tokens from that output at once, each place with weights of its own. There
the last token is a target too, which is always the same and adds 1 / L to any accuracy, and its
settings for noise leave the noise in the targets; here there is neither. Its accuracy is a mean
over classes, here it is one over tokens.

Levels. Tokens are uniform: chance is 1 / (V - 1). Who knows the tokens as a bag answers the
commonest everywhere: E[largest of the counts] / (L - 1). Who only keeps the last token before the
end gets that one, and the others by chance. A model with a state of fewer than (L - 1) log2(V - 1)
bits cannot reach the ceiling.

The number of targets is the length less 1, so that a model is of one length.

B batch, L sequence length, V vocabulary.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks import _recall
from seqgrid.tasks._base import Control, Level, Task


class Settings(TaskSettings):
    """How many different tokens there are."""

    pooled: ClassVar[bool] = True

    any_length: ClassVar[bool] = False  # the head has a place for each token

    vocab_size: int = Field(
        16, ge=3, le=2**16, description="tokens and the one that asks; published 16, 32, 64, 128"
    )

    def impossible(self, seqlen: int) -> str | None:
        """A token, and the one that asks."""
        if seqlen < 2:
            return "a token and the one that asks are 2; use a longer sequence"
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """All but the last are uniform."""
        return (seqlen - 1) * math.log2(self.vocab_size - 1)


class Compression(Task):
    """Tokens in, as many pooled classes out."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    published: ClassVar = _recall.mad_published(
        "compression", "a linear head, not an MLP shared by the places; no target that is constant"
    )
    controls: ClassVar = (
        Control(
            "lstm",
            8,
            "SOLVED",
            "7 tokens of 15 are 27 bits, and there are 64 cells",
            settings={"num_layers": 1},
            training={
                "steps": 1500,
                "learning_rate": 5e-3,
                "schedule": "cosine",
                "stopping": {"solved_validations": None},
            },
            seeds=3,
            cpu_minutes=0.6,
        ),
    )

    @property
    def shape(self) -> Shape:
        """Tokens to L - 1 pooled classes."""
        V = self.settings.vocab_size
        return Shape(
            num_outputs=V - 1, pooled=True, seqlen=self.seqlen, vocab_size=V, slots=self.seqlen - 1
        )

    @property
    def symbols(self) -> list[str]:
        """Numbers, and C for the token that asks."""
        return [*(str(token) for token in range(self.settings.vocab_size - 1)), "C"]

    def sample(self, stream: Stream) -> Batch:
        """Inputs (B, L), targets (B, L - 1)."""
        kinds = self.settings.vocab_size - 1
        tokens = stream.integers(self.seqlen - 1, kinds)
        return Batch(torch.nn.functional.pad(tokens, (0, 1), value=kinds), tokens)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        kinds, size = self.settings.vocab_size - 1, self.seqlen - 1
        levels = _recall.usual_levels(kinds, "tokens", "the targets are the input")
        last = (1 + (size - 1) / kinds) / size, (size - 1) / size * math.log(kinds)
        how = "the last token, and the others by chance"
        levels += _recall.shortcut_levels("last_token", last, how)
        if size > 1:
            bag = _recall.bag_scores(size, kinds)
            levels += _recall.shortcut_levels("bag", bag, f"the commonest of the {size} tokens")
        return levels

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L - 1, V - 1), certain of the tokens."""
        return _recall.certain(batch.inputs[:, :-1], self.settings.vocab_size - 1)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L - 1, V - 1), uniform; token 0 wins the tie."""
        kinds = self.settings.vocab_size - 1
        return _recall.uniform(batch.inputs[:, :-1], kinds, 0, kinds - 1)

    def shortcuts(self) -> _recall.Solvers:
        """What is left of the tokens without most of them, or without their order."""
        solvers: _recall.Solvers = {"last_token": self._last_token}
        if self.seqlen > 2:
            solvers["bag"] = self._bag
        return solvers

    def _last_token(self, batch: Batch) -> Tensor:
        last = _recall.certain(batch.inputs[:, -2:-1], self.settings.vocab_size - 1)
        return torch.cat((self.constant(batch)[:, :-1], last), dim=1)

    def _bag(self, batch: Batch) -> Tensor:
        tokens = torch.nn.functional.one_hot(batch.inputs[:, :-1], self.settings.vocab_size - 1)
        counts = tokens.sum(1, keepdim=True)  # (B, 1, V - 1)
        return _recall.counted(counts).repeat(1, self.seqlen - 1, 1)
