"""State space duality, the operator of Mamba-2: a matrix memory a head that decays by one number.

    S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T        y_t = S_t C_t + D x_t

Source: Dao & Gu, arXiv:2405.21060; the chunked form is their section 6, "a hardware-efficient
algorithm for SSD models". Names and layout are those of mamba-ssm's `mamba_chunk_scan_combined`;
B and C are keys and queries, x are values, and heads of one group share B and C.

B batch, L length, H heads, P values of a head, G groups, N keys; n chunks of c positions; E heads
of a group.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from seqgrid.kernels import Operator
from seqgrid.ops._chunks import single, widest

LOG2_E = math.log2(math.e)
CHUNK = 32  # positions; fewer are more states to keep, more are more work within
GENTLE = 80.0  # halvings within a chunk; beyond, 2**+-(GENTLE / 2) and its products lose range
BLOCK = 1 << 19  # values x in the sequences done at a time, which fit into the processor's cache


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
    exponentials of differences that are never positive: exact for any decay, up to 12% slower.
    One reduction over the decays chooses. A few sequences at a time pass through, so that the many
    passes over them find them in the cache. First derivatives only; half precision is computed in
    float32 and cast back.
    Arguments and result are those of `ssd_reference`.
    """
    b, L, H, P = x.shape
    G, N = B.shape[2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        state = x.new_zeros(b, H, P, N) if initial_state is None else initial_state
        state = state.to(dtype).view(b, G, H // G, P, N).permute(0, 1, 4, 2, 3)
        values, dt = x.to(dtype), dt.to(dtype)
        by_group = [part.unflatten(2, (G, -1)) for part in (values, dt, dt * A.to(dtype))]
        parts = [_chunks(part) for part in (*by_group, B.to(dtype), C.to(dtype))]
        y, state = _ChunkedSSD.apply(*parts, state)
        y = y.transpose(2, 3).reshape(b, -1, H, P)[:, :L]
        y = y if D is None else torch.addcmul(y, values, D.to(dtype).view(H, -1))
    return y.to(x.dtype), state.permute(0, 1, 3, 4, 2).reshape(b, H, P, N)


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


class _ChunkedSSD(torch.autograd.Function):
    """The chunked form, with the derivative written out.

    With z_t the sum of log decays up to position t of a chunk, z that of the whole chunk, and S the
    state that enters it:
        y_t = (C_t . B_t) X_t + past_t                                            X = dt x
        past_t = sum_{s < t} (C_t . B_s) exp(z_t - z_s) X_s + exp(z_t) S C_t
        S <- exp(z) S + sum_s exp(z - z_s) X_s B_s^T
    Only differences of z count. So its gradient at t is dy_t . past_t - dX_t . X_t, with dX from
    later positions alone, and that of the whole chunk is that of the two terms of S: no sum over
    pairs of positions is needed. What no decay reaches is left out of these products: it would
    cancel only up to rounding, and be all there is where decays are strong.

    Where heads come before positions, (b, n, G, E, c, P), each has a product of its own; where they
    come after, all heads of a group make one wide matrix.
    """

    @staticmethod
    def forward(ctx, x, dt, a, B, C, state):  # (b, n, G, c, E, P), .. E), .. N), (b, G, N, E, P)
        y, past, final = torch.empty_like(x), torch.empty_like(x), torch.empty_like(state)
        states = x.new_empty(*x.shape[:3], *state.shape[2:])
        for rows in _blocks(x):
            _forward(*(part[rows] for part in (x, dt, a, B, C, state, y, past, states, final)))
        ctx.save_for_backward(x, dt, a, B, C, past, states)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_final):
        saved = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        grads = [torch.empty_like(part) for part in (*saved[:5], grad_final)]
        for rows in _blocks(grad_y):
            given = (part[rows] for part in (*saved, grad_y, grad_final))
            found = _backward(*given, grads[0][rows])
            for grad, part in zip(grads[1:], found, strict=True):
                grad[rows] = part
        return tuple(grads)


def _forward(x, dt, a, B, C, state, y, past, states, final):
    """Writes the output, what of it is past, the states that enter chunks, the one after all."""
    z, start, end = _decays(a)
    X = x * dt.unsqueeze(-1)
    states[:, 0] = state
    entering, decays = states.unbind(1), start[:, :, :, -1:].unbind(1)
    added = _wide(B.mT, X * end).unbind(1)
    steps = zip(added, entering, decays, (*entering[1:], final), strict=True)
    for new, before, decay, after in steps:
        torch.addcmul(new, before, decay, out=after)
    scores = C @ B.mT
    torch.addcmul(_within(scores, X, z), _wide(C, states), start, out=past)
    torch.addcmul(past, X, _present(scores), out=y)


def _backward(x, dt, a, B, C, past, states, grad_y, grad_state, grad_x):
    """Gradients of dt, a, B, C and the first state; writes that of x."""
    z, start, end = _decays(a)
    X = x * dt.unsqueeze(-1)

    # between chunks, from the last to the first
    grad_read = grad_y * start
    grad_first = torch.empty_like(grad_state)
    grad_after = torch.empty_like(states)  # [i]: of the state after chunk i
    grad_after[:, -1] = grad_state
    left, decays = grad_after.unbind(1), start[:, :, :, -1:].unbind(1)
    read = _wide(C.mT, grad_read).unbind(1)
    steps = zip(read, left, decays, (grad_first, *left[:-1]), strict=True)
    for new, after, decay, before in reversed([*steps]):
        torch.addcmul(new, after, decay, out=before)
    grad_C = grad_read.flatten(-2) @ states.flatten(-2).mT
    grad_B = (X * end).flatten(-2) @ grad_after.flatten(-2).mT
    grad_X = _wide(B, grad_after).mul_(end)
    grad_whole = start[:, :, :, -1, :, 0] * grad_after.mul_(states).sum(3).sum(-1)
    # what the last position writes has not decayed yet
    grad_whole += (grad_X * X)[:, :, :, :-1].sum(3).sum(-1)

    # within them
    scores = C @ B.mT
    grad_scores, grad_within = _within_backward(scores, X, z, grad_y)
    grad_X += grad_within
    grad_dt = (grad_X * x).sum(-1)
    grad_z = (grad_y * past).sum(-1)
    grad_z[:, :, :, :-1] -= (grad_dt * dt)[:, :, :, :-1]
    grad_z[:, :, :, -1] += grad_whole
    grad_a = grad_z.flip(3).cumsum(3).flip(3)

    # at the present position, which no decay reaches
    present = _present(scores)
    grad_present = (grad_y * x).sum(-1)
    grad_X.addcmul_(grad_y, present)
    grad_dt.addcmul_(grad_present, present.squeeze(-1))
    grad_scores.diagonal(dim1=-2, dim2=-1).add_((grad_present * dt).sum(-1))
    grad_C += grad_scores @ B
    grad_B += grad_scores.mT @ C
    torch.mul(grad_X, dt.unsqueeze(-1), out=grad_x)
    return grad_dt, grad_a, grad_B, grad_C, grad_first


def _within(scores: Tensor, X: Tensor, z: Tensor) -> Tensor:
    """What positions give later ones of their chunk, like X; scores (b, n, G, c, c)."""
    if _is_gentle(z):
        to_middle, from_middle = _about_middle(z)
        return _wide(scores.tril(-1), X * to_middle).mul_(from_middle)
    weights = _between(z).mul_(scores.unsqueeze(3))
    return (weights @ _by_head(X)).transpose(3, 4)


def _within_backward(scores: Tensor, X: Tensor, z: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Its gradients of scores and X."""
    if _is_gentle(z):
        to_middle, from_middle = _about_middle(z)
        grad = grad * from_middle
        grad_scores = (grad.flatten(-2) @ (X * to_middle).flatten(-2).mT).tril_(-1)
        return grad_scores, _wide(scores.tril(-1).mT, grad).mul_(to_middle)
    decays, by_head = _between(z), _by_head(grad)
    grad_scores = (by_head @ _by_head(X).mT).mul_(decays).sum(3)
    weights = decays.mul_(scores.unsqueeze(3))
    return grad_scores, (weights.mT @ by_head).transpose(3, 4)


def _present(scores: Tensor) -> Tensor:
    """C_t . B_t of each position; (b, n, G, c, c) -> (b, n, G, c, 1, 1)."""
    return scores.diagonal(dim1=-2, dim2=-1)[..., None, None]


def _blocks(x: Tensor) -> Iterator[slice]:
    """A few sequences at a time on a CPU; all on other devices."""
    size = max(1, BLOCK // x[0].numel()) if x.device.type == "cpu" else len(x)
    return (slice(start, start + size) for start in range(0, len(x), size))


def _chunks(x: Tensor) -> Tensor:
    """(b, L, G, ..) -> (b, n, G, c, ..), padded with zeros."""
    L = x.shape[1]
    n = -(-L // CHUNK)
    c = -(-L // n)
    x = pad(x, (0, 0) * (x.ndim - 2) + (0, n * c - L)) if n * c > L else x
    return x.unflatten(1, (n, c)).transpose(2, 3).contiguous()


def _decays(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of log2 decays (b, n, G, c, E), and decays from the start and to the end of a chunk."""
    z = (a * LOG2_E).cumsum(3)  # exp2 is four times faster than exp on a CPU
    return z, z.exp2().unsqueeze(-1), (z[:, :, :, -1:] - z).exp2_().unsqueeze(-1)


def _is_gentle(z: Tensor) -> bool:
    """Whether no chunk decays by more than its two halves can be undone."""
    return bool(z[:, :, :, -1].abs().amax() <= GENTLE)


def _about_middle(z: Tensor) -> tuple[Tensor, Tensor]:
    """Decays to and from the middle of a chunk, whose products are those between positions."""
    z = (z - z[:, :, :, -1:] / 2).unsqueeze(-1)
    return (-z).exp2_(), z.exp2()


def _between(z: Tensor) -> Tensor:
    """Decays (b, n, G, E, c, c) from positions to later ones, zero on and above the diagonal."""
    c = z.shape[3]
    z = z.mT.contiguous()
    # masked before the exponential, which could overflow above the diagonal
    mask = torch.full((c, c), -math.inf, dtype=z.dtype, device=z.device).triu_()
    return (z.unsqueeze(-1) + mask).sub_(z.unsqueeze(-2)).exp2_()


def _by_head(x: Tensor) -> Tensor:
    """(b, n, G, c, E, P) -> (b, n, G, E, c, P)."""
    return x.transpose(3, 4).contiguous()


def _wide(a: Tensor, x: Tensor) -> Tensor:
    """(b, n, G, r, s) times (b, n, G, s, E, P), all heads of a group in one product."""
    return (a @ x.flatten(-2)).unflatten(-1, x.shape[-2:])


ssd = Operator("ssd", ssd_reference, ssd_chunked, ssd_fused, package="mamba-ssm")
