"""Attention windows, slstm, linear scans and long convolutions against what their users run."""

from collections.abc import Iterator

import torch
from operators import Case
from torch import Tensor
from torch.fft import irfft, rfft
from torch.nn.functional import scaled_dot_product_attention

from seqgrid.ops.attention import attention
from seqgrid.ops.fft_conv import fft_conv
from seqgrid.ops.scan import scan
from seqgrid.ops.slstm import slstm

B, D, H = 32, 128, 4


def cases(quick: bool) -> Iterator[Case]:
    """Rows at d 128 in 4 heads, batch 32."""
    for L in (256,) if quick else (256, 1024):
        yield from _windows(L)
        yield from _slstm(L)
        a, b = (torch.rand(B, L, D) for _ in range(2))
        yield Case(
            f"scan L {L}", (a, b), scan.chunked, "logcumsumexp scan of minGRU-pytorch", _log_scan
        )
        x, kernel, bias = torch.randn(B, L, D), torch.randn(L, D), torch.randn(D)
        yield Case(
            f"fft_conv L {L}", (x, kernel, bias), fft_conv.chunked, "torch.fft as in safari", _fft
        )


def _windows(L: int) -> Iterator[Case]:
    q, k, v = (torch.randn(B, L, H, D // H) for _ in range(3))
    for window in (16, 64):
        t = torch.arange(L)
        mask = (t <= t[:, None]) & (t > t[:, None] - window)

        def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor = mask) -> Tensor:
            return scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), mask)

        def ours(q: Tensor, k: Tensor, v: Tensor, window: int = window) -> Tensor:
            return attention.chunked(q, k, v, window=window)

        name = f"attention, window {window}, L {L}"
        yield Case(name, (q, k, v), ours, "torch, masked", masked)


def _slstm(L: int) -> Iterator[Case]:
    gates = torch.randn(B, L, 4, H, D // H)
    recurrent = 0.1 * torch.randn(H, 4 * D // H, D // H)
    lstm = torch.nn.LSTM(D, D, batch_first=True)
    yield Case(
        f"slstm L {L}",
        (gates, recurrent),
        slstm.chunked,
        "torch.nn.LSTM, another cell",
        lstm,
        rival_inputs=(torch.randn(B, L, D),),
    )
    try:
        from xlstm.blocks.slstm.src.vanilla import slstm_forward
        from xlstm.blocks.slstm.src.vanilla.slstm import slstm_forward_pointwise
    except ImportError:
        return

    def library(x: Tensor, recurrent: Tensor) -> Tensor:
        state, bias = x.new_zeros(4, B, D), x.new_zeros(4 * D)
        return slstm_forward(x, state, recurrent, bias, slstm_forward_pointwise)[0][0]

    inputs = (gates.permute(1, 0, 2, 3, 4).reshape(L, B, 4 * D), recurrent)
    yield Case(f"slstm L {L}", (gates, recurrent), slstm.chunked, "xlstm vanilla", library, inputs)


def _log_scan(a: Tensor, b: Tensor) -> Tensor:
    kept = a.log().cumsum(1)
    return (kept + (b.log() - kept).logcumsumexp(1)).exp()


def _fft(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    L = x.shape[1]
    x = x.mT
    product = rfft(x, n=2 * L) * (rfft(kernel.mT, n=2 * L) / (2 * L))
    return (irfft(product, n=2 * L, norm="forward")[..., :L] + x * bias[:, None]).mT
