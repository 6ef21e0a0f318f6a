"""Linear attention with and without decay, and mLSTM, against naive code of their libraries."""

from collections.abc import Iterator

import torch
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.linear_attn.naive import naive_chunk_linear_attn
from fla.ops.retention.naive import naive_retention
from fla.ops.simple_gla.naive import naive_chunk_simple_gla
from operators import Case
from torch.nn.functional import logsigmoid

from seqgrid.ops.gla import gla
from seqgrid.ops.linear_attention import linear_attention
from seqgrid.ops.mlstm import mlstm
from seqgrid.ops.simple_gla import simple_gla

BATCH, HEADS, WIDTH = 32, 4, 32


def cases(quick: bool) -> Iterator[Case]:
    """Batch 32, 4 heads of 32."""
    for seqlen in (128,) if quick else (128, 512, 1024):
        yield from _cases(seqlen)


def _cases(seqlen: int) -> Iterator[Case]:
    torch.manual_seed(0)
    q, k, v, gate = torch.randn(4, BATCH, seqlen, HEADS, WIDTH).unbind()
    q, k = 0.3 * q, 0.3 * k
    weak, strong = logsigmoid(gate) / 16, -20 * torch.rand_like(gate)
    by_head, rates = logsigmoid(gate[..., 0]), _rates(HEADS)
    part = 1 if seqlen <= 128 else 1 / 4  # as slow an example as in a full batch
    few = slice(0, round(BATCH * part))
    name = "fla naive_recurrent_gla"
    for kind, g in (("factorised", weak), ("exact, strong gates", strong)):
        yield Case(
            f"gla, {kind}, L {seqlen}", (q, k, v, g), gla.chunked, name, naive_recurrent_gla,
            tuple(x[few] for x in (q, k, v, g)), part,
        )  # fmt: skip
    yield Case(
        f"simple_gla, L {seqlen}", (q, k, v, by_head), simple_gla.chunked,
        "fla naive_chunk_simple_gla", naive_chunk_simple_gla,
    )  # fmt: skip
    yield Case(
        f"retention, L {seqlen}", (q, k, v), lambda q, k, v: simple_gla.chunked(q, k, v, rates),
        "fla naive_retention", naive_retention,
        tuple(x.transpose(1, 2).contiguous() for x in (q, k, v)),
    )  # fmt: skip
    yield Case(
        f"linear_attention, L {seqlen}", (q, k, v), linear_attention.chunked,
        "fla naive_chunk_linear_attn", naive_chunk_linear_attn,
    )  # fmt: skip
    try:
        from xlstm.blocks.mlstm.backends import parallel_stabilized_simple
    except ImportError:  # not among the requirements
        return
    heads_first = tuple(x.transpose(1, 2).contiguous() for x in (q, k, v))
    weights = tuple(x[..., :1].transpose(1, 2).contiguous() for x in (gate, gate + 3))
    yield Case(
        f"mlstm, L {seqlen}", (q, k, v, gate[..., 0], logsigmoid(gate[..., 0] + 3)),
        mlstm.chunked, "xlstm parallel_stabilized_simple", parallel_stabilized_simple,
        (*heads_first, *weights),
    )  # fmt: skip


def _rates(num_heads: int) -> torch.Tensor:
    return (1 - 2.0 ** (-5.0 - torch.arange(num_heads, dtype=torch.float32))).log()
