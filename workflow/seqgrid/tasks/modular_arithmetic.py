"""The value of a sum of products, modulo m.

    inputs     4  +  2  *  3  -  1  _
    targets    .  .  .  .  .  .  4  .        scored: last      4 + 6 - 1 = 9 = 4 (mod 5)
    targets    4  .  1  .  0  .  4  .        scored: every

Source: Deletang et al., arXiv:2207.02098, "modular arithmetic (simple)", a regular task;
tasks/regular/modular_arithmetic.py of google-deepmind/neural_networks_chomsky_hierarchy, whose
semantics are those of school: `*` before `+` and `-`, those two from left to right, no brackets.
Digits and operators are uniform. There the answer is read at an empty token behind the expression,
here at its last digit; lengths differ inside a batch, and `_` pads. Expressions have odd lengths.

A reader needs two numbers modulo m: the sum s of the terms that are finished and the signed product
t of the one that is not. The value is s + t, and with the next digit d

    +: (s, t) -> (s + t, d)      -: (s, t) -> (s + t, -d)      *: (s, t) -> (s, t d).

These are affine maps, so all prefixes come out of one scan in log2 L steps. The levels follow from
the distribution of (s, t) and of what a shortcut holds, stepped through exactly. Zero is the
likeliest value, as one zero is enough for a product. `left_to_right` ignores precedence,
`last_term` answers t alone.

B batch, L sequence length, D digits, m modulus.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task
from seqgrid.tasks._strings import SLIGHT, certain, draw_length, quarters

OPERATORS = "+-*"


class Settings(TaskSettings):
    """Modulus, lengths, and what is asked."""

    modulus: int = Field(5, ge=2, le=10, description="values are 0..modulus-1; 5 as published")
    shortest: int | None = Field(
        None,
        ge=1,
        description="shortest example, tokens; null: all as long as the sequence length",
    )
    scored: Literal["last", "every"] = Field(
        "last", description="the value of the whole expression, or that at every digit too"
    )

    def impossible(self, seqlen: int) -> str | None:
        """The shortest example must fit, with an odd number of tokens."""
        longest = seqlen - (seqlen + 1) % 2
        if (self.shortest or 1) > longest:
            return (
                f"an expression has an odd number of tokens, at most {longest} of {seqlen}, and "
                f"the shortest is to have {self.shortest}; use shortest <= {longest} or a longer "
                "sequence"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """Two examples are alike where both have n digits, the same ones, and operators."""
        most = (seqlen + 1) // 2
        least = most if self.shortest is None else self.shortest // 2 + 1
        count = most - least + 1
        step = 3.0 * self.modulus
        alike = math.fsum(step**-n for n in range(count)) / count**2
        return math.log2(self.modulus) + (least - 1) * math.log2(step) - math.log2(alike)


class ModularArithmetic(Task):
    """Digits and operators in, logits out, scored at the last digit or at every digit."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = (
        Control(
            "lstm",
            20,
            "SOLVED",
            "two numbers of state; the LSTM is at 100 % in Deletang et al.",
            settings={"num_layers": 1},
            task_settings={"shortest": 9, "scored": "every"},
            training={
                "steps": 1600,
                "batch_size": 128,
                "learning_rate": 5e-3,
                "schedule": "cosine",
                "stopping": {"solved_validations": None},
            },
            cpu_minutes=0.5,
        ),
        Control(
            "attention",
            20,
            "AT CHANCE",
            "a transformer does not generalise to longer expressions: 24 % in Deletang et al.",
            task_settings={"shortest": 1},
            training={"steps": 600, "learning_rate": 2e-3},
            at=99,
            test_set="longest",
            cpu_minutes=0.25,
        ),
    )
    published: ClassVar = tuple(
        Published(
            "Deletang et al., arXiv:2207.02098",
            model,
            "trained on 1 to 40 tokens, tested on 41 to 500; best of seeds and settings",
            f"{result} % accuracy",
            "best seed, not all; answered at an empty token; mean over lengths",
        )
        for model, result in (("RNN", 100), ("LSTM", 100), ("transformer", 24.2))
    )

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.modulus = settings.modulus
        self.padding = self.modulus + len(OPERATORS)
        most = (seqlen + 1) // 2
        least = most if settings.shortest is None else settings.shortest // 2 + 1
        self.sizes = range(least, most + 1)  # digits

    @property
    def shape(self) -> Shape:
        """Digits, operators and padding to logits over the digits."""
        return Shape(
            num_outputs=self.modulus,
            pooled=False,
            seqlen=self.seqlen,
            vocab_size=self.padding + 1,
        )

    @property
    def symbols(self) -> list[str]:
        """Digits, operators, and `_` for padding."""
        return [*(str(digit) for digit in range(self.modulus)), *OPERATORS, "_"]

    @property
    def variations(self) -> dict[str, dict]:
        """Expressions as long as fit, where training has shorter ones too."""
        return {"longest": {"shortest": None}} if len(self.sizes) > 1 else {}

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """Quarters of the lengths."""
        return quarters(batch, [2 * size - 1 for size in self.sizes])

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L); lengths (B,)."""
        most = self.sizes[-1]
        length = 2 * draw_length(stream, self.sizes) - 1  # (B, 1)
        digits = stream.integers(most, self.modulus)  # (B, D)
        operators = stream.integers(most, len(OPERATORS))  # (B, D), the last one unused
        pairs = torch.stack((digits, operators + self.modulus), dim=2)  # (B, D, 2)
        expression = pairs.flatten(1)[:, : self.seqlen]
        position = torch.arange(self.seqlen, device=length.device)
        inputs = torch.where(position < length, expression, self.padding)
        sums, terms = self._prefixes(digits, operators)
        values = ((sums + terms) % self.modulus).repeat_interleave(2, dim=1)[:, : self.seqlen]
        if self.settings.scored == "every":
            asked = (position < length) & (position % 2 == 0)
        else:
            asked = position == length - 1
        targets = torch.where(asked, values, IGNORE)
        whole = len(self.sizes) == 1 and self.seqlen % 2 == 1
        return Batch(inputs, targets, None if whole else length.squeeze(1))

    def _prefixes(self, digits: Tensor, operators: Tensor) -> tuple[Tensor, Tensor]:
        """Finished sum and open term at every digit, (B, D) each, from (B, D) each.

        operators: the one behind each digit; the last is not looked at.
        """
        m = self.modulus
        before = operators.roll(1, dims=1)
        before[:, 0] = OPERATORS.index("+")
        times = before == OPERATORS.index("*")
        signed = torch.where(before == OPERATORS.index("-"), -digits, digits)
        # the maps (s, t) -> (s + a t + b, c t + e), composed over ever longer runs of digits
        a = (~times).long()
        b = torch.zeros_like(a)
        c = torch.where(times, digits, 0)
        e = torch.where(times, 0, signed)
        stride = 1
        while stride < digits.shape[1]:
            early, late = slice(None, -stride), slice(stride, None)
            a1, b1, c1, e1 = a[:, early], b[:, early], c[:, early], e[:, early]
            a2, b2, c2, e2 = a[:, late], b[:, late], c[:, late], e[:, late]
            a, b, c, e = (
                torch.cat((old[:, :stride], new % m), dim=1)
                for old, new in (
                    (a, a1 + a2 * c1),
                    (b, b1 + a2 * e1 + b2),
                    (c, c2 * c1),
                    (e, c2 * e1 + e2),
                )
            )
            stride *= 2
        return b, e  # of (s, t) = (0, 0)

    @cached_property
    def _shares(self) -> dict[str, Tensor]:
        """Over what is scored: P(value), (m,); P(shortcut is right), scalars; all float64."""
        m = self.modulus
        state = torch.arange(m**3)  # (finished sum, open term, value without precedence)
        total, term, plain = state // m**2, state // m % m, state % m
        step = torch.zeros(m**3, m**3, dtype=torch.float64)
        ways = torch.full((m**3,), 1 / (3 * m), dtype=torch.float64)
        for d in range(m):
            for s, t, v in (
                (total + term, d, plain + d),
                (total + term, -d, plain - d),
                (total, term * d, plain * d),
            ):
                t = torch.as_tensor(t)
                step.index_put_((state, s % m * m**2 + t % m * m + v % m), ways, accumulate=True)
        now = ((total == 0) & (term == plain)).double() / m  # (m^3,) after one digit
        seen = torch.zeros_like(now)
        most, every = self.sizes[-1], self.settings.scored == "every"
        for digit in range(1, most + 1):
            # of how many sizes, as each is as likely, this many digits are scored
            as_long = min(len(self.sizes), most + 1 - digit)
            seen += now * (as_long if every else digit in self.sizes)
            now = now @ step
        seen /= seen.sum()
        value = (total + term) % m
        return {
            "value": torch.zeros(m, dtype=torch.float64).index_add_(0, value, seen),
            "left_to_right": seen[value == plain].sum(),
            "last_term": seen[value == term].sum(),
        }

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of knowing nothing and all."""
        value = self._shares["value"]
        entropy = -(value * value.log()).sum().item()
        exactly = "from the distribution of the states of a reader"
        levels = [
            Level("accuracy", "chance", "chance", value.max().item(), f"the mode, {exactly}"),
            Level("accuracy", "ceiling", "ceiling", 1.0, "the expression is in the input"),
            Level("accuracy", "solved", "solved", 0.9, "where Deletang et al. call it solved"),
            Level("loss", "chance", "chance", entropy, f"entropy of the value, {exactly}"),
            Level("loss", "ceiling", "ceiling", 0.0, "the expression is in the input"),
        ]
        for name, how in (
            ("left_to_right", f"evaluates without precedence, {exactly}"),
            ("last_term", f"takes the finished terms for 0, {exactly}"),
        ):
            levels.append(Level("accuracy", name, "shortcut", self._shares[name].item(), how))
        return levels

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, m), certain of the value so far."""
        sums, terms = self._prefixes(*self._parsed(batch))
        return self._spread((sums + terms) % self.modulus)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, m) of the shares of the values; the mode wins."""
        shares = self._shares["value"].float()
        logits = shares.log()
        logits[shares.argmax()] += SLIGHT
        return logits.to(batch.inputs.device).expand(*batch.inputs.shape, self.modulus)

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """No precedence; the open term alone."""
        return {"left_to_right": self._left_to_right, "last_term": self._last_term}

    def _left_to_right(self, batch: Batch) -> Tensor:
        digits, operators = self._parsed(batch)
        value = digits[:, 0]
        values = [value]
        for place in range(1, digits.shape[1]):
            d, operator = digits[:, place], operators[:, place - 1]
            outcomes = torch.stack((value + d, value - d, value * d)) % self.modulus  # (3, B)
            value = outcomes.gather(0, operator[None]).squeeze(0)
            values.append(value)
        return self._spread(torch.stack(values, dim=1))

    def _last_term(self, batch: Batch) -> Tensor:
        return self._spread(self._prefixes(*self._parsed(batch))[1] % self.modulus)

    def _parsed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Digits and the operators behind them, (B, D) each; some where there is padding."""
        digits = batch.inputs[:, 0::2]
        operators = torch.zeros_like(digits)
        behind = batch.inputs[:, 1::2] - self.modulus
        operators[:, : behind.shape[1]] = behind.clamp(0, len(OPERATORS) - 1)
        return digits.clamp(max=self.modulus - 1), operators

    def _spread(self, values: Tensor) -> Tensor:
        """Logits (B, L, m), certain of each digit's value (B, D), there and behind it."""
        values = values.repeat_interleave(2, dim=1)[:, : self.seqlen]
        return certain(values, self.modulus)
