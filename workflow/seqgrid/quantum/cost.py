"""What the circuits of a model cost, counted.

FLOPs are those of a simulation that keeps all N = 2^n amplitudes of n qubits and applies gate by
gate, 2 a real multiply-add, as a matrix product is counted. A complex product takes 4 of these, one
of a real or imaginary number and a complex one 2.

    RX, RY, H        rows of two real or imaginary numbers      2 x 2 multiply-adds     8 N
    RZ               one phase                                  4                       8 N
    CRX, CRY, CRZ    the same on half of the amplitudes                                 4 N
    U on w wires     rows of 2^w complex numbers                2^w x 4                 8 2^w N
    X, Y, Z, S, CNOT, CZ    places, signs, and factors i        none                    0

Forward alone, as with `flops_per_token`. Not counted: the entries of the gates' matrices, what is
read from the final state, and the backward pass. The adjoint method takes the last from undoing
every gate on the state and on its cotangent, about twice what is counted here, and one inner
product of N amplitudes an angle.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from seqgrid.quantum.circuit import CONTROLLED, ROTATIONS, Circuit, Gate


class Use(Protocol):
    """A circuit, and how often it runs."""

    @property
    def circuit(self) -> Circuit: ...  # noqa: D102
    @property
    def runs(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class CircuitCost:
    """What circuits of one sequence cost; names are those of the tables' columns.

    Attributes:
        qubits: of the largest circuit.
        circuit_depth: of the deepest, gates on different wires at once.
        gates_per_example: in all runs of all circuits.
        circuits_per_example: runs of circuits.
        simulated_flops_per_example: forward, see above.
    """

    qubits: int
    circuit_depth: int
    gates_per_example: int
    circuits_per_example: int
    simulated_flops_per_example: float


def of_model(model: Any, seqlen: int) -> CircuitCost | None:
    """What the circuits of a model cost for one sequence of `seqlen` positions; None: it has none.

    Args:
        model: any model; one that runs circuits says which by `circuits(seqlen)`.
        seqlen: positions.
    """
    say = getattr(model, "circuits", None)
    return None if say is None else of_uses(say(seqlen))


def of_uses(uses: Iterable[Use]) -> CircuitCost | None:
    """The sum of circuits that are run so often; None where there is none."""
    found = [(use.circuit, use.runs) for use in uses]
    if not found:
        return None
    return CircuitCost(
        qubits=max(circuit.num_qubits for circuit, _ in found),
        circuit_depth=max(circuit.depth for circuit, _ in found),
        gates_per_example=sum(runs * len(circuit.gates) for circuit, runs in found),
        circuits_per_example=sum(runs for _, runs in found),
        simulated_flops_per_example=float(sum(runs * flops(circuit) for circuit, runs in found)),
    )


def flops(circuit: Circuit) -> int:
    """FLOPs of one simulation."""
    return sum(_per_amplitude(gate) for gate in circuit.gates) * 2**circuit.num_qubits


def _per_amplitude(gate: Gate) -> int:
    """FLOPs of a gate over the number of all amplitudes."""
    if gate.name == "U":
        return 8 * 2 ** len(gate.wires)
    if gate.name in ROTATIONS | {"H"}:
        return 8
    return 4 if gate.name in CONTROLLED else 0
