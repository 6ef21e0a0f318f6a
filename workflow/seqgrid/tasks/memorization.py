"""Memorization: each key has a value that is the same in every example, and is asked for.

    position   0   1  2   3  4   5
    inputs     k3  ?  k0  ?  k3  ?
    targets    .   v7 .   v1 .   v7

Source: MAD, Poli et al., arXiv:2403.17844, task memorization of github.com/athms/mad-lab: V - 1
tokens besides the one that asks, a half of them keys, with replacement, and a one-to-one dictionary
that no example shows as such. It is drawn from `map_seed`, part of the task; the original draws it
from the seed of the run.

Levels. Keys are uniform and no two have the same value: chance is 1 / keys, any key's value. The
context says nothing, so there is no shortcut in it; the dictionary has to be in the weights. The
oracle knows it. The original trains on 256 examples of 16 keys each: (1 - 1 / keys)^4096 of the
keys never occur there, 37 % at V = 8192, and what they are followed by cannot be learned.

Its accuracy is a mean over classes, here it is one over answers.

B batch, L sequence length, V vocabulary.
"""

import math
from functools import cached_property
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.seeds import derive
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks import _recall
from seqgrid.tasks._base import Control, Level, Task


class Settings(TaskSettings):
    """Vocabulary, and which dictionary."""

    vocab_size: int = Field(
        256, ge=5, le=2**17, description="tokens, keys, values and ?; published 256 to 8192"
    )
    map_seed: int = Field(12345, ge=0, description="seed of the dictionary; 12345 as published")

    def impossible(self, seqlen: int) -> str | None:
        """A key, and the question."""
        if seqlen < 2:
            return "a key and its question need 2 tokens; use a longer sequence"
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Every second token is a key."""
        return -(-seqlen // 2) * math.log2((self.vocab_size - 1) // 2)


class Memorization(Task):
    """Tokens in, logits out, scored at the questions."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    published: ClassVar = _recall.mad_published(
        "memorization", "256 training examples of 32 tokens, another dictionary"
    )
    controls: ClassVar = (
        Control(
            "attention",
            32,
            "SOLVED",
            "the last token but one says it all, and the MLP has room for 127 pairs",
            settings={"num_layers": 1, "d_model": 32},
            training={
                "steps": 500,
                "batch_size": 32,
                "learning_rate": 1e-2,
                "validation": {"every_steps": 50, "examples": 200},
            },
            seeds=3,
            cpu_minutes=0.2,
        ),
    )

    @property
    def num_keys(self) -> int:
        """Keys are the tokens from 0, values those that follow, and the last one asks."""
        return (self.settings.vocab_size - 1) // 2

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        V = self.settings.vocab_size
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Keys k, values v, and ?."""
        keys, values = self.num_keys, self.settings.vocab_size - 1 - self.num_keys
        return [*(f"k{i}" for i in range(keys)), *(f"v{i}" for i in range(values)), "?"]

    @cached_property
    def dictionary(self) -> Tensor:
        """The value of each key, (keys,) int64."""
        key = derive("memorization", self.settings.map_seed)
        stream = Stream(key, torch.zeros(1, dtype=torch.int64))
        num_values = self.settings.vocab_size - 1 - self.num_keys
        return self.num_keys + stream.choose(self.num_keys, num_values)[0]

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        keys = stream.integers(-(-self.seqlen // 2), self.num_keys)
        inputs = torch.full(
            (len(stream), self.seqlen), self.settings.vocab_size - 1, device=stream.device
        )
        inputs[:, 0::2] = keys
        targets = torch.full_like(inputs, IGNORE)
        targets[:, 1::2] = self.dictionary.to(keys.device)[keys[:, : self.seqlen // 2]]
        return Batch(inputs, targets)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        why = "the dictionary is the same in every example"
        return _recall.usual_levels(self.num_keys, "values of the keys", why)

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), certain of the value of the key before."""
        keys = batch.inputs.roll(1, 1).clamp(max=self.num_keys - 1)
        return _recall.certain(self.dictionary.to(keys.device)[keys], self.settings.vocab_size)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on the values of keys; that of the first wins the tie."""
        used = self.dictionary.to(batch.inputs.device)
        V = self.settings.vocab_size
        logits = torch.full((*batch.inputs.shape, V), -_recall.CERTAIN, device=used.device)
        logits[..., used] = 0
        logits[..., int(self.dictionary[0])] = _recall.SLIGHT
        return logits
