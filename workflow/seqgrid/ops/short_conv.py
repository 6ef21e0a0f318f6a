"""Causal depthwise convolution over a few positions, one filter a channel.

    y[t, d] = act(bias[d] + sum_j weight[d, 0, j] x[t - (W - 1) + j, d])    x before the start is 0

The last tap reads the present position. The weight has the shape of `torch.nn.Conv1d` with
groups = D, which is also that of flash-linear-attention's ShortConvolution; act is SiLU or nothing.

B batch, L length, D channels, W taps.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from seqgrid.kernels import Operator

BLOCK = 1 << 18  # elements of the sequences done at a time, which fit into the processor's cache

Activation = Literal["silu"] | None


def short_conv_reference(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Activation = None
) -> Tensor:
    """Position by position, as the equation reads.

    Args:
        x: input (B, L, D).
        weight: filters (D, 1, W).
        bias: added before the activation (D,); none where None.
        activation: `silu`, or None for none.

    Returns:
        y (B, L, D).
    """
    L, W = x.shape[1], weight.shape[-1]
    outputs = []
    for t in range(L):
        y = torch.zeros_like(x[:, t])
        for j in range(W):
            source = t - (W - 1) + j
            if source >= 0:
                y = y + weight[:, 0, j] * x[:, source]
        outputs.append(y)
    y = torch.stack(outputs, 1)
    y = y if bias is None else y + bias
    return silu(y) if activation else y


def short_conv_chunked(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Activation = None
) -> Tensor:
    """The same function in W passes over a few sequences at a time; arguments are the same.

    First derivatives only; half precision is computed in float32 and cast back.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    given = (None if v is None else v.to(dtype) for v in (x, weight, bias))
    return _ShortConv.apply(*given, activation is not None).to(x.dtype)


def short_conv_fused(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Activation = None
) -> Tensor:
    """The Triton kernel of flash-linear-attention."""
    from fla.modules.convolution import causal_conv1d

    return causal_conv1d(x, weight.squeeze(1), bias, activation=activation)[0]


class _ShortConv(torch.autograd.Function):
    """Shifted sums in place, which read what the cache holds; the derivative written out."""

    @staticmethod
    def forward(ctx, x, weight, bias, activated):  # (B, L, D), (D, 1, W), (D,) or None, bool
        taps = weight.squeeze(1).flip(1).T.contiguous()  # [s]: of the position s before
        sums = torch.empty_like(x)
        for rows in _blocks(x):
            part = sums[rows]
            torch.mul(x[rows], taps[0], out=part)
            for now, then, tap in _shifts(part, x[rows], taps):
                now.addcmul_(then, tap)
            if bias is not None:
                part += bias
        ctx.save_for_backward(x, taps, sums if activated else None)
        ctx.biased = bias is not None
        return silu(sums) if activated else sums

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, taps, sums = ctx.saved_tensors
        grad_x, grad_taps = torch.empty_like(x), torch.zeros_like(taps)
        grad_bias = torch.zeros_like(taps[0]) if ctx.biased else None
        for rows in _blocks(x):
            grad, part = grad_y[rows], grad_x[rows]
            if sums is not None:
                grad = torch.ops.aten.silu_backward(grad, sums[rows])
            torch.mul(grad, taps[0], out=part)
            grad_taps[0] += (grad * x[rows]).sum((0, 1))
            for s, (now, then, tap) in enumerate(_shifts(grad, part, taps), 1):
                then.addcmul_(now, tap)
                grad_taps[s] += (now * x[rows, :-s]).sum((0, 1))
            if grad_bias is not None:
                grad_bias += grad.sum((0, 1))
        return grad_x, grad_taps.T.flip(1).unsqueeze(1), grad_bias, None


def _shifts(now: Tensor, then: Tensor, taps: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For s = 1, ..: the positions from s on, those s before them, and the tap that joins them."""
    for s in range(1, min(len(taps), now.shape[1])):
        yield now[:, s:], then[:, :-s], taps[s]


def _blocks(x: Tensor) -> Iterator[slice]:
    """A few sequences at a time on a CPU; all on other devices."""
    size = max(1, BLOCK // x[0].numel()) if x.device.type == "cpu" else len(x)
    return (slice(start, start + size) for start in range(0, len(x), size))


short_conv = Operator(
    "short_conv",
    short_conv_reference,
    short_conv_chunked,
    short_conv_fused,
    package="flash-linear-attention",
    path="torch",
)
