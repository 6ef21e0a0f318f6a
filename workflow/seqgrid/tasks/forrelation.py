"""Whether one function of n bits is correlated with the Fourier transform of another.

    step       0    1    2    3              n = 2, N = 2^n = 4
    x bits     0 1  1 0  1 1  1 0
    f(x)       +    -    +    -
    y bits     1 1  0 1  1 1  0 0
    g(y)       -    +    -    +              class 1: forrelated, 0: independent

Definition: Aaronson and Ambainis, arXiv:1411.5729. For functions f, g to +-1

    phi(f, g) = N^(-3/2) sum over x, y of f(x) (-1)^(x.y) g(y),

and they are forrelated, f = sgn(u), g = sgn(H u / sqrt N) for normal u and the Hadamard matrix H,
where phi has mean sqrt(N) (2/pi) arcsin(1/sqrt N), about 2/pi; or independent and uniform, where it
has mean 0 and variance 1/N. In both classes f alone is uniform, and g alone is.

As a sequence: JHPark9090/Quantum-Hydra-Mamba, data_loaders/generate_forrelation_dataset_v2.py. A
step shows (x, f(x), y, g(y)) for uniform x and y, with replacement. Its first generator gave the
class away, as f was nearly constant in one; the second rejects independent pairs with
|phi| >= 0.15, 23 % of them at n = 6, which moves the ceiling by less than 0.01; ours rejects none.
Its validation set is its test set; ours are separate streams.

What L allows: L steps show a share 1 - (1 - 1/N)^L of each function. The best decision is by the
likelihood ratio of the signs shown: 2^-(their number) if independent, and if forrelated the
probability of an orthant of (u, H u / sqrt N), here by expectation propagation (Minka 2001) with
one precision for each of the two vectors, as H is orthogonal (Rangan et al., arXiv:1610.03082).
That is an estimate, but close: its posterior is calibrated, at n = 2 it agrees with orthants that
were counted, and at n = 6 a precision for every sign decides no better. At n = 6 it is right in

    L           20      50      100     200
    ceiling     0.78    0.96    0.997   1.000
    same_step   0.56    0.61    0.66    0.71

of the pairs. That study has L = 50, 100 and 200 at n = 6, and all of its 12 models score 0.52 to
0.53, which is what the best epoch by a test set of 1000 pairs gives at chance: the pairs can be
told apart, nearly always at L >= 100, and no model, quantum or not, was seen to learn it.

`same_step` needs no memory: it adds up f(x) (-1)^(x.y) g(y) over the steps, whose mean is
phi / sqrt(N), and compares with half of what is expected of a forrelated pair.

B batch, L sequence length, n bits, N = 2^n.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.seeds import derive
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task
from seqgrid.tasks._strings import SLIGHT

TRIALS = 4096  # examples behind a level; its error is < 0.008
SWEEPS = 5  # of expectation propagation; more change no decision
FINE = 2.0**20  # normal numbers are multiples of 1 / FINE, so that their sums are exact


class Settings(TaskSettings):
    """How many values the functions have."""

    pooled: ClassVar[bool] = True

    n_bits: int = Field(
        6, ge=1, le=8, description="bits n of an argument; each function has 2^n values"
    )

    def log2_inputs(self, seqlen: int) -> float:
        """At least: the arguments alone, which are uniform."""
        return 2.0 * self.n_bits * seqlen


class Forrelation(Task):
    """Arguments and signs of two functions in, one of two classes out."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = (
        Control(
            "gru",
            32,
            "SOLVED",
            "the functions of 2 bits are 8 signs to keep and to multiply, as measured; 6 bits are "
            "128 signs, and no model is known to do it",
            settings={"num_layers": 1},
            task_settings={"n_bits": 2},
            training={
                "steps": 1500,
                "batch_size": 128,
                "learning_rate": 3e-3,
                "stopping": {"solved_validations": None},
            },
            cpu_minutes=0.85,
        ),
    )
    published: ClassVar = (
        Published(
            "JHPark9090/Quantum-Hydra-Mamba",
            "12 sequence models, 9 of them with quantum circuits",
            "n_bits 6, L 50, 100 and 200, 5000 pairs",
            "51.9 to 52.9 % accuracy, means over lengths and seeds",
            "fixed set of examples; validated on the test set; independent pairs of |phi| >= 0.15 "
            "rejected",
        ),
    )

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.bits = settings.n_bits
        self.size = 2**self.bits

    @property
    def shape(self) -> Shape:
        """Bits of x, f(x), bits of y, g(y) to logits of one pooled class."""
        return Shape(
            num_outputs=2,
            pooled=True,
            seqlen=self.seqlen,
            num_channels=2 * self.bits + 2,
            slots=1,
        )

    def sample(self, stream: Stream) -> Batch:
        """Inputs (B, L, 2 n + 2), bits 0 or 1 and signs +-1; targets (B, 1)."""
        label = stream.integers(1, 2)  # (B, 1)
        uniform = (stream.words(self.size).double() + 0.5) * 2.0**-32
        normal = (torch.special.ndtri(uniform) * FINE).round()  # (B, N)
        f = _signs(normal)
        coins = stream.words(-(-self.size // 32))[..., None] >> torch.arange(32, device=f.device)
        coins = (coins & 1).flatten(1)[:, : self.size]
        g = torch.where(label == 1, _signs(transform(normal)), 1.0 - 2.0 * coins)
        x = stream.integers(self.seqlen, self.size)
        y = stream.integers(self.seqlen, self.size)
        channels = (self._bits_of(x), f.gather(1, x)[..., None], self._bits_of(y))
        inputs = torch.cat((*channels, g.gather(1, y)[..., None]), dim=2)
        return Batch(inputs.float(), label)

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the posterior."""
        ceiling, same_step, loss = scores_of(self.settings, self.seqlen)
        how = f"likelihood ratio by expectation propagation, {TRIALS} examples"
        least = "nine tenths of the way from chance to the ceiling"
        return [
            Level("accuracy", "chance", "chance", 0.5, "both classes are as likely"),
            Level(
                "accuracy",
                "same_step",
                "shortcut",
                same_step,
                f"pairs of the same step only, nothing kept, {TRIALS} examples",
            ),
            Level("accuracy", "ceiling", "ceiling", ceiling, how),
            Level("accuracy", "solved", "solved", 0.5 + 0.9 * (ceiling - 0.5), least),
            Level("loss", "chance", "chance", math.log(2), "ln 2, uniform"),
            Level("loss", "ceiling", "ceiling", loss, how),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, 1, 2): nothing, and the log likelihood ratio."""
        x, f, y, g = self._parsed(batch)
        empty = torch.zeros(len(batch), self.size, dtype=torch.float64, device=f.device)
        return _two_logits(log_likelihood_ratio(empty.scatter(1, x, f), empty.scatter(1, y, g)))

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, 1, 2), uniform; class 0 wins the tie."""
        nothing = torch.full((len(batch),), -SLIGHT, device=batch.inputs.device)
        return _two_logits(nothing)

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """What each step says by itself."""
        return {"same_step": self._same_step}

    def _same_step(self, batch: Batch) -> Tensor:
        x, f, y, g = self._parsed(batch)
        odd = self._bits_of(x & y).sum(2) % 2
        total = (f * g * (1 - 2 * odd)).sum(1)  # (B,)
        expected = self.seqlen * 2 / math.pi * math.asin(self.size**-0.5)
        return _two_logits(total - expected / 2)

    def _bits_of(self, numbers: Tensor) -> Tensor:
        """Lowest bit first, (B, L, n), of (B, L)."""
        return numbers[..., None] >> torch.arange(self.bits, device=numbers.device) & 1

    def _parsed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, f(x), y and g(y), (B, L) each; signs in float64."""
        weights = 2 ** torch.arange(self.bits, device=batch.inputs.device)
        numbers = batch.inputs.long()
        x = (numbers[..., : self.bits] * weights).sum(2)
        y = (numbers[..., self.bits + 1 : -1] * weights).sum(2)
        return x, batch.inputs[..., self.bits].double(), y, batch.inputs[..., -1].double()


@cache
def scores_of(settings: Settings, seqlen: int) -> tuple[float, float, float]:
    """Accuracy of the oracle and of the shortcut, loss of the oracle, on examples of their own."""
    task = Forrelation(settings, seqlen)
    key = derive("forrelation levels", settings.n_bits, seqlen)
    sums = torch.zeros(3, dtype=torch.float64)
    for indices in torch.arange(TRIALS).split(1024):  # long sequences would fill the memory
        batch = task.sample(Stream(key, indices))
        told, simple = task.oracle(batch), task.shortcuts()["same_step"](batch)
        right = [(logits.argmax(2) == batch.targets).double() for logits in (told, simple)]
        losses = -told.double().log_softmax(2).gather(2, batch.targets[..., None])
        sums += torch.stack([part.sum() for part in (*right, losses)])
    ceiling, same_step, loss = (sums / TRIALS).tolist()
    return ceiling, same_step, loss


def transform(values: Tensor) -> Tensor:
    """The Hadamard transform, sum over x of (-1)^(x.y) values(x): (B, N) to (B, N)."""
    size, stride = values.shape[1], 1
    while stride < size:
        pairs = values.unflatten(1, (-1, 2, stride))
        one, other = pairs.unbind(2)
        values = torch.stack((one + other, one - other), dim=2).flatten(1)
        stride *= 2
    return values


def log_likelihood_ratio(f: Tensor, g: Tensor) -> Tensor:
    """Log P(signs | forrelated) - log P(signs | independent), (B,).

    f, g: (B, N) float64, +-1 where a value is known and 0 elsewhere.

    The prior of u is N(0, 1). Each set of signs acts as one factor exp(r.v - p |v|^2 / 2) on its
    vector v, u or H u / sqrt N, which is matched in mean and in mean variance to the signs it
    stands for, given the other factor; then the evidence is put together of both.
    """
    size = f.shape[1]
    signs = (f, g)
    zero = torch.zeros_like(f)
    precision, shift = [zero[:, :1]] * 2, [zero] * 2  # p (B, 1) and r (B, N) of both factors

    def without(k: int) -> tuple[Tensor, ...]:
        """The other factor's mean (B, N) and precision; log P(signs), mean, variance under it."""
        rest = 1 + precision[1 - k]
        mean = transform(shift[1 - k]) / math.sqrt(size) / rest
        margin = signs[k] * mean * rest.sqrt()
        log = torch.where(signs[k] != 0, torch.special.log_ndtr(margin), 0)
        # of a normal variable cut off at one side; no cut where the sign is not known
        ratio = torch.exp(-(margin**2) / 2 - log) / math.sqrt(2 * math.pi)
        ratio = torch.where(signs[k] != 0, ratio, 0)
        cut_mean = mean + signs[k] * ratio / rest.sqrt()
        variance = ((1 - ratio * (margin + ratio)) / rest).mean(1, keepdim=True)
        return mean, rest, log, cut_mean, variance

    for _ in range(SWEEPS):
        for k in (0, 1):
            mean, rest, _, cut_mean, variance = without(k)
            precision[k] = (1 / variance - rest).clamp(min=0)
            shift[k] = cut_mean / variance - rest * mean
    whole = 1 + precision[0] + precision[1]  # (B, 1)
    joint = shift[0] + transform(shift[1]) / math.sqrt(size)
    square = joint.square().sum(1, keepdim=True) / whole
    evidence = -size / 2 * whole.log() + square / 2
    for k in (0, 1):
        mean, rest, log, *_ = without(k)
        evidence = evidence + log.sum(1, keepdim=True) - size / 2 * (rest / whole).log()
        evidence = evidence + (rest * mean.square().sum(1, keepdim=True) - square) / 2
    known = (f != 0).sum(1) + (g != 0).sum(1)
    return evidence.squeeze(1) + known * math.log(2)


def _signs(values: Tensor) -> Tensor:
    """+1 where a value is not negative, else -1."""
    return torch.where(values >= 0, 1.0, -1.0)


def _two_logits(second: Tensor) -> Tensor:
    """Logits (B, 1, 2) float32: 0 and that of class 1, (B,)."""
    return torch.stack((torch.zeros_like(second), second), dim=1)[:, None].float()
