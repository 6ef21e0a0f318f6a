"""Circuits on CUDA: a Triton kernel that keeps states in registers from the first gate to the last.

A program takes a tile of circuits and walks a table of gates, one row each:

    psi_k <- a_k psi_k + b_k psi_(k xor bit)        where the control, if any, is 1

a and b are the two entries of row k of the gate's 2x2 matrix, cos(angle / 2) A + sin(angle / 2) B
with A and B constants of the table: A = 1 and B = -i P for the rotation about P; of a gate without
an angle A is its matrix and the angle 0. Amplitudes that differ in one bit change places within
registers, by shuffles between lanes, or where a state lies on several warps through shared memory;
global memory is touched at both ends alone. Expectations are read while a state is in registers.

The derivative walks the table backwards from the final state and its cotangent, undoing each gate
on both (the adjoint method: Jones & Gacon, arXiv:2009.02823): no state between is ever stored. For
G = dU/dangle U^-1 = -i P / 2, d loss / d angle is Re <cotangent | G psi> behind the gate. Rounding
grows with the number of gates, as it does forward. First derivatives only; float32.

A gate `U` comes as a matrix and is done in torch; the circuit is cut there. More than MOST_QUBITS
qubits and float64 run on the torch path. This kernel has been run in Triton's interpreter and
compiled for CUDA; it has not been run on a GPU.

B circuits, n qubits, N = 2^n amplitudes, G gates, P angles.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.quantum import gates, simulate
from seqgrid.quantum import triton_kernels as kernels
from seqgrid.quantum.circuit import TWO_WIRES, Circuit, Gate
from seqgrid.quantum.readout import pauli_expectations

MOST_QUBITS = 10
TILE = 128  # amplitudes of a program at least, 4 a lane
WARP = 256  # amplitudes that one warp takes


def simulate_triton(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """The state behind a circuit; arguments and result are those of `simulate_reference`."""
    if not _takes(angles, circuit):
        return simulate.simulate.chunked(angles, circuit, state, matrices)
    shapes = [angles.shape[:-1], *(m.shape[:-2] for m in matrices)]
    shapes += [] if state is None else [state.shape[:-1]]
    batch = torch.broadcast_shapes(*shapes)
    angles = angles.float()
    psi = None if state is None else state.to(torch.complex64)
    for part in _parts(circuit):
        if isinstance(part, Circuit):
            psi = _run(angles, part, psi)
            continue
        assert psi is not None
        assert part.index is not None
        unitary = gates.matrix(part, matrices[part.index], psi.dtype)
        psi = psi.expand(*torch.broadcast_shapes(psi.shape[:-1], unitary.shape[:-2]), -1)
        psi = simulate.apply(unitary, part, psi, circuit.num_qubits)
    assert psi is not None
    return psi.expand(*batch, -1)


def expectations_triton(
    angles: Tensor, circuit: Circuit, state: Tensor | None = None, matrices: Sequence[Tensor] = ()
) -> Tensor:
    """<X>, <Y>, <Z> of every wire, (..., 3 n), read while the state is in registers.

    Arguments are those of `simulate_reference`.
    """
    if not _takes(angles, circuit):
        return simulate.expectations.chunked(angles, circuit, state, matrices)
    if circuit.num_matrices:
        return pauli_expectations(simulate_triton(angles, circuit, state, matrices))
    start = None if state is None else state.to(torch.complex64)
    return _run(angles.float(), circuit, start, read=True)


def _takes(angles: Tensor, circuit: Circuit) -> bool:
    """Whether the kernel can compute this."""
    return 1 <= circuit.num_qubits <= MOST_QUBITS and angles.dtype != torch.float64


@lru_cache(256)
def _parts(circuit: Circuit) -> tuple[Circuit | Gate, ...]:
    """The circuit between its gates `U`, and these; the first part is a circuit."""
    parts: list[Circuit | Gate] = []
    for given, gates_between in groupby(circuit.gates, key=lambda gate: gate.name == "U"):
        found = tuple(gates_between)
        parts += found if given else [Circuit(circuit.num_qubits, found)]
    if not parts or isinstance(parts[0], Gate):  # which makes the state that they act on
        parts.insert(0, Circuit(circuit.num_qubits))
    return tuple(parts)


def _run(angles: Tensor, circuit: Circuit, state: Tensor | None, read: bool = False) -> Tensor:
    """A circuit without `U` by the kernel, and what is read from it or its state."""
    batches = [x.shape[:-1] for x in (angles, state) if x is not None]
    batch = torch.broadcast_shapes(*batches)

    def flat(x: Tensor) -> Tensor:
        """(1, ...) where the batch shares it."""
        if x.dim() == 1:
            return x[None]
        return x.expand(*batch, x.shape[-1]).flatten(0, -2)

    start = None if state is None else torch.view_as_real(flat(state).resolve_conj().contiguous())
    found = _Circuits.apply(flat(angles), start, circuit, batch.numel(), read)
    found = found if read else torch.view_as_complex(found)
    return found.unflatten(0, batch) if batch else found[0]


class _Circuits(torch.autograd.Function):
    """Angles (B or 1, P) and states (B or 1, N, 2), real and imaginary, to states (B, N, 2).

    Where they are to be `read`, to the expectations (B, 3 n).
    """

    @staticmethod
    def forward(
        ctx, angles: Tensor, state: Tensor | None, circuit: Circuit, batch: int, read: bool
    ) -> Tensor:
        half = angles / 2
        turns = torch.stack((half.cos(), half.sin()), -1)  # (B or 1, P, 2)
        psi = turns.new_empty(batch, 2**circuit.num_qubits, 2)
        found = turns.new_empty(batch, 3 * circuit.num_qubits) if read else psi
        given = turns if state is None else state
        _launch(
            kernels.forward, circuit, batch, psi, found, given, _stride(given), turns,
            _stride(turns), GIVEN=state is not None, READ=read,
        )  # fmt: skip
        ctx.circuit, ctx.angles, ctx.read = circuit, angles.shape, read
        ctx.state = None if state is None else len(state)
        ctx.save_for_backward(turns, psi)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        turns, psi = ctx.saved_tensors
        circuit, batch = ctx.circuit, len(psi)
        each = psi.new_empty(batch, max(1, len(circuit.gates)))  # by gate
        wanted = ctx.needs_input_grad[1]
        grad_state = torch.empty_like(psi) if wanted else psi
        _launch(
            kernels.backward, circuit, batch, psi, grad.contiguous(), grad_state, each, turns,
            _stride(turns), WANTED=wanted, READ=ctx.read,
        )  # fmt: skip
        shared, count = ctx.angles
        turning, taken = _tables(circuit, psi.device)[2:]
        found = each[:, turning]
        found = found.sum(0, keepdim=True) if shared == 1 else found
        grad_angles = psi.new_zeros(shared, count).index_add_(1, taken, found)
        if wanted and ctx.state == 1:
            grad_state = grad_state.sum(0, keepdim=True)
        return grad_angles, grad_state if wanted else None, None, None, None


def _stride(x: Tensor) -> int:
    """Numbers from one circuit's part to the next one's; 0 where all share it."""
    return 0 if len(x) == 1 else x.stride(0)


def _launch(kernel, circuit: Circuit, batch: int, psi: Tensor, *given, **constants) -> None:
    """A kernel over all circuits, tile by tile; the table of gates comes after `given`."""
    amplitudes = 2**circuit.num_qubits
    tile = max(1, TILE // amplitudes)
    tables = _tables(circuit, psi.device)[:2]
    with torch.cuda.device_of(psi):
        kernel[(triton.cdiv(batch, tile),)](
            psi, *given, *tables, len(circuit.gates), batch,
            QUBITS=circuit.num_qubits, N=amplitudes, TILE=tile, **constants,
            num_warps=max(1, amplitudes // WARP),
        )  # fmt: skip


@lru_cache(256)
def _tables(circuit: Circuit, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of gates: places (G, 4) int32 and constants (G, 2, 8) float32; which take which angle.

    Places: the bit of the amplitudes that change places, -1 where none do; the bit of the target;
    a mask of the control; the angle, -1 for none. Constants, for target 0 and target 1: real and
    imaginary parts of a and b in A, then of those in B.
    """
    n, places, constants = circuit.num_qubits, [], []
    for gate in circuit.gates:
        target = n - 1 - gate.wires[-1]
        control = 1 << n - 1 - gate.wires[0] if gate.name in TWO_WIRES else 0
        turned = gate.index is not None
        axis = gate.name[-1]
        if turned:
            A = torch.eye(2, dtype=torch.complex64)
            B = -1j * torch.tensor(gates.PAULI[axis], dtype=torch.complex64)
        else:
            name = axis if gate.name in TWO_WIRES else gate.name
            name = "X" if gate.name == "CNOT" else name
            A = torch.tensor(gates.FIXED[name], dtype=torch.complex64)
            B = torch.zeros(2, 2, dtype=torch.complex64)
        if gate.inverse:
            A, B = A.mH, B.mH
        both = torch.stack((A, B))
        apart = bool(both[:, 0, 1].any())
        places.append([target if apart else -1, target, control, gate.index if turned else -1])
        ab = torch.stack((both.diagonal(0, 1, 2), both.flip(2).diagonal(0, 1, 2)), -1)  # A|B, k, ab
        constants.append(torch.view_as_real(ab.transpose(0, 1)).flatten(1))
    count = max(1, len(places))
    table = torch.tensor(places or [[0] * 4], dtype=torch.int32).reshape(count, 4)
    numbers = torch.stack(constants) if constants else torch.zeros(1, 2, 8)
    turning = [g for g, gate in enumerate(circuit.gates) if gate.index is not None]
    taken = [gate.index for gate in circuit.gates if gate.index is not None]
    whole = (torch.tensor(each, dtype=torch.int64) for each in (turning, taken))
    first, second, third, fourth = (x.contiguous().to(device) for x in (table, numbers, *whole))
    return first, second, third, fourth
