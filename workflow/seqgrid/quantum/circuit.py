"""What a circuit is: gates in the order they act, and where each takes its angle from.

    embed = Circuit(2, (Gate("RY", (0,), 0), Gate("RY", (1,), 1)))
    bell = Circuit(2, (Gate("H", (0,)), Gate("CNOT", (0, 1))))
    both = bell.then(embed)

Rotations are exp(-i angle P / 2) with P a Pauli matrix; CRX, CRY and CRZ rotate their second wire
where the first is 1 (Nielsen and Chuang, Quantum Computation and Quantum Information, section 4.3).
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

Rotation = Literal["RX", "RY", "RZ"]
Controlled = Literal["CRX", "CRY", "CRZ"]
Fixed = Literal["H", "X", "Y", "Z", "S", "CNOT", "CZ"]
Name = Literal[Rotation, Controlled, Fixed, "U"]

ROTATIONS = frozenset(get_args(Rotation))
CONTROLLED = frozenset(get_args(Controlled))
TWO_WIRES = CONTROLLED | {"CNOT", "CZ"}


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        name: which; `U` is any unitary, given as a matrix when the circuit runs.
        wires: where it acts; of two the first is the control, and the more significant of `U`.
        index: which of the angles it takes; for `U`, which of the matrices. None: it has neither.
        inverse: it is the inverse of what `name` says.
    """

    name: Name
    wires: tuple[int, ...]
    index: int | None = None
    inverse: bool = False

    def __post_init__(self) -> None:
        takes = self.name in ROTATIONS | CONTROLLED | {"U"}
        if takes != (self.index is not None):
            needs = "needs" if takes else "takes no"
            raise ValueError(f"{self.name} on {self.wires}: {needs} index")
        allowed = (1, 2) if self.name == "U" else (2,) if self.name in TWO_WIRES else (1,)
        if len(self.wires) not in allowed or len({*self.wires}) != len(self.wires):
            raise ValueError(f"{self.name} on {self.wires}: give {allowed} different wires")


@dataclass(frozen=True)
class Circuit:
    """Gates on `num_qubits` wires, in the order they act.

    Raises:
        ValueError: a gate is on a wire that is not there.
    """

    num_qubits: int
    gates: tuple[Gate, ...] = ()

    def __post_init__(self) -> None:
        for gate in self.gates:
            if not all(0 <= wire < self.num_qubits for wire in gate.wires):
                raise ValueError(f"{gate}: wires are 0 to {self.num_qubits - 1}")

    @cached_property
    def num_angles(self) -> int:
        """Angles it takes."""
        return self._count(lambda gate: gate.name != "U")

    @cached_property
    def num_matrices(self) -> int:
        """Matrices it takes."""
        return self._count(lambda gate: gate.name == "U")

    def then(self, other: "Circuit") -> "Circuit":
        """This circuit and after it another, whose angles and matrices follow this one's.

        Raises:
            ValueError: they differ in qubits.
        """
        if other.num_qubits != self.num_qubits:
            raise ValueError(f"{self.num_qubits} qubits cannot be followed by {other.num_qubits}")
        later = (
            gate
            if gate.index is None
            else Gate(gate.name, gate.wires, gate.index + self._offset(gate), gate.inverse)
            for gate in other.gates
        )
        return Circuit(self.num_qubits, (*self.gates, *later))

    @cached_property
    def inverse(self) -> "Circuit":
        """What undoes it, given the same angles and matrices."""
        undone = (Gate(g.name, g.wires, g.index, not g.inverse) for g in reversed(self.gates))
        return Circuit(self.num_qubits, tuple(undone))

    @cached_property
    def depth(self) -> int:
        """Steps it takes where gates on different wires act at once."""
        reached = [0] * self.num_qubits
        for gate in self.gates:
            step = 1 + max(reached[wire] for wire in gate.wires)
            for wire in gate.wires:
                reached[wire] = step
        return max(reached, default=0)

    @cached_property
    def gate_counts(self) -> dict[str, int]:
        """Gates by name."""
        return dict(Counter(gate.name for gate in self.gates))

    def _offset(self, gate: Gate) -> int:
        return self.num_matrices if gate.name == "U" else self.num_angles

    def _count(self, which) -> int:
        used = [g.index for g in self.gates if g.index is not None and which(g)]
        return max(used, default=-1) + 1
