"""What the fast simulator does of a circuit: fewer and cheaper steps, found once a circuit.

The rule of fusion: neighbouring gates on one wire become one 2 x 2 matrix; those that meet |0>
first make a product state, which takes no step. Controlled rotations about X, or Y where there are
more of those, are real rotations: about X in the frame W = diag(1, i) on each wire, as W X W* = Y
and W is diagonal, so it passes controls. Everything else is a matrix on its wires.

Matrices on one wire are made as q_0 - i (q_1 X + q_2 Y + q_3 Z), with a unit quaternion q, times a
fixed phase. T circuits at a time are the last dimension of everything.
"""

import cmath
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.quantum.circuit import CONTROLLED, ROTATIONS, Circuit, Gate
from seqgrid.quantum.gates import FIXED, PAULI

ACTS = {name: name[1:] for name in CONTROLLED} | {"CNOT": "X", "CZ": "Z"}  # on the second wire
UNITS = torch.tensor(  # 1 and -i P of each Pauli matrix P; models may be imported for shapes alone
    [[[1, 0], [0, 1]], *([[-1j * x for x in row] for row in PAULI[axis]] for axis in "XYZ")],
    dtype=torch.complex128,
    device="cpu",
)


@dataclass(frozen=True)
class Step:
    """A real rotation where its control is 1, or a matrix on its wires.

    Attributes:
        wires: where it acts.
        control: acts where this wire is 1; None: always.
        kind: which kind of matrix, of `Program.kinds`; None: it is a rotation.
        place: which of its kind, or of the rotations.
    """

    wires: tuple[int, ...]
    control: int | None
    kind: int | None
    place: int


@dataclass
class Kind:
    """Matrices that are products of the same gates, made together.

    Attributes:
        gates: name and whether inverse, in the order they act; of `U` one alone.
        start: they act on |0>, so that only their first column is made.
        taken: for each of `gates` the angle or matrix it takes, one for each of this kind.
    """

    gates: tuple[tuple[str, bool], ...]
    start: bool
    taken: list[list[int | None]]


@dataclass
class Program:
    """A circuit as steps.

    Attributes:
        num_qubits: n.
        frame: states are W psi, with W = diag(1, i) on each wire.
        steps: what acts, in order.
        start: of each wire the kind and place of what acts on |0> first; None: nothing.
        kinds: of matrices.
        rotations: how many.
        order: the angle of each rotation, then of each kind each gate's.
        signs: of those angles.
    """

    num_qubits: int
    frame: bool
    steps: list[Step] = field(default_factory=list)
    start: list[tuple[int, int] | None] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    rotations: int = 0
    order: tuple[int, ...] = ()
    signs: tuple[float, ...] = ()


@lru_cache(maxsize=256)
def program(circuit: Circuit, from_zero: bool) -> Program:
    """The steps of a circuit; `from_zero`: it acts on |0...0>, else on any state."""
    n, counts = circuit.num_qubits, circuit.gate_counts
    made = Program(n, frame=counts.get("CRX", 0) > counts.get("CRY", 0))
    made.start = [None] * n
    real = "CRX" if made.frame else "CRY"
    waiting: list[list[Gate]] = [[] for _ in range(n)]
    fresh = [from_zero] * n

    def flush(wire: int) -> None:
        if waiting[wire] and fresh[wire]:
            made.start[wire] = _place(made, waiting[wire], start=True)
        elif waiting[wire]:
            made.steps.append(Step((wire,), None, *_place(made, waiting[wire])))
        waiting[wire], fresh[wire] = [], False

    for gate in circuit.gates:
        if len(gate.wires) == 1 and gate.name != "U":
            waiting[gate.wires[0]].append(gate)
            continue
        for wire in gate.wires:
            flush(wire)
        if gate.name == real:
            assert gate.index is not None
            made.steps.append(Step(gate.wires[1:], gate.wires[0], None, made.rotations))
            made.rotations += 1
            made.order += (gate.index,)
            made.signs += (-1.0 if gate.inverse else 1.0,)
        elif gate.name == "U":
            made.steps.append(Step(gate.wires, None, *_place(made, [gate])))
        else:
            made.steps.append(Step(gate.wires[1:], gate.wires[0], *_place(made, [gate])))
    for wire in range(n):
        flush(wire)
    for kind in made.kinds:
        for (name, inverse), taken in zip(kind.gates, kind.taken, strict=True):
            if ACTS.get(name, name) in ROTATIONS:
                made.order += tuple(index for index in taken if index is not None)
                made.signs += (-1.0 if inverse else 1.0,) * len(taken)
    return made


def _place(made: Program, gates: list[Gate], start: bool = False) -> tuple[int, int]:
    """Kind and place of the product of gates, which is a new one."""
    names = tuple((f"U{len(g.wires)}" if g.name == "U" else g.name, g.inverse) for g in gates)
    same = (i for i, kind in enumerate(made.kinds) if (kind.gates, kind.start) == (names, start))
    found = next(same, None)
    if found is None:
        found = len(made.kinds)
        made.kinds.append(Kind(names, start, [[] for _ in gates]))
    for taken, gate in zip(made.kinds[found].taken, gates, strict=True):
        taken.append(gate.index)
    return found, len(made.kinds[found].taken[0]) - 1


def coefficients(
    made: Program, angles: Tensor, matrices: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Numbers of all steps; differentiable.

    Args:
        made: the program.
        angles: (P, T), radians; (P, 1): shared.
        matrices: of the gates `U`, each (d, d, T) complex or (d, d, 1).

    Returns:
        halves of the angles of R rotations (R, T), and of each kind its K matrices (d, d, K, T);
        T is 1 where all that they are made of is shared.
    """
    device = angles.device
    order, signs = _order(made.order, made.signs, angles.dtype, device)
    half = angles.index_select(0, order) * signs
    rotations, spins = half.split([made.rotations, len(half) - made.rotations])
    # each as long as its kind: slices would each get a gradient as large as the whole
    lengths = [
        len(kind.taken[0])
        for kind in made.kinds
        for name, _ in kind.gates
        if ACTS.get(name, name) in ROTATIONS
    ]
    cosines, sines = (iter(x.split(lengths)) for x in (spins.cos(), spins.sin()))
    found = []
    for kind in made.kinds:
        if kind.gates[0][0].startswith("U"):
            found.append(_given(made, kind, matrices))
            continue
        count = len(kind.taken[0])
        product, phase = torch.eye(4, 1, dtype=angles.dtype, device=device)[..., None], 1 + 0j
        for name, inverse in kind.gates:
            acts = ACTS.get(name, name)
            if acts in ROTATIONS:
                spin = _left(acts[-1], False, angles.dtype, device)
                turned = (spin @ product.flatten(1)).view(product.shape)
                product = torch.addcmul(next(cosines) * product, next(sines), turned)
            else:
                phase *= _phase(acts, inverse)
                spin = _left(acts, inverse, angles.dtype, device)
                product = (spin @ product.flatten(1)).view(product.shape)
        real, imaginary = _to_matrix(made.frame, phase, kind.start, angles.dtype, device)
        flat = product.expand(4, count, -1).flatten(1)
        matrix = torch.complex(real @ flat, imaginary @ flat)
        found.append(matrix.view(2, 1 if kind.start else 2, count, -1))
    return rotations, found


def _given(made: Program, kind: Kind, matrices: Sequence[Tensor]) -> Tensor:
    """Matrices of the gates `U` of one kind, (d, d, K, T)."""
    chosen = [matrices[i] for i in kind.taken[0] if i is not None]
    width = max(m.shape[-1] for m in chosen)
    found = torch.stack([m.expand(-1, -1, width) for m in chosen], 2)
    if kind.gates[0][1]:
        found = found.transpose(0, 1).conj()
    if made.frame:
        phases = frame(found.shape[0].bit_length() - 1, found.dtype, found.device)
        found = found * (phases[:, None] * phases.conj())[..., None, None]
    return found.resolve_conj()


def product_state(made: Program, kinds: Sequence[Tensor], like: Tensor) -> Tensor:
    """The state before the first step, from |0...0>; (2^n, T) for `like` (1, T), differentiable."""
    zero = torch.cat((torch.ones_like(like), torch.zeros_like(like)))
    columns = (zero if x is None else kinds[x[0]][:, 0, x[1]] for x in made.start)
    return _Product.apply(*columns)


class _Product(torch.autograd.Function):
    """The product of wires, each (2, T); its derivative in fewer passes than autograd's."""

    @staticmethod
    def forward(ctx: Any, *wires: Tensor):
        ctx.save_for_backward(*wires)
        return _products(wires)[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents):
        (cotangent,) = cotangents
        wires, found = [wire.conj_physical() for wire in ctx.saved_tensors], []
        for wire, before in zip(reversed(wires), reversed(_products(wires)[:-1]), strict=True):
            both = cotangent.view(-1, 2, cotangent.shape[-1])
            found.append((before[:, None] * both).sum(0))
            cotangent = (both[:, 0] * wire[0]).addcmul_(both[:, 1], wire[1])
        return tuple(reversed(found))


def _products(wires: Sequence[Tensor]) -> list[Tensor]:
    """States of no wire, of the first, of the first two, ...; of all (2^n, T)."""
    found = [torch.ones_like(wires[0][:1])]
    for wire in wires:
        found.append((found[-1][:, None] * wire).flatten(0, 1))
    return found


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # else training could not use them later
def _order(
    order: tuple[int, ...], signs: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`Program.order` and half of `Program.signs`, (S,) and (S, 1)."""
    half = torch.tensor(signs, dtype=dtype, device=device)[:, None] / 2
    return torch.tensor(order, dtype=torch.int64, device=device), half


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # else training could not use them later
def frame(num_wires: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The diagonal of W = diag(1, i) on each wire, (2^w,)."""
    ones = torch.tensor([bin(state).count("1") for state in range(2**num_wires)], device=device)
    return torch.tensor([1, 1j, -1, -1j], dtype=dtype, device=device)[ones % 4]


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # else training could not use them later
def _left(name: str, inverse: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a gate does to the quaternion of what acted before, (4, 4)."""
    matrix = _fixed(name, inverse) / _phase(name, inverse)  # of a Pauli matrix P: -i P
    found = torch.einsum("jba,bc,lca->jl", UNITS.conj(), matrix, UNITS).real / 2
    return found.to(device, dtype)


@lru_cache(maxsize=64)
def _phase(name: str, inverse: bool) -> complex:
    """What remains of a fixed gate beside its quaternion."""
    return cmath.sqrt(torch.linalg.det(_fixed(name, inverse)).item())


def _fixed(name: str, inverse: bool) -> Tensor:
    matrix = torch.tensor(FIXED[name], dtype=torch.complex128, device="cpu")
    return matrix.mH if inverse else matrix


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # else training could not use them later
def _to_matrix(
    framed: bool, phase: complex, start: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Maps of a quaternion (4,) to the real and imaginary parts of its matrix, or first column."""
    units = UNITS * phase
    if framed:
        phases = frame(1, units.dtype, units.device)
        units = units * (phases[:, None] * phases.conj())
    units = (units[:, :, :1] if start else units).flatten(1).t().to(device)
    return units.real.to(dtype).contiguous(), units.imag.to(dtype).contiguous()
