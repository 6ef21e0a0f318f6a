"""Circuits whose backward pass computes the states again, from the last to the first.

Unitary steps can be undone, so nothing but the inputs and the final state is kept, however deep
the circuit (the adjoint method: Jones and Gacon, arXiv:2009.02823). With the cotangent c behind a
step M, which takes psi to M psi,
    dL/dM = c psi^*        c <- M^* c        psi <- M^* psi
and for a rotation R(t) = exp(-i t Y / 2), from states and cotangents behind it,
    dL/dt = Re <c, -i Y / 2 psi>
A rotation is three shears, in place: with a = t / 2, u = tan(a / 2)
    R(t) = [1 -u; 0 1] [1 0; sin a 1] [1 -u; 0 1]
which is accurate for cos a >= 0; otherwise it is - R(t - 2 pi).

T circuits, as many as stay in the cache, are the last dimension: states are (stack, 2^n, T), where
the stack is the state alone or the state and its cotangent.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.quantum.program import Program, Step, coefficients, frame, product_state
from seqgrid.quantum.readout import expectations, expectations_backward

CACHE = 2**17  # amplitudes of a tile on a CPU: quickest of 2^14 to 2^17 with 6 qubits


def run_reversible(
    parts: tuple[Program, ...],
    batch: int,
    angles: Tensor,
    state: Tensor | None,
    matrices: Sequence[Tensor],
    readout: bool,
) -> Tensor:
    """States (B, 2^n), or with `readout` expectations (B, 3 n). First derivatives only.

    Args:
        parts: the programs of the circuit.
        batch: B.
        angles: (B, P), radians; (1, P): shared.
        state: (B, 2^n) complex; None: |0...0>, if the first program starts from it.
        matrices: of the gates `U`, unitary, each (B, d, d) complex or (1, d, d).
        readout: whether only the expectations of the state are wanted.
    """
    return _Reversible.apply(parts, readout, batch, angles, state, *matrices)


class _Reversible(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: tuple, readout: bool, batch: int, angles, state, *matrices):
        finals, found = [], []
        for tile in _tiles(parts[0], batch, angles.device):
            own, first, *given = (_part(x, tile) for x in (angles, state, *matrices))
            for made in parts:
                work = _Work(made, tile.stop - tile.start, 1, own, first, *given)
                work.states[0].copy_(work.first)
                for step in made.steps:
                    work.act(step)
                final = work.states[0]
                if made is not parts[-1]:
                    first = _rotated(final, made, -1).t()
            finals.append(final)
            found.append(expectations(final, made.frame) if readout else _rotated(final, made, -1))
        ctx.parts, ctx.readout, ctx.batch, ctx.count = parts, readout, batch, len(matrices)
        ctx.save_for_backward(angles, state, *matrices, *finals)
        return torch.cat([x.t() for x in found])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents):
        saved = ctx.saved_tensors
        inputs, finals = saved[: 2 + ctx.count], saved[2 + ctx.count :]
        sums = [torch.zeros_like(x) if need else None
                for x, need in zip(inputs, ctx.needs_input_grad[3:], strict=True)]  # fmt: skip
        tiles = _tiles(ctx.parts[0], ctx.batch, inputs[0].device)
        for tile, state in zip(tiles, finals, strict=True):
            last, given = ctx.parts[-1], cotangents[0][tile].t()
            if ctx.readout:
                cotangent = torch.empty_like(state)
                expectations_backward(given, state, cotangent, last.frame)
            else:
                cotangent = _rotated(given, last, 1)
            both = torch.stack((state, cotangent))
            for place in reversed(range(len(ctx.parts))):
                made, own = ctx.parts[place], [_part(x, tile) for x in inputs]
                totals = list(sums)
                if place:  # where it began is known once it is undone
                    own[1], totals[1] = state.t(), None
                both = _undone(made, own, totals, tile, both)
                if place:
                    both = _rotated(_rotated(both, made, -1), ctx.parts[place - 1], 1)
        return None, None, None, *sums


def _undone(
    made: Program,
    own: list,
    sums: list[Tensor | None],
    tile: slice,
    both: Tensor,
) -> Tensor:
    """State and cotangent (2, 2^n, T) before a program, from those behind it; adds to the sums.

    Args:
        made: the program.
        own: inputs of the tile: angles, the state it begins with, matrices.
        sums: gradients of all inputs, of all tiles and programs; None: not wanted.
        tile: which part of the batch it is.
        both: behind the program, in its frame.
    """
    wanted = [i for i, total in enumerate(sums) if total is not None]
    with torch.enable_grad():
        for i in wanted:
            own[i] = own[i].detach().requires_grad_()
        work = _Work(made, tile.stop - tile.start, 2, *own)
    work.states.copy_(both)
    pairs = [(x, g) for x, g in zip(work.made_of, work.undo(), strict=True) if x.requires_grad]
    if pairs:
        outputs, given = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, [own[i] for i in wanted], given, allow_unused=True)
        for i, part in zip(wanted, found, strict=True):
            total = sums[i]
            if part is not None and total is not None:
                _part(total, tile).add_(part)
    return work.states


def _tiles(made: Program, batch: int, device: torch.device) -> list[slice]:
    """Parts of the batch, of like size."""
    most = CACHE >> made.num_qubits if device.type == "cpu" else batch
    count = max(-(-batch // max(most, 1)), 1)
    return [slice(batch * i // count, batch * (i + 1) // count) for i in range(count)]


def _part(x: Any, tile: slice) -> Any:
    return x if x is None or x.shape[0] == 1 else x[tile]


def _rotated(state: Tensor, made: Program, way: int) -> Tensor:
    """A state (2^n, T) into the frame, way 1, or out of it, way -1."""
    if not made.frame:
        return state
    phases = frame(made.num_qubits, state.dtype, state.device)[:, None]
    return state * (phases if way == 1 else phases.conj())


class _Work:
    """The numbers of the steps for one tile of T circuits, and their states.

    Attributes:
        first: the state before all steps, (2^n, T).
        made_of: `first`, halves of the rotations' angles (R, T) and matrices of each kind
            (d, d, K, T): what the steps are made of, differentiable.
        states: (stack, 2^n, T); where it has two, steps are undone.
        spare: another of that size, to write to.
    """

    def __init__(self, made: Program, width: int, stack: int, angles, state, *matrices):
        self.made, undone = made, stack == 2
        half, kinds = coefficients(
            made, angles.t().contiguous(), [m.movedim(0, -1) for m in matrices]
        )
        half, kinds = half.expand(-1, width), [x.expand(-1, -1, -1, width) for x in kinds]
        size = stack, 2**made.num_qubits, width
        self.states = torch.empty(size, dtype=angles.dtype.to_complex(), device=angles.device)
        self.spare = torch.empty_like(self.states)
        if state is None:
            self.first = product_state(made, kinds, self.states[0, :1])
        else:
            self.first = _rotated(state.t(), made, 1)
        self.made_of = self.first, half, *kinds
        with torch.no_grad():
            cosines, sines = half.cos(), half.sin()
            sign = torch.ones_like(cosines).copysign_(cosines)
            self.turned_over = (cosines < 0).any(1).tolist()
            sines *= sign if not undone else -sign
            tangents = sines / (-1 - cosines.abs_())
            numbers = torch.stack((tangents, sines, sign))[..., None].expand(-1, -1, -1, 2)
            numbers = numbers.flatten(2)
            # of each rotation (2 T,): both shears and the sign, of real and imaginary part
            self.numbers = list(zip(*(x.unbind() for x in numbers.unbind()), strict=True))
            self.columns = [_columns(x.detach(), undone).unbind() for x in kinds]

    def act(self, step: Step) -> None:
        """One step on the states."""
        if step.kind is None:
            self._turn(step)
            return
        columns = self.columns[step.kind][step.place].unbind()
        where = _where(self.states, step)
        if step.control is None and len(step.wires) == 1:
            _multiply(columns, where, out=_where(self.spare, step))
            self.states, self.spare = self.spare, self.states
        else:
            before = where.flatten(0, -6)
            after = _multiply(columns, before, out=torch.empty_like(before))
            where.copy_(after.view(where.shape))

    def _turn(self, step: Step) -> None:
        zero, one = _halves(self.states, step)
        tangent, sine, sign = self.numbers[step.place]
        zero.addcmul_(one, tangent)
        one.addcmul_(zero, sine)
        zero.addcmul_(one, tangent)
        if self.turned_over[step.place]:
            zero.mul_(sign)
            one.mul_(sign)

    def _scratch(self, size: Sequence[int], like: Tensor) -> Tensor:
        """Contiguous memory for a product, in the cache where it can: quick to sum."""
        free = self.spare.view(-1).view(like.dtype)
        count = math.prod(size)
        return free[:count].view(size) if count <= len(free) else like.new_empty(size)

    def undo(self) -> list[Tensor]:
        """All steps undone; cotangents of `made_of`."""
        of_half = self.made_of[1].new_empty(len(self.numbers), 2 * self.states.shape[-1])
        rows = of_half.unbind()
        of_kinds = [x.new_zeros(x.shape) for x in self.made_of[2:]]
        for step in reversed(self.made.steps):
            if step.kind is None:
                zero, one = _halves(self.states, step)
                (zero, zero_of), (one, one_of) = zero.unbind(), one.unbind()
                product = torch.mul(zero, one_of, out=self._scratch(zero.shape, zero))
                product.addcmul_(one, zero_of, value=-1)
                torch.sum(product, (0, 1, 2), out=rows[step.place])
                self.act(step)
            else:
                cotangent = _where(self.states, step).flatten(0, -6)[:, 1].conj_physical()
                self.act(step)
                state = _where(self.states, step).flatten(0, -6)[:, 0]
                size = len(state), *state.shape
                product = torch.mul(cotangent[:, None], state, out=self._scratch(size, state))
                of_kinds[step.kind][:, :, step.place] = product.sum((2, 3, 4))
        of_half = of_half[:, ::2] + of_half[:, 1::2]
        return [self.states[1], of_half, *(x.conj_physical() for x in of_kinds)]


def _columns(matrices: Tensor, undone: bool) -> Tensor:
    """Columns of matrices or of their inverses, (d, d, K, T) -> (K, column, row, 1, 1, 1, 1, T)."""
    if undone:
        found = matrices.permute(2, 0, 1, 3).conj_physical()
    else:
        found = matrices.permute(2, 1, 0, 3).contiguous()
    return found[:, :, :, None, None, None, None]


def _multiply(columns: Sequence[Tensor], before: Tensor, out: Tensor) -> Tensor:
    """A matrix on amplitudes (d, stack, ..., T)."""
    first, *others = before.unbind()
    torch.mul(columns[0], first, out=out)
    for column, x in zip(columns[1:], others, strict=True):
        out.addcmul_(column, x)
    return out


def _where(states: Tensor, step: Step) -> Tensor:
    """Where a step acts: (2, [2,] stack, ., ., ., T), a view of states (stack, 2^n, T)."""
    size, stride, offset = _geometry(states.shape, step.wires, step.control)
    return states.as_strided(size, stride, offset)


def _halves(states: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Amplitudes of 0 and of 1 where a step acts, as reals (stack, ., ., ., 2 T), views."""
    reals = states.view(states.dtype.to_real())
    size, stride, offset = _geometry(reals.shape, step.wires, step.control)
    zero = reals.as_strided(size[1:], stride[1:], offset)
    return zero, reals.as_strided(size[1:], stride[1:], offset + stride[0])


@lru_cache(maxsize=4096)
def _geometry(
    shape: torch.Size, wires: tuple[int, ...], control: int | None
) -> tuple[list[int], list[int], int]:
    """Sizes, strides and offset of `_where`, of contiguous states."""
    stack, amplitudes, width = shape
    n = amplitudes.bit_length() - 1
    places = [width << (n - 1 - wire) for wire in wires]
    offset = 0 if control is None else width << (n - 1 - control)
    size, stride, last = [], [], -1
    for wire in sorted((*wires, *(() if control is None else (control,)))):
        size.append(2 ** (wire - last - 1))
        stride.append(width << (n - wire))
        last = wire
    size.append(2 ** (n - 1 - last))
    stride.append(width)
    pad = 3 - len(size)
    size, stride = size + [1] * pad, stride + [width] * pad
    return (
        [2] * len(wires) + [stack, *size, width],
        [*places, amplitudes * width, *stride, 1],
        offset,
    )
