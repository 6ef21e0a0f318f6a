"""Flip-flop language modelling: a register of one bit, written, read and passed by.

    inputs    w  1  i  0  r  1  w  0  i  1  r  0
    targets   .  .  .  .  1  .  .  .  .  .  0  .

Source: Liu et al., arXiv:2306.00946, definition 1; data set synthseq/flipflop, whose ids are used.
Instructions and bits alternate. The first instruction is w (write), the last r (read), the others
are i (ignore) with probability p_i, else w or r alike: FFL(p_i). The bit after w or i is random,
that after r the last one written, told at the r. Trained on FFL(0.8), a model is tested on
FFL(0.98) too, where a bit is kept for long, and on FFL(0.1), where much is written.

Levels, error rates of reads. Let n = L/2 be the instructions and p_r = (1 - p_i) / 2:

- chance 1/2: bits are random, and both values alike.
- copy_last_bit, whatever its instruction: wrong after half of the ignores. Instruction 1 follows a
  w, so (p_i / 2) (1 - s), s its share p_r / (p_r (n - 2) + 1) of the reads, 1 where n = 2.
- majority_bit of all bits so far: let x be the bits that agree with the register less those that do
  not. A read adds 1 to x, an ignored bit 1 or -1, a write leaves 1 + x or 1 - x. That chain gives
  the distribution of x at each read exactly; the guess is wrong where x < 0, and half the time
  where x = 0.
- first_bit, the first one written: wrong in half of the reads with a write since, so at
  instruction t in (1 - (1 - p_r)^(t - 1)) / 2.
- last_read, the bit told at the last read, else the first one written: wrong half the time where a
  write came since. Looking back, a write comes before a read or the start in (1 - p_i^(t - 1)) / 2.
- ceiling 0: the bit was written.

B batch, L sequence length, n instructions.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import IGNORE, Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task

WRITE, READ, SKIP, BIT = 0, 1, 2, 3  # BIT is the bit 0, BIT + 1 the bit 1
VOCABULARY = 5
CERTAIN = 50.0  # logit of the only possible answer
SLIGHT = 1e-4  # a logit that settles a tie and leaves the loss alone


class Settings(TaskSettings):
    """How often nothing is to be done, and what the loss sees."""

    next_token: ClassVar[bool] = True

    p_ignore: float = Field(
        0.8, ge=0, lt=1, description="share of ignored instructions; the rest is half reads"
    )
    loss_on: Literal["reads", "all"] = Field(
        "reads", description="tokens that are trained on; errors are counted at reads either way"
    )

    def impossible(self, seqlen: int) -> str | None:
        """Instructions and bits alternate, and one write and one read is the least."""
        if seqlen < 4:
            return f"a write and a read need 4 tokens and there are {seqlen}; use a longer sequence"
        if seqlen % 2:
            return (
                f"{seqlen} tokens are no pairs of an instruction and a bit; "
                f"use {seqlen - 1} or {seqlen + 1}"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """From the chance that two examples agree in all instructions and free bits."""
        ignore, read = self.p_ignore, (1 - self.p_ignore) / 2
        alike = ignore**2 / 2 + read**2 / 2 + read**2  # at one instruction: i, w and r
        return 1 - (seqlen // 2 - 2) * math.log2(alike)


class FlipFlop(Task):
    """Tokens in, logits of the next token out, scored at the reads."""

    metric: ClassVar = "error_rate"
    better: ClassVar = "lower"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = tuple(
        Control(
            "lstm",
            64,
            "SOLVED",
            "a 1-layer LSTM of width 128 reads without an error, arXiv:2306.00946",
            settings={"num_layers": 1, "d_model": 128},
            training={
                "steps": 150,
                "batch_size": 16,
                "weight_decay": 0.1,
                "stopping": {"solved_validations": None},
            },
            at=512,
            test_set=test_set,
            seeds=3,
            cpu_minutes=0.2,
        )
        for test_set in ("", "sparse", "dense")
    )
    published: ClassVar = (
        Published(
            "Liu et al., arXiv:2306.00946",
            "LSTM, 1 layer, d 128, 133K parameters",
            "L 512, FFL(0.8), loss on the reads, a twentieth of the transformer's examples",
            "no error on FFL(0.8), FFL(0.98) and FFL(0.1) in 100 of 100 runs",
            "no MLP behind the LSTM: the layer here has one, mlp_ratio 0 takes it away",
        ),
        Published(
            "Liu et al., arXiv:2306.00946",
            "GPT-2, 6 layers, d 512, 8 heads, 19M parameters",
            "L 512, FFL(0.8), AdamW 3e-4, decay 0.1, batch 16, 10,000 steps",
            "a tail of errors on FFL(0.98) and FFL(0.1), 1e-3 to 1e-6 of the reads",
            "learned positions; a linear decay of the rate after 50 steps of warm-up",
        ),
    )

    @property
    def shape(self) -> Shape:
        """Tokens to logits over the same five tokens."""
        return Shape(
            num_outputs=VOCABULARY, pooled=False, seqlen=self.seqlen, vocab_size=VOCABULARY
        )

    @property
    def symbols(self) -> list[str]:
        """Write, read, ignore and the bits."""
        return ["w", "r", "i", "0", "1"]

    @property
    def variations(self) -> dict[str, dict[str, Any]]:
        """The other test sets of the paper."""
        return {"sparse": {"p_ignore": 0.98}, "dense": {"p_ignore": 0.1}}

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        words = stream.words(self.seqlen // 2)  # (B, n)
        bits, chosen = words & 1, words >> 1  # of 31 bits
        ignore = self.settings.p_ignore
        instructions = torch.full_like(words, WRITE)
        instructions[chosen < round((1 + ignore) / 2 * 2**31)] = READ
        instructions[chosen < round(ignore * 2**31)] = SKIP
        instructions[:, 0], instructions[:, -1] = WRITE, READ
        read = instructions == READ
        bits = torch.where(read, bits.gather(1, _last(WRITE, instructions)), bits)
        inputs = torch.stack((instructions, BIT + bits), dim=2).flatten(1)
        following = inputs.roll(-1, dims=1)
        following[:, -1] = IGNORE
        scored = inputs == READ
        if self.settings.loss_on == "all":
            return Batch(inputs, following, scored=scored)
        return Batch(inputs, torch.where(scored, following, IGNORE))

    def levels(self) -> list[Level]:
        """Error rate of the reads, and the loss of the same knowledge stated as probabilities."""
        n, ignore = self.seqlen // 2, self.settings.p_ignore
        first, told = _remembering(n, ignore)
        shortcuts = [
            ("copy_last_bit", _copying(n, ignore), "the bit just before, told, written or ignored"),
            (
                "majority_bit",
                _majority(n, ignore),
                "the commoner bit so far; exact, from the chain of its lead",
            ),
            (
                "first_bit",
                first,
                "the first bit written: wrong in half of the reads once overwritten",
            ),
            ("last_read", told, "the bit of the last read, else the first one written"),
        ]
        return [
            Level("error_rate", "chance", "chance", 0.5, "bits are random, both values alike"),
            *(Level("error_rate", name, "shortcut", value, how) for name, value, how in shortcuts),
            Level("error_rate", "ceiling", "ceiling", 0.0, "the bit was written"),
            Level(
                "error_rate",
                "solved",
                "solved",
                1e-4,
                "one error in 10,000 reads, so none in a smaller test",
            ),
            Level("loss", "chance", "chance", math.log(2), "ln 2, uniform on the bits"),
            Level("loss", "ceiling", "ceiling", 0.0, "the bit was written"),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, 5): at a read the last bit written, elsewhere the odds of what is next."""
        logits = self.constant(batch)
        instructions, bits = batch.inputs[:, 0::2], batch.inputs[:, 1::2]  # (B, n)
        written = bits.gather(1, _last(WRITE, instructions))
        answer = torch.zeros_like(logits[:, 0::2]).scatter_(2, written[..., None], CERTAIN)
        logits[:, 0::2] = torch.where((instructions == READ)[..., None], answer, logits[:, 0::2])
        return logits

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, 5): the odds of an instruction, or of a bit, of which 0 wins the tie."""
        ignore = self.settings.p_ignore
        logits = torch.full((*batch.inputs.shape, VOCABULARY), -CERTAIN, device=batch.inputs.device)
        logits[:, 0::2, BIT:] = 0
        logits[:, 0::2, BIT] = SLIGHT
        logits[:, 1::2, [WRITE, READ]] = math.log((1 - ignore) / 2)
        logits[:, 1::2, SKIP] = math.log(ignore) if ignore > 0 else -CERTAIN
        logits[:, -3] = -CERTAIN
        logits[:, -3, READ] = 0  # the last instruction
        return logits

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Guesses from the bits before a read, that do not look for writes."""
        return {
            "copy_last_bit": self._copy_last_bit,
            "majority_bit": self._majority_bit,
            "first_bit": self._first_bit,
            "last_read": self._last_read,
        }

    def slices(self, batch: Batch) -> dict[str, Tensor]:
        """Reads by how many instructions before them the bit was written, (B, L) each."""
        instructions = batch.inputs[:, 0::2]
        place = torch.arange(instructions.shape[1], device=instructions.device)
        distance = place - _last(WRITE, instructions)  # (B, n)
        distance = torch.where(instructions == READ, distance, 0)
        # a bit has none, 0, which is no slice's
        distance = torch.stack((distance, torch.zeros_like(distance)), dim=2).flatten(1)  # (B, L)
        found, last = {"distance 1": distance == 1}, 1
        while last < len(place) - 1:
            first, last = last + 1, 2 * last
            name = f"distance {first}-{last}" if first < last else f"distance {last}"
            found[name] = (distance >= first) & (distance <= last)
        return found

    def _copy_last_bit(self, batch: Batch) -> Tensor:
        return self._answers(batch.inputs[:, 1::2] - BIT)

    def _majority_bit(self, batch: Batch) -> Tensor:
        lead = (2 * (batch.inputs[:, 1::2] - BIT) - 1).cumsum(1)
        return self._answers((lead > 0).long())

    def _first_bit(self, batch: Batch) -> Tensor:
        bits = batch.inputs[:, 1::2] - BIT
        return self._answers(bits[:, :1].expand_as(bits))

    def _last_read(self, batch: Batch) -> Tensor:
        instructions, bits = batch.inputs[:, 0::2], batch.inputs[:, 1::2] - BIT
        return self._answers(bits.gather(1, _last(READ, instructions)))

    def _answers(self, bits: Tensor) -> Tensor:
        """Logits (B, L, 5) for bits (B, n), each told at the instruction after it."""
        told = torch.cat((torch.zeros_like(bits[:, :1]), bits[:, :-1]), dim=1)
        told = told.repeat_interleave(2, dim=1) + BIT  # (B, L)
        blank = torch.zeros(*told.shape, VOCABULARY, device=told.device)
        return blank.scatter_(2, told[..., None], CERTAIN)


def _last(kind: int, instructions: Tensor) -> Tensor:
    """The last one of a kind up to each instruction, else the first of all, (B, n) -> (B, n)."""
    place = torch.arange(instructions.shape[1], device=instructions.device)
    return torch.where(instructions == kind, place, 0).cummax(1).values


def _copying(n: int, ignore: float) -> float:
    """Error rate of the bit just before a read."""
    read = (1 - ignore) / 2
    share = read / (read * (n - 2) + 1) if n > 2 else 1.0  # of instruction 1 among the reads
    return ignore / 2 * (1 - share)


def _remembering(n: int, ignore: float) -> tuple[float, float]:
    """Error rates of the first bit, and of that of the last read, else the first."""
    read = write = (1 - ignore) / 2
    before = np.arange(n - 1)  # instructions between the first and each that may be a read
    reads = np.where(before < n - 2, read, 1.0)
    first, told = (1 - (1 - write) ** before) / 2, (1 - ignore**before) / 4
    return float(reads @ first / reads.sum()), float(reads @ told / reads.sum())


@cache
def _majority(n: int, ignore: float) -> float:
    """Error rate of the commoner bit before a read."""
    read = write = (1 - ignore) / 2
    lead = np.zeros(2 * n + 3)  # the chance of each lead of the register's bit, -n-1 to n+1
    lead[n + 2] = 1.0  # 1, after the first write
    wrong = reads = 0.0
    for place in range(1, n):
        share = 1.0 if place == n - 1 else read
        wrong += share * (lead[: n + 1].sum() + lead[n + 1] / 2)
        reads += share
        kept = (read + ignore / 2 + write / 2) * lead + write / 2 * lead[::-1]
        lost = ignore / 2 * lead
        lead[1:], lead[0] = kept[:-1], 0.0
        lead[:-1] += lost[1:]
    return wrong / reads
