"""Dropout (Srivastava et al. 2014, JMLR 15, section 4) from sixteen random bits a value.

A value is kept where sixteen random bits, read as a number, are at least p x 2^16, and divided by
the share that is kept, exactly. torch's bernoulli_ takes ten times as long on a CPU, a third of a
training step where positions are many and layers small. On other devices it is torch's.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def kept_values(size: Sequence[int], p: float) -> tuple[Tensor, float]:
    """Which values are kept, bool of this size, and their share; from torch's CPU generator.

    Args:
        size: of the values.
        p: probability to be dropped, below 1; to 16 bits.
    """
    count, dropped = math.prod(size), min(round(p * 2**16), 2**16 - 1)
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[:count].view(*size) >= dropped - 2**15
    return kept, 1 - dropped / 2**16


class Dropout(nn.Dropout):
    """torch's layer, quicker on a CPU; p to 16 bits there."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with some values dropped and the others scaled, in training."""
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        return _Dropped.apply(input, *kept_values(input.shape, self.p))


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, kept, share):
        ctx.save_for_backward(kept)
        ctx.share = share
        return _scaled(x, kept, share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents):
        (kept,) = ctx.saved_tensors
        return _scaled(cotangents[0], kept, ctx.share), None, None


def _scaled(x: Tensor, kept: Tensor, share: float) -> Tensor:
    return torch.mul(x, kept).div_(share)
