"""The scalar memory of xLSTM: exponential gates, a normaliser, and heads that feed back.

    (i, f, z, o)_t = x_t + R h_{t-1}                          what the gates are made of
    c_t = sigmoid(f_t) c_{t-1} + exp(i_t) tanh(z_t)           n_t = sigmoid(f_t) n_{t-1} + exp(i_t)
    h_t = sigmoid(o_t) c_t / n_t

Source: Beck et al., arXiv:2405.04517, eq. 8-14, with the sigmoid forget gate of their code; R is
block-diagonal, one block a head. exp(i) overflows, so the paper divides c and n by exp(m), eq.
15-17; `slstm_reference` does that. The path that is fast keeps r = c / n and l = log n instead:

    a = log sigmoid(f_t) + l_{t-1}      w = sigmoid(i_t - a)      l_t = log(exp(a) + exp(i_t))
    r_t = r_{t-1} + w (tanh(z_t) - r_{t-1})                       h_t = sigmoid(o_t) r_t

which is the same function, has no quotient to overflow, and needs fewer passes.

B batch, L length, H heads, d head width.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from seqgrid.kernels import Operator


def slstm_reference(
    gates: Tensor, recurrent: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Step by step with the stabiliser m, as the paper's equations read.

    Args:
        gates: what the input gives to i, f, z and o (B, L, 4, H, d), biases included.
        recurrent: R (H, 4 d, d), rows by gate.
        initial_state: h, c / n and log n (3, B, H, d); 0, 0 and -inf where None.

    Returns:
        h (B, L, H, d) and the final state (3, B, H, d).
    """
    L, d = gates.shape[1], gates.shape[-1]
    h, c, m = _start(gates, gates.dtype) if initial_state is None else initial_state.unbind(0)
    n = torch.ones_like(m)
    outputs = []
    for t in range(L):
        fed_back = torch.einsum("hgd,bhd->bhg", recurrent, h).unflatten(-1, (4, d)).movedim(2, 1)
        i, f, z, o = (gates[:, t] + fed_back).unbind(1)
        kept = logsigmoid(f) + m
        m = torch.maximum(kept, i)
        write, keep = (i - m).exp(), (kept - m).exp()
        c = keep * c + write * z.tanh()
        n = keep * n + write
        h = o.sigmoid() * c / n
        outputs.append(h)
    return torch.stack(outputs, 1), torch.stack([h, c / n, m + n.log()])


def slstm_chunked(
    gates: Tensor, recurrent: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same function with a normalised cell; a step is ten tensor operations, and eight back.

    Nothing of it is parallel over positions: what a gate reads is the output before. Half
    precision is computed in float32 and cast back. First derivatives only.

    Args:
        gates: what the input gives to i, f, z and o (B, L, 4, H, d), biases included.
        recurrent: R (H, 4 d, d), rows by gate.
        initial_state: h, c / n and log n (3, B, H, d); 0, 0 and -inf where None.

    Returns:
        h (B, L, H, d) and the final state (3, B, H, d).
    """
    dtype = torch.promote_types(gates.dtype, torch.float32)
    state = _start(gates, dtype) if initial_state is None else initial_state
    with torch.autocast(gates.device.type, enabled=False):
        h, state = _SLSTM.apply(
            gates.to(dtype).permute(3, 1, 0, 2, 4).contiguous(),
            recurrent.to(dtype),
            state.to(dtype).transpose(1, 2),
        )
    return h.permute(2, 1, 0, 3).to(gates.dtype), state.transpose(1, 2)


def _start(gates: Tensor, dtype: torch.dtype) -> Tensor:
    """Nothing held, (3, B, H, d): log n is -inf."""
    B, _, _, H, d = gates.shape
    state = gates.new_zeros(3, B, H, d, dtype=dtype)
    state[2] = -torch.inf
    return state


class _SLSTM(torch.autograd.Function):
    """The steps in order, and the derivative written out.

    With g the gradients of i, f, z, o, and h, r, l those of the state behind step t:
        r += h o        g_o = h r_t o (1 - o)           g_z = r w (1 - z^2)
        g_i = r (z - r_{t-1}) w (1 - w) + l w           l -= g_i        g_f = l sigmoid(-f)
        r *= 1 - w      h = R^T g
    where h takes in the gradient of each output as it comes to it. The factors that do not wait
    for the steps are computed at once.
    """

    @staticmethod
    def forward(ctx, gates, recurrent, state):  # (H, L, B, 4, d), (H, 4 d, d), (3, H, B, d)
        H, L, B, _, d = gates.shape
        gates = gates.clone()
        states = gates.new_empty(3, H, L + 1, B, d)
        states[:, :, 0] = state
        w = gates.new_empty(H, L, B, d)
        kept = gates.new_empty(H, B, d)
        rows = gates.view(H, L, B, 4 * d).unbind(1)
        i, f, z, o = (gate.unbind(1) for gate in gates.unbind(3))
        h, r, log_n = (x.unbind(1) for x in states)
        writes = w.unbind(1)
        mixing = recurrent.mT.contiguous()
        for t in range(L):
            rows[t].baddbmm_(h[t], mixing)
            torch.add(logsigmoid(f[t]), log_n[t], out=kept)
            torch.logaddexp(kept, i[t], out=log_n[t + 1])
            torch.sub(i[t], kept, out=writes[t]).sigmoid_()
            z[t].tanh_()
            o[t].sigmoid_()
            torch.lerp(r[t], z[t], writes[t], out=r[t + 1])
            torch.mul(o[t], r[t + 1], out=h[t + 1])
        ctx.save_for_backward(gates, recurrent, states, w)
        # copies: who changes the output must not change what is saved
        return states[0, :, 1:].clone(), states[:, :, L].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h, grad_state):
        gates, recurrent, states, w = ctx.saved_tensors
        H, L, B, _, d = gates.shape
        f, z, o = gates.unbind(3)[1:]
        h, r, _ = states.unbind(0)
        g = torch.empty_like(gates)
        keep = 1 - w
        torch.mul(z - r[:, :L], w, out=g[..., 0, :]).mul_(keep)
        torch.neg(f, out=g[..., 1, :]).sigmoid_()
        torch.mul(z, z, out=g[..., 2, :]).neg_().add_(1).mul_(w)
        torch.sub(1, o, out=g[..., 3, :]).mul_(o).mul_(r[:, 1:])

        last_h, grad_r, grad_l = grad_state.contiguous().clone().unbind(0)
        grad_h = grad_h.clone()
        grad_h[:, L - 1] += last_h
        by_step = grad_h.unbind(1)
        rows = g.view(H, L, B, 4 * d).unbind(1)
        g_i, g_f, _, g_o = (gate.unbind(1) for gate in g.unbind(3))
        g_iz = g[..., 0::2, :].unbind(1)
        outs, writes, keeps = o.unbind(1), w.unbind(1), keep.unbind(1)
        both = grad_r.unsqueeze(2)
        for t in reversed(range(L)):
            if t + 1 < L:
                by_step[t].baddbmm_(rows[t + 1], recurrent)
            grad_r.addcmul_(by_step[t], outs[t])
            g_o[t].mul_(by_step[t])
            g_iz[t].mul_(both)
            g_i[t].addcmul_(grad_l, writes[t])
            grad_l.sub_(g_i[t])
            g_f[t].mul_(grad_l)
            grad_r.mul_(keeps[t])
        grad_first = torch.bmm(rows[0], recurrent)
        flat = g.view(H, L * B, 4 * d)
        grad_recurrent = torch.bmm(flat.mT, h[:, :L].reshape(H, L * B, d))
        return g, grad_recurrent, torch.stack([grad_first, grad_r, grad_l])


slstm = Operator("slstm", slstm_reference, slstm_chunked, path="sequential torch")
