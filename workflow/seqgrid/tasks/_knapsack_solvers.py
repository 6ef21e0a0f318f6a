"""The optimum of a knapsack, and heuristics that find it in some examples.

B batch, N items, C greatest capacity. Capacities are (B, 1), weights and values (B, N) int64, both
0 of an item that is not there.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor


def optimum(most: int, capacity: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """The most value that fits, (B, 1), by dynamic programming over room and items.

    most: the greatest capacity. capacity: (B, 1). weights, values: (B, N), 0 of absent items.
    """
    room = torch.arange(most + 1, device=weights.device)
    best = torch.zeros(len(weights), most + 1, dtype=weights.dtype, device=weights.device)
    for weight, value in zip(weights.split(1, dim=1), values.split(1, dim=1), strict=True):
        left = room - weight  # (B, C + 1)
        taken = best.gather(1, left.clamp(min=0)) + value
        best = torch.where(left >= 0, torch.maximum(best, taken), best)
    return best.gather(1, capacity)


def greedy(
    worth: Callable[..., Tensor], capacity: Tensor, weights: Tensor, values: Tensor
) -> Tensor:
    """The value, (B, 1), of items taken as they fit, the worthiest first."""
    order = worth(weights, values).argsort(dim=1, descending=True, stable=True)
    weights, values = weights.gather(1, order), values.gather(1, order)
    room, total = capacity.clone(), torch.zeros_like(capacity)
    for weight, value in zip(weights.split(1, dim=1), values.split(1, dim=1), strict=True):
        fits = weight <= room
        room -= weight * fits
        total += value * fits
    return total


def _ratio(weights: Tensor, values: Tensor) -> Tensor:
    return values / weights.clamp(min=1)


def _value(weights: Tensor, values: Tensor) -> Tensor:
    return values


def best_greedy(capacity: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """The value, (B, 1), of the better of both orders."""
    by_ratio = greedy(_ratio, capacity, weights, values)
    return by_ratio.maximum(greedy(_value, capacity, weights, values))


def fractional(capacity: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """The value, (B, 1), where the first item that does not fit may be cut, rounded down."""
    order = _ratio(weights, values).argsort(dim=1, descending=True, stable=True)
    weights, values = weights.gather(1, order), values.gather(1, order)
    room = (capacity - weights.cumsum(1) + weights).clamp(min=0)
    return (values * room.minimum(weights) // weights.clamp(min=1)).sum(1, keepdim=True)


HEURISTICS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "greedy_by_ratio": partial(greedy, _ratio),
    "greedy_by_value": partial(greedy, _value),
    "best_greedy": best_greedy,
    "fractional_bound": fractional,
}
