"""Chunks of state space duality, with the derivative written out.

With X = dt x, z_t the sum of log decays up to position t of a chunk, z that of the whole chunk, and
S the state that enters it:
    y_t = (C_t . B_t) X_t + D x_t + past_t
    past_t = sum_{s < t} (C_t . B_s) exp(z_t - z_s) X_s + exp(z_t) S C_t
    S <- exp(z) S + sum_s exp(z - z_s) X_s B_s^T

Where decays are gentle, those between positions are products of decays to and from the middle of
the chunk: factors of values and of outputs, which have heads, instead of scores, which have none.
All heads make one product of matrices, and states are kept in units of the middle of the chunk they
enter, S' = exp(z / 2) S.

By a_t decays what entered the chunk and what earlier positions of it wrote, less what they have
read of it: its gradient is dS . S + sum_{s < t} (dX_s . X_s - dy_s . past_s), with dX from later
positions alone. No sum over pairs of positions is needed, and what no decay reaches is left out:
it would cancel only up to rounding, and be all there is where decays are strong.

A few sequences pass through one chunk after the other, so that what lies between stays in the
cache of the core. b batch (of groups), L length, E heads of a group, P values of a head, N keys;
n chunks of c positions.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

LOG2_E = math.log2(math.e)


class ChunkedSSD(torch.autograd.Function):
    """Output and final state, from chunks of `chunk` positions and `block` values x at a time."""

    @staticmethod
    def forward(ctx, x, dt, a, B, C, D, state, gentle, chunk, block):
        # x (b, L, E, P), dt and a (b, L, E), B and C (b, L, N), D (b, 1, E), state (b, N, E, P)
        z, read, rest, border = _decays(a, chunk, gentle)
        dt_wide = dt.unsqueeze(-1)
        write, own = rest * dt_wide, (dt * _present(B, C) + D).unsqueeze(-1)
        y, past = torch.empty_like(x), torch.empty_like(x)
        states = x.new_empty(border.shape[1], *state.shape)
        for rows in _blocks(x, chunk, block):
            torch.mul(state[rows], border[rows, 0], out=states[0, rows])
            for j, at in _chunks(x, chunk):
                keys, queries, values = B[rows, at], C[rows, at], x[rows, at]
                X = (values * write[rows, at]).flatten(2)
                held, left = states[j, rows], states[j + 1, rows]
                scores = torch.bmm(queries, keys.mT)
                answers = torch.bmm(queries, held.flatten(2))
                if gentle:
                    answers.baddbmm_(scores.tril_(-1), X)
                    torch.mul(answers.view_as(values), read[rows, at], out=past[rows, at])
                    torch.baddbmm(held.flatten(2), keys.mT, X, out=left.flatten(2))
                    left *= border[rows, j + 1]
                else:
                    weights = _between(z[rows, at]).mul_(scores.unsqueeze(1))
                    within = (weights @ _by_head(values * dt_wide[rows, at])).transpose(1, 2)
                    answers = answers.view_as(values)
                    torch.addcmul(within, answers, read[rows, at], out=past[rows, at])
                    torch.mul(held, border[rows, j + 1], out=left)
                    left.flatten(2).baddbmm_(keys.mT, X)
                torch.addcmul(past[rows, at], values, own[rows, at], out=y[rows, at])
        ctx.save_for_backward(x, dt, a, B, C, D, past, states)
        ctx.options = gentle, chunk, block
        return y, states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_final):
        x, dt, a, B, C, D, past, states = ctx.saved_tensors
        gentle, chunk, block = ctx.options
        z, read, rest, border = _decays(a, chunk, gentle)
        dt_wide, present = dt.unsqueeze(-1), _present(B, C)
        write, own = rest * dt_wide, (dt * present + D).unsqueeze(-1)
        # between x and that X of which grad_X below is the gradient
        factor = write if gentle else dt_wide
        grad_x, grad_B, grad_C = (torch.empty_like(v) for v in (x, B, C))
        grad_factor, grad_read, grad_own = (torch.empty_like(dt) for _ in range(3))
        grad_held = dt.new_empty(len(dt), len(states) - 1, 1, dt.shape[2])
        grad_state = torch.empty_like(grad_final)
        for rows in _blocks(x, chunk, block):
            grad = grad_final[rows].contiguous()
            for j, at in reversed([*_chunks(x, chunk)]):
                keys, queries, values = B[rows, at], C[rows, at], x[rows, at]
                grads, held = grad_y[rows, at], states[j, rows]
                X = (values * write[rows, at]).flatten(2)
                Y = (grads * read[rows, at]).flatten(2)
                kept = (grad * border[rows, j + 1]).flatten(2)
                added = kept if gentle else grad.flatten(2)
                grad_X = torch.bmm(keys, added)
                if gentle:
                    grad_X.baddbmm_(torch.bmm(keys, queries.mT).triu_(1), Y)
                    grad_X = grad_X.view_as(values)
                    grad_scores = torch.bmm(Y, X.mT).tril_(-1)
                else:
                    weights, by_head = _between(z[rows, at]), _by_head(grads)
                    grad_scores = by_head @ _by_head(values * dt_wide[rows, at]).mT
                    grad_scores = grad_scores.mul_(weights).sum(1)
                    weights *= torch.bmm(queries, keys.mT).unsqueeze(1)
                    within = (weights.mT @ by_head).transpose(1, 2)
                    grad_X = torch.addcmul(within, grad_X.view_as(values), rest[rows, at])
                torch.mul(grads, own[rows, at], out=grad_x[rows, at])
                grad_x[rows, at].addcmul_(grad_X, factor[rows, at])
                grad_factor[rows, at] = grad_X.mul_(values).sum(-1)
                grad_read[rows, at] = (grads * past[rows, at]).sum(-1)
                grad_own[rows, at] = (grads * values).sum(-1)

                grad_present = (grad_own[rows, at] * dt[rows, at]).sum(-1)
                grad_scores.diagonal(dim1=1, dim2=2).copy_(grad_present)
                grad_keys = torch.bmm(X, added.mT)
                grad_B[rows, at] = grad_keys.baddbmm_(grad_scores.mT, queries)
                grad_queries = torch.bmm(Y, held.flatten(2).mT)
                grad_C[rows, at] = grad_queries.baddbmm_(grad_scores, keys)
                grad = kept.baddbmm_(queries.mT, Y).view_as(held)
                grad_held[rows, j, 0] = (grad * held).sum(1).sum(-1)
            torch.mul(grad, border[rows, 0], out=grad_state[rows])
        grad_z = _split(grad_factor * factor.squeeze(-1) - grad_read, chunk)
        grad_a = _join(torch.cat([grad_held, grad_z[:, :, :-1]], 2).cumsum(2), x.shape[1])
        grad_dt = grad_factor.mul_(rest.squeeze(-1)) if gentle else grad_factor
        grad_dt.addcmul_(grad_own, present)
        grad_D = grad_own.sum(1, keepdim=True)
        return grad_x, grad_dt, grad_a, grad_B, grad_C, grad_D, grad_state, None, None, None


def largest_decay(a: Tensor, chunk: int) -> Tensor:
    """Most halvings within a chunk; a (b, L, E)."""
    return _split(a, chunk).sum(2).abs().amax() * LOG2_E


def _decays(a: Tensor, chunk: int, gentle: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums z of log2 decays (b, L, E) in a chunk, and factors of outputs, of values and of states.

    Those of outputs and values (b, L, E, 1) count from and to the middle where decays are gentle,
    else from the start and to the end; of states (b, n + 1, 1, E, 1) the first is of the initial.
    """
    z = (_split(a, chunk) * LOG2_E).cumsum(2)  # exp2 is four times faster than exp on a CPU
    whole = z[:, :, -1:]
    before, after = (pad(whole, (0, 0, 0, 0, *side)) for side in ((1, 0), (0, 1)))
    read, rest = (z - whole / 2, whole / 2 - z) if gentle else (z, whole - z)
    border = (before + after) / 2 if gentle else before
    read, rest = (_join(v.exp2(), a.shape[1]).unsqueeze(-1) for v in (read, rest))
    return _join(z, a.shape[1]), read, rest, border.exp2().unsqueeze(-1)


def _between(z: Tensor) -> Tensor:
    """Decays (k, E, c, c) from positions to later ones, zero on and above the diagonal."""
    c = z.shape[1]
    z = z.mT.contiguous()
    # masked before the exponential, which could overflow above the diagonal
    mask = torch.full((c, c), -math.inf, dtype=z.dtype, device=z.device).triu_()
    return (z.unsqueeze(-1) + mask).sub_(z.unsqueeze(-2)).exp2_()


def _by_head(x: Tensor) -> Tensor:
    """(k, c, E, P) -> (k, E, c, P)."""
    return x.transpose(1, 2).contiguous()


def _present(B: Tensor, C: Tensor) -> Tensor:
    """C_t . B_t (b, L, 1)."""
    return (B * C).sum(-1, keepdim=True)


def _split(a: Tensor, chunk: int) -> Tensor:
    """(b, L, E) -> (b, n, c, E), padded with zeros."""
    return pad(a, (0, 0, 0, -a.shape[1] % chunk)).unflatten(1, (-1, chunk))


def _join(a: Tensor, L: int) -> Tensor:
    """(b, n, c, E) -> (b, L, E)."""
    return a.flatten(1, 2)[:, :L]


def _blocks(x: Tensor, chunk: int, block: int) -> Iterator[slice]:
    """A few sequences at a time on a CPU; all on other devices."""
    size = max(1, block // x[0, :chunk].numel()) if x.device.type == "cpu" else len(x)
    return (slice(start, start + size) for start in range(0, len(x), size))


def _chunks(x: Tensor, chunk: int) -> Iterator[tuple[int, slice]]:
    """Positions of each chunk."""
    return enumerate(slice(start, start + chunk) for start in range(0, x.shape[1], chunk))
