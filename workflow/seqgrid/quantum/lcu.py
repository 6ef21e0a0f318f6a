"""Linear combination of unitaries: weighted sums of the states that circuits make.

    normalised     psi = sum_t w_t U_t |0> / |sum_t w_t U_t |0>|
    in a circuit   (V^+ x 1) (sum_t |t><t| x U_t) (V x 1) |0> |0>

The second is a block encoding: PREPARE V writes the weights v_t, its first column, into ancillas,
SELECT applies U_t where they are t, and where all ancillas end in 0 the state holds
sum_t |v_t|^2 U_t |0>. No ancilla is thrown away here: a state (..., T, 2^n) has an index t of its
T ancilla states before that of its n qubits, which is the same circuit on ancillas, the first wire
the most significant, and after them the qubits.

Source: Childs and Wiebe, arXiv:1202.5822.

B batch (any leading dimensions), n qubits, T unitaries.
"""

import torch
from torch import Tensor

from seqgrid.quantum.circuit import Circuit, Gate
from seqgrid.quantum.simulate import run


def superpose(weights: Tensor, states: Tensor, eps: float = 0.0) -> Tensor:
    """The normalised weighted sum of states, (..., 2^n).

    Args:
        weights: (T,) shared by the batch, or (..., T), real or complex, of any norm.
        states: (..., T, 2^n) complex.
        eps: added to the norm that divides; with 0 a sum that vanishes becomes NaN.
    """
    total = (weights.to(states.dtype)[..., None, :] @ states).squeeze(-2)
    return total / (torch.linalg.vector_norm(total, dim=-1, keepdim=True) + eps)


def prepare(num_ancillas: int, num_layers: int) -> Circuit:
    """RY and RZ on each ancilla, then a chain of CNOT. Takes 2 num_ancillas angles a layer."""
    gates: list[Gate] = []
    for layer in range(num_layers):
        for wire in range(num_ancillas):
            index = 2 * (layer * num_ancillas + wire)
            gates += [Gate("RY", (wire,), index), Gate("RZ", (wire,), index + 1)]
        gates += [Gate("CNOT", (wire, wire + 1)) for wire in range(num_ancillas - 1)]
    return Circuit(num_ancillas, tuple(gates))


def num_ancillas(num_unitaries: int) -> int:
    """Ancillas that tell so many unitaries apart; never none."""
    return max(1, (num_unitaries - 1).bit_length())


def unitary(circuit: Circuit, angles: Tensor) -> Tensor:
    """The matrix of a whole circuit, (..., 2^n, 2^n); angles (P,) or (..., P), radians."""
    dtype = torch.complex128 if angles.dtype == torch.float64 else torch.complex64
    basis = torch.eye(2**circuit.num_qubits, dtype=dtype, device=angles.device)
    return run(circuit, angles[..., None, :], basis).mT  # row j is the image of basis state j


def select(circuit: Circuit, angles: Tensor, state: Tensor) -> Tensor:
    """SELECT: the circuit with the angles of t where the ancillas are t, (..., A, 2^n).

    Args:
        circuit: on the n qubits.
        angles: (..., T, P), radians; T at most A.
        state: (..., A, 2^n) complex, A ancilla states; from T on they are left as they are.
    """
    T = angles.shape[-2]
    acted = run(circuit, angles, state[..., :T, :])
    if state.shape[-2] == T:
        return acted
    rest = state[..., T:, :].expand(*acted.shape[:-2], -1, -1)
    return torch.cat((acted, rest), -2)


def block_encoding(weights: Tensor, circuit: Circuit, angles: Tensor, state: Tensor) -> Tensor:
    """PREPARE, SELECT, PREPARE undone, (..., A, 2^n).

    Args:
        weights: (A, A) or (..., A, A) unitary, PREPARE on the ancillas.
        circuit: on the n qubits.
        angles: (..., T, P), radians; T at most A.
        state: (..., A, 2^n) complex.
    """
    return weights.mH @ select(circuit, angles, weights @ state)
