"""What the fast simulator does of a circuit: fewer and cheaper steps, found once a circuit.

The rule of fusion: neighbouring gates on one wire become one 2 x 2 matrix; those that meet |0>
first make a product state, which takes no step. Controlled rotations about X, or Y where there are
more of those, are real rotations: about X in the frame W = diag(1, i) on each wire, as W X W* = Y
and W is diagonal, so it passes controls. Everything else is a matrix on its wires.

T circuits at a time are the last dimension of everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.quantum.circuit import CONTROLLED, ROTATIONS, Circuit, Gate
from seqgrid.quantum.quaternions import spun

MOST_GATES = 128  # of one program; circuits of models have 66
ACTS = {name: name[1:] for name in CONTROLLED} | {"CNOT": "X", "CZ": "Z"}  # on the second wire


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
        gates: name and whether inverse, in the order they act, of a controlled gate what it does
            to its second wire; of `U` one alone, with its wires' number.
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
def programs(circuit: Circuit, from_zero: bool) -> tuple[Program, ...]:
    """The steps of a circuit, MOST_GATES at a time; `from_zero`: it acts on |0...0>, not any state.

    What steps are made of takes more memory than angles do, so that it is made and forgotten in
    parts: however deep a circuit is, no more is held than for one of them.
    """
    n, gates = circuit.num_qubits, circuit.gates
    parts = [gates[i : i + MOST_GATES] for i in range(0, len(gates), MOST_GATES)] or [()]
    return tuple(_program(Circuit(n, p), from_zero and i == 0) for i, p in enumerate(parts))


def _program(circuit: Circuit, from_zero: bool) -> Program:
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
            if name in ROTATIONS:
                made.order += tuple(index for index in taken if index is not None)
                made.signs += (-1.0 if inverse else 1.0,) * len(taken)
    return made


def _place(made: Program, gates: list[Gate], start: bool = False) -> tuple[int, int]:
    """Kind and place of the product of gates, which is a new one."""
    names = tuple(
        (f"U{len(g.wires)}" if g.name == "U" else ACTS.get(g.name, g.name), g.inverse)
        for g in gates
    )
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
    spun_by = [[acts for acts, _ in kind.gates if acts in ROTATIONS] for kind in made.kinds]
    # each as long as its kind: slices would each get a gradient as large as the whole
    lengths = [len(k.taken[0]) for k, by in zip(made.kinds, spun_by, strict=True) for _ in by]
    rotations, *halves = half.split([made.rotations, *lengths])
    found, rest = [], iter(halves)
    for kind, by in zip(made.kinds, spun_by, strict=True):
        if kind.gates[0][0].startswith("U"):
            found.append(_given(made, kind, matrices))
        else:
            like = angles.new_empty(len(kind.taken[0]), angles.shape[-1])
            spins = [next(rest) for _ in by]
            found.append(spun(kind.gates, made.frame, kind.start, spins, like))
    return rotations, found


def _given(made: Program, kind: Kind, matrices: Sequence[Tensor]) -> Tensor:
    """Matrices of the gates `U` of one kind, (d, d, K, T)."""
    chosen = [matrices[i] for i in kind.taken[0] if i is not None]
    widths = [m.shape[-1] for m in chosen]
    width = max(widths) if all(widths) else 0
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
            both = cotangent.view(len(before), 2, cotangent.shape[-1])
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
