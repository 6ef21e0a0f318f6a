"""Circuits that models are made of; angles in the order of the gates.

Sources: the circuits of JHPark9090/Quantum-Hydra-Mamba (models/QuantumSSM.py,
models/QuantumHydraSSM.py) and circuit 14 of Sim, Johnson and Aspuru-Guzik, arXiv:1905.10876.
Rings need two wires: with one the original asks for a gate controlled by the wire that it rotates,
which PennyLane refuses.
"""

from collections.abc import Iterable

from seqgrid.quantum.circuit import Circuit, Gate, Name


def embedding(num_qubits: int, rotation: Name = "RY") -> Circuit:
    """One rotation on every wire: angle encoding. Takes n angles."""
    return _numbered(num_qubits, ((rotation, (wire,)) for wire in range(num_qubits)))


def rings(num_qubits: int, num_layers: int) -> Circuit:
    """RX, RY, RZ on each wire, a ring of CRX forward, a ring backward. Takes 5 n angles a layer."""
    n = _ring(num_qubits)
    layer: list[tuple[Name, tuple[int, ...]]] = []
    layer += [(name, (wire,)) for wire in range(n) for name in ("RX", "RY", "RZ")]
    layer += [("CRX", (wire, (wire + 1) % n)) for wire in range(n)]
    layer += [("CRX", (wire, (wire - 1) % n)) for wire in reversed(range(n))]
    return _numbered(n, layer * num_layers)


def reversed_rings(num_qubits: int, num_layers: int) -> Circuit:
    """`rings` from the last wire on, the ring backward first. Takes 5 n angles a layer."""
    n = _ring(num_qubits)
    layer: list[tuple[Name, tuple[int, ...]]] = []
    layer += [(name, (wire,)) for wire in reversed(range(n)) for name in ("RX", "RY", "RZ")]
    layer += [("CRX", (wire, (wire - 1) % n)) for wire in reversed(range(n))]
    layer += [("CRX", (wire, (wire + 1) % n)) for wire in range(n)]
    return _numbered(n, layer * num_layers)


def sim14(num_qubits: int, num_layers: int) -> Circuit:
    """RY, a ring of CRX, RY, a ring the other way. Takes 4 n angles a layer."""
    n = _ring(num_qubits)
    layer: list[tuple[Name, tuple[int, ...]]] = []
    layer += [("RY", (wire,)) for wire in range(n)]
    layer += [("CRX", (wire, (wire + 1) % n)) for wire in reversed(range(n))]
    layer += [("RY", (wire,)) for wire in range(n)]
    layer += [("CRX", (wire, (wire - 1) % n)) for wire in (n - 1, *range(n - 1))]
    return _numbered(n, layer * num_layers)


def _ring(num_qubits: int) -> int:
    """The wires of a ring; of one, its gate would be controlled by the wire that it rotates."""
    if num_qubits < 2:
        raise ValueError(f"num_qubits={num_qubits} has no ring of CRX: give at least 2")
    return num_qubits


def _numbered(num_qubits: int, gates: Iterable[tuple[Name, tuple[int, ...]]]) -> Circuit:
    """Gates that take one angle each, in their order."""
    placed = (Gate(name, wires, index) for index, (name, wires) in enumerate(gates))
    return Circuit(num_qubits, tuple(placed))
