"""Statistics of tensors, read piece by piece in double precision, and what kind of tensor it is."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

PIECE = 1 << 20  # elements that are converted at once
# Names that modules give to what no optimiser changes.
BUFFERS = re.compile(
    r"(^|\.)(running_mean|running_var|num_batches_tracked|inv_freq|position_ids|"
    r"(causal_|attn_|attention_)?mask|masked_bias|(cos|sin)(_cached)?|freqs(_cis)?|"
    r"[A-Z]\w*_init|pe)$"
)


@dataclass(frozen=True)
class Statistics:
    """Of the finite elements of a tensor; None where it has none.

    std: over all n elements, not n - 1. l2: Euclidean norm. zeros: elements that are exactly 0.
    """

    finite: int
    mean: float | None
    std: float | None
    abs_mean: float | None
    l2: float | None
    minimum: float | None
    maximum: float | None
    zeros: int
    nans: int
    infinities: int


@dataclass(frozen=True)
class Change:
    """Between two tensors a and b: the sums that norms of any set of tensors are made from.

    They are not finite where an element is not.
    """

    squared: float  # sum of (b - a)^2
    before: float  # of a^2
    after: float  # of b^2
    product: float  # of a b
    identical: bool  # every bit is the same


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """The elements in one dimension, real and imaginary parts apart."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.reshape(-1)


def unmeasured(tensor: torch.Tensor) -> str:
    """Why its elements are not read as numbers in memory; empty where they are."""
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_meta:
        return "without values, on the device `meta`"
    if not _converts(tensor.dtype):
        return f"of the dtype {str(tensor.dtype).removeprefix('torch.')}"
    kept = tensor.untyped_storage().nbytes()
    # As after `expand`: a file of a kilobyte may claim any number of elements.
    if (claimed := tensor.numel() * tensor.element_size()) > kept:
        return f"{kept:,} bytes that stand for {claimed:,}"
    return ""


@cache
def _converts(dtype: torch.dtype) -> bool:
    """Whether torch turns it into double precision; not so of packed numbers of four bits."""
    if dtype.is_complex:
        return True  # as two real numbers
    try:
        torch.empty(1, dtype=dtype).to(torch.float64)
    except (NotImplementedError, RuntimeError):
        return False
    return True


def statistics(tensor: torch.Tensor) -> Statistics:
    """Statistics of a tensor of any shape and dtype."""
    count, mean, deviations, absolute, squares = 0, 0.0, 0.0, 0.0, 0.0
    low, high, zeros, nans, infinities = math.inf, -math.inf, 0, 0, 0
    for piece in flat(tensor).split(PIECE):
        x = piece.to(torch.float64)
        finite = torch.isfinite(x)
        if not bool(finite.all()):
            nans += int(torch.isnan(x).sum())
            infinities += int(torch.isinf(x).sum())
            x = x[finite]
        size = x.numel()
        if size == 0:
            continue
        own = float(x.mean())
        # Means and squared deviations of pieces, put together (Chan, Golub and LeVeque 1983).
        shift, total = own - mean, count + size
        deviations += float((x - own).square_().sum()) + shift**2 * count * size / total
        mean += shift * size / total
        absolute += float(x.abs().sum())
        squares += float(torch.dot(x, x))
        least, most = torch.aminmax(x)
        low, high = min(low, float(least)), max(high, float(most))
        zeros += size - int(torch.count_nonzero(x))
        count = total
    if not count:
        return Statistics(0, None, None, None, None, None, None, 0, nans, infinities)
    spread = math.sqrt(deviations / count)
    norm = math.sqrt(squares)
    average = absolute / count
    return Statistics(count, mean, spread, average, norm, low, high, zeros, nans, infinities)


def change(a: torch.Tensor, b: torch.Tensor) -> Change:
    """What changed from one tensor to another of the same shape."""
    first, second = flat(a), flat(b)
    identical = first.dtype == second.dtype and torch.equal(_bits(first), _bits(second))
    sums = torch.zeros(4, dtype=torch.float64)
    for p, q in zip(first.split(PIECE), second.split(PIECE), strict=True):
        x, y = p.to(torch.float64), q.to(torch.float64)
        moved = y - x
        pairs = ((moved, moved), (x, x), (y, y), (x, y))
        sums += torch.stack([torch.dot(u, v) for u, v in pairs])
    return Change(*map(float, sums), identical=identical)


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.uint8)


def by_name(name: str, tensor: torch.Tensor) -> str:
    """Why a tensor counts as a buffer, from its name and dtype alone; empty where it does not."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return f"dtype {str(tensor.dtype).removeprefix('torch.')}: not trained by gradients"
    if match := BUFFERS.search(name):
        return f"named like a buffer: {match[0].lstrip('.')}"
    return ""


def tied(weights: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Name -> name of the tensor before it that has the same memory."""
    seen: dict[tuple, str] = {}
    found = {}
    for name, tensor in weights.items():
        if unmeasured(tensor) or tensor.numel() == 0:
            continue
        key: tuple[Any, ...] = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if key in seen:
            found[name] = seen[key]
        else:
            seen[key] = name
    return found


def stored_bytes(weights: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the elements, each storage counted once."""
    again = tied(weights)
    return sum(t.numel() * t.element_size() for name, t in weights.items() if name not in again)
