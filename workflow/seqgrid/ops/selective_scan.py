"""The selective scan of Mamba: a diagonal state in each channel, driven by the input.

    h_t[n] = exp(delta_t A[n]) h_{t-1}[n] + delta_t B_t[n] u_t        each channel
    y_t = (sum_n C_t[n] h_t[n] + D u_t) silu(z_t)
    delta = softplus(delta + delta_bias)                              where asked

Source: Gu & Dao, arXiv:2312.00752, algorithm 2, with the discretisation of their code, in which B
takes the first-order step delta B. Names are those of mamba-ssm's `selective_scan_fn`, the layout
is (B, L, D) where it has (B, D, L).

B batch, L length, D channels, N state of a channel; n chunks of T positions.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, silu, softplus

from seqgrid.kernels import Operator, compiled
from seqgrid.ops._chunks import widest

LOG2_E = math.log2(math.e)
CHUNK = 8  # positions between kept states; their states have to stay in the processor's cache
BLOCK = 1 << 17  # elements of the states of one position, as many as a step is fastest with


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equations read.

    Args:
        u: input (B, L, D).
        delta: step sizes (B, L, D), before bias and softplus.
        A: rates (D, N), negative for a state that decays.
        B: how the input enters the state (B, L, N).
        C: how the state is read (B, L, N).
        D: weight of the input itself (D,); none where None.
        z: gate (B, L, D); none where None.
        delta_bias: added to delta (D,); none where None.
        delta_softplus: whether delta goes through a softplus.
        initial_state: h_0 (B, D, N); zero where None.

    Returns:
        y (B, L, D) and the final state (B, D, N).
    """
    delta = delta if delta_bias is None else delta + delta_bias
    delta = softplus(delta) if delta_softplus else delta
    state = u.new_zeros(len(u), *A.shape) if initial_state is None else initial_state
    outputs = []
    for t in range(u.shape[1]):
        step = delta[:, t].unsqueeze(-1)  # (B, D, 1)
        state = (step * A).exp() * state + step * u[:, t].unsqueeze(-1) * B[:, t].unsqueeze(1)
        outputs.append((state * C[:, t].unsqueeze(1)).sum(-1))
    y = torch.stack(outputs, 1)
    y = y if D is None else y + u * D
    return y if z is None else y * silu(z), state


def selective_scan_chunked(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same function: one step after the other, with the derivative written out.

    A state is N times its input, so what counts is passes over states. All states of a position are
    one small tensor that stays in the cache; they are kept once a chunk and found again in the
    backward pass. Exact for any decay, as no decay is ever divided by. First derivatives only;
    half precision is computed in float32 and cast back. Arguments and result are those of
    `selective_scan_reference`.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        x, A, B, C = u.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype)
        delta = delta.to(dtype)
        delta = delta if delta_bias is None else delta + delta_bias.to(dtype)
        delta = softplus(delta) if delta_softplus else delta
        if initial_state is None:
            state = x.new_zeros(len(x), *A.mT.shape)
        else:
            state = initial_state.to(dtype).mT
        rows = max(1, BLOCK // A.numel()) if x.device.type == "cpu" else len(x)
        blocks = zip(*(part.split(rows) for part in (x, delta, B, C, state)), strict=True)
        found = [_Scan.apply(*block, A) for block in blocks]
        y, state = (torch.cat(parts) for parts in zip(*found, strict=True))
        y = y if D is None else torch.addcmul(y, x, D.to(dtype))
        y = y if z is None else y * silu(z.to(dtype))
    return y.to(u.dtype), state.mT


def selective_scan_fused(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The CUDA kernel of mamba-ssm; its final state has no gradient.

    Raises:
        ValueError: an initial state is given, which the kernel cannot take.
    """
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    if initial_state is not None:
        raise ValueError(
            "the kernel of mamba-ssm starts from zero; without kernels.use(kernels='torch') "
            "leave initial_state out"
        )
    dtype = u.dtype
    u, delta, B, C = widest(u, delta, B, C)
    y, state = selective_scan_fn(
        u.mT,
        delta.mT,
        A.float(),
        B.mT.contiguous(),
        C.mT.contiguous(),
        None if D is None else D.float(),
        z=None if z is None else z.to(u.dtype).mT,
        delta_bias=None if delta_bias is None else delta_bias.float(),
        delta_softplus=delta_softplus,
        return_last_state=True,
    )
    return y.mT.to(dtype), state


class _Scan(torch.autograd.Function):
    """The recurrence, in chunks whose bodies torch.compile can take.

    With a_t = exp(delta_t A), g_t the gradient of h_t and x_t = delta_t u_t:
        g_t = C_t dy_t + a_{t+1} g_{t+1}
        dB_t = g_t . x_t      dC_t = h_t . dy_t      dx_t = B_t . g_t
        dA = sum_t delta_t g_t a_t h_{t-1}           ddelta_t = A . g_t a_t h_{t-1} + u_t dx_t
    """

    @staticmethod
    def forward(ctx, u, delta, B, C, state, A):  # (B, L, D|N), (B, N, D), (D, N)
        n = -(-u.shape[1] // CHUNK)
        body = compiled(_forward_chunk)
        rates = (A.mT * LOG2_E).contiguous()
        y, y_chunks = _empty(u, n)
        states = u.new_empty(n, *state.shape)
        chunks = zip(*(_chunks(x, n) for x in (delta, u * delta, B, C)), strict=True)
        for i, chunk in enumerate(chunks):
            states[i] = state
            y_chunks[i][:], state = body(states[i], rates, *chunk)
        ctx.save_for_backward(u, delta, A, B, C, states)
        ctx.body = compiled(_backward_chunk)  # as the policy in force says now
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_state):
        u, delta, A, B, C, states = ctx.saved_tensors
        n = len(states)
        rows, rates = A.mT.contiguous(), (A.mT * LOG2_E).contiguous()
        chunks = [*zip(*(_chunks(x, n) for x in (delta, u * delta, B, C, grad_y)), strict=True)]
        found = [_empty(x, n) for x in (delta, u, B, C)]
        grad_rows = torch.zeros_like(rows)
        for i in reversed(range(n)):
            *grads, grad_state, grad_A = ctx.body(states[i], grad_state, rows, rates, *chunks[i])
            for (_, parts), grad in zip(found, grads, strict=True):
                parts[i][:] = grad
            grad_rows += grad_A
        grad_delta, grad_x, grad_B, grad_C = (whole for whole, _ in found)
        grad_delta = torch.addcmul(grad_delta, grad_x, u)
        return grad_x * delta, grad_delta, grad_B, grad_C, grad_state, grad_rows.mT


def _chunks(x: Tensor, n: int) -> tuple[Tensor, ...]:
    """(B, L, W) -> n of (T, B, 1, W); steps of size zero at the end leave the state as it is."""
    B, L, W = x.shape
    T = -(-L // n)
    x = pad(x, (0, 0, 0, n * T - L)) if n * T > L else x
    return x.view(B, n, T, 1, W).permute(1, 2, 0, 3, 4).contiguous().unbind()


def _empty(x: Tensor, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An unwritten (B, L, W) and its n chunks (T, B, W)."""
    B, L, W = x.shape
    T = -(-L // n)
    whole = x.new_empty(B, n, T, W)
    return whole.view(B, n * T, W)[:, :L], whole.permute(1, 2, 0, 3).unbind()


def _forward_chunk(state, rates, delta, x, B, C):
    """Outputs (T, B, D) and the state after; of a state (B, N, D), rates (N, D), (T, B, 1, D|N)."""
    outputs = []
    for t in range(len(delta)):
        # exp2 of scaled rates: four times faster than exp on a CPU
        decay = (delta[t] * rates).exp2_()
        state = torch.addcmul(x[t] * B[t].mT, decay, state)
        outputs.append(_over_state(C[t], state))
    return torch.stack(outputs), state


def _backward_chunk(state, grad_state, A, rates, delta, x, B, C, grad_y):
    """Gradients of delta, x, B and C (T, B, D|N), of the state before, and of A (N, D)."""
    T = len(delta)
    states, decays = [state], []
    for t in range(T):
        decays.append((delta[t] * rates).exp2_())
        states.append(torch.addcmul(x[t] * B[t].mT, decays[t], states[t]))
    grads = []
    grad_A = torch.zeros_like(state)
    for t in reversed(range(T)):
        grad_state = torch.addcmul(grad_state, C[t].mT, grad_y[t])
        grad_x = _over_state(B[t], grad_state)
        grad_B = _over_channels(grad_state, x[t])
        grad_C = _over_channels(states[t + 1], grad_y[t])
        grad_state = grad_state * decays[t]
        grad_exponent = grad_state * states[t]
        grad_A = torch.addcmul(grad_A, grad_exponent, delta[t])
        grads.append(((grad_exponent * A).sum(1), grad_x, grad_B, grad_C))
    stacked = [torch.stack(grad) for grad in zip(*reversed(grads), strict=True)]
    return *stacked, grad_state, grad_A.sum(0)


def _over_state(weights: Tensor, state: Tensor) -> Tensor:
    """Weights (B, 1, N) times states (B, N, D), summed over N -> (B, D)."""
    if torch.compiler.is_compiling():  # a product of matrices would end the loop it can fuse
        return (weights.mT * state).sum(1)
    return torch.bmm(weights, state).squeeze(1)


def _over_channels(state: Tensor, weights: Tensor) -> Tensor:
    """States (B, N, D) times weights (B, 1, D), summed over D -> (B, N)."""
    if torch.compiler.is_compiling():
        return (state * weights).sum(2)
    return torch.bmm(state, weights.mT).squeeze(2)


selective_scan = Operator(
    "selective_scan",
    selective_scan_reference,
    selective_scan_chunked,
    selective_scan_fused,
    package="mamba-ssm",
)

# the kernel of mamba-ssm cannot start from a state and gives the last one no gradient
selective_scan_from_state = Operator(
    "selective_scan_from_state", selective_scan_reference, selective_scan_chunked
)
