"""Causal depthwise convolution over a few positions, one filter a channel.

    y[t, d] = sum_j weight[d, 0, j] x[t - (W - 1) + j, d]        x before the start is zero

The last tap reads the present position. The weight has the shape of `torch.nn.Conv1d` with
groups = D, which is also that of flash-linear-attention's ShortConvolution.

B batch, L length, D channels, W taps.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from seqgrid.kernels import Operator

# shifted adds keep (B, L, D) and win below, conv1d wins above; B=64, D=64 and 192 on one core
SHORT = 64


def short_conv_reference(x: Tensor, weight: Tensor) -> Tensor:
    """Position by position, as the equation reads; x (B, L, D), weight (D, 1, W) -> (B, L, D)."""
    L, W = x.shape[1], weight.shape[-1]
    outputs = []
    for t in range(L):
        y = torch.zeros_like(x[:, t])
        for j in range(W):
            source = t - (W - 1) + j
            if source >= 0:
                y = y + weight[:, 0, j] * x[:, source]
        outputs.append(y)
    return torch.stack(outputs, 1)


def short_conv_chunked(x: Tensor, weight: Tensor) -> Tensor:
    """The same function in W passes, or as torch's convolution; x (B, L, D) -> (B, L, D)."""
    L, W = x.shape[1], weight.shape[-1]
    if L >= SHORT:
        return conv1d(pad(x.mT, (W - 1, 0)), weight, groups=weight.shape[0]).mT
    taps = weight.squeeze(1).unbind(-1)
    padded = pad(x, (0, 0, W - 1, 0))
    y = x * taps[-1]
    for j, tap in enumerate(taps[:-1]):
        y = torch.addcmul(y, padded[:, j : j + L], tap)
    return y


short_conv = Operator("short_conv", short_conv_reference, short_conv_chunked, path="torch")
