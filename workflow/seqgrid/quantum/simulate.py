"""The state that a circuit makes.

B batch (any leading dimensions), n qubits, P angles of the circuit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqgrid.kernels import Operator
from seqgrid.quantum.circuit import Circuit, Gate
from seqgrid.quantum.fast import expectations_fast, simulate_fast
from seqgrid.quantum.gates import matrix
from seqgrid.quantum.readout import pauli_expectations_reference


def run(
    circuit: Circuit, angles: Tensor, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """The state behind a circuit, (..., 2^n); arguments of `simulate_reference`.

    First derivatives only.

    Raises:
        ValueError: a matrix is not unitary.
    """
    return simulate(angles, circuit, state, matrices)


def run_expectations(
    circuit: Circuit, angles: Tensor, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """<X>, <Y>, <Z> of every wire, (..., 3 n); else as `run`."""
    return expectations(angles, circuit, state, matrices)


def simulate_reference(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """The state behind a circuit, gate by gate, as the definition reads.

    Args:
        circuit: what acts.
        angles: (P,) shared by the batch, or (..., P), radians.
        state: (..., 2^n) complex, what it acts on; None: |0...0>.
        matrices: of the gates `U`, each (2^w, 2^w) shared by the batch, or (..., 2^w, 2^w).

    Returns:
        (..., 2^n) complex, complex128 for angles in float64.
    """
    dtype = torch.complex128 if angles.dtype == torch.float64 else torch.complex64
    n = circuit.num_qubits
    batch = torch.broadcast_shapes(
        angles.shape[:-1],
        *(() if state is None else (state.shape[:-1],)),
        *(given.shape[:-2] for given in matrices),
    )
    if state is None:
        state = torch.zeros(2**n, dtype=dtype, device=angles.device)
        state[0] = 1
    psi = state.to(dtype).expand(*batch, 2**n)
    for gate in circuit.gates:
        psi = apply(matrix(gate, given(gate, angles, matrices), dtype).to(psi.device), gate, psi, n)
    return psi


def given(gate: Gate, angles: Tensor, matrices: Sequence[Tensor]) -> Tensor | None:
    """What a gate takes of the angles (..., P) and matrices; None: nothing."""
    if gate.index is None:
        return None
    return matrices[gate.index] if gate.name == "U" else angles[..., gate.index]


def apply(unitary: Tensor, gate: Gate, psi: Tensor, n: int) -> Tensor:
    """A gate's matrix (..., 2^w, 2^w) on states (..., 2^n)."""
    w = len(gate.wires)
    batch = psi.shape[:-1]
    axes = [len(batch) + wire for wire in gate.wires]
    rest = [axis for axis in range(len(batch), len(batch) + n) if axis not in axes]
    order = [*range(len(batch)), *axes, *rest]
    split = psi.reshape(*batch, *[2] * n).permute(order).reshape(*batch, 2**w, 2 ** (n - w))
    acted = (unitary @ split).reshape(*batch, *[2] * n)
    back = sorted(range(len(order)), key=order.__getitem__)
    return acted.permute(back).reshape(*batch, 2**n)


def expectations_reference(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """<X>, <Y>, <Z> of every wire, (..., 3 n); arguments of `simulate_reference`."""
    return pauli_expectations_reference(simulate_reference(angles, circuit, state, matrices))


def simulate_fused(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """The state by a Triton kernel; arguments of `simulate_reference`."""
    from seqgrid.quantum.triton_circuit import simulate_triton

    return simulate_triton(angles, circuit, state, matrices)


def expectations_fused(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """The expectations by a Triton kernel; arguments of `simulate_reference`."""
    from seqgrid.quantum.triton_circuit import expectations_triton

    return expectations_triton(angles, circuit, state, matrices)


simulate = Operator(
    "quantum_circuit",
    reference=simulate_reference,
    chunked=simulate_fast,
    fused=simulate_fused,
    package="triton",
    path="torch",
)
expectations = Operator(
    "quantum_circuit",
    reference=expectations_reference,
    chunked=expectations_fast,
    fused=expectations_fused,
    package="triton",
    path="torch",
)
