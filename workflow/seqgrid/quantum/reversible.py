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

T circuits are the last dimension, as many as stay in the cache: states (stack, 2^n, T), where the
stack is the state alone or the state and its cotangent.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.quantum.program import Program, Step, coefficients, frame, product_state
from seqgrid.quantum.readout import expectations, expectations_backward

CACHE = 2**16  # amplitudes worked on at a time on a CPU: measured for 4 to 10 qubits


class Reversible(torch.autograd.Function):
    """States (2^n, B) or expectations (3 n, B), of B circuits."""

    @staticmethod
    def forward(ctx: Any, made: Program, readout: bool, batch: int, angles, state, *matrices):
        """Arguments: angles (B, P) or (1, P); state (B, 2^n) or None; matrices (B or 1, d, d)."""
        finals = []
        for tile in _tiles(made, batch, angles.device):
            work = _Work(made, tile, angles, state, matrices, stack=1)
            work.states[0].copy_(work.first)
            for step in made.steps:
                work.act(step)
            finals.append(work.states[0])
        ctx.made, ctx.readout, ctx.batch, ctx.given = made, readout, batch, state is not None
        ctx.count = len(matrices)
        ctx.save_for_backward(angles, state, *matrices, *finals)
        if readout:
            return torch.cat([expectations(final, made.frame) for final in finals], 1).t()
        return torch.cat([(final * work.unframed).t() for final in finals])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents):
        (cotangent,) = cotangents
        made, count = ctx.made, ctx.count
        angles, state, *others = ctx.saved_tensors
        matrices, finals = others[:count], others[count:]
        inputs = (angles, state, *matrices)
        sums = [None if x is None or not need else torch.zeros_like(x)
                for x, need in zip(inputs, ctx.needs_input_grad[3:], strict=True)]  # fmt: skip
        for tile, final in zip(_tiles(made, ctx.batch, angles.device), finals, strict=True):
            with torch.enable_grad():
                own = [
                    None if x is None else _part(x, tile).detach().requires_grad_(g is not None)
                    for x, g in zip(inputs, sums, strict=True)
                ]
                work = _Work(made, tile, own[0], own[1], own[2:], stack=2, whole=False)
            given = cotangent[tile].t()
            work.states[0].copy_(final)
            if ctx.readout:
                expectations_backward(given, final, work.states[1], made.frame)
            else:
                torch.mul(given, work.unframed.conj(), out=work.states[1])
            found = work.undo()
            wanted = [x for x in own if x is not None and x.requires_grad]
            pairs = [(x, g) for x, g in zip(work.made_of, found, strict=True) if x.requires_grad]
            if not pairs:
                continue
            outputs, of_outputs = zip(*pairs, strict=True)
            grads = iter(torch.autograd.grad(outputs, wanted, of_outputs, allow_unused=True))
            for total in (x for x in sums if x is not None):
                if (part := next(grads)) is not None:
                    _part(total, tile).add_(part)
        return None, None, None, *sums


def _tiles(made: Program, batch: int, device: torch.device) -> list[slice]:
    """Parts of the batch, of like size."""
    most = CACHE >> made.num_qubits if device.type == "cpu" else batch
    count = -(-batch // max(most, 1))
    return [slice(batch * i // count, batch * (i + 1) // count) for i in range(count)]


def _part(x: Tensor, tile: slice) -> Tensor:
    return x[tile] if x.shape[0] > 1 else x


class _Work:
    """Numbers of the steps for one tile, and its states."""

    def __init__(self, made: Program, tile, angles, state, matrices, stack, whole=True):
        parts = (_part(x, tile) if whole else x for x in (angles, *matrices))
        angles, *matrices = parts
        width = tile.stop - tile.start
        dtype = angles.dtype.to_complex()
        self.made = made
        self.turns, self.kinds = coefficients(
            made, angles.t(), [m.movedim(0, -1) for m in matrices], width
        )
        like = torch.empty(1, width, dtype=dtype, device=angles.device)
        self.unframed = like.new_ones(1, 1)
        if made.frame:
            self.unframed = (
                frame(made.num_qubits, dtype, angles.device).conj().resolve_conj()[:, None]
            )
        if state is None:
            self.first = product_state(made, self.kinds, like)
        else:
            self.first = (_part(state, tile) if whole else state).t() * self.unframed.conj()
        self.made_of = (self.first, self.turns, *self.kinds)
        with torch.no_grad():
            half = self.turns.detach() / 2
            cosines = half.cos()
            self.turned_over = (cosines < 0).any(1).tolist()
            sign = torch.where(cosines < 0, -1.0, 1.0).to(half.dtype)
            sines = half.sin() * sign
            tangents = sines / (1 + cosines.abs())
            self.sign, self.sines, self.tangents = (
                x.repeat_interleave(2, -1) for x in (sign, sines, tangents)
            )
        self.states = like.new_empty(stack, 2**made.num_qubits, width)
        self.spare = torch.empty_like(self.states)

    def act(self, step: Step, inverse: bool = False) -> None:
        """One step or its inverse on the states."""
        if step.kind is None:
            self._turn(step, inverse)
            return
        matrix = self.kinds[step.kind].detach()[:, :, step.place]
        if inverse:
            matrix = matrix.transpose(0, 1).conj().resolve_conj()
        where = _split(self.states, step)
        before = _joined(where, step)
        matrix = matrix.view(*matrix.shape[:2], *[1] * (before.dim() - 2), -1)
        moves = len(step.wires) == 1 and step.control is None  # into the spare, else in place
        after = _split(self.spare, step) if moves else torch.empty_like(before)
        torch.mul(matrix[:, 0], before[0], out=after)
        for column in range(1, len(before)):
            after.addcmul_(matrix[:, column], before[column])
        if moves:
            self.states, self.spare = self.spare, self.states
        else:
            where.copy_(after.view(where.shape))

    def _turn(self, step: Step, inverse: bool) -> None:
        zero, one = _split(_real(self.states), step)
        sign = -1.0 if inverse else 1.0
        tangent, sine = self.tangents[step.place], self.sines[step.place]
        zero.addcmul_(one, tangent, value=-sign)
        one.addcmul_(zero, sine, value=sign)
        zero.addcmul_(one, tangent, value=-sign)
        if self.turned_over[step.place]:
            zero.mul_(self.sign[step.place])
            one.mul_(self.sign[step.place])

    def undo(self) -> list[Tensor]:
        """All steps undone; cotangents of `made_of`."""
        of_turns = torch.empty_like(self.sines)
        of_kinds = [torch.zeros_like(kind) for kind in self.kinds]
        for step in reversed(self.made.steps):
            if step.kind is None:
                zero, one = _split(_real(self.states), step)
                product = zero[0] * one[1]
                product.addcmul_(one[0], zero[1], value=-1)
                torch.sum(product.flatten(0, -2), 0, out=of_turns[step.place])
                self.act(step, inverse=True)
            else:
                cotangent = _joined(_split(self.states, step), step)[:, 1].conj_physical()
                self.act(step, inverse=True)
                state = _joined(_split(self.states, step), step)[:, 0]
                found = cotangent[:, None] * state
                of_kinds[step.kind][:, :, step.place] = found.flatten(2, -2).sum(2)
        of_turns = of_turns.view(*self.turns.shape, 2).sum(-1) / 2
        return [self.states[1], of_turns, *(x.conj() for x in of_kinds)]


def _real(states: Tensor) -> Tensor:
    """(stack, 2^n, T) complex as (stack, 2^n, 2 T) real."""
    return torch.view_as_real(states).flatten(-2)


def _split(states: Tensor, step: Step) -> Tensor:
    """Where a step acts: (2, [2,] stack, ..., T), a view of states (stack, 2^n, T)."""
    n = states.shape[-2].bit_length() - 1
    wires = step.wires if step.control is None else (step.control, *step.wires)
    shape, where, last = [], {}, -1
    for wire in sorted(wires):
        shape += [2 ** (wire - last - 1), 2]
        where[wire] = len(shape)
        last = wire
    view = states.view(states.shape[0], *shape, 2 ** (n - 1 - last), states.shape[-1])
    view = view.movedim([where[wire] for wire in wires], list(range(len(wires))))
    return view if step.control is None else view[1]


def _joined(split: Tensor, step: Step) -> Tensor:
    """The dimensions of two wires as one; a copy of what `_split` returned."""
    return split.flatten(0, 1) if len(step.wires) == 2 else split
