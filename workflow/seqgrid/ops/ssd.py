"""State space duality, the operator of Mamba-2: a matrix memory a head that decays by one number.

    S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T        y_t = S_t C_t + D x_t

Source: Dao & Gu, arXiv:2405.21060; the chunked form is their section 6, "a hardware-efficient
algorithm for SSD models". Names and layout are those of mamba-ssm's `mamba_chunk_scan_combined`;
B and C are keys and queries, x are values, and heads of one group share B and C.

B batch, L length, H heads, P values of a head, G groups, N keys; n chunks of c positions; E heads
of a group.
"""

import torch
from torch import Tensor

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import single, widest
from seqgrid.ops._ssd_tiles import ChunkedSSD, largest_decay

CHUNK = 32  # positions; fewer are more states to keep, more are more work within
GENTLE = 120.0  # halvings within a chunk; beyond, 2**+-(GENTLE / 2) and its products lose range
BLOCK = 1 << 16  # values x of a chunk of the sequences done at a time: 256 kB in float32


def ssd_reference(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        x: values (B, L, H, P).
        dt: step sizes (B, L, H), not negative.
        A: rates (H,), negative for a memory that decays.
        B: keys (B, L, G, N); G divides H.
        C: queries (B, L, G, N).
        D: weight of x itself, (H,) or (H, P); none where None.
        initial_state: S_0 (B, H, P, N); zero where None.

    Returns:
        y (B, L, H, P) and the final state (B, H, P, N).
    """
    heads = x.shape[2] // B.shape[2]
    state = (
        x.new_zeros(len(x), *x.shape[2:], B.shape[3]) if initial_state is None else initial_state
    )
    outputs = []
    for t in range(x.shape[1]):
        decay = (dt[:, t] * A).exp()[..., None, None]  # (B, H, 1, 1)
        key, query = (v[:, t].repeat_interleave(heads, 1).unsqueeze(2) for v in (B, C))
        state = decay * state + (dt[:, t].unsqueeze(-1) * x[:, t]).unsqueeze(-1) * key
        outputs.append((state * query).sum(-1))
    y = torch.stack(outputs, 1)
    return (y if D is None else y + x * D.view(len(A), -1)), state


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function in chunks: masked products within, one short recurrence between.

    Where no chunk decays by more than 2**-GENTLE, decays between positions are products of those to
    and from the middle, and all heads of a group make one product of matrices. Elsewhere they are
    exponentials of differences that are never positive: exact for any decay, slower by a third.
    One reduction over the decays chooses. First derivatives only; half precision is computed in
    float32 and cast back.
    Arguments and result are those of `ssd_reference`.
    """
    b, L, H, P = x.shape
    G, N = B.shape[2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        state = x.new_zeros(b, H, P, N) if initial_state is None else initial_state
        state = state.to(dtype).reshape(b * G, -1, P, N).permute(0, 3, 1, 2)
        values, dt = x.to(dtype), dt.to(dtype)
        heads = [part.unflatten(2, (G, -1)) for part in (values, dt, dt * A.to(dtype))]
        parts = [part.transpose(1, 2).flatten(0, 1) for part in (*heads, B.to(dtype), C.to(dtype))]
        gentle = bool(largest_decay(parts[2], CHUNK) <= GENTLE)
        skip = D.to(dtype) if D is not None and D.ndim == 1 else values.new_zeros(H)
        parts += [skip.view(G, 1, -1).repeat(b, 1, 1), state]
        y, state = ChunkedSSD.apply(*parts, gentle, CHUNK, BLOCK)
        y = y.unflatten(0, (b, G)).transpose(1, 2).reshape(b, L, H, P)
        if D is not None and D.ndim > 1:
            y = torch.addcmul(y, values, D.to(dtype))
    return y.to(x.dtype), state.permute(0, 2, 3, 1).reshape(b, H, P, N)


def ssd_fused(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The Triton kernels of mamba-ssm; no compiled extension is needed."""
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    dtype = x.dtype
    x, B, C = widest(x, B, C)
    start = single(initial_state)
    y, state = mamba_chunk_scan_combined(
        x, dt, A, B, C, 256, D=D, initial_states=start, return_final_states=True
    )
    return y.to(dtype), state


ssd = Operator("ssd", ssd_reference, ssd_chunked, ssd_fused, package="mamba-ssm")
