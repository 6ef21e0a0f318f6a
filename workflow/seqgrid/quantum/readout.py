"""What is read from a state: expectations of Pauli matrices. B batch, n qubits."""

import torch
from torch import Tensor


def pauli_expectations(state: Tensor) -> Tensor:
    """<X>, <Y>, <Z> of every wire: X of wires 0 to n-1, then Y, then Z.

    Args:
        state: (..., 2^n) complex, of norm 1.

    Returns:
        (..., 3 n) real.
    """
    n = state.shape[-1].bit_length() - 1
    found = []
    for wire in range(n):
        zero, one = state.unflatten(-1, (2**wire, 2, -1)).unbind(-2)  # (..., 2^wire, 2^(n-1-wire))
        across = (zero.conj() * one).sum((-2, -1))
        up, down = ((half.real**2 + half.imag**2).sum((-2, -1)) for half in (zero, one))
        found.append(torch.stack((2 * across.real, 2 * across.imag, up - down), -1))
    return torch.stack(found, -1).flatten(-2)
