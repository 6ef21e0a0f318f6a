"""Circuits fast in plain torch, on any device. B batch, n qubits, P angles.

Two ways, chosen by the shapes. Where a batch of states meets angles and matrices that all of it
shares, at least FEWEST_MULTIPLIED 2^n states of at most MOST_MULTIPLIED qubits, the circuit's
matrix is made once, from the basis states, and applied by one product. Anything else is
`reversible`, on fused steps (`program`). On one core the product was 1.1 to 1.8 times as fast
there, and slower with 9 qubits and 1024 states.
Half precision is computed in float32. First derivatives only. Matrices of the gates `U` have to be
unitary: others could not be undone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqgrid.quantum.circuit import Circuit
from seqgrid.quantum.program import programs
from seqgrid.quantum.readout import pauli_expectations
from seqgrid.quantum.reversible import run_reversible

MOST_MULTIPLIED = 8
FEWEST_MULTIPLIED = 4  # circuits, for each amplitude


def simulate_fast(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """The state behind a circuit, (..., 2^n); arguments of `simulate_reference`."""
    return _simulate(angles, circuit, state, matrices, readout=False)


def expectations_fast(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """<X>, <Y>, <Z> of every wire, (..., 3 n); arguments of `simulate_reference`."""
    return _simulate(angles, circuit, state, matrices, readout=True)


def _simulate(
    angles: Tensor,
    circuit: Circuit,
    state: Tensor | None,
    matrices: Sequence[Tensor],
    readout: bool,
) -> Tensor:
    with torch.autocast(angles.device.type, enabled=False):
        angles = angles.to(torch.promote_types(angles.dtype, torch.float32))
        dtype = angles.dtype.to_complex()
        matrices = [_unitary(m.to(dtype)) for m in matrices]
        own = [angles.shape[:-1], *(m.shape[:-2] for m in matrices)]
        before = () if state is None else state.shape[:-1]
        batch = torch.broadcast_shapes(*own, before)
        size = 2**circuit.num_qubits
        if state is not None:
            state = state.to(dtype).expand(*batch, size).reshape(-1, size)
            many = len(state) >= FEWEST_MULTIPLIED * size
            small = circuit.num_qubits <= MOST_MULTIPLIED
            if many and small and not any(map(len, own)):
                whole = simulate_fast(angles, circuit, _basis(size, state), matrices)
                psi = (state @ whole).view(*batch, size)
                return pauli_expectations(psi) if readout else psi
        found = run_reversible(
            programs(circuit, state is None),
            batch.numel(),
            _flat(angles, batch, 1),
            state,
            [_flat(m, batch, 2) for m in matrices],
            readout,
        )
    return found.view(*batch, found.shape[-1])


def _unitary(matrix: Tensor) -> Tensor:
    """What was given.

    Raises:
        ValueError: it is not unitary.
    """
    known = matrix.detach()
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    off = (known.mH @ known - one).abs().max() if known.numel() else 0.0
    if not off < torch.finfo(matrix.dtype).eps ** 0.5:
        raise ValueError(f"a matrix of U is {off:.2g} off a unitary one: normalise it first")
    return matrix


def _basis(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _flat(x: Tensor, batch: torch.Size, keep: int) -> Tensor:
    """One dimension for the batch (...), of 1 where all of it shares x, before the last `keep`."""
    if x.shape[:-keep].numel() == 1:
        return x.reshape(1, *x.shape[-keep:])
    return x.expand(*batch, *x.shape[-keep:]).reshape(batch.numel(), *x.shape[-keep:])
