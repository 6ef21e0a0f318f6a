"""First-order linear recurrence, each channel by itself.

    h_t = a_t h_{t-1} + b_t

Source: what minimal RNNs run on, Feng et al., arXiv:2410.01201, section 3; they compute it with a
parallel scan in log space, which asks for positive a, b and h. On a CPU one fused multiply-add a
step is less work than any scan that is parallel over positions, and takes all signs.

B batch, L length, D channels.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgrid.kernels import Operator


def scan_reference(
    a: Tensor, b: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Step by step, as the equation reads.

    Args:
        a: what is kept (B, L, D).
        b: what is added (B, L, D).
        initial_state: h_0 (B, D); zero where None.

    Returns:
        h (B, L, D) and the final state (B, D).
    """
    h = torch.zeros_like(b[:, 0]) if initial_state is None else initial_state
    outputs = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        outputs.append(h)
    return torch.stack(outputs, 1), h


def scan_chunked(
    a: Tensor, b: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same function in place, one tensor operation a step and another back.

    Half precision is computed in float32 and cast back. First derivatives only.

    Args:
        a: what is kept (B, L, D).
        b: what is added (B, L, D).
        initial_state: h_0 (B, D); zero where None.

    Returns:
        h (B, L, D) and the final state (B, D).
    """
    dtype = torch.promote_types(a.dtype, torch.float32)
    start = torch.zeros_like(b[:, 0]) if initial_state is None else initial_state
    h, state = _Scan.apply(a.to(dtype), b.to(dtype), start.to(dtype))
    return h.to(b.dtype), state


def scan_fused(a: Tensor, b: Tensor, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same function by the kernel of flash-linear-attention's HGRN, in float32.

    An `a` of exactly 0, which is a sigmoid that underflows, gets no gradient.

    Args:
        a: what is kept (B, L, D), none of it negative: the kernel takes log a.
        b: what is added (B, L, D).
        initial_state: h_0 (B, D); zero where None.

    Returns:
        h (B, L, D) and the final state (B, D).
    """
    from fla.ops.hgrn import fused_recurrent_hgrn

    # the gradient of the logarithm would be 0 / 0 there
    log_a = a.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    start = None if initial_state is None else initial_state.float()
    h, state = fused_recurrent_hgrn(b.float(), log_a, initial_state=start, output_final_state=True)
    return h.to(b.dtype), state


class _Scan(torch.autograd.Function):
    """The gradient runs the same recurrence backwards: g_t += a_{t+1} g_{t+1}."""

    @staticmethod
    def forward(ctx, a, b, start):
        h = b.clone(memory_format=torch.contiguous_format)
        kept, steps = a.unbind(1), h.unbind(1)
        before = start
        for t in range(len(steps)):
            before = steps[t].addcmul_(kept[t], before)
        ctx.save_for_backward(a, h, start)
        return h, before.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h, grad_final):
        a, h, start = ctx.saved_tensors
        grad_b = grad_h.clone(memory_format=torch.contiguous_format)
        kept, steps = a.unbind(1), grad_b.unbind(1)
        steps[-1].add_(grad_final)
        for t in reversed(range(len(steps) - 1)):
            steps[t].addcmul_(kept[t + 1], steps[t + 1])
        grad_a = torch.empty_like(grad_b)
        torch.mul(grad_b[:, 1:], h[:, :-1], out=grad_a[:, 1:])
        torch.mul(grad_b[:, 0], start, out=grad_a[:, 0])
        return grad_a, grad_b, kept[0] * steps[0]


scan = Operator(
    "scan",
    scan_reference,
    scan_chunked,
    scan_fused,
    package="flash-linear-attention",
    path="sequential torch",
)
