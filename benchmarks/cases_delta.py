"""The delta rules and RWKV-7's operator against flash-linear-attention's references."""

from collections.abc import Iterator

import torch
from operators import Case
from torch.nn.functional import logsigmoid, normalize

from seqgrid.ops.delta_rule import delta_rule
from seqgrid.ops.dplr import dplr
from seqgrid.ops.gated_delta_rule import gated_delta_product, gated_delta_rule
from seqgrid.ops.kda import kda

BATCH, HEADS, WIDTH = 32, 4, 32
SHARE = 4  # of the batch, for recurrences that take 10 s


def heads_first(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(B, L, H, ...) -> (B, H, L, ...)."""
    return tuple(x.transpose(1, 2).contiguous() for x in tensors)


def cases(quick: bool) -> Iterator[Case]:
    """Delta rule, gated delta rule and product, KDA, DPLR."""
    from fla.ops.delta_rule.naive import delta_rule_chunkwise, delta_rule_recurrence
    from fla.ops.gated_delta_product.naive import naive_recurrent_gated_delta_product
    from fla.ops.gated_delta_rule.naive import (
        naive_chunk_gated_delta_rule,
        naive_recurrent_gated_delta_rule,
    )
    from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence
    from fla.ops.kda.naive import naive_recurrent_kda

    torch.manual_seed(0)
    for L in (128,) if quick else (128, 1024):
        q, v, x = torch.randn(3, BATCH, L, HEADS, WIDTH)
        k = normalize(torch.randn(BATCH, L, HEADS, WIDTH), dim=-1)
        beta, g = torch.randn(BATCH, L, HEADS).sigmoid(), logsigmoid(torch.randn(BATCH, L, HEADS))
        channel_g, mild_g = logsigmoid(x), -0.6 * x.sigmoid()
        b = k * torch.randn_like(k).sigmoid()
        few = slice(BATCH // SHARE)

        plain = (q, k, v, beta)
        yield Case(
            f"delta_rule L {L}", plain, delta_rule,
            "fla delta_rule_recurrence", delta_rule_recurrence,
            heads_first(*(y[few] for y in plain)), 1 / SHARE,
        )  # fmt: skip
        yield Case(
            f"delta_rule L {L}", plain, delta_rule,
            "fla delta_rule_chunkwise", delta_rule_chunkwise, heads_first(*plain),
        )  # fmt: skip
        gated = (*plain, g)
        yield Case(
            f"gated_delta_rule L {L}", gated, gated_delta_rule,
            "fla naive_recurrent_gated_delta_rule", naive_recurrent_gated_delta_rule,
            tuple(y[few] for y in gated), 1 / SHARE,
        )  # fmt: skip
        yield Case(
            f"gated_delta_rule L {L}", gated, gated_delta_rule,
            "fla naive_chunk_gated_delta_rule",
            lambda q, k, v, beta, g: naive_chunk_gated_delta_rule(q, k, v, g, beta),
        )  # fmt: skip
        twice = (
            q,
            k.repeat_interleave(2, 1),
            v.repeat_interleave(2, 1),
            beta.repeat_interleave(2, 1),
        )
        product = (*twice, g)
        yield Case(
            f"gated_delta_product L {L}, 2 writes", product, gated_delta_product,
            "fla naive_recurrent_gated_delta_product",
            lambda q, k, v, beta, g: naive_recurrent_gated_delta_product(
                q, k, v, g, beta, WIDTH**-0.5, num_householder=2
            ),
            tuple(y[few] for y in product), 1 / SHARE,
        )  # fmt: skip
        for words, gate in (("", channel_g), (", decays of e^-30", 40 * channel_g)):
            inputs = (*plain, gate)
            yield Case(
                f"kda L {L}{words}", inputs, kda,
                "fla naive_recurrent_kda",
                lambda q, k, v, beta, g: naive_recurrent_kda(q, k, v, g, beta),
                tuple(y[few] for y in inputs), 1 / SHARE,
            )  # fmt: skip
        for words, gate in (("", mild_g), (", decays of e^-30", 40 * channel_g)):
            inputs = (q, k, v, -k, b, gate)
            yield Case(
                f"dplr L {L}{words}", inputs, dplr,
                "fla dplr_recurrence", dplr_recurrence,
                heads_first(*(y[few] for y in inputs)), 1 / SHARE,
            )  # fmt: skip
