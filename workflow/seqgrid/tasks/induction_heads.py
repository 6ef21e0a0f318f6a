"""Induction heads: what followed the special token, asked for where it stands again.

    position   0  1  2  3  4  5  6  7
    inputs     3  0  S  9  4  4  1  S        target at the last position: 9

Source: Gu and Dao, arXiv:2312.00752, sections 4.1.2 and E.2, whose data code is not public: 16
tokens, the special one stands once at a uniform place in the context and again at the end, training
at 256 tokens and tests at 2^6 to 2^20. The paper leaves open whether the special token is one of
the 16; here it is one more. It has an answer behind it and is never the last but one.

Levels. The tokens are uniform: chance is 1 / V. Who knows the L - 2 tokens of the context as a bag,
one of which is the answer, guesses the commonest: E[largest of V counts] / (L - 2), which falls to
chance as L grows.

B batch, L sequence length, V tokens besides the special one.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks import _recall
from seqgrid.tasks._base import Control, Level, Published, Task


class Settings(TaskSettings):
    """How many different tokens there are."""

    vocab_size: int = Field(
        16, ge=2, le=2**16, description="tokens that may be asked for; the special one is one more"
    )

    def impossible(self, seqlen: int) -> str | None:
        """The special token twice and the answer."""
        if seqlen < 3:
            return "the special token twice and an answer need 3 tokens; use a longer sequence"
        return None

    def known_plateau(self, seqlen: int) -> int | None:
        """As measured here: 200, of an LSTM.

        At L 64 with a rate of 5e-3 it was at chance from step 100 to 300, and had solved the task
        by 500. Mamba has plateaus that end in cliffs, too: state-spaces/mamba, issue 61.
        """
        return 200

    def log2_inputs(self, seqlen: int) -> float:
        """Tokens of the context and the place of the special one."""
        return (seqlen - 2) * math.log2(self.vocab_size) + math.log2(seqlen - 2)


def _published(model: str, *accuracy: float) -> Published:
    tested = ", ".join(
        f"{value:g} % at 2^{power}" for power, value in zip((8, 9, 10, 14), accuracy, strict=True)
    )
    return Published(
        source="Gu and Dao, arXiv:2312.00752, table 11",
        model=model,
        settings="2 layers, d_model 64 (Mamba) or 128, batch 8, Adam at 2e-4 or 1e-3 (the better), "
        "82k to 410k steps, training at 256 tokens",
        result=tested,
        differences="whether the special token is one of the 16 is not known",
        verified=model not in ("attention, rotary", "attention, xPos"),
    )


class InductionHeads(Task):
    """Tokens in, logits out, scored at the last position."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    published: ClassVar = (
        _published("attention, absolute positions", 100, 58.6, 26.6, 7.8),
        _published("attention, rotary", 100, 83.6, 31.3, 5.5),
        _published("attention, xPos", 100, 99.6, 67.6, 7.8),
        _published("H3", 100, 80.9, 39.5, 5.9),
        _published("Hyena", 100, 44.1, 12.5, 5.9),
        _published("Mamba", 100, 100, 100, 100),
    )
    controls: ClassVar = (
        Control(
            "lstm",
            64,
            "SOLVED",
            "a gate opens once and keeps one token",
            settings={"num_layers": 1},
            training={"steps": 1500, "learning_rate": 5e-3},
            cpu_minutes=0.4,
        ),
        Control(
            "lstm",
            64,
            "SOLVED",
            "what is kept is kept at any distance; Mamba does likewise, arXiv:2312.00752, table 11",
            settings={"num_layers": 1},
            training={"steps": 1500, "learning_rate": 5e-3},
            at=1024,
            cpu_minutes=0.4,
        ),
        Control(
            "attention",
            32,
            "SOLVED",
            "two layers make an induction head, arXiv:2209.11895",
            settings={"num_heads": 1},
            training={"steps": 2000, "learning_rate": 1e-3, "warmup_steps": 200},
            cpu_minutes=0.2,
        ),
        Control(
            "attention",
            32,
            "NOT SOLVED",
            "rotary attention falls off beyond its training length, arXiv:2312.00752, table 11",
            settings={"num_heads": 1},
            training={"steps": 2000, "learning_rate": 1e-3, "warmup_steps": 200},
            at=128,
            cpu_minutes=0.2,
        ),
    )

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same vocabulary."""
        V = self.settings.vocab_size + 1
        return Shape(num_outputs=V, pooled=False, seqlen=self.seqlen, vocab_size=V)

    @property
    def symbols(self) -> list[str]:
        """Numbers, and S for the special token."""
        return [*(str(token) for token in range(self.settings.vocab_size)), "S"]

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        special = self.settings.vocab_size
        place = stream.integers(1, self.seqlen - 2)  # (B, 1)
        inputs = stream.integers(self.seqlen, special).scatter_(1, place, special)
        inputs[:, -1] = special
        targets = torch.full_like(inputs, IGNORE)
        targets[:, -1:] = inputs.gather(1, place + 1)
        return Batch(inputs, targets)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        V = self.settings.vocab_size
        how = f"the commonest of the {self.seqlen - 2} tokens in the context"
        return [
            *_recall.usual_levels(V, "tokens", "the answer is in the context"),
            *_recall.shortcut_levels(
                "token_in_context", _recall.bag_scores(self.seqlen - 2, V), how
            ),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, V + 1), certain of what followed the special token."""
        answer = batch.inputs.gather(1, self._place(batch) + 1)
        return self._at_end(_recall.certain(answer, self.settings.vocab_size + 1))

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, V + 1), uniform on all but the special token; token 0 wins the tie."""
        V = self.settings.vocab_size
        return _recall.uniform(batch.inputs, V + 1, 0, V - 1)

    def shortcuts(self) -> _recall.Solvers:
        """A guess among the tokens of the context, wherever the special one stands."""
        return {"token_in_context": self._token_in_context}

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """By the distance between the two special tokens."""
        distance = torch.zeros_like(batch.inputs)
        distance[:, -1:] = self.seqlen - 1 - self._place(batch)
        return _recall.distance_slices(distance, self.seqlen)

    def _place(self, batch: Batch) -> Tensor:
        """Where the special token stands first, (B, 1)."""
        special = batch.inputs == self.settings.vocab_size
        return special.to(torch.uint8).argmax(1, keepdim=True)

    def _token_in_context(self, batch: Batch) -> Tensor:
        V = self.settings.vocab_size
        counts = torch.zeros(len(batch), V + 1, device=batch.inputs.device)
        counts.scatter_add_(1, batch.inputs, torch.ones_like(batch.inputs, dtype=torch.float32))
        counts[:, V] = 0
        return self._at_end(_recall.counted(counts)[:, None])

    def _at_end(self, logits: Tensor) -> Tensor:
        """Logits (B, L, V + 1), those of the last position (B, 1, V + 1) and zeros."""
        return torch.nn.functional.pad(logits, (0, 0, self.seqlen - 1, 0))
