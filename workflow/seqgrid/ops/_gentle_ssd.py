"""State space duality where decays are gentle: all heads of a group in one product of matrices.

With z_t the sum of log decays up to position t of a chunk, m half that of the whole chunk and S the
state that enters it, decays between positions are products of those to and from the middle: factors
of values and of outputs, which have heads, instead of scores, which have none.
    X_t = exp(m - z_t) dt_t x_t                    S' = exp(m) S
    past_t = exp(z_t - m) (sum_{s < t} (C_t . B_s) X_s + S' C_t)
    y_t = past_t + (C_t . B_t) dt_t x_t            S' <- exp(m + next m) (S' + sum_s X_s B_s^T)

By a_t decays what entered the chunk and what earlier positions of it wrote, less what they have
read of it: its gradient is dS' . S' + sum_{s < t} (dX_s . X_s - dy_s . past_s). No sum over pairs of
positions is needed, and what no decay reaches is left out of these products: it would cancel only
up to rounding, and be all there is where decays are strong.

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
TILE = 1 << 16  # values x of a chunk of the sequences done at a time: 256 kB in float32


class GentleSSD(torch.autograd.Function):
    """Output and final state, with the derivative written out; `chunk` positions are a chunk."""

    @staticmethod
    def forward(ctx, x, dt, a, B, C, state, chunk):  # (b, L, E, P), .. E), .. N), (b, N, E, P)
        read, to_middle, border = _decays(a, chunk)
        write, own = to_middle * dt.unsqueeze(-1), _own(dt, B, C)
        y, past = torch.empty_like(x), torch.empty_like(x)
        states = x.new_empty(border.shape[1], *state.shape)
        for rows in _blocks(x, chunk):
            torch.mul(state[rows], border[rows, 0], out=states[0, rows])
            for j, at in _chunks(x, chunk):
                keys, queries, values = B[rows, at], C[rows, at], x[rows, at]
                X = (values * write[rows, at]).flatten(2)
                held, left = states[j, rows].flatten(2), states[j + 1, rows]
                answers = torch.bmm(queries, held)
                answers.baddbmm_(torch.bmm(queries, keys.mT).tril_(-1), X)
                torch.mul(answers.view_as(values), read[rows, at], out=past[rows, at])
                torch.addcmul(past[rows, at], values, own[rows, at], out=y[rows, at])
                torch.baddbmm(held, keys.mT, X, out=left.view_as(held))
                left *= border[rows, j + 1]
        ctx.save_for_backward(x, dt, a, B, C, past, states)
        ctx.chunk = chunk
        return y, states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_final):
        x, dt, a, B, C, past, states = ctx.saved_tensors
        read, to_middle, border = _decays(a, ctx.chunk)
        write, own = to_middle * dt.unsqueeze(-1), _own(dt, B, C)
        grad_x, grad_B, grad_C = (torch.empty_like(v) for v in (x, B, C))
        grad_write, grad_read, grad_own = (torch.empty_like(dt) for _ in range(3))
        grad_held = dt.new_empty(len(dt), len(states) - 1, 1, dt.shape[2])
        grad_state = torch.empty_like(grad_final)
        for rows in _blocks(x, ctx.chunk):
            grad = grad_final[rows].contiguous()
            for j, at in reversed([*_chunks(x, ctx.chunk)]):
                keys, queries, values = B[rows, at], C[rows, at], x[rows, at]
                grads, held = grad_y[rows, at], states[j, rows]
                X = (values * write[rows, at]).flatten(2)
                Y = (grads * read[rows, at]).flatten(2)
                grad = grad * border[rows, j + 1]
                wide = grad.flatten(2)

                grad_X = torch.bmm(keys, wide)
                grad_X.baddbmm_(torch.bmm(keys, queries.mT).triu_(1), Y)
                grad_X = grad_X.view_as(values)
                torch.mul(grads, own[rows, at], out=grad_x[rows, at])
                grad_x[rows, at].addcmul_(grad_X, write[rows, at])
                grad_write[rows, at] = grad_X.mul_(values).sum(-1)
                grad_read[rows, at] = (grads * past[rows, at]).sum(-1)
                grad_own[rows, at] = (grads * values).sum(-1)

                grad_scores = torch.bmm(Y, X.mT).tril_(-1)
                present = (grad_own[rows, at] * dt[rows, at]).sum(-1)
                grad_scores.diagonal(dim1=1, dim2=2).copy_(present)
                grad_keys = torch.bmm(X, wide.mT)
                grad_B[rows, at] = grad_keys.baddbmm_(grad_scores.mT, queries)
                grad_queries = torch.bmm(Y, held.flatten(2).mT)
                grad_C[rows, at] = grad_queries.baddbmm_(grad_scores, keys)
                wide.baddbmm_(queries.mT, Y)
                grad_held[rows, j, 0] = (grad * held).sum(1).sum(-1)
            torch.mul(grad, border[rows, 0], out=grad_state[rows])
        grad_z = grad_write * write.squeeze(-1) - grad_read
        grad_a = torch.cat([grad_held, split(grad_z, ctx.chunk)[:, :, :-1]], 2).cumsum(2)
        grad_dt = grad_write.mul_(to_middle.squeeze(-1)).addcmul_(grad_own, _present(B, C))
        return grad_x, grad_dt, join(grad_a, x.shape[1]), grad_B, grad_C, grad_state, None


def _present(B: Tensor, C: Tensor) -> Tensor:
    """C_t . B_t (b, L, 1)."""
    return (B * C).sum(-1, keepdim=True)


def _own(dt: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """What each position adds of its own value (b, L, E, 1)."""
    return (dt * _present(B, C)).unsqueeze(-1)


def split(a: Tensor, chunk: int) -> Tensor:
    """(b, L, E) -> (b, n, c, E), padded with zeros."""
    return pad(a, (0, 0, 0, -a.shape[1] % chunk)).unflatten(1, (-1, chunk))


def join(a: Tensor, L: int) -> Tensor:
    """(b, n, c, E) -> (b, L, E)."""
    return a.flatten(1, 2)[:, :L]


def _decays(a: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """From and to the middles of chunks (b, L, E, 1); from one to the next (b, n + 1, 1, E, 1).

    The first border is that from the start to the first middle, the last from the last to the end.
    """
    z = (split(a, chunk) * LOG2_E).cumsum(2)  # exp2 is four times faster than exp on a CPU
    middle = z[:, :, -1:] / 2
    z = join(z - middle, a.shape[1]).unsqueeze(-1)
    border = pad(middle, (0, 0, 0, 0, 1, 0)) + pad(middle, (0, 0, 0, 0, 0, 1))
    return z.exp2(), (-z).exp2_(), border.exp2_().unsqueeze(-1)


def _blocks(x: Tensor, chunk: int) -> Iterator[slice]:
    """A few sequences at a time on a CPU; all on other devices."""
    size = max(1, TILE // x[0, :chunk].numel()) if x.device.type == "cpu" else len(x)
    return (slice(start, start + size) for start in range(0, len(x), size))


def _chunks(x: Tensor, chunk: int) -> Iterator[tuple[int, slice]]:
    """Positions of each chunk."""
    return enumerate(slice(start, start + chunk) for start in range(0, x.shape[1], chunk))
