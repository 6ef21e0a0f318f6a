"""What is read from a state: expectations of Pauli matrices. B batch, n qubits.

With t the sum of conj(psi_k) psi_l over pairs of basis states that differ in a wire, 0 in k and 1
in l, <X> = 2 Re t and <Y> = 2 Im t; <Z> is the probability of 0 less that of 1.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def pauli_expectations_reference(state: Tensor) -> Tensor:
    """As the definition reads; arguments of `pauli_expectations`."""
    n = state.shape[-1].bit_length() - 1
    found = []
    for wire in range(n):
        zero, one = state.unflatten(-1, (2**wire, 2, -1)).unbind(-2)  # (..., 2^wire, 2^(n-1-wire))
        across = (zero.conj() * one).sum((-2, -1))
        up, down = ((half.real**2 + half.imag**2).sum((-2, -1)) for half in (zero, one))
        found.append(torch.stack((2 * across.real, 2 * across.imag, up - down), -1))
    return torch.stack(found, -1).flatten(-2)


def pauli_expectations(state: Tensor) -> Tensor:
    """<X>, <Y>, <Z> of every wire: X of wires 0 to n-1, then Y, then Z. First derivatives only.

    Args:
        state: (..., 2^n) complex, of norm 1.

    Returns:
        (..., 3 n) real.
    """
    found = _Readout.apply(state.reshape(-1, state.shape[-1]))
    return found.view(*state.shape[:-1], found.shape[-1])


class _Readout(torch.autograd.Function):
    """Expectations (B, 3 n) of states (B, 2^n)."""

    @staticmethod
    def forward(ctx: Any, state):
        ctx.save_for_backward(state)
        with torch.autocast(state.device.type, enabled=False):
            return expectations(state.t().contiguous(), False).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent):
        state = ctx.saved_tensors[0].t().contiguous()
        found = torch.empty_like(state)
        with torch.autocast(state.device.type, enabled=False):
            expectations_backward(cotangent.t(), state, found, False)
        return found.t()


def expectations(state: Tensor, frame: bool) -> Tensor:
    """<X>, <Y>, <Z> of every wire (3 n, T) of states (2^n, T), contiguous.

    Args:
        state: the amplitudes.
        frame: they are those of W psi, W = diag(1, i) on each wire.
    """
    size, width = state.shape
    signs = z_signs(size, state.dtype.to_real(), state.device)
    across = state.new_empty(len(signs), width)
    conjugate = state.conj_physical()
    product = torch.empty_like(state[size // 2 :])
    for wire, found in enumerate(across):
        _, one = pairs(state, wire)
        zero, _ = pairs(conjugate, wire)
        torch.mul(zero, one, out=product.view(zero.shape))
        torch.sum(product, 0, out=found)
    if frame:
        across *= -1j
    upright = torch.mm(signs, torch.view_as_real(state).flatten(1).square())
    return torch.cat((2 * across.real, 2 * across.imag, upright[:, ::2] + upright[:, 1::2]))


def expectations_backward(cotangent: Tensor, state: Tensor, out: Tensor, frame: bool) -> None:
    """Cotangent of states (2^n, T) into `out`, from that of `expectations` (3 n, T)."""
    of_x, of_y, of_z = (2 * cotangent).chunk(3)
    signs = z_signs(len(state), of_x.dtype, state.device)
    twice = of_z[..., None].expand(-1, -1, 2).flatten(1)  # real and imaginary part
    torch.mul(torch.mm(signs.t(), twice), torch.view_as_real(state).flatten(1),
              out=torch.view_as_real(out).flatten(1))  # fmt: skip
    raised = torch.complex(of_x.contiguous(), -of_y)
    if frame:
        raised *= -1j
    for wire, (up, down) in enumerate(zip(raised, raised.conj_physical(), strict=True)):
        zero, one = pairs(state, wire)
        of_zero, of_one = pairs(out, wire)
        of_zero.addcmul_(one, up)
        of_one.addcmul_(zero, down)


def pairs(state: Tensor, wire: int) -> tuple[Tensor, ...]:
    """Amplitudes (2^n, T) where a wire is 0 and where it is 1, each (2^wire, 2^(n-1-wire), T)."""
    return state.unflatten(0, (2**wire, 2, -1)).unbind(1)


@lru_cache(maxsize=64)
def z_signs(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 where a wire is 0 in a basis state, else -1; (n, 2^n)."""
    n = size.bit_length() - 1
    states = torch.arange(size, device=device)
    bits = states >> torch.arange(n - 1, -1, -1, device=device)[:, None] & 1
    return (1 - 2 * bits).to(dtype)
