"""Our circuits run by PennyLane, which defines what they should do."""

import pennylane as qml
import torch

from seqgrid.quantum.circuit import ROTATIONS, TWO_WIRES

NAMES = {"H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ"}


def simulate(angles, circuit, state=None, matrices=()):
    """The state (..., 2^n) complex128; arguments of `seqgrid.quantum.simulate`."""
    batch = torch.broadcast_shapes(
        angles.shape[:-1],
        *(() if state is None else (state.shape[:-1],)),
        *(m.shape[:-2] for m in matrices),
    )
    n = circuit.num_qubits

    def flat(x, keep):
        """One batch dimension, or none for what the batch shares."""
        if x.dim() == keep:
            return x
        return x.expand(*batch, *x.shape[-keep:]).reshape(-1, *x.shape[-keep:])

    angles, matrices = flat(angles, 1), [flat(m, 2) for m in matrices]

    @qml.qnode(qml.device("default.qubit", wires=n), interface="torch", diff_method="backprop")
    def circuit_of_pennylane(state):
        if state is not None:
            qml.StatePrep(state, wires=range(n), validate_norm=False)
        for gate in circuit.gates:
            operation = place(gate)
            if gate.inverse:
                qml.adjoint(operation)
        return qml.state()

    def place(gate):
        wires = list(gate.wires)
        if gate.name == "U":
            return qml.QubitUnitary(matrices[gate.index], wires=wires)
        kind = getattr(qml, NAMES.get(gate.name, gate.name))
        if gate.index is None:
            return kind(wires=wires if gate.name in TWO_WIRES else wires[0])
        return kind(angles[..., gate.index], wires=wires[0] if gate.name in ROTATIONS else wires)

    found = circuit_of_pennylane(None if state is None else flat(state, 1))
    return found.expand(*batch, 2**n) if found.dim() == 1 else found.reshape(*batch, 2**n)
