"""What a study asks for: cells under its labels, and how each is to be evaluated."""

import re
from dataclasses import dataclass

from seqgrid.cell import Cell


@dataclass(frozen=True)
class Evaluation:
    """Which test examples a part is evaluated on; its name is part of the result's file name."""

    lengths: tuple[int, ...]
    examples: int

    @property
    def name(self) -> str:
        """Such as L64+128-n1000."""
        return f"L{'+'.join(map(str, self.lengths))}-n{self.examples}"

    @classmethod
    def parse(cls, name: str) -> "Evaluation":
        """The evaluation of a name; a suffix -againN counts the repetitions and is dropped.

        Raises:
            ValueError: the name is not one of ours.
        """
        match = re.fullmatch(r"L(\d+(?:\+\d+)*)-n(\d+)(?:-again\d+)?", name)
        if not match:
            raise ValueError(f"'{name}' is not an evaluation, such as L64+128-n1000")
        return cls(tuple(int(length) for length in match[1].split("+")), int(match[2]))


@dataclass(frozen=True)
class Row:
    """A cell under the labels of a study."""

    model: str
    task: str
    variant: str
    cell: Cell
    evaluation: Evaluation
