"""What the fast simulator does of a circuit: fewer and cheaper steps, found once a circuit.

The rule of fusion: neighbouring gates on one wire become one 2 x 2 matrix, of all wires together;
those that meet |0> first make a product state, which needs no step. Controlled rotations about
the axis that most of them have are real rotations, for X in the frame W = diag(1, i) on each wire:
W X W* = Y, W is diagonal and passes controls. Everything else is a matrix on its wires.

T circuits at a time, the last dimension of everything here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from seqgrid.quantum.circuit import CONTROLLED, ROTATIONS, TWO_WIRES, Circuit, Gate
from seqgrid.quantum.gates import FIXED, PAULI

ACTS = {name: name[1:] for name in CONTROLLED} | {"CNOT": "X", "CZ": "Z"}  # on the second wire


@dataclass(frozen=True)
class Step:
    """A real rotation where its control is 1, or a matrix on its wires.

    Attributes:
        wires: where it acts.
        control: acts where this wire is 1; None: always.
        kind: which kind of matrix, of `Program.kinds`; None: it is a rotation.
        place: which of its kind.
    """

    wires: tuple[int, ...]
    control: int | None
    kind: int | None
    place: int


@dataclass
class Kind:
    """Matrices that are products of the same gates, made together.

    Attributes:
        gates: name and whether inverse, in the order they act.
        taken: for each of `gates` the angle or matrix it takes, one for each of this kind.
    """

    gates: tuple[tuple[str, bool], ...]
    taken: list[list[int | None]]


@dataclass
class Program:
    """A circuit as steps.

    Attributes:
        num_qubits: n.
        from_zero: it starts from |0...0>, else from any state.
        frame: states are W state, with W = diag(1, i) on each wire.
        steps: what acts, in order.
        start: of each wire the matrix (kind, place) that acts on |0> first; None: nothing.
        turned: angle of each rotation.
        signs: with its sign.
    """

    num_qubits: int
    from_zero: bool
    frame: bool
    steps: list[Step] = field(default_factory=list)
    start: list[tuple[int, int] | None] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    turned: list[int] = field(default_factory=list)
    signs: list[float] = field(default_factory=list)


@lru_cache(maxsize=256)
def program(circuit: Circuit, from_zero: bool) -> Program:
    """The steps of a circuit."""
    counts = circuit.gate_counts
    made = Program(circuit.num_qubits, from_zero, counts.get("CRX", 0) > counts.get("CRY", 0))
    made.start = [None] * circuit.num_qubits
    real = "CRX" if made.frame else "CRY"
    waiting: list[list[Gate]] = [[] for _ in range(circuit.num_qubits)]
    fresh = [from_zero] * circuit.num_qubits

    def flush(wire: int) -> None:
        if waiting[wire]:
            placed = _place(made, waiting[wire])
            if fresh[wire]:
                made.start[wire] = placed
            else:
                made.steps.append(Step((wire,), None, *placed))
        waiting[wire], fresh[wire] = [], False

    for gate in circuit.gates:
        if len(gate.wires) == 1:
            waiting[gate.wires[0]].append(gate)
            continue
        for wire in gate.wires:
            flush(wire)
        if gate.name == real:
            assert gate.index is not None
            made.steps.append(Step(gate.wires[1:], gate.wires[0], None, len(made.turned)))
            made.turned.append(gate.index)
            made.signs.append(-1.0 if gate.inverse else 1.0)
        elif gate.name in TWO_WIRES:
            made.steps.append(Step(gate.wires[1:], gate.wires[0], *_place(made, [gate])))
        else:
            made.steps.append(Step(gate.wires, None, *_place(made, [gate])))
    for wire in range(circuit.num_qubits):
        flush(wire)
    return made


def _place(made: Program, gates: list[Gate]) -> tuple[int, int]:
    """Kind and place of the product of gates, which is a new one."""
    names = tuple(
        (f"{g.name}{len(g.wires)}" if g.name == "U" else g.name, g.inverse) for g in gates
    )
    found = next((i for i, kind in enumerate(made.kinds) if kind.gates == names), None)
    if found is None:
        found = len(made.kinds)
        made.kinds.append(Kind(names, [[] for _ in gates]))
    for taken, gate in zip(made.kinds[found].taken, gates, strict=True):
        taken.append(gate.index)
    return found, len(made.kinds[found].taken[0]) - 1


def coefficients(
    made: Program, angles: Tensor, matrices: Sequence[Tensor], width: int
) -> tuple[Tensor, list[Tensor]]:
    """Numbers of all steps; differentiable.

    Args:
        made: the program.
        angles: (P, T), radians; (P, 1): shared.
        matrices: of the gates `U`, each (d, d, T) complex or (d, d, 1).
        width: T.

    Returns:
        angles of the rotations (R, T), and of each kind its K matrices, (d, d, K, T).
    """
    sign = torch.tensor(made.signs, dtype=angles.dtype, device=angles.device)
    turns = (angles[made.turned] * sign[:, None]).expand(-1, width)
    half = angles / 2
    cosines, sines = half.cos(), half.sin()
    return turns, [
        _matrices(made, kind, cosines, sines, matrices).expand(-1, -1, -1, width).contiguous()
        for kind in made.kinds
    ]


def _matrices(
    made: Program, kind: Kind, cosines: Tensor, sines: Tensor, given: Sequence[Tensor]
) -> Tensor:
    """Matrices of one kind, (d, d, K, T)."""
    dtype, device = cosines.dtype.to_complex(), cosines.device
    product = None
    for (name, inverse), taken in zip(kind.gates, kind.taken, strict=True):
        acts = ACTS.get(name, name)
        if acts in ROTATIONS:
            pauli = torch.tensor(PAULI[acts[-1]], dtype=dtype, device=device)[..., None, None]
            one = torch.eye(2, dtype=dtype, device=device)[..., None, None]
            found = cosines[taken] * one + (1j if inverse else -1j) * sines[taken] * pauli
        else:
            if acts in FIXED:
                fixed = torch.tensor(FIXED[acts], dtype=dtype, device=device)
                found = fixed[..., None, None].expand(-1, -1, len(taken), 1)
            else:
                width = max(given[i].shape[-1] for i in taken if i is not None)
                chosen = (given[i].expand(-1, -1, width) for i in taken if i is not None)
                found = torch.stack(list(chosen), 2)
            found = found.transpose(0, 1).conj() if inverse else found
        product = found if product is None else (found[:, :, None] * product[None]).sum(1)
    assert product is not None
    if made.frame:
        phases = frame(product.shape[0].bit_length() - 1, dtype, device)
        product = product * (phases[:, None] * phases.conj())[..., None, None]
    return product.resolve_conj()


def frame(num_wires: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The diagonal of W = diag(1, i) on each wire, (2^w,)."""
    ones = torch.zeros(1, dtype=torch.int64, device=device)
    for _ in range(num_wires):
        ones = torch.cat((ones, ones + 1))
    return torch.tensor([1, 1j, -1, -1j], dtype=dtype, device=device)[ones % 4]


def product_state(made: Program, kinds: Sequence[Tensor], like: Tensor) -> Tensor:
    """The state before the first step, from |0...0>; (2^n, T), differentiable."""
    state = torch.ones_like(like[:1])
    zero = torch.zeros_like(state)
    for placed in made.start:
        if placed is None:
            state = torch.stack((state, zero.expand_as(state)), 1).flatten(0, 1)
        else:
            kind, place = placed
            state = (state[:, None] * kinds[kind][:, 0, place]).flatten(0, 1)
    return state
