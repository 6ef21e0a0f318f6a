"""Gates on one wire as unit quaternions q: q_0 - i (q_1 X + q_2 Y + q_3 Z), times a fixed phase.

A rotation by an angle 2 h multiplies q by cos h + sin h L with L one of the units, a skew 4 x 4
matrix: the derivative in h is L q, so that backward needs no more than the last q, and undoes it.
"""

import cmath
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.quantum.circuit import ROTATIONS
from seqgrid.quantum.gates import FIXED, PAULI

UNITS = torch.tensor(  # 1 and -i P of each Pauli matrix P; models may be imported for shapes alone
    [[[1, 0], [0, 1]], *([[-1j * x for x in row] for row in PAULI[axis]] for axis in "XYZ")],
    dtype=torch.complex128,
    device="cpu",
)


def spun(
    gates: Sequence[tuple[str, bool]],
    framed: bool,
    start: bool,
    halves: Sequence[Tensor],
    like: Tensor,
) -> Tensor:
    """Products of gates on one wire, (2, 2, K, T) complex.

    Args:
        gates: name and whether inverse, in the order they act; signs of angles have that already.
        framed: W M W* instead of M, with W = diag(1, i).
        start: only the first column, (2, 1, K, T).
        halves: of each rotation half its K angles, (K, T), radians.
        like: of the size and dtype of those.
    """
    return _Spun.apply(tuple(gates), framed, start, like, *halves)


class _Spun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates, framed, start, like, *halves: Tensor):
        dtype, device = like.dtype, like.device
        product = torch.zeros(4, *like.shape, dtype=dtype, device=device)
        product[0] = 1
        phase, rest = 1 + 0j, iter(halves)
        for name, inverse in gates:
            turned = (_left(name, name not in ROTATIONS and inverse, dtype, device)
                      @ product.flatten(1)).view(product.shape)  # fmt: skip
            if name in ROTATIONS:
                half = next(rest)
                product = (product * half.cos()).addcmul_(turned, half.sin())
            else:
                product = turned
                phase *= _phase(name, inverse)
        ctx.gates, ctx.how = gates, (framed, phase, start, dtype, device)
        ctx.save_for_backward(product, *halves)
        real, imaginary = _to_matrix(*ctx.how)
        flat = product.flatten(1)
        return torch.complex(real @ flat, imaginary @ flat).view(2, len(real) // 2, *like.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents):
        product, *halves = ctx.saved_tensors
        real, imaginary = _to_matrix(*ctx.how)
        given = cotangents[0].flatten(2).flatten(0, 1)
        of = real.t() @ given.real + imaginary.t() @ given.imag
        both = torch.stack((product, of.view(product.shape)), 1)  # (4, 2, K, T)
        found = []
        for name, inverse in reversed(ctx.gates):
            left = _left(name, name not in ROTATIONS and inverse, *ctx.how[-2:])
            turned = (left.t() @ both.flatten(1)).view(both.shape)
            if name in ROTATIONS:
                half = halves.pop()
                found.append((both[:, 1] * turned[:, 0]).sum(0).neg_())
                both = (both * half.cos()).addcmul_(turned, half.sin())
            else:
                both = turned
        return None, None, None, None, *reversed(found)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # else training could not use them later
def _left(name: str, inverse: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a gate does to the quaternion of what acted before, (4, 4)."""
    name = name[-1] if name in ROTATIONS else name
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
        phases = torch.tensor([1, 1j], dtype=units.dtype, device="cpu")
        units = units * (phases[:, None] * phases.conj())
    units = (units[:, :, :1] if start else units).flatten(1).t().to(device)
    return units.real.to(dtype).contiguous(), units.imag.to(dtype).contiguous()
