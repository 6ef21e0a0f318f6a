"""A polynomial of a block encoding: phases between linear combinations of unitaries.

    |psi> = P(phi_d) W_d ... P(phi_2) W_2 P(phi_1) W_1 P(phi_0) |0> |0>
    W_k   = V^+ S V for odd k, V^+ S^+ V for even k        (V PREPARE, S SELECT: `lcu`)
    P(phi) = e^{i phi} where all ancillas are 0, e^{-i phi} elsewhere

What the all-zero ancillas hold is a polynomial of degree d of the singular values of
A = sum_t |v_t|^2 U_t, odd or even as d is; with pi / 2 for phi_1 ... phi_{d-1} and 0 for the others
it is i^{d-1} T_d(A) of the Chebyshev polynomial T_d, as i (2 A^+ A - 1). Models read the n qubits
whatever the ancillas are (no post-selection), so what they read is not this polynomial alone.

Most of the circuit is known beforehand. Between two SELECTs acts

    V P(phi) V^+ = e^{-i phi} (1 + (e^{2 i phi} - 1) |v><v|),    v = V |0>,

so PREPARE is never more than its first column v, and no product is as large as A^2 for A ancilla
states; the first SELECT starts from v_t |0>. What follows the last SELECT acts on ancillas only:
where only qubits are read, the last PREPARE and the phase phi_d change nothing, nor does phi_0,
the phase of the whole state. For d = 1 the answer is the mean over t of the answers for U_t |0>
with weights |v_t|^2: only from d = 2 on do the unitaries interfere.

Sources: Gilyen, Su, Low and Wiebe, arXiv:1806.01838; Martyn et al., arXiv:2105.02859.

B batch (any leading dimensions), n qubits, T unitaries, A ancilla states, P angles of a circuit.
"""

import torch
from torch import Tensor

from seqgrid.quantum.circuit import Circuit
from seqgrid.quantum.lcu import num_ancillas, prepare, select, unitary
from seqgrid.quantum.simulate import run, run_expectations


def qsvt_state(circuit: Circuit, angles: Tensor, weights: Tensor, phases: Tensor) -> Tensor:
    """The state of ancillas and qubits behind all of it, (..., A, 2^n).

    Args:
        circuit: of n qubits, what SELECT chooses the angles of.
        angles: (..., T, P), radians; unitaries from T up to A are the identity.
        weights: (layers, ancillas, 2), angles of PREPARE in the order of `lcu.prepare`, radians.
        phases: (d + 1,), radians, d at least 1.

    Raises:
        ValueError: the ancillas of `weights` are not those that T unitaries need.
    """
    ancillas = _ancillas(angles, weights)
    matrix = unitary(prepare(ancillas, len(weights)), weights.flatten())
    state = _until_last_select(circuit, angles, matrix[:, 0], phases)
    turned = _turn(phases)
    state = matrix.mH @ state
    # P(phi_0), and P(phi) = e^{-i phi} (1 + (e^{2 i phi} - 1) |0><0|) for the others
    whole = torch.polar(torch.ones_like(phases[0]), phases[0] - phases[1:].sum())
    return whole * torch.cat((turned[-1] * state[..., :1, :], state[..., 1:, :]), -2)


def qsvt_expectations(
    circuit: Circuit,
    angles: Tensor,
    weights: Tensor,
    phases: Tensor,
    then: Circuit,
    then_angles: Tensor,
) -> Tensor:
    """<X>, <Y>, <Z> of every qubit behind all of it and a last circuit on the qubits, (..., 3 n).

    Args:
        circuit: of n qubits, what SELECT chooses the angles of.
        angles: (..., T, P), radians.
        weights: (layers, ancillas, 2), of PREPARE, radians.
        phases: (d + 1,), radians, the first and the last of no effect.
        then: the circuit of n qubits that acts last.
        then_angles: its angles, shared by the batch, radians.

    Raises:
        ValueError: the ancillas of `weights` are not those that T unitaries need.
    """
    column = run(prepare(_ancillas(angles, weights), len(weights)), weights.flatten())
    state = _until_last_select(circuit, angles, column, phases)
    # what is not normalised counts by its norm: the sum over the ancilla's outcomes
    return run_expectations(then, then_angles, state).sum(-2)


def _until_last_select(circuit: Circuit, angles: Tensor, column: Tensor, phases: Tensor) -> Tensor:
    """The state behind the last SELECT but for the phase of the whole, (..., A, 2^n)."""
    T, A = angles.shape[-2], len(column)
    state = run(circuit, angles)
    if T < A:
        idle = torch.zeros_like(state[..., :1, :])
        idle[..., 0] = 1
        state = torch.cat((state, idle.expand(*state.shape[:-2], A - T, -1)), -2)
    state = column[:, None] * state
    for step, turn in enumerate(_turn(phases[1:-1])):
        along = (column.conj() @ state)[..., None, :]
        state = state + (turn - 1) * column[:, None] * along
        state = select(circuit if step % 2 else circuit.inverse, angles, state)
    return state


def _turn(phases: Tensor) -> Tensor:
    """e^{2 i phi}."""
    return torch.polar(torch.ones_like(phases), 2 * phases)


def _ancillas(angles: Tensor, weights: Tensor) -> int:
    needed, given = num_ancillas(angles.shape[-2]), weights.shape[-2]
    if given != needed:
        raise ValueError(f"{angles.shape[-2]} unitaries need {needed} ancillas, not {given}")
    return needed
