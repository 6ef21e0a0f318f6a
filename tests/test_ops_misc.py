"""Attention, sLSTM, linear scans and long convolutions agree with their references."""

import pytest
import torch
from operator_checks import assert_close, run

from seqgrid.ops import attention as attention_module
from seqgrid.ops.attention import attention
from seqgrid.ops.fft_conv import fft_conv
from seqgrid.ops.scan import scan
from seqgrid.ops.slstm import slstm


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def paired(function):
    """For `run`, which expects a state: the sum of the outputs in place of one."""

    def operator(**inputs):
        o = function(**inputs)
        return o, o.sum()

    return operator


def compare(function, expected, inputs, grad, tolerance, dtype=torch.float64, **options):
    grads = (grad, torch.zeros(()).double())
    wanted = run(paired(expected), inputs, grads, **options)
    assert_close(run(paired(function), inputs, grads, dtype, **options), wanted, tolerance)


def heads(seqlen, kv_heads=4, width=6):
    q = normal(3, seqlen, 4, width)
    k, v = (normal(3, seqlen, kv_heads, width, seed=seed) for seed in (1, 2))
    return {"q": q, "k": k, "v": v}, normal(3, seqlen, 4, width, seed=3)


@pytest.mark.parametrize("lengths", [None, [300, 21, 0]], ids=["all", "lengths"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("seqlen", "window", "kv_heads"),
    [(1, None, 4), (1, 1, 2), (5, 3, 1), (33, None, 2), (300, 1, 4), (300, 20, 2), (257, 70, 1)],
)
def test_attention_reads_what_it_may(seqlen, window, kv_heads, causal, lengths):
    inputs, grad = heads(seqlen, kv_heads)
    read = None if lengths is None else torch.tensor(lengths).clamp(max=seqlen)
    options = {"causal": causal, "window": window, "lengths": read}
    functions = attention.chunked, attention.reference
    compare(*functions, inputs, grad, 1e-11, **options)
    compare(*functions, inputs, grad, 1e-5, torch.float32, **options)


@pytest.mark.parametrize("causal", [True, False])
def test_a_window_never_makes_all_pairs_of_positions(monkeypatch, causal):
    sizes = []

    def watched(q, k, v, mask, **options):
        sizes.append(q.shape[1] * q.shape[2] * k.shape[2])
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, **options)

    monkeypatch.setattr(attention_module, "scaled_dot_product_attention", watched)
    q = torch.randn(1, 8191, 1, 4)
    attention(q, q, q, causal=causal, window=16)
    assert sizes[0] < 8191 * 100


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 5, 70])
def test_no_kernel_is_asked_for_the_softmax_of_nothing(monkeypatch, window, causal):
    """Positions of padding read something, whatever is made of it: some kernels give NaN."""

    def watched(q, k, v, mask, **options):
        assert mask.any(-1).all()
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, **options)

    monkeypatch.setattr(attention_module, "scaled_dot_product_attention", watched)
    inputs = {n: x.requires_grad_() for n, x in heads(300)[0].items()}
    lengths = torch.tensor([300, 21, 0])
    options = {"causal": causal, "window": window, "lengths": lengths}
    o = attention.chunked(**inputs, **options)
    assert not o[2].any()
    assert all(x.isfinite().all() for x in torch.autograd.grad(o.sum(), list(inputs.values())))
    if window is not None:
        attention.chunked(**inputs, **options | {"lengths": None})


def test_scores_are_scaled_as_asked():
    inputs, _ = heads(9)
    for scale in (0.1, 2.0):
        torch.testing.assert_close(
            attention.chunked(**inputs, scale=scale), attention.reference(**inputs, scale=scale)
        )


def gates(seqlen, spread=1.0, batch=2, num_heads=3, width=5):
    inputs = {
        "gates": spread * normal(batch, seqlen, 4, num_heads, width),
        "recurrent": normal(num_heads, 4 * width, width) / width,
        "initial_state": normal(3, batch, num_heads, width, seed=1),
    }
    state = (3, batch, num_heads, width)
    return inputs, (normal(batch, seqlen, num_heads, width, seed=2), normal(*state, seed=3))


@pytest.mark.parametrize("spread", [1.0, 200.0], ids=["random", "strong gates"])
@pytest.mark.parametrize("seqlen", [1, 2, 33])
def test_a_normalised_cell_computes_the_slstm(seqlen, spread):
    inputs, grads = gates(seqlen, spread)
    expected = run(slstm.reference, inputs, grads)
    assert_close(run(slstm.chunked, inputs, grads), expected, 1e-11)
    assert_close(run(slstm.chunked, inputs, grads, torch.float32), expected, 1e-3 * spread / 40)


def test_an_slstm_that_holds_nothing_starts_with_its_first_input():
    inputs, grads = gates(7)
    inputs.pop("initial_state")
    expected = run(slstm.reference, inputs, grads)
    assert all(x.isfinite().all() for x in expected.values())
    assert_close(run(slstm.chunked, inputs, grads), expected, 1e-12)
    h, state = slstm.chunked(**inputs)
    z, o = inputs["gates"][:, 0, 2:].unbind(1)
    torch.testing.assert_close(h[:, 0], o.sigmoid() * z.tanh())
    torch.testing.assert_close(state[0], h[:, -1])


def linear(seqlen):
    inputs = {"a": 1.2 * normal(2, seqlen, 3).tanh(), "b": normal(2, seqlen, 3, seed=1)}
    grads = normal(2, seqlen, 3, seed=2), normal(2, 3, seed=3)
    return inputs | {"initial_state": normal(2, 3, seed=4)}, grads


@pytest.mark.parametrize("seqlen", [1, 2, 33])
def test_a_scan_in_place_computes_the_recurrence(seqlen):
    inputs, grads = linear(seqlen)
    for given in (inputs, {n: x for n, x in inputs.items() if n != "initial_state"}):
        expected = run(scan.reference, given, grads)
        assert_close(run(scan.chunked, given, grads), expected, 1e-12)
        assert_close(run(scan.chunked, given, grads, torch.float32), expected, 1e-5)


def test_a_long_scan_neither_forgets_nor_overflows():
    b = torch.randn(1, 8191, 2)
    expected = b.double().cumsum(1).float()
    torch.testing.assert_close(scan(torch.ones_like(b), b)[0], expected, atol=2e-3, rtol=0)
    assert (scan(torch.zeros_like(b), b)[0] == b).all()


@pytest.mark.parametrize(("seqlen", "taps"), [(1, 1), (1, 4), (2, 2), (33, 33), (33, 7), (20, 64)])
@pytest.mark.parametrize("biased", [True, False])
def test_transforms_compute_the_convolution(seqlen, taps, biased):
    inputs = {"x": normal(2, seqlen, 3), "kernel": normal(taps, 3, seed=1)}
    if biased:
        inputs["bias"] = normal(3, seed=2)
    grad = normal(2, seqlen, 3, seed=3)
    compare(fft_conv.chunked, fft_conv.reference, inputs, grad, 1e-12)
    compare(fft_conv.chunked, fft_conv.reference, inputs, grad, 1e-5, torch.float32)


def test_a_long_convolution_stays_exact():
    x, kernel = normal(1, 8191, 2), normal(8191, 2, seed=1)
    expected = torch.stack(
        [(kernel[: t + 1].flip(0) * x[0, : t + 1]).sum(0) for t in (0, 99, 8190)]
    )
    found = fft_conv(x.float(), kernel.float())[0, [0, 99, 8190]]
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=0)  # sums of 8191


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (slstm, gates(3, batch=1, num_heads=2, width=2)[0]),
        (scan, linear(4)[0]),
        (fft_conv, {"x": normal(1, 5, 2), "kernel": normal(4, 2), "bias": normal(2)}),
    ],
    ids=["slstm", "scan", "fft_conv"],
)
def test_the_derivative_written_out_is_that_of_the_forward_pass(operator, inputs):
    names = list(inputs)
    tensors = [x.clone().requires_grad_() for x in inputs.values()]
    assert torch.autograd.gradcheck(
        lambda *given: operator.chunked(**dict(zip(names, given, strict=True))), tensors
    )


@pytest.mark.parametrize(
    ("operator", "draw", "long"),
    [(slstm, gates, ["gates"]), (scan, linear, ["a", "b"])],
    ids=["slstm", "scan"],
)
def test_two_halves_of_a_sequence_joined_by_the_state_are_the_whole(operator, draw, long):
    inputs, _ = draw(21)
    whole, last = operator.chunked(**inputs)
    first, middle = operator.chunked(**inputs | {n: inputs[n][:, :8] for n in long})
    rest = {n: inputs[n][:, 8:] for n in long} | {"initial_state": middle}
    second, end = operator.chunked(**inputs | rest)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (slstm, gates(9)[0]),
        (scan, linear(9)[0]),
        (fft_conv, {"x": normal(1, 9, 2), "kernel": normal(9, 2)}),
        (attention, heads(9)[0]),
    ],
    ids=["slstm", "scan", "fft_conv", "attention"],
)
def test_half_precision_comes_back_as_such(operator, inputs, dtype):
    inputs = {n: x.to(dtype) for n, x in inputs.items()}
    wide = {n: x.float() for n, x in inputs.items()}
    found, expected = (operator.chunked(**given) for given in (inputs, wide))
    found, expected = (x[0] if isinstance(x, tuple) else x for x in (found, expected))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.02)


def test_transposed_memory_gives_the_same_result():
    for operator, inputs in ((slstm, gates(9)[0]), (scan, linear(9)[0])):
        odd = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()}
        torch.testing.assert_close(operator.chunked(**odd), operator.chunked(**inputs))
