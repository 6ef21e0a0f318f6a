"""Causal convolution with a filter as long as the sequence, by Fourier transforms.

    y[t, d] = bias[d] x[t, d] + sum_j kernel[j, d] x[t - j, d]        x before the start is zero

Source: Poli et al., arXiv:2302.10866, section 2 and `fftconv` of its code. Transforms of at least
L + M - 1 points keep the end of the sequence from running into its start. Their rounding reaches
all positions, so that this is causal to 1e-7 of the largest output in float32, not to the last bit.

B batch, L length, D channels, M taps; taps from L on are not read.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.fft import irfft, rfft

from seqgrid.kernels import Operator


def fft_conv_reference(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Position by position, as the equation reads.

    Args:
        x: input (B, L, D).
        kernel: filter of each channel (M, D), the present position first.
        bias: what of the input is added unfiltered (D,); nothing where None.

    Returns:
        y (B, L, D).
    """
    outputs = []
    for t in range(x.shape[1]):
        taps = kernel[: t + 1]
        read = x[:, t + 1 - len(taps) : t + 1].flip(1)
        outputs.append((taps * read).sum(1))
    y = torch.stack(outputs, 1)
    return y if bias is None else y + bias * x


def fft_conv_chunked(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same function in O(L log L).

    Half precision is computed in float32 and cast back. First derivatives only.

    Args:
        x: input (B, L, D).
        kernel: filter of each channel (M, D), the present position first.
        bias: what of the input is added unfiltered (D,); nothing where None.

    Returns:
        y (B, L, D).
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, kernel.dtype), torch.float32)
    kernel = kernel[: x.shape[1]].to(dtype)
    if bias is not None:  # another tap at the present position
        kernel = torch.cat([kernel[:1] + bias.to(dtype), kernel[1:]])
    return _FFTConv.apply(x.to(dtype).mT, kernel.mT).mT.to(x.dtype)


class _FFTConv(torch.autograd.Function):
    """Five transforms, three of them of the batch, where autograd takes six and three."""

    @staticmethod
    def forward(ctx, x, kernel):  # (B, D, L), (D, M)
        points = _points(x.shape[-1] + kernel.shape[-1] - 1)
        x_f, kernel_f = rfft(x, points), rfft(kernel, points)
        ctx.save_for_backward(x_f, kernel_f)
        ctx.points, ctx.L, ctx.M = points, x.shape[-1], kernel.shape[-1]
        return irfft(x_f * kernel_f, points)[..., : ctx.L]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x_f, kernel_f = ctx.saved_tensors
        grad_f = rfft(grad, ctx.points)
        grad_kernel = irfft((grad_f * x_f.conj()).sum(0), ctx.points)[..., : ctx.M]
        grad_x = irfft(grad_f.mul_(kernel_f.conj()), ctx.points)[..., : ctx.L]
        return grad_x, grad_kernel


def _points(least: int) -> int:
    """The next length that is quick to transform: a power of two, or three quarters of one."""
    power = 1 << (least - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= least and power >= 4 else power


fft_conv = Operator("fft_conv", fft_conv_reference, fft_conv_chunked, path="torch.fft")
