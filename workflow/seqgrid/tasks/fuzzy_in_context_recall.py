"""Fuzzy recall in context: keys and values of one to three tokens, and no sign where either ends.

    inputs     #  #  a c  X  b  Z Y  c a  Y  a c
    answers    .  .  . .  .  .  . .  . .  .  . X         keys a b c, values X Y Z, padding #

Source: MAD, Poli et al., arXiv:2403.17844, task fuzzy-in-context-recall of github.com/athms/mad-lab
with `multi_query` as its settings have it. The size of a key is uniform, and so is that of a
value; the tokens of one key or value are distinct, every such string as likely. A key's value is
new in every example. Padding comes first. The loss is on every next token, scores only on the value
tokens of keys seen before, all of which are known then: the ceiling is 1. Who predicts every next
token cannot know that a shorter key than the longest has ended, and stays above the ceiling of the
loss, 0, but loses no accuracy by it. MAD tests with keys of the largest size alone, here the test
set `longest_keys`, where both can be reached.

The last pair repeats one of those before, each as likely. The original draws its key beforehand and
puts it at a place that may never be reached, and then asks for what was never shown: in 2 % of its
tests at 128 tokens, in 13 % at 32. Room is left for the longest last pair, there for two tokens
more. Its accuracy is a mean over classes, here it is one over answers.

Levels. Tokens of values are alike: chance is 1 / value tokens. Three strategies without the key as
a whole have no closed form and are measured: the commonest value token so far that this value does
not have yet, the value token that last followed the token just read, and the one that last followed
the last two tokens, or where none did, the last one.

B batch, L sequence length, N pairs that there may be, V vocabulary.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot, pad

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks import _recall
from seqgrid.tasks._base import Control, Level, Task


class Settings(TaskSettings):
    """Vocabulary, sizes of keys and values, and what the loss is on."""

    next_token: ClassVar[bool] = True

    vocab_size: int = Field(
        16,
        ge=5,
        le=4096,
        description="tokens: padding, half of the rest for keys; published 16 to 128",
    )
    key_tokens: int = Field(3, ge=1, le=5, description="largest size of a key, tokens")
    value_tokens: int = Field(3, ge=1, le=5, description="largest size of a value, tokens")
    vary_keys: bool = Field(True, description="keys of every size up to the largest; false: that")
    loss_on: Literal["every_token", "answers"] = Field(
        "every_token", description="what the loss is on; every next token as published"
    )

    def impossible(self, seqlen: int) -> str | None:
        """The longest pair twice, of distinct tokens."""
        keys = (self.vocab_size - 1) // 2
        values = self.vocab_size - 1 - keys
        if self.key_tokens > keys or self.value_tokens > values:
            return (
                f"a vocabulary of {self.vocab_size} has {keys} tokens for keys of "
                f"{self.key_tokens} and {values} for values of {self.value_tokens}; "
                f"use vocab_size >= {1 + 2 * max(self.key_tokens, self.value_tokens)}"
            )
        if seqlen < (needed := 2 * (self.key_tokens + self.value_tokens) - 1):
            return f"a pair shown and asked for needs {needed} tokens; use a longer sequence"
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """At least: the keys of as many of the longest pairs as fit, and the first value."""
        keys, longest = (self.vocab_size - 1) // 2, self.key_tokens + self.value_tokens
        values = self.vocab_size - 1 - keys
        sizes = range(1 if self.vary_keys else self.key_tokens, self.key_tokens + 1)
        same_key = sum(1 / math.perm(keys, size) for size in sizes) / len(sizes) ** 2
        sizes = range(1, self.value_tokens + 1)
        same_value = sum(1 / math.perm(values, size) for size in sizes) / len(sizes) ** 2
        return -math.log2(same_key) * ((seqlen + 1) // longest - 1) - math.log2(same_value)


class FuzzyInContextRecall(Task):
    """Tokens in, logits out, scored at values of keys seen before."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    published: ClassVar = _recall.mad_published("fuzzy", "the test set longest_keys")
    controls: ClassVar = (
        Control(
            "deltanet",
            64,
            "SOLVED",
            "its short convolutions join the tokens of a key, and the delta rule recalls",
            settings={"num_heads": 2},
            task_settings={
                "vocab_size": 9,
                "key_tokens": 3,
                "value_tokens": 1,
                "vary_keys": False,
                "loss_on": "answers",
            },
            training={
                "steps": 900,
                "batch_size": 32,
                "learning_rate": 5e-3,
                "schedule": "cosine",
                "validation": {"examples": 200},
                "stopping": {"solved_validations": None},
            },
            cpu_minutes=1.1,
        ),
    )

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.num_keys = (settings.vocab_size - 1) // 2  # tokens of keys, from 0
        self.num_values = settings.vocab_size - 1 - self.num_keys  # from num_keys on
        self.padding = settings.vocab_size - 1
        self.room = seqlen + 1 - settings.key_tokens - settings.value_tokens  # before the last pair
        smallest = 2 if settings.vary_keys else settings.key_tokens + 1
        mean = (smallest + settings.key_tokens + settings.value_tokens) / 2
        # more pairs than these fit in fewer than one example in a million, which has more padding
        self.most_pairs = min(self.room // smallest, 4 + math.ceil(1.25 * self.room / mean))

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        V = self.settings.vocab_size
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Tokens of keys k, of values v, and # for padding."""
        keys = [f"k{i}" for i in range(self.num_keys)]
        return [*keys, *(f"v{i}" for i in range(self.num_values)), "#"]

    @property
    def variations(self) -> dict[str, dict[str, Any]]:
        """Keys of the largest size, as MAD tests, where training has smaller ones too."""
        return {"longest_keys": {"vary_keys": False}} if self.settings.key_tokens > 1 else {}

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        chosen = self.settings
        N = self.most_pairs
        key_size = torch.full((len(stream), N), chosen.key_tokens, device=stream.device)
        if chosen.vary_keys:
            key_size = 1 + stream.integers(N, chosen.key_tokens)
        key = self._strings(stream, N, chosen.key_tokens, self.num_keys)
        first, _ = _recall.first_and_previous(self._identity(key, key_size))
        value_size = (1 + stream.integers(N, chosen.value_tokens)).gather(1, first)
        value = self.num_keys + self._strings(stream, N, chosen.value_tokens, self.num_values)
        value = value.gather(1, first[..., None].expand_as(value))
        end = (key_size + value_size).cumsum(1)  # (B, N)
        number = (end <= self.room).sum(1, keepdim=True)
        asked = stream.words(1) * number >> 32  # (B, 1)
        size = key_size + value_size
        before_last = end.gather(1, number - 1)
        # places of the L + 1 tokens, counted from where padding ends
        place = torch.arange(self.seqlen + 1, device=end.device) - self.seqlen - 1
        place = place + before_last + size.gather(1, asked)  # (B, L + 1)
        last = place >= before_last
        slot = torch.searchsorted(end, place.contiguous(), right=True).clamp(max=N - 1)
        slot = torch.where(last, asked, slot)
        start = torch.where(last, before_last, (end - size).gather(1, slot))
        offset = (place - start).clamp(min=0)
        in_value = offset - key_size.gather(1, slot)  # negative in a key
        cells = torch.cat((key, value), dim=2)  # (B, N, key_tokens + value_tokens)
        column = torch.where(in_value < 0, offset, chosen.key_tokens + in_value)
        tokens = cells.flatten(1).gather(1, slot * cells.shape[2] + column)
        tokens = torch.where(place < 0, self.padding, tokens)
        known = last | (first.gather(1, slot) < slot)
        scored = (known & (in_value >= 0) & (place >= 0))[:, 1:]
        following = tokens[:, 1:]
        if chosen.loss_on == "every_token":
            return Batch(tokens[:, :-1], following, scored=scored)
        return Batch(tokens[:, :-1], torch.where(scored, following, IGNORE))

    @staticmethod
    def _strings(stream: Stream, number: int, size: int, kinds: int) -> Tensor:
        """Strings of distinct tokens below `kinds`, each as likely, (B, number, size)."""
        steps = stream.integers(
            number * size, (kinds - torch.arange(size, device=stream.device)).repeat(number)
        )
        tokens: list[Tensor] = []
        for step in steps.unflatten(1, (number, size)).unbind(2):
            # the step-th of the tokens not taken: each one taken below it moves it up
            token = step
            if tokens:
                for taken in torch.stack(tokens, dim=2).sort(dim=2).values.unbind(2):
                    token = token + (token >= taken)
            tokens.append(token)
        return torch.stack(tokens, dim=2)

    def _identity(self, tokens: Tensor, size: Tensor) -> Tensor:
        """A number for each string of `size` key tokens, (...,); tokens (..., key_tokens)."""
        places = torch.arange(tokens.shape[-1], device=tokens.device)
        digits = torch.where(places < size[..., None], tokens + 1, 0)
        return (digits * (self.num_keys + 1) ** places).sum(-1)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        matches = {
            "last_token_match": "the value token that last followed the token just read, measured",
            "last_two_tokens": "the value token that last followed the last two tokens, else the "
            "last one, measured",
        }
        return [
            *_recall.usual_levels(
                self.num_values, "value tokens", "only values of keys seen before are asked for"
            ),
            *_recall.shortcut_levels(
                "in_context_value",
                _recall.measured(self, "in_context_value"),
                "the commonest value token so far that this value does not have, measured",
            ),
            *(
                Level("accuracy", name, "shortcut", _recall.measured(self, name)[0], how)
                for name, how in matches.items()
            ),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), certain of what the value of the same key goes on with."""
        source = self._sources(batch)
        answer = batch.inputs.gather(1, source.clamp(0, self.seqlen - 1))
        return _recall.certain(answer, self.settings.vocab_size) * (source > 0)[..., None]

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on the tokens of values; the first wins the tie."""
        V = self.settings.vocab_size
        return _recall.uniform(batch.inputs, V, self.num_keys, V - 2)

    def shortcuts(self) -> _recall.Solvers:
        """What goes without the key as a whole."""
        return {
            "in_context_value": self._in_context_value,
            "last_token_match": self._last_token_match,
            "last_two_tokens": self._last_two_tokens,
        }

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """By the place in the value, and by the distance to where it was seen last, tokens."""
        _, key_end = self._pairs(batch)
        place = torch.arange(self.seqlen, device=key_end.device) - key_end
        source = self._sources(batch)
        distance = torch.where(source > 0, 1 + key_end + place - source, 0)
        sizes = range(self.settings.value_tokens)
        found = {f"value token {i + 1}": (place == i) & (key_end >= 0) for i in sizes}
        return found | _recall.distance_slices(distance, self.seqlen)

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Where the pair of each position begins, and its last key token so far, or -1; (B, L)."""
        key = batch.inputs < self.num_keys
        places = torch.arange(self.seqlen, device=key.device)
        begins = key & ~pad(key[:, :-1], (1, 0))
        begin = torch.where(begins, places, 0).cummax(1).values
        return begin, torch.where(key, places, -1).cummax(1).values

    def _sources(self, batch: Batch) -> Tensor:
        """Where the token that follows each position stood, the same key last shown; (B, L).

        A key is taken to end at the position, as it does wherever an answer is asked for; 0 or less
        where it was not shown.
        """
        inputs = batch.inputs
        begin, key_end = self._pairs(batch)
        places = torch.arange(self.seqlen, device=inputs.device)
        letters = torch.arange(self.settings.key_tokens, device=inputs.device)
        at = (begin[..., None] + letters).clamp(max=self.seqlen - 1)
        string = inputs.gather(1, at.flatten(1)).view_as(at)
        identity = self._identity(string, key_end - begin + 1)
        identity = torch.where(inputs < self.num_keys, identity, -1 - places)
        ends = (inputs < self.num_keys) & self._before_value(inputs)
        _, shown = _recall.first_and_previous(identity, ends)
        shown = shown.gather(1, key_end.clamp(min=0))
        return torch.where(shown >= 0, shown + 1 + places - key_end, 0)

    def _before_value(self, inputs: Tensor) -> Tensor:
        """Whether a token of a value follows, (B, L)."""
        value = (inputs >= self.num_keys) & (inputs != self.padding)
        return pad(value[:, 1:], (0, 1))

    def _in_context_value(self, batch: Batch) -> Tensor:
        counts = one_hot(batch.inputs, self.settings.vocab_size).cumsum(1)
        counts[..., : self.num_keys] = counts[..., self.padding] = 0
        _, key_end = self._pairs(batch)
        earlier = key_end.clamp(min=0)[..., None].expand_as(counts)
        given = counts > counts.gather(1, earlier)  # in this value, whose tokens are distinct
        return _recall.counted(torch.where(given, 0, counts))

    def _last_token_match(self, batch: Batch) -> Tensor:
        return self._certain(self._followed(batch.inputs, batch.inputs))

    def _last_two_tokens(self, batch: Batch) -> Tensor:
        V, one = self.settings.vocab_size, batch.inputs
        two = self._followed(one, one + V * pad(one[:, :-1], (1, 0), value=V))
        return self._certain(torch.where(two >= 0, two, self._followed(one, one)))

    def _followed(self, inputs: Tensor, ids: Tensor) -> Tensor:
        """The value token that last followed the same id, or -1; (B, L) each."""
        _, shown = _recall.first_and_previous(ids, self._before_value(inputs))
        answer = inputs.gather(1, (shown + 1).clamp(max=self.seqlen - 1))
        return torch.where(shown >= 0, answer, -1)

    def _certain(self, answer: Tensor) -> Tensor:
        """Logits (B, L, V), certain of a value token, of the first where there is none, -1."""
        return _recall.certain(answer.clamp(min=self.num_keys), self.settings.vocab_size)
