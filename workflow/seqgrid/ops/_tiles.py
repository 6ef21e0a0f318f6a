"""Runs of chunks that are worked on while they are in the cache.

An operator over (B, L, H, W) reads each input once and writes each output once from and to memory;
what lies between stays in the cache of the core. B batch, L length, H heads, W width; a tile is m
chunks of c positions, its rows R = m B H.
"""

from torch import Tensor
from torch.nn.functional import pad

SIZE = 2**18  # elements of a tensor of a tile: 1 MB in float32


def chunk_length(L: int, K: int, V: int) -> int:
    """Positions of a chunk, a power of 2: work within chunks grows with it, between them shrinks.

    On one core 16 is fastest for states of 32 x 32 and less, 32 for 64 x 64.
    """
    return min(16 if max(K, V) <= 32 else 32, 1 << (L - 1).bit_length())


def pad_to(x: Tensor, multiple: int, value: float = 0.0) -> Tensor:
    """(B, L, ...) with positions added at the end until `multiple` divides L."""
    missing = -x.shape[1] % multiple
    return pad(x, (0, 0) * (x.dim() - 2) + (0, missing), value=value) if missing else x


def tiles(q: Tensor, v: Tensor, chunk: int) -> list[tuple[slice, int, int]]:
    """Positions, first chunk and number of chunks of each tile of q, v (B, n c, H, W)."""
    per_chunk = chunk * max(q[:, 0].numel(), v[:, 0].numel())
    num_chunks = q.shape[1] // chunk
    size = max(1, SIZE // per_chunk)
    return [
        (slice(i * chunk, min(i + size, num_chunks) * chunk), i, min(size, num_chunks - i))
        for i in range(0, num_chunks, size)
    ]


def split(x: Tensor, m: int) -> Tensor:
    """(B, m rows, H, W) or (B, m, rows, H, W) -> (R, rows, W), contiguous."""
    B, H, W = x.shape[0], *x.shape[-2:]
    x = x.reshape(B, m, -1, H, W).permute(1, 0, 3, 2, 4)
    return x.reshape(m * B * H, -1, W).contiguous()


def join(x: Tensor, m: int, H: int) -> Tensor:
    """(R, c, W) -> (B, m, c, H, W), a view."""
    return x.view(m, -1, H, *x.shape[1:]).permute(1, 0, 3, 2, 4)


def put(x: Tensor, m: int, out: Tensor) -> None:
    """(R, c, W) into a tile (B, m c, H, W) of the output."""
    out.unflatten(1, (m, -1)).copy_(join(x, m, out.shape[2]))
