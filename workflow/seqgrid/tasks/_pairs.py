"""In-context recall of MAD, with and without noise: what the two task files share.

B batch, L sequence length, P pairs or slots of noise, V vocabulary.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.streams import Stream
from seqgrid.tasks import _recall
from seqgrid.tasks._base import Level, Task


class PairRecall(Task):
    """Keys and values in turn; the value of a key seen before is asked for at that key."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"

    @property
    @abstractmethod
    def kinds(self) -> tuple[int, int, int]:
        """How many keys, values and tokens of noise there are; ids go in this order."""

    @property
    @abstractmethod
    def frac_noise(self) -> float:
        """Probability that a slot holds noise."""

    @property
    @abstractmethod
    def every_token(self) -> bool:
        """Whether the loss is on every next token."""

    @property
    def num_pairs(self) -> int:
        """Slots, P; at an even length the last token is read to no purpose."""
        return (self.seqlen + 1) // 2

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        V = sum(self.kinds)
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Keys k, values v, noise n."""
        return [f"{kind}{i}" for kind, n in zip("kvn", self.kinds, strict=True) for i in range(n)]

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        num_keys, num_values, num_noise = self.kinds
        P = self.num_pairs
        keys = stream.integers(P, num_keys)  # (B, P)
        slots = torch.arange(P, device=stream.device)
        noise = torch.zeros_like(keys, dtype=torch.bool)
        if self.frac_noise:
            noise = stream.uniform(P) < self.frac_noise
            noise &= slots != stream.integers(1, P - 1)
        noise[:, -1] = False
        # each slot of noise is a key of its own
        first, _ = _recall.first_and_previous(torch.where(noise, num_keys + slots, keys))
        new = (first == slots) & ~noise
        new[:, -1] = False
        # the last key: one of those seen, each as likely
        asked = stream.words(1) * new.sum(1, keepdim=True) >> 32
        chosen = (new.cumsum(1) > asked).int().argmax(1, keepdim=True)  # (B, 1)
        keys[:, -1:] = keys.gather(1, chosen)
        first[:, -1:] = chosen
        values = num_keys + stream.integers(P, num_values).gather(1, first)
        pairs = torch.stack((keys, values), dim=2)  # (B, P, 2)
        if self.frac_noise:
            tokens = num_keys + num_values + stream.integers(2 * P, num_noise).view_as(pairs)
            pairs = torch.where(noise[..., None], tokens, pairs)
        return self._batch(pairs.flatten(1), first < slots)

    def _batch(self, tokens: Tensor, known: Tensor) -> Batch:
        """The batch of tokens (B, 2 P); known: (B, P), whether the key of a pair was seen."""
        L = self.seqlen
        scored = torch.stack((known, torch.zeros_like(known)), dim=2).flatten(1)[:, :L]
        following = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=IGNORE)[:, :L]
        if self.every_token:
            return Batch(tokens[:, :L], following, scored=scored)
        return Batch(tokens[:, :L], torch.where(scored, following, IGNORE))

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        num_values = self.kinds[1]
        share = self._seen_before()[1:]
        share = share / share.sum()
        same = 1 / torch.arange(1, len(share) + 1, dtype=torch.float64)  # the last key again
        bags = [(1.0, 0.0), *(_recall.bag_scores(n + 1, num_values) for n in range(len(share)))]
        bag = torch.tensor(bags, dtype=torch.float64)  # accuracy and loss, by the number of keys
        pair = (1 - same)[:, None] * bag[:-1]
        pair[:, 0] += same
        last = (share @ (same + (1 - same) / num_values)).item()
        how = "the commonest value of the keys seen so far, whichever key is asked for"
        return [
            *_recall.usual_levels(num_values, "values", "only keys seen before are asked for"),
            *_recall.shortcut_levels("in_context_value", (share @ bag[1:]).tolist(), how),
            *_recall.shortcut_levels(
                "last_pair",
                (share @ pair).tolist(),
                "recalls the last pair alone, else the commonest other value",
            ),
            Level("accuracy", "last_value", "shortcut", last, "the value that was read last"),
        ]

    def _seen_before(self) -> Tensor:
        """Expected answers of an example, by the keys seen before them, from 0; (keys + 1,)."""
        num_keys, slots = self.kinds[0], self.num_pairs - 1
        seen = torch.arange(min(num_keys, slots) + 1, dtype=torch.float64) / num_keys
        weights = torch.zeros_like(seen)
        # by whether the slot that must hold a pair is still to come (0) or not (1)
        state = torch.zeros(2, len(seen), dtype=torch.float64)
        state[0, 0] = 1
        for slot in range(slots):
            must = state[0] / (slots - slot)
            free = state - torch.stack((must, torch.zeros_like(must)))
            pair = (1 - self.frac_noise) * free
            pair[1] += must
            weights += pair.sum(0) * seen
            state = self.frac_noise * free + pair * seen
            state[:, 1:] += (pair * (1 - seen))[:, :-1]
        return weights + state.sum(0)

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), certain of the value that followed the same key."""
        _, values, _ = self._read(batch)
        return self._at_keys(values.gather(1, self._previous(batch).clamp(min=0)))

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on the values; the first wins the tie."""
        keys, values, _ = self.kinds
        return _recall.uniform(batch.inputs, sum(self.kinds), keys, keys + values - 1)

    def shortcuts(self) -> _recall.Solvers:
        """Guesses that do not look at the key asked for, or only whether it was the last."""
        return {
            "in_context_value": self._in_context_value,
            "last_pair": self._last_pair,
            "last_value": self._last_value,
        }

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """By the distance to where the key was seen last, tokens, and the last answer alone."""
        previous = self._previous(batch)
        slots = torch.arange(self.num_pairs, device=previous.device)
        distance = torch.zeros_like(batch.inputs)
        distance[:, 0::2] = torch.where(previous >= 0, 2 * (slots - previous), 0)
        last = torch.zeros_like(batch.inputs, dtype=torch.bool)
        last[:, 2 * self.num_pairs - 2] = True
        return {"last answer": last, **_recall.distance_slices(distance, self.seqlen)}

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and whether a slot holds a pair, (B, P); a value not read is 0."""
        missing = 2 * self.num_pairs - self.seqlen
        tokens = torch.nn.functional.pad(batch.inputs, (0, missing)).unflatten(1, (-1, 2))
        return tokens[..., 0], tokens[..., 1], tokens[..., 0] < self.kinds[0]

    def _previous(self, batch: Batch) -> Tensor:
        """The slot where the key of each slot was seen last, (B, P), or -1."""
        keys, _, pair = self._read(batch)
        slots = torch.arange(self.num_pairs, device=keys.device)
        return _recall.first_and_previous(torch.where(pair, keys, self.kinds[0] + slots))[1]

    def _at_keys(self, answers: Tensor) -> Tensor:
        """Logits (B, L, V) from answers at the keys: tokens (B, P) or logits (B, P, V)."""
        V = sum(self.kinds)
        logits = _recall.certain(answers, V) if answers.ndim == 2 else answers
        both = torch.stack((logits, torch.zeros_like(logits)), dim=2)  # (B, P, 2, V)
        return both.flatten(1, 2)[:, : self.seqlen]

    def _counts(self, batch: Batch) -> Tensor:
        """How many of the keys seen before each slot have each value, (B, P, V)."""
        _, values, pair = self._read(batch)
        new = pair & (self._previous(batch) < 0)
        counts = torch.zeros(*values.shape, sum(self.kinds), device=values.device)
        counts.scatter_(2, values[..., None], new[..., None].float())
        return counts.cumsum(1) - counts

    def _last(self, batch: Batch) -> Tensor:
        """The last slot before each that holds a pair, (B, P)."""
        _, _, pair = self._read(batch)
        slots = torch.arange(self.num_pairs, device=pair.device)
        return torch.where(pair, slots, 0).cummax(1).values.roll(1, 1)

    def _in_context_value(self, batch: Batch) -> Tensor:
        return self._at_keys(_recall.counted(self._counts(batch)))

    def _last_pair(self, batch: Batch) -> Tensor:
        keys, values, _ = self._read(batch)
        last, counts = self._last(batch), self._counts(batch)
        value = values.gather(1, last)  # (B, P)
        others = counts.scatter_add(2, value[..., None], -torch.ones_like(counts[..., :1]))
        same = (keys == keys.gather(1, last))[..., None]
        logits = torch.where(same, _recall.certain(value, counts.shape[2]), _recall.counted(others))
        return self._at_keys(logits)

    def _last_value(self, batch: Batch) -> Tensor:
        _, values, _ = self._read(batch)
        return self._at_keys(values.gather(1, self._last(batch)))
