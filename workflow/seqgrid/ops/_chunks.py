"""What chunked operators share: splitting into chunks, products, masks, triangular solves.

B batch, L length, H heads, W width; N = B H; n chunks of c positions. Chunks are the leading
dimension, so that one step of the recurrence between them reads contiguous memory.
"""

from collections.abc import Callable
from functools import reduce, wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

NARROWEST = 16  # what a product on a GPU's matrix unit sums over, at least


def num_chunks(L: int, longest: int) -> int:
    """How many chunks of at most `longest` positions; equal ones: 17 become 2 x 9, not 16 + 1."""
    return -(-L // longest)


def split(x: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """(B, L, H, W) -> (n, N, c, W) of `dtype`; the end is padded with zeros."""
    B, L, H, _ = x.shape
    c = -(-L // n)
    x = pad(x, (0, 0, 0, 0, 0, n * c - L)) if n * c > L else x
    x = x.to(dtype).reshape(B, n, c, H, -1).permute(1, 0, 3, 2, 4)
    # a view of a transposed input would put every product on torch's slow path
    return x.reshape(n, B * H, c, -1).contiguous()


def join(x: Tensor, B: int, L: int, dtype: torch.dtype) -> Tensor:
    """(n, N, c, W) -> (B, L, H, W) of `dtype`, without the padding."""
    n, N, c, W = x.shape
    x = x.view(n, B, N // B, c, W).permute(1, 0, 3, 2, 4).reshape(B, n * c, N // B, W)
    return x[:, :L].to(dtype)


def product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b over the two leading dimensions (n, N)."""
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Total + a @ b, in place."""
    total.flatten(0, 1).baddbmm_(a.flatten(0, 1), b.flatten(0, 1))
    return total


def lower(c: int, like: Tensor, diagonal: int = 0) -> Tensor:
    """(c, c) ones on and below the diagonal; a product with it is 5 times faster than tril."""
    return torch.ones(c, c, dtype=like.dtype, device=like.device).tril_(diagonal)


def solve(A: Tensor, rhs: Tensor, transposed: bool = False) -> Tensor:
    """(I + strictly lower A)^-1 rhs, or with its transpose; A (..., c, c), rhs (..., c, W).

    By substitution: the doubling series for the inverse overflows when keys repeat.
    """
    # X^T (I + A)^T = rhs^T: seen from the right, row-major tensors need no copy to LAPACK's layout
    A = A if transposed else A.mT
    return torch.linalg.solve_triangular(
        A, rhs.mT, upper=not transposed, left=False, unitriangular=True
    ).mT


def widest(*tensors: Tensor) -> list[Tensor]:
    """All of them in the widest precision among them: kernels multiply only what is of one.

    Autocast, which differs between devices, leaves norms and sums in float32 beside halves.
    """
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    return [x.to(dtype) for x in tensors]


def single(state: Tensor | None) -> Tensor | None:
    """A state in float32, in which kernels keep it; None stays None."""
    return None if state is None else state.float()


def once_backward(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A derivative written out: only the first, in the precision of what it is given.

    Autocast in force where `.backward()` is called would round its products to halves.
    """

    @once_differentiable
    @wraps(backward)
    def run(ctx: Any, *grads: Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return backward(ctx, *grads)

    return run
