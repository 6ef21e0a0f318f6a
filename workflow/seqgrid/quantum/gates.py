"""Matrices of gates. Source: Nielsen and Chuang, sections 1.3 and 4.2."""

import torch
from torch import Tensor

from seqgrid.quantum.circuit import CONTROLLED, ROTATIONS, Gate

PAULI = {
    "X": [[0, 1], [1, 0]],
    "Y": [[0, -1j], [1j, 0]],
    "Z": [[1, 0], [0, -1]],
}
FIXED = PAULI | {
    "H": [[0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)]],
    "S": [[1, 0], [0, 1j]],
    "CNOT": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
    "CZ": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]],
}


def matrix(gate: Gate, given: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The unitary of a gate, (..., 2^w, 2^w) complex of `dtype` for w wires.

    Args:
        gate: which.
        dtype: complex64 or complex128.
        given: its angles (...), radians; for `U` its matrices (..., 2^w, 2^w); None: neither.
    """
    if given is None:
        found = torch.tensor(FIXED[gate.name], dtype=dtype)
    elif gate.name == "U":
        found = given.to(dtype)
    elif gate.name in ROTATIONS:
        found = rotation(gate.name[-1], given, dtype)
    else:
        assert gate.name in CONTROLLED
        found = controlled(rotation(gate.name[-1], given, dtype))
    return found.mH if gate.inverse else found


def rotation(axis: str, angle: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(-i angle P / 2) for the Pauli matrix P of an axis, (..., 2, 2)."""
    one = torch.eye(2, dtype=dtype, device=angle.device)
    pauli = torch.tensor(PAULI[axis], dtype=dtype, device=angle.device)
    half = (angle / 2)[..., None, None]
    return half.cos() * one - 1j * half.sin() * pauli


def controlled(unitary: Tensor) -> Tensor:
    """The gate that acts where its first wire is 1, (..., 2, 2) -> (..., 4, 4)."""
    whole = torch.zeros(*unitary.shape[:-2], 4, 4, dtype=unitary.dtype, device=unitary.device)
    whole[..., 0, 0] = whole[..., 1, 1] = 1
    whole[..., 2:, 2:] = unitary
    return whole
