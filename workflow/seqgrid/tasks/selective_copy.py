"""The marked values among many, in their order, given all at once.

    values   0.31  0.72  0.05  0.90  0.44  0.18
    markers  0     1     0     1     1     0        target (0.72, 0.90, 0.44)

Source: the continuous variant of the selective copying of Gu and Dao, arXiv:2312.00752, E.1, in the
encoding of the adding problem; three markers above. Values are uniform on [0, 1) with variance
1/12, and the K targets are read from one pooled vector.

The order is the task. Who knows the marked values as a bag answers each with the mean of the bag,
which leaves (1/12) (1 - 1/K): R2 = 1/K. Who knows a bag for each cell of a partition of the
sequence leaves (m - 1)/12 over the m marked values of an occupied cell, so that

    R2 = E[occupied cells] / K = sum over cells of size s of (1 - C(L - s, K) / C(L, K)) / K.

A model that reads in chunks without order inside one has this ceiling, which rises with L. One
that pools the chunks without order, too, still knows which values stood together, which is more
than one bag: `_unordered_chunks.py` has what it can score. The chunk lengths looked for are
settings, as they are a model's and not the task's.

A value within 0.1 of its target counts as right: 1 in 5 are for the constant 1/2, all K at once in
0.2^K of the examples.

B batch, L sequence length, K markers.
"""

from collections.abc import Callable
from functools import partial
from math import comb
from statistics import NormalDist
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.settings import Sight, TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task, regression_level
from seqgrid.tasks._unordered_chunks import MOST_MARKERS, unordered_guess, unordered_r2

VARIANCE = 1 / 12  # of a uniform
WITHIN = 0.1  # of a target that counts as right


class Settings(TaskSettings):
    """How many values to copy, and which chunks may give order away."""

    pooled: ClassVar[bool] = True

    num_markers: int = Field(8, ge=1, description="marked values to copy, in order")
    chunk_sizes: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=lambda: [32],
        description="chunk lengths whose shortcuts have levels, positions; no part of the data",
    )

    def impossible(self, seqlen: int) -> str | None:
        """Markers stand at distinct positions."""
        if self.num_markers > seqlen:
            return (
                f"{self.num_markers} markers need as many positions and there are {seqlen}; "
                f"use num_markers <= {seqlen} or a longer sequence"
            )
        return None

    def known_plateau(self, seqlen: int) -> int | None:
        """As measured here: 250, of quantum_hydra's 1b.

        At L 200, with batches of 32 of 4,000 examples and a rate of 1e-3, it was at chance from
        step 125 to 375, and at R2 0.5 by 4,000.
        """
        return 250


class SelectiveCopy(Task):
    """Two channels in, value and marker; K values out."""

    metric: ClassVar = "r2"
    better: ClassVar = "higher"
    loss: ClassVar = "mse"
    tolerance: ClassVar = WITHIN
    settings: Settings
    controls: ClassVar = (
        Control(
            "gru",
            32,
            "SOLVED",
            "a recurrent state can count markers and keep each value apart; as measured here",
            settings={"num_layers": 1, "d_model": 128},
            training={"steps": 600, "learning_rate": 3e-3},
            cpu_minutes=0.3,
        ),
        Control(
            "attention",
            16,
            "AT SHORTCUT",
            "attention without positions, read as a mean, cannot see the order: the level of a bag",
            settings={"positions": "none", "causal": False, "pool": "mean"},
            task_settings={"num_markers": 2},
            training={"steps": 400, "learning_rate": 2e-3},
            cpu_minutes=0.2,
        ),
    )
    published: ClassVar = tuple(
        Published(
            "JHPark9090/Quantum-Hydra-Mamba, selective copy",
            f"model {model}",
            "8 markers, L 100, 200, 500, 1000, AdamW 1e-3, 4000 examples, 3 seeds",
            f"R2 {found}, where the level {shortcut} is {at}",
            "500 test examples; inputs are padded to a multiple of 32",
        )
        for model, found, shortcut, at in (
            ("2d", "0.169, 0.169, 0.156, 0.131", "unordered_chunks", "0.186 to 0.135"),
            ("1b", "0.333, 0.514, 0.731, 0.791", "chunks", "0.396 to 0.898"),
            ("1c", "0.394, 0.658, 0.859, 0.895", "chunks_both_ways", "0.495 to 0.936"),
        )
    )

    @property
    def shape(self) -> Shape:
        """Two channels, K pooled values."""
        return Shape(
            num_outputs=self.settings.num_markers,
            pooled=True,
            seqlen=self.seqlen,
            num_channels=2,
        )

    @property
    def partitions(self) -> dict[str, list[int]]:
        """Where cells begin, by the name of the shortcut that knows a bag for each cell."""
        named = {"bag": [0]}
        for size in self.settings.chunk_sizes:
            which, chunks = self._which(size), self._starts(size)
            # zeros that pad the last chunk give it away to a model that reads the rest as one bag
            padded = [0, chunks[-1] if self.seqlen % size else 0]
            named[f"bag_and_padded_chunk{which}"] = sorted({*padded})
            named[f"chunks{which}"] = chunks
            named[f"chunks_both_ways{which}"] = self._both_ways(size)
        distinct: dict[str, list[int]] = {}
        for name, starts in named.items():
            if starts not in distinct.values():
                distinct[name] = starts
        return distinct

    @property
    def unordered(self) -> dict[str, int]:
        """Chunk lengths by the name of the shortcut that knows which values share a chunk."""
        return {
            f"unordered_chunks{self._which(size)}": size
            for size in self.settings.chunk_sizes
            if 1 < size <= self.seqlen // 2 and 1 < self.settings.num_markers <= MOST_MARKERS
        }

    def _which(self, size: int) -> str:
        return f"_{size}" if len(self.settings.chunk_sizes) > 1 else ""

    def _starts(self, size: int) -> list[int]:
        return list(range(0, self.seqlen, size))

    def _both_ways(self, size: int) -> list[int]:
        """Where one of the chunks counted from the start, or from the end, begins."""
        return sorted({*self._starts(size), *(self.seqlen - at for at in self._starts(size)[1:])})

    def sample(self, stream: Stream) -> Batch:
        """Inputs (B, L, 2), targets (B, K)."""
        values = stream.uniform(self.seqlen)  # (B, L)
        marked = stream.choose(self.settings.num_markers, self.seqlen).sort(dim=1).values  # (B, K)
        markers = torch.zeros_like(values).scatter_(1, marked, 1.0)
        return Batch(torch.stack((values, markers), dim=2), values.gather(1, marked))

    def levels(self) -> list[Level]:
        """R2 and MSE, and where they are known the accuracies."""
        rows: list[tuple] = [("chance", "chance", 0.0, "predicts the mean, 1/2")]
        for name, starts in self.partitions.items():
            how = (
                f"knows the marked values as a bag in each of {len(starts)} cells, not their order"
            )
            rows.append((name, "shortcut", self._bags_r2(starts), how))
        for name, size in self.unordered.items():
            how = f"knows which marked values share a chunk of {size}, and no order"
            rows.append((name, "shortcut", unordered_r2(*self._lengths, size), how))
        rows.append(("ceiling", "ceiling", 1.0, "the target is a function of the input"))
        rows.append(("solved", "solved", *self._solved()))
        levels = [
            level
            for name, kind, r2, derivation in rows
            for level in regression_level(name, kind, r2, VARIANCE, derivation)
        ]
        one, alone = 2 * WITHIN, f"a value lies within {WITHIN} of 1/2"
        for metric, chance, how, solved in (
            ("accuracy", one, alone, 0.9),
            ("sequence_accuracy", one**self.settings.num_markers, f"{alone}, and all do", 0.7),
        ):
            levels += [
                Level(metric, "chance", "chance", chance, how),
                Level(metric, "ceiling", "ceiling", 1.0, "the target is a function of the input"),
                Level(metric, "solved", "solved", solved, "what the threshold of R2 is made from"),
            ]
        return levels

    @property
    def _lengths(self) -> tuple[int, int]:
        return self.seqlen, self.settings.num_markers

    def model_ceilings(self, sight: Sight) -> list[Level]:
        """R2 and MSE of the best guess from what such a model sees."""
        size = sight.chunk_size
        if sight.order == "unordered_chunks":
            if self.settings.num_markers > MOST_MARKERS:
                return []
            r2, how = unordered_r2(*self._lengths, size), "which share a chunk, and no order"
        elif sight.order == "chunks":
            r2, how = self._bags_r2(self._starts(size)), "the chunk of each, and no order within"
        else:
            r2 = self._bags_r2(self._both_ways(size))
            how = "the chunk of each counted from the start and from the end"
        name, words = f"{sight.order} of {size}", f"knowing of the marked values {how}"
        return regression_level(name, "ceiling", r2, VARIANCE, words)

    def _bags_r2(self, starts: list[int]) -> float:
        """Expected share of occupied cells among the markers."""
        length, markers = self.seqlen, self.settings.num_markers
        sizes = [stop - start for start, stop in zip(starts, [*starts[1:], length], strict=True)]
        empty = [comb(length - size, markers) / comb(length, markers) for size in sizes]
        return min(1.0, sum(1 - share for share in empty) / markers)

    def _solved(self) -> tuple[float, str]:
        """R2 at which normal errors put 90 % of values, and 70 % of all K at once, within 0.1."""
        inside = max(0.9, 0.7 ** (1 / self.settings.num_markers))
        std = WITHIN / NormalDist().inv_cdf((1 + inside) / 2)
        return 1 - std**2 / VARIANCE, (
            "normal errors at this R2 put 90 % of the values, and all values of 70 % of the "
            "examples, within 0.1 of the target"
        )

    def oracle(self, batch: Batch) -> Tensor:
        """The marked values in order, (B, K)."""
        return batch.inputs[..., 0].gather(1, self._marked(batch))

    def constant(self, batch: Batch) -> Tensor:
        """The mean target, (B, K)."""
        return torch.full_like(batch.targets, 0.5)

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """A bag for each cell, for every partition that has a level."""
        return {
            name: partial(self._bags, torch.tensor(starts))
            for name, starts in self.partitions.items()
        } | {name: partial(self._unordered, size) for name, size in self.unordered.items()}

    def _marked(self, batch: Batch) -> Tensor:
        """Positions of the markers in order, (B, K)."""
        order = batch.inputs[..., 1].argsort(dim=1, descending=True, stable=True)
        return order[:, : self.settings.num_markers]

    def _bags(self, starts: Tensor, batch: Batch) -> Tensor:
        """Each target's guess is the mean of the marked values in its cell, (B, K)."""
        marked = self._marked(batch)
        values = batch.inputs[..., 0].gather(1, marked)
        cell = torch.bucketize(marked.contiguous(), starts.to(marked.device), right=True)  # (B, K)
        same = (cell[:, :, None] == cell[:, None, :]).to(values.dtype)  # (B, K, K)
        return (same @ values[..., None]).squeeze(2) / same.sum(2)

    def _unordered(self, size: int, batch: Batch) -> Tensor:
        """The best guess from which values share a chunk, (B, K)."""
        marked = self._marked(batch)
        values = batch.inputs[..., 0].gather(1, marked)
        last = self.seqlen // size if self.seqlen % size else None
        return unordered_guess(values, marked // size, last)
