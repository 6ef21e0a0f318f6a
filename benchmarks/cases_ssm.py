"""Rows of the state space models; sizes are those of layers with d_model 128, batch 32."""

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from operators import Case
from torch.nn.functional import conv1d, pad, silu, softplus

from seqgrid import kernels
from seqgrid.ops.selective_scan import selective_scan
from seqgrid.ops.short_conv import short_conv
from seqgrid.ops.ssd import ssd

# mamba-ssm imports its CUDA extension whether it is used or not
sys.modules.setdefault("selective_scan_cuda", types.ModuleType("selective_scan_cuda"))


def cases(quick: bool) -> Iterator[Case]:
    """Selective scan, plain and compiled, SSD and the short convolution."""
    yield from _scans(128 if quick else 512, compile=not quick)
    yield from _ssd(128 if quick else 1024)
    yield from _convolutions(128 if quick else 512)


def _scans(L: int, compile: bool, batch: int = 32, D: int = 256, N: int = 16) -> Iterator[Case]:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_ref

    inputs = (
        torch.randn(batch, L, D),
        softplus(torch.randn(batch, L, D) - 3),
        -torch.arange(1.0, N + 1).repeat(D, 1),
        torch.randn(batch, L, N),
        torch.randn(batch, L, N),
    )
    few = 2  # its states of all positions, which are many times the inputs, are held at once
    theirs = tuple(x[:few].mT.contiguous() if x.ndim == 3 else x for x in inputs)
    rival = ("mamba_ssm selective_scan_ref", selective_scan_ref, theirs, few / batch)
    yield Case(f"selective_scan, L {L}", inputs, selective_scan, *rival)
    if compile:
        yield Case(f"selective_scan, compiled, L {L}", inputs, _compiled(selective_scan), *rival)


def _compiled(operator: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: torch.Tensor) -> Any:
        with kernels.use(compile=True):
            return operator(*inputs)

    return run


def _ssd(L: int, batch: int = 32, H: int = 8, P: int = 32, N: int = 64) -> Iterator[Case]:
    from mamba_ssm.ops.triton.ssd_combined import ssd_chunk_scan_combined_ref

    inputs = (
        torch.randn(batch, L, H, P),
        softplus(torch.randn(batch, L, H) - 4),
        -torch.arange(1.0, H + 1),
        torch.randn(batch, L, 1, N) / N**0.5,
        torch.randn(batch, L, 1, N) / N**0.5,
    )
    few = 8
    theirs = tuple(x[:few] if x.ndim > 1 else x for x in inputs)
    yield Case(
        f"ssd, L {L}",
        inputs,
        ssd,
        "mamba_ssm ssd_chunk_scan_combined_ref",
        lambda *given: ssd_chunk_scan_combined_ref(*given, 64),
        theirs,
        few / batch,
    )


def _convolutions(L: int, batch: int = 32, D: int = 256, W: int = 4) -> Iterator[Case]:
    inputs = (torch.randn(batch, L, D), torch.randn(D, 1, W), torch.randn(D))

    def rival(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return silu(conv1d(pad(x.mT, (W - 1, 0)), weight, bias, groups=D).mT)

    yield Case(
        f"short_conv with bias and SiLU, L {L}",
        inputs,
        lambda *given: short_conv(*given, activation="silu"),
        "torch conv1d and silu",
        rival,
    )
