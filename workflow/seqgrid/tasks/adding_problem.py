"""The sum of the two marked values among many.

    values   0.31  0.72  0.05  0.90  0.44  0.18
    markers  0     1     0     0     1     0        target 0.72 + 0.44 = 1.16

Source: Hochreiter and Schmidhuber 1997, "Long short-term memory"; in this form Le et al.,
arXiv:1504.00941. Values are uniform on [0, 1), so a target has mean 1 and variance 2/12 = 1/6:
a constant scores MSE 1/6, which R2 counts as 0. A model may sit there for long before it learns.
The order of the sequence does not matter, so the task tests memory and not order.

Hochreiter and Schmidhuber count a sequence as right within 0.04 of its target, which is half the
sum of values from 0 to 1: within t = 0.08 here. The sum s of two uniforms has the density
1 - |s - 1|, so the constant 1 is right in 2 t - t^2. With one value known the error is uniform on
(-1/2, 1/2), so 2 t are right. The mean of n values, of which the other one is any, explains 1 / n
of its variance: last_marker_and_mean has R2 (1 + 1 / n) / 2, n the values where it may stand.

B batch, L sequence length.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task, regression_level

VARIANCE = 1 / 6  # of the sum of two uniforms
WITHIN = 0.08  # of a target that counts as right


class Settings(TaskSettings):
    """Where the two markers stand."""

    pooled: ClassVar[bool] = True

    markers: Literal["extremes", "uniform", "halves"] = Field(
        "uniform",
        description="'uniform': any two positions; 'halves': one in each half; "
        "'extremes': one in the first tenth, one in the last",
    )

    def impossible(self, seqlen: int) -> str | None:
        """Two markers need two positions."""
        if seqlen < 2:
            return f"two markers need 2 positions and there is {seqlen}; use a longer sequence"
        return None

    def known_plateau(self, seqlen: int) -> int | None:
        """As measured here: 375, of quantum_hydra's 2d; and 1,563 at 400 positions, of a TCN.

        At L 200, with batches of 32 of 4,000 examples and a rate of 1e-3, it was at chance from
        step 125 to 500, and at R2 0.98 by 1,000. A GRU and an LSTM of 64 channels, at L 100 with
        batches of 50, left chance after 75 and 175 steps. The TCN, with batches of 32 and a rate of
        4e-3, was at chance after its first epoch of 1,563 steps (MSE 0.1687) and at 0.0011 after
        the second: locuslab/TCN, issue 40; in issue 30 it was still there after six.
        """
        return 1563 if seqlen >= 400 else 375


class AddingProblem(Task):
    """Two channels in, value and marker; one value out."""

    metric: ClassVar = "r2"
    better: ClassVar = "higher"
    loss: ClassVar = "mse"
    tolerance: ClassVar = WITHIN
    settings: Settings
    controls: ClassVar = (
        Control(
            "gru",
            100,
            "SOLVED",
            "a gate that opens at the markers and adds; 3 of 3 seeds, as measured here",
            settings={"num_layers": 1},
            training={"steps": 1000, "batch_size": 50, "learning_rate": 3e-3},
            seeds=2,
            cpu_minutes=0.6,
        ),
    )
    published: ClassVar = (
        Published(
            "Le et al., arXiv:1504.00941",
            "the constant 1",
            "L 150 to 400, markers uniform",
            "MSE 0.1767",
            "1/6 = 0.1667 by calculation",
            verified=False,
        ),
        Published(
            "locuslab/TCN, issue 30",
            "temporal convolutional network at its defaults",
            "L 200 to 600, markers uniform",
            "MSE 0.167 through epoch 6",
            "a fixed training set",
        ),
        Published(
            "JHPark9090/Quantum-Hydra-Mamba, adding problem",
            "model 3a, a transformer",
            "L 100 to 1000, markers extremes, AdamW 1e-3, 4000 examples, 100 epochs",
            "MSE 2e-4 at every length",
            "500 test examples",
        ),
    )

    @property
    def shape(self) -> Shape:
        """Two channels, one pooled value."""
        return Shape(num_outputs=1, pooled=True, seqlen=self.seqlen, num_channels=2)

    @property
    def regions(self) -> tuple[int, int] | None:
        """Widths at both ends in which one marker each stands; None where both stand anywhere."""
        if self.settings.markers == "uniform":
            return None
        if self.settings.markers == "halves":
            return self.seqlen // 2, self.seqlen - self.seqlen // 2
        tenth = max(1, self.seqlen // 10)
        return tenth, tenth

    def sample(self, stream: Stream) -> Batch:
        """Inputs (B, L, 2), targets (B, 1)."""
        values = stream.uniform(self.seqlen)  # (B, L)
        if self.regions is None:
            marked = stream.choose(2, self.seqlen)  # (B, 2)
        else:
            widths = torch.tensor(self.regions, device=stream.device)
            starts = torch.tensor([0, self.seqlen - self.regions[1]], device=stream.device)
            marked = starts + stream.integers(2, widths)  # (B, 2)
        markers = torch.zeros_like(values).scatter_(1, marked, 1.0)
        targets = values.gather(1, marked).sum(1, keepdim=True)
        return Batch(torch.stack((values, markers), dim=2), targets)

    def levels(self) -> list[Level]:
        """R2 and MSE, values being independent with variance 1/12; accuracy where it is known."""
        if self.regions is None:
            blind, how = 2 / self.seqlen, "2 / L: predicts 2 x the mean of all values"
            others, whose = self.seqlen - 1, "all others"
        else:
            first, last = self.regions
            others, whose = first, "the other's region"
            blind = (1 / first + 1 / last) / 2
            how = f"(1/{first} + 1/{last}) / 2: predicts the means of the two marker regions"
        rows: list[tuple] = [
            ("chance", "chance", 0.0, "predicts the mean, 1"),
            ("marker_blind", "shortcut", blind, how),
            ("last_marker", "shortcut", 0.5, "knows one of the two marked values, guesses 1/2"),
            (
                "last_marker_and_mean",
                "shortcut",
                (1 + 1 / others) / 2,
                f"(1 + 1/{others}) / 2: knows one of the two, guesses the mean of {whose}",
            ),
            ("ceiling", "ceiling", 1.0, "the target is a function of the input"),
            ("solved", "solved", 0.95, "MSE < 0.01 and R2 > 0.95, of which R2 is the stricter"),
        ]
        accuracy: list[tuple] = [
            ("chance", "chance", 2 * WITHIN - WITHIN**2, f"the sum lies within {WITHIN} of 1"),
            ("last_marker", "shortcut", 2 * WITHIN, f"a value lies within {WITHIN} of 1/2"),
            ("ceiling", "ceiling", 1.0, "the target is a function of the input"),
        ]
        return [
            level
            for name, kind, r2, derivation in rows
            for level in regression_level(name, kind, r2, VARIANCE, derivation)
        ] + [Level("accuracy", *row) for row in accuracy]

    def oracle(self, batch: Batch) -> Tensor:
        """The sum of the marked values, (B, 1)."""
        return batch.inputs.prod(2).sum(1, keepdim=True)

    def constant(self, batch: Batch) -> Tensor:
        """The mean target, (B, 1)."""
        return torch.ones_like(batch.targets)

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Without the markers, and with the last marker alone."""
        return {
            "marker_blind": self._marker_blind,
            "last_marker": self._last_marker,
            "last_marker_and_mean": self._last_marker_and_mean,
        }

    def _marker_blind(self, batch: Batch) -> Tensor:
        values = batch.inputs[..., 0]  # (B, L)
        first, last = self.regions or (self.seqlen, self.seqlen)
        guess = values[:, :first].mean(1) + values[:, self.seqlen - last :].mean(1)
        return guess[:, None]

    def _last_marker(self, batch: Batch) -> Tensor:
        return self._last_marked(batch) + 0.5

    def _last_marker_and_mean(self, batch: Batch) -> Tensor:
        last, values = self._last_marked(batch), batch.inputs[..., 0]
        if self.regions is None:
            return last + (values.sum(1, keepdim=True) - last) / (self.seqlen - 1)
        return last + values[:, : self.regions[0]].mean(1, keepdim=True)

    def _last_marked(self, batch: Batch) -> Tensor:
        """The value at the last marker, (B, 1)."""
        values, markers = batch.inputs.unbind(2)
        position = torch.arange(self.seqlen, device=values.device)
        return values.gather(1, (markers * position).argmax(1, keepdim=True))
