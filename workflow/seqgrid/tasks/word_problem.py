"""The running product of the elements of a group.

    inputs     21543  32154  42351  34251        elements of A5: where 1, 2, 3, 4, 5 go
    targets    21543  23451  23514  42135

Source: Merrill et al., arXiv:2404.08819, "The illusion of state in state-space models", and
jopetty/word-problem: elements are uniform, every prefix is a target, and groups of 60 elements
differ in how hard they are. Z60 is commutative, A4 x Z5 is solvable, A5 is not: its word problem is
complete for NC1, so that no model in TC0, such as a transformer of fixed depth, solves it at every
length unless the two classes are one. S5, of 120 elements, holds A5. There a start token comes
first, words of several lengths are mixed, and the default seed is random; here all words are as
long, shorter ones are their prefixes, and an example is a function of its seed and split. A product
a b does a first, then b.

A product is uniform, whatever is known of a proper part of its factors. A model that knows it up to
the commutator subgroup G', by counting alone, is right in 1/|G'|: 1/60 both in A5 and in S5 (there
it is the sign), 1/4 in A4 x Z5, always in Z60; at the first position, whose target is the element
just read, always. Who answers what was just read everywhere is right there and in 1/|G| of the
other places.

B batch, L sequence length, G elements of the group.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task
from seqgrid.tasks._strings import CERTAIN, SLIGHT, certain


class Settings(TaskSettings):
    """Which group."""

    group: Literal["A5", "S5", "Z60", "A4xZ5"] = Field(
        "A5", description="A5: not solvable; A4xZ5: solvable; Z60: commutative; S5: holds A5"
    )

    def known_plateau(self, seqlen: int) -> int | None:
        """As measured here: 300, of a GRU.

        On A5 at L 8, with batches of 128 and a rate of 3e-3, it gained nothing from step 100 to
        400, and was at 0.95 by 1,500.
        """
        return 300

    def log2_inputs(self, seqlen: int) -> float:
        """Every word is as likely."""
        return seqlen * math.log2(120 if self.group == "S5" else 60)


@dataclass(frozen=True)
class Group:
    """A finite group; element 0 is neutral.

    table: (G, G) int64, the product of row and column.
    cosets: (G,) int64, the least element that differs from each by one of the commutator subgroup.
    """

    names: list[str]
    table: Tensor
    cosets: Tensor


def permutation_table(size: int, even: bool) -> tuple[list[str], Tensor]:
    """Names and products of the permutations of a set, or of the even ones, in lexical order."""
    rows = list(permutations(range(size)))
    if even:
        pairs = [(i, j) for j in range(size) for i in range(j)]
        rows = [row for row in rows if sum(row[i] > row[j] for i, j in pairs) % 2 == 0]
    place = {row: number for number, row in enumerate(rows)}
    table = [[place[tuple(b[x] for x in a)] for b in rows] for a in rows]
    return ["".join(str(x + 1) for x in row) for row in rows], torch.tensor(table)


def cyclic_table(size: int) -> tuple[list[str], Tensor]:
    """Names and sums of the integers modulo `size`."""
    numbers = torch.arange(size)
    return [str(number) for number in range(size)], (numbers[:, None] + numbers) % size


def product_table(
    one: tuple[list[str], Tensor], other: tuple[list[str], Tensor]
) -> tuple[list[str], Tensor]:
    """Names and products of pairs."""
    names = [f"{a},{b}" for a in one[0] for b in other[0]]
    count, size = len(other[0]), len(names)
    table = one[1][:, None, :, None] * count + other[1][None, :, None, :]
    return names, table.reshape(size, size)


def cosets_of(table: Tensor) -> Tensor:
    """The least member of each element's coset of the commutator subgroup, (G,)."""
    size = len(table)
    inverse = (table == 0).int().argmax(1)  # (G,)
    inside = torch.zeros(size, dtype=torch.bool)
    # a b a' b' for all a, b, closed under products
    inside[table[table, table[inverse][:, inverse]]] = True
    while not inside[reached := table[inside][:, inside]].all():
        inside[reached] = True
    return table[:, inside].amin(1)


@cache
def group_of(name: str) -> Group:
    """A group by its name in the settings."""
    names, table = {
        "A5": lambda: permutation_table(5, even=True),
        "S5": lambda: permutation_table(5, even=False),
        "Z60": lambda: cyclic_table(60),
        "A4xZ5": lambda: product_table(permutation_table(4, even=True), cyclic_table(5)),
    }[name]()
    return Group(names, table, cosets_of(table))


class WordProblem(Task):
    """Elements in, logits out, scored at every position."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = (
        Control(
            "gru",
            8,
            "SOLVED",
            "an RNN needs one layer at every length, Merrill et al.",
            settings={"d_model": 128, "num_layers": 1},
            training={
                "steps": 1600,
                "batch_size": 128,
                "learning_rate": 3e-3,
                "stopping": {"solved_validations": None},
            },
            cpu_minutes=0.7,
        ),
    )
    published: ClassVar = tuple(
        Published(
            "Merrill et al., arXiv:2404.08819",
            model,
            "words of 2 to 20 elements of A5; d_model 512, 8 heads, at most 500 epochs",
            f"{result} to pass 90 % validation accuracy",
            "a fixed set of words, of at most 5 million rows a file; fewer layers is better",
            verified=False,
        )
        for model, result in (
            ("transformer, S4, Mamba", "more layers the longer the word"),
            ("RNN, S4 with input-dependent transitions", "one layer at every length"),
        )
    )

    def __init__(self, settings: Settings, seqlen: int):
        super().__init__(settings, seqlen)
        self.group = group_of(settings.group)
        self.size = len(self.group.names)

    @property
    def shape(self) -> Shape:
        """Elements to logits over the elements."""
        return Shape(num_outputs=self.size, pooled=False, seqlen=self.seqlen, vocab_size=self.size)

    @property
    def symbols(self) -> list[str]:
        """Permutations by where they send 1, 2, ...; integers; pairs of both."""
        return self.group.names

    def sample(self, stream: Stream) -> Batch:
        """Inputs and targets, both (B, L)."""
        inputs = stream.integers(self.seqlen, self.size)
        return Batch(inputs, self._products(inputs))

    def _products(self, words: Tensor) -> Tensor:
        """The product of every prefix, (B, L), of (B, L)."""
        table = self.group.table.to(words.device).flatten()
        products, stride = words, 1
        while stride < words.shape[1]:  # products of ever longer runs that end at a place
            longer = table[products[:, :-stride] * self.size + products[:, stride:]]
            products = torch.cat((products[:, :stride], longer), dim=1)
            stride *= 2
        return products

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of the same knowledge stated as probabilities."""
        size, length = self.size, self.seqlen
        first = (1 + (length - 1) / size) / length
        levels = [
            Level("accuracy", "chance", "chance", 1 / size, f"one of {size} elements"),
            Level(
                "accuracy",
                "last_element",
                "shortcut",
                first,
                f"the element just read: right at the first position, in 1/{size} of the others",
            ),
            Level("accuracy", "ceiling", "ceiling", 1.0, "the product is a function of the word"),
            Level("accuracy", "solved", "solved", 0.9, "where Merrill et al. call it solved"),
            Level("loss", "chance", "chance", math.log(size), f"ln {size}, uniform"),
            Level("loss", "ceiling", "ceiling", 0.0, "the product is a function of the word"),
        ]
        derived = self._commutators
        if 1 < derived < size:
            how = (
                f"known up to the commutator subgroup, of {derived} elements, and at first exactly"
            )
            right = (1 + (length - 1) / derived) / length
            loss = (length - 1) / length * math.log(derived)
            levels += [
                Level("accuracy", "abelianisation", "shortcut", right, how),
                Level("loss", "abelianisation", "shortcut", loss, how),
            ]
        return levels

    @property
    def _commutators(self) -> int:
        """Elements of the commutator subgroup."""
        return self.size // len(self.group.cosets.unique())

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, L, G), certain of the product."""
        return certain(self._products(batch.inputs), self.size)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, L, G), uniform; the neutral element wins the tie."""
        logits = torch.zeros(*batch.inputs.shape, self.size, device=batch.inputs.device)
        logits[..., 0] = SLIGHT
        return logits

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """The element just read; an element of the product's coset."""
        solvers = {"last_element": self._last_element}
        if 1 < self._commutators < self.size:
            solvers["abelianisation"] = self._abelianisation
        return solvers

    def _last_element(self, batch: Batch) -> Tensor:
        return certain(batch.inputs, self.size)

    def _abelianisation(self, batch: Batch) -> Tensor:
        cosets = self.group.cosets.to(batch.inputs.device)
        known = cosets[self._products(batch.inputs)]  # (B, L), whatever the order of the factors
        logits = CERTAIN * (known[..., None] == cosets).float()
        slight = torch.full_like(logits[..., :1], SLIGHT)
        logits.scatter_add_(2, known[..., None], slight)
        logits[:, :1] = certain(batch.inputs[:, :1], self.size)
        return logits
