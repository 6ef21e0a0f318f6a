"""Selective copying: tokens among noise, to be given back in order at the end.

    mamba   inputs     .  3  .  .  9  3  .  M  M  M
            targets    -  -  -  -  -  -  -  3  9  3
    mad     inputs     .  3  .  .  9  .  3  M  .  .  .
            targets    -  -  -  -  -  -  -  -  3  9  3

Two encodings, with n tokens to copy, uniform on V - 2, at L tokens in all:

mamba: Gu and Dao, arXiv:2312.00752, section 4.1.1 and E.1, whose data code is not public; after
    copying.py of github.com/state-spaces/s4 with variable=True, every set of places is as likely
    among the L - n before n markers, and each marker is answered. The paper has L = 4096, V = 16,
    n = 16; whether its length counts the markers is not known.
mad: Poli et al., arXiv:2403.17844, task selective-copying of github.com/athms/mad-lab with L = 256,
    V = 16, n = 16. One marker, then n blanks to answer. Each blank among the tokens stands before
    one of them, every one as likely, so that the last token always stands right before the marker,
    and even gaps are likelier than in the other encoding. The original draws these places from
    numpy's global generator, so that its seed does not fix the data; here they are of the stream.

Levels. Tokens are uniform: chance is 1 / (V - 2). Who knows the tokens as a bag, without their
order, answers the commonest: E[largest of the counts] / n. Who knows only the last one answers it
always: right at the last place, by chance at the others. Who reads a fixed place for each answer,
the likeliest for the k-th token (k from 0), is right with its probability p, else by chance: p is
C(i, k) C(T - 1 - i, n - 1 - k) / C(T, n) at place i of T = L - n in the encoding of Mamba, and in
that of MAD the probability of i - k out of L - 2 n - 1 blanks, each with probability (k + 1) / n.
Who answers the token present at the likeliest place for the k-th is right where none stands on the
likelier places, the next ones on one side as p has one peak: C counts the sets that spare them, and
in MAD's encoding the gap there is binomial.
MAD's accuracy is a mean over classes, here it is one over answers.

B batch, L sequence length, V vocabulary, n tokens to copy.
"""

import math
from functools import cached_property
from typing import ClassVar, Literal

import torch
from pydantic import Field
from scipy.special import bdtrc
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks import _recall
from seqgrid.tasks._base import Control, Level, Published, Task


class Settings(TaskSettings):
    """Vocabulary, tokens to copy, and how they are asked for."""

    vocab_size: int = Field(
        16, ge=4, le=2**16, description="tokens with the blank and the marker; published 16 to 128"
    )
    num_tokens: int = Field(16, ge=1, description="tokens to copy; published 16, 32, 64, 96")
    encoding: Literal["mamba", "mad"] = Field(
        "mamba", description="a marker for each answer, or one marker and blanks"
    )

    def impossible(self, seqlen: int) -> str | None:
        """Tokens and answers need places."""
        needed = 2 * self.num_tokens + (self.encoding == "mad")
        if seqlen < needed:
            return (
                f"{self.num_tokens} tokens and their answers need {needed} places; "
                "use fewer tokens or a longer sequence"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """The tokens, and their places: at least, where some sets of places are likelier."""
        n = self.num_tokens
        tokens = n * math.log2(self.vocab_size - 2)
        if self.encoding == "mad":
            # two examples agree no more often than one has the likeliest gaps, which are even
            blanks = seqlen - 2 * n - 1
            gap, longer = divmod(blanks, n)
            ways = math.lgamma(blanks + 1) - n * math.lgamma(gap + 1) - longer * math.log(gap + 1)
            return tokens + blanks * math.log2(n) - ways / math.log(2)
        return tokens + math.log2(math.comb(seqlen - self.num_tokens, self.num_tokens))


def _mamba(model: str, result: float) -> Published:
    return Published(
        source="Gu and Dao, arXiv:2312.00752, table 1",
        model=model,
        settings="encoding mamba, L 4096, 2 layers, d_model 64, batch 64, learning rate 1e-4, "
        "400k steps",
        result=f"{result} %",
        differences="data code not public; its length may not count the markers",
    )


class SelectiveCopying(Task):
    """Tokens in, logits out, scored at the last n positions."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    published: ClassVar = (
        _mamba("S4, no gate", 18.3),
        _mamba("S6, no gate", 97.0),
        _mamba("H3 (S4)", 57.0),
        _mamba("Hyena", 30.1),
        _mamba("H3 with S6", 99.7),
        _mamba("Mamba with S4", 56.4),
        _mamba("Mamba with Hyena", 28.4),
        _mamba("Mamba (S6)", 99.8),
        *_recall.mad_published("selective_copying", "encoding mad at L 256 and the paper's others"),
    )
    controls: ClassVar = (
        *(
            Control(
                "lstm",
                32,
                "SOLVED",
                "gates let tokens in and noise pass, in 64 cells",
                settings={"num_layers": 1},
                task_settings={"num_tokens": 4, "encoding": encoding},
                training={
                    "steps": 2000,
                    "learning_rate": 5e-3,
                    "stopping": {"solved_validations": 5},
                },
                seeds=2,
                cpu_minutes=0.6,
            )
            for encoding in ("mamba", "mad")
        ),
        Control(
            "deltanet",
            256,
            "SOLVED",
            "the setting of MAD; 100 % in arXiv:2406.06484",
            settings={"d_model": 128},
            task_settings={"encoding": "mad"},
            training={"steps": 20000, "batch_size": 128, "examples": 12800, "learning_rate": 5e-4},
        ),
    )

    @property
    def blank(self) -> int:
        """The token that is noise: 0 or the last but one, as the originals have it."""
        return 0 if self.settings.encoding == "mamba" else self.settings.vocab_size - 2

    @property
    def first_token(self) -> int:
        """The first of the V - 2 tokens to copy."""
        return 1 if self.settings.encoding == "mamba" else 0

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        V = self.settings.vocab_size
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Numbers, a point for the blank and M for the marker."""
        symbols = [str(token) for token in range(self.settings.vocab_size - 1)] + ["M"]
        symbols[self.blank] = "."
        return symbols

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        n, L, V = self.settings.num_tokens, self.seqlen, self.settings.vocab_size
        tokens = self.first_token + stream.integers(n, V - 2)  # (B, n)
        inputs = tokens.new_full((len(stream), L), self.blank)
        if self.settings.encoding == "mamba":
            places = stream.choose(n, L - n).sort(dim=1).values
            inputs[:, L - n :] = V - 1
        else:
            places = self._places_by_gap(stream, L - 2 * n - 1)
            inputs[:, L - n - 1] = V - 1
        inputs.scatter_(1, places, tokens)
        targets = torch.full_like(inputs, IGNORE)
        targets[:, L - n :] = tokens
        return Batch(inputs, targets)

    def _places_by_gap(self, stream: Stream, blanks: int) -> Tensor:
        """Places of the tokens, (B, n); each blank chooses the token that it stands before."""
        n = self.settings.num_tokens
        before = torch.ones(len(stream), n, dtype=torch.int64, device=stream.device)
        if blanks:
            chosen = stream.integers(blanks, n)
            before.scatter_add_(1, chosen, torch.ones_like(chosen))
        return before.cumsum(1) - 1

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        kinds, n = self.settings.vocab_size - 2, self.settings.num_tokens
        levels = _recall.usual_levels(kinds, "tokens", "the tokens are in the input")
        last = (1 + (n - 1) / kinds) / n
        how = "the last of the tokens at every place"
        levels.append(Level("accuracy", "last_token", "shortcut", last, how))
        likely = self._chances.amax(1).mean().item()
        fixed = likely + (1 - likely) / kinds
        how = "the token at the place where the one asked for stands most often"
        levels.append(Level("accuracy", "fixed_place", "shortcut", fixed, how))
        likely = min(1.0, self._likeliest_share())
        found = likely + (1 - likely) / kinds
        how = "of the tokens, the one at the place where the one asked for stands most often"
        levels.append(Level("accuracy", "likeliest_by_place", "shortcut", found, how))
        if n > 1:
            bag = _recall.bag_scores(n, kinds)
            levels += _recall.shortcut_levels("bag", bag, f"the commonest of the {n} tokens")
        return levels

    @cached_property
    def _chances(self) -> Tensor:
        """How likely each token, in order, stands at each place before the marker, (n, W)."""
        n = self.settings.num_tokens
        width = self.seqlen - n - (self.settings.encoding == "mad")
        if self.settings.encoding == "mad":
            found = torch.zeros(n, width, dtype=torch.float64)
            for k, row in enumerate(found):
                row[k : k + width - n + 1] = _recall.binomial(width - n, (k + 1) / n)
            return found.clamp(max=1)
        place, k = torch.arange(width), torch.arange(n)[:, None]
        ways = _recall.log_choices(place, k) + _recall.log_choices(width - 1 - place, n - 1 - k)
        return (ways - _recall.log_choices(torch.tensor(width), torch.tensor(n))).exp()

    @cached_property
    def _ranks(self) -> Tensor:
        """The rank of each place by how likely each token stands there, 0 the likeliest; (n, W)."""
        return self._chances.argsort(dim=1, descending=True, stable=True).argsort(dim=1)

    def _likeliest_share(self) -> float:
        """How often no token stands where the one asked for is likelier than where it stands.

        Likelier places are the next ones towards the likeliest, as many as the rank says.
        """
        chances, likelier = self._chances, self._ranks
        n, width = chances.shape
        place, k = torch.arange(width), torch.arange(n)[:, None]
        after = place < chances.argmax(1, keepdim=True)
        places = torch.where(after, width - 1 - place, place)  # on that side, (n, W)
        tokens = torch.where(after, n - 1 - k, k)  # that stand there
        if self.settings.encoding == "mad":
            gaps = torch.where(after, tokens, tokens + 1).clamp(min=1)
            blanks = (places - tokens).clamp(min=0)
            beyond = (likelier - 1).minimum(blanks).double().numpy()
            free = torch.from_numpy(bdtrc(beyond, blanks.numpy(), (1 / gaps.double()).numpy()))
        else:
            ways = _recall.log_choices(places - likelier, tokens)
            free = (ways - _recall.log_choices(places, tokens)).exp()
        return torch.where(chances > 0, chances * free, 0).sum().item() / n

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), certain of the tokens in their order."""
        return self._at_end(_recall.certain(self._tokens(batch), self.settings.vocab_size))

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V), uniform on the tokens to copy; the first wins the tie."""
        first, V = self.first_token, self.settings.vocab_size
        return _recall.uniform(batch.inputs, V, first, first + V - 3)

    def shortcuts(self) -> _recall.Solvers:
        """What is left without the order, all tokens but one, or a look at where they stand."""
        solvers = {
            "last_token": self._last_token,
            "fixed_place": self._fixed_place,
            "likeliest_by_place": self._likeliest_by_place,
        }
        if self.settings.num_tokens > 1:
            solvers["bag"] = self._bag
        return solvers

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """The first and the last answer."""
        position = torch.arange(self.seqlen, device=batch.inputs.device).expand_as(batch.inputs)
        first, last = self.seqlen - self.settings.num_tokens, self.seqlen - 1
        return {"first answer": position == first, "last answer": position == last}

    def _tokens(self, batch: Batch) -> Tensor:
        """The tokens to copy, in order, (B, n)."""
        return batch.inputs.gather(1, self._places(batch))

    def _places(self, batch: Batch) -> Tensor:
        """Where the tokens to copy stand, in order, (B, n)."""
        n, V = self.settings.num_tokens, self.settings.vocab_size
        data = (batch.inputs != self.blank) & (batch.inputs != V - 1)
        order = data.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        return order[:, :n]

    def _last_token(self, batch: Batch) -> Tensor:
        n, V = self.settings.num_tokens, self.settings.vocab_size
        return self._at_end(_recall.certain(self._tokens(batch)[:, -1:].repeat(1, n), V))

    def _fixed_place(self, batch: Batch) -> Tensor:
        V = self.settings.vocab_size
        read = batch.inputs[:, self._chances.argmax(1).tolist()]  # (B, n)
        read = torch.where(read == self.blank, self.first_token, read)
        return self._at_end(_recall.certain(read, V))

    def _likeliest_by_place(self, batch: Batch) -> Tensor:
        ranks = self._ranks.to(batch.inputs.device)[:, self._places(batch)]  # (n, B, n)
        read = self._tokens(batch).gather(1, ranks.argmin(2).T)
        return self._at_end(_recall.certain(read, self.settings.vocab_size))

    def _bag(self, batch: Batch) -> Tensor:
        n, V = self.settings.num_tokens, self.settings.vocab_size
        counts = torch.nn.functional.one_hot(self._tokens(batch), V).sum(1, keepdim=True)
        return self._at_end(_recall.counted(counts).repeat(1, n, 1))

    def _at_end(self, logits: Tensor) -> Tensor:
        """Logits (B, L, V), those of the answers (B, n, V) and zeros."""
        return torch.nn.functional.pad(logits, (0, 0, self.seqlen - logits.shape[1], 0))
