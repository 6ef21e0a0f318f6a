"""The Triton kernels of circuits; what they compute stands in triton_circuit.py.

A program has TILE circuits, rows of (TILE, N) tensors; amplitude k of a state has bit 0 of k for
the last wire. Tables are those of `triton_circuit`.
"""

import triton
import triton.language as tl

# Compiled once for all their values.
INTEGERS = ("state_stride", "turns_stride", "num_gates", "batch")


@triton.jit(do_not_specialize=INTEGERS)
def forward(
    psi, found, state, state_stride, turns, turns_stride, places, constants, num_gates, batch,
    QUBITS: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, GIVEN: tl.constexpr,
    READ: tl.constexpr,
):  # fmt: skip
    """States (batch, N, 2), and from them `found` (batch, 3 QUBITS) where they are READ."""
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)[:, None]
    k = tl.arange(0, N)[None, :]
    own = row < batch
    if GIVEN:
        start = state + row.to(tl.int64) * state_stride + 2 * k
        re = tl.load(start, mask=own, other=0.0)
        im = tl.load(start + 1, mask=own, other=0.0)
    else:
        re = tl.where((k == 0) & own, 1.0, 0.0)
        im = tl.zeros((TILE, N), tl.float32)
    for gate in range(num_gates):
        swap = tl.load(places + 4 * gate)
        target = tl.load(places + 4 * gate + 1)
        control = tl.load(places + 4 * gate + 2)
        index = tl.load(places + 4 * gate + 3)
        at = turns + row.to(tl.int64) * turns_stride + 2 * index
        cos = tl.load(at, mask=own & (index >= 0), other=1.0)  # (TILE, 1)
        sin = tl.load(at + 1, mask=own & (index >= 0), other=0.0)
        side = constants + 16 * gate + 8 * ((k >> target) & 1)  # (1, N)
        a_re = cos * tl.load(side) + sin * tl.load(side + 4)
        a_im = cos * tl.load(side + 1) + sin * tl.load(side + 5)
        b_re = cos * tl.load(side + 2) + sin * tl.load(side + 6)
        b_im = cos * tl.load(side + 3) + sin * tl.load(side + 7)
        other_re, other_im = re, im
        for bit in tl.static_range(QUBITS):
            if swap == bit:
                other_re = _swapped(re, bit, TILE, N)
                other_im = _swapped(im, bit, TILE, N)
        new_re = a_re * re - a_im * im + b_re * other_re - b_im * other_im
        new_im = a_re * im + a_im * re + b_re * other_im + b_im * other_re
        on = (k & control) == control
        re = tl.where(on, new_re, re)
        im = tl.where(on, new_im, im)
    out = psi + row.to(tl.int64) * (2 * N) + 2 * k
    tl.store(out, re, mask=own)
    tl.store(out + 1, im, mask=own)
    if READ:
        for bit in tl.static_range(QUBITS):
            other_re = _swapped(re, bit, TILE, N)
            other_im = _swapped(im, bit, TILE, N)
            sign = 1.0 - 2.0 * ((k >> bit) & 1).to(tl.float32)
            x = tl.sum(re * other_re + im * other_im, 1, keep_dims=True)
            y = tl.sum(sign * (re * other_im - im * other_re), 1, keep_dims=True)
            z = tl.sum(sign * (re * re + im * im), 1, keep_dims=True)
            at = found + row.to(tl.int64) * (3 * QUBITS) + (QUBITS - 1 - bit)
            tl.store(at, x, mask=own)
            tl.store(at + QUBITS, y, mask=own)
            tl.store(at + 2 * QUBITS, z, mask=own)


@triton.jit(do_not_specialize=INTEGERS)
def backward(
    psi, grad, grad_state, each, turns, turns_stride, places, constants, num_gates, batch,
    QUBITS: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, WANTED: tl.constexpr,
    READ: tl.constexpr,
):  # fmt: skip
    """From the gradient of what `forward` gave those of each gate's angle and the first state."""
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)[:, None]
    k = tl.arange(0, N)[None, :]
    own = row < batch
    place = row.to(tl.int64) * (2 * N) + 2 * k
    re = tl.load(psi + place, mask=own, other=0.0)
    im = tl.load(psi + place + 1, mask=own, other=0.0)
    if READ:  # the cotangent: 2 (gx X + gy Y + gz Z) psi, over all wires
        co_re = tl.zeros((TILE, N), tl.float32)
        co_im = tl.zeros((TILE, N), tl.float32)
        for bit in tl.static_range(QUBITS):
            other_re = _swapped(re, bit, TILE, N)
            other_im = _swapped(im, bit, TILE, N)
            sign = 1.0 - 2.0 * ((k >> bit) & 1).to(tl.float32)
            at = grad + row.to(tl.int64) * (3 * QUBITS) + (QUBITS - 1 - bit)
            x = tl.load(at, mask=own, other=0.0)
            y = sign * tl.load(at + QUBITS, mask=own, other=0.0)
            z = sign * tl.load(at + 2 * QUBITS, mask=own, other=0.0)
            co_re += 2.0 * (x * other_re + y * other_im + z * re)
            co_im += 2.0 * (x * other_im - y * other_re + z * im)
    else:
        co_re = tl.load(grad + place, mask=own, other=0.0)
        co_im = tl.load(grad + place + 1, mask=own, other=0.0)
    for step in range(num_gates):
        gate = num_gates - 1 - step
        swap = tl.load(places + 4 * gate)
        target = tl.load(places + 4 * gate + 1)
        control = tl.load(places + 4 * gate + 2)
        index = tl.load(places + 4 * gate + 3)
        at = turns + row.to(tl.int64) * turns_stride + 2 * index
        cos = tl.load(at, mask=own & (index >= 0), other=1.0)
        sin = tl.load(at + 1, mask=own & (index >= 0), other=0.0)
        on = (k & control) == control
        other_re, other_im, far_re, far_im = re, im, co_re, co_im
        for bit in tl.static_range(QUBITS):
            if swap == bit:
                other_re = _swapped(re, bit, TILE, N)
                other_im = _swapped(im, bit, TILE, N)
                far_re = _swapped(co_re, bit, TILE, N)
                far_im = _swapped(co_im, bit, TILE, N)
        side = constants + 16 * gate + 8 * ((k >> target) & 1)
        a_re, a_im = tl.load(side + 4), tl.load(side + 5)  # of B: the generator is B / 2
        b_re, b_im = tl.load(side + 6), tl.load(side + 7)
        moved_re = a_re * re - a_im * im + b_re * other_re - b_im * other_im
        moved_im = a_re * im + a_im * re + b_re * other_im + b_im * other_re
        slope = tl.where(on, co_re * moved_re + co_im * moved_im, 0.0)
        slope = 0.5 * tl.sum(slope, 1, keep_dims=True)
        tl.store(each + row.to(tl.int64) * num_gates + gate, slope, mask=own)
        # The inverse: its row k is column k of the gate, conjugated; b is that of the other target.
        across = constants + 16 * gate + 8 * (1 - ((k >> target) & 1))
        u_re = cos * tl.load(side) + sin * a_re
        u_im = -(cos * tl.load(side + 1) + sin * a_im)
        v_re = cos * tl.load(across + 2) + sin * tl.load(across + 6)
        v_im = -(cos * tl.load(across + 3) + sin * tl.load(across + 7))
        new_re = u_re * re - u_im * im + v_re * other_re - v_im * other_im
        new_im = u_re * im + u_im * re + v_re * other_im + v_im * other_re
        re = tl.where(on, new_re, re)
        im = tl.where(on, new_im, im)
        new_re = u_re * co_re - u_im * co_im + v_re * far_re - v_im * far_im
        new_im = u_re * co_im + u_im * co_re + v_re * far_im + v_im * far_re
        co_re = tl.where(on, new_re, co_re)
        co_im = tl.where(on, new_im, co_im)
    if WANTED:
        tl.store(grad_state + place, co_re, mask=own)
        tl.store(grad_state + place + 1, co_im, mask=own)


@triton.jit
def _swapped(x, BIT: tl.constexpr, TILE: tl.constexpr, N: tl.constexpr):
    """Amplitudes with those at k and at k xor 2^BIT exchanged, (TILE, N)."""
    split = tl.reshape(x, (TILE, N >> (BIT + 1), 2, 1 << BIT))
    return tl.reshape(tl.flip(split, 2), (TILE, N))
