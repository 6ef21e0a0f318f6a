"""The operators of the state space models agree with their step-by-step references."""

import pytest
import torch
from operator_checks import assert_close, run

from seqgrid import kernels
from seqgrid.ops import selective_scan as scan_module
from seqgrid.ops import ssd as ssd_module
from seqgrid.ops.selective_scan import selective_scan, selective_scan_chunked
from seqgrid.ops.selective_scan import selective_scan_reference as scan_reference
from seqgrid.ops.short_conv import short_conv, short_conv_reference
from seqgrid.ops.ssd import ssd, ssd_chunked, ssd_reference

STEPS = {"usual": 1.0, "none": 0.0, "weak decay": 1e-4, "strong decay": 30.0, "sudden": 3000.0}


def normals(seed):
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


def draw_scan(seqlen, step=1.0, batch=3, channels=6, states=4):
    """Inputs and output gradients; decays of a step are exp(-step) and below."""
    normal = normals(seqlen)
    inputs = {
        "u": normal(batch, seqlen, channels),
        "delta": step * (0.5 + normal(batch, seqlen, channels).sigmoid()),
        "A": -torch.arange(1, states + 1, dtype=torch.float64).repeat(channels, 1),
        "B": normal(batch, seqlen, states),
        "C": normal(batch, seqlen, states),
        "D": normal(channels),
        "z": normal(batch, seqlen, channels),
        "initial_state": normal(batch, channels, states),
    }
    return inputs, (normal(batch, seqlen, channels), normal(batch, channels, states))


def draw_ssd(seqlen, step=1.0, batch=3, heads=4, width=5, groups=2, keys=6, wide_D=False):
    normal = normals(seqlen)
    inputs = {
        "x": normal(batch, seqlen, heads, width),
        "dt": step * (0.5 + normal(batch, seqlen, heads).sigmoid()),
        "A": -torch.linspace(0.05, 2, heads, dtype=torch.float64),
        "B": normal(batch, seqlen, groups, keys),
        "C": normal(batch, seqlen, groups, keys),
        "D": normal(heads, width) if wide_D else normal(heads),
        "initial_state": normal(batch, heads, width, keys),
    }
    return inputs, (normal(batch, seqlen, heads, width), normal(batch, heads, width, keys))


OPERATORS = {
    "selective scan": (selective_scan_chunked, scan_reference, draw_scan),
    "ssd": (ssd_chunked, ssd_reference, draw_ssd),
}
every_operator = pytest.mark.parametrize(
    ("chunked", "reference", "draw"), OPERATORS.values(), ids=OPERATORS
)


@every_operator
@pytest.mark.parametrize("seqlen", [1, 2, 8, 63, 65, 150])
@pytest.mark.parametrize("kind", STEPS)
def test_chunks_compute_the_recurrence(chunked, reference, draw, kind, seqlen):
    inputs, grads = draw(seqlen, STEPS[kind])
    expected = run(reference, inputs, grads)
    assert all(x.isfinite().all() for x in expected.values())
    assert_close(run(chunked, inputs, grads), expected, 1e-6 if kind == "sudden" else 1e-9)
    single = run(chunked, inputs, grads, torch.float32)
    if kind == "sudden":
        assert all(x.isfinite().all() for x in single.values())
    else:
        # strong decays are differences of long sums, of which single precision keeps seven digits
        assert_close(single, expected, 1e-3 if kind == "strong decay" else 2e-5)


@every_operator
def test_the_derivative_written_out_is_that_of_the_forward_pass(chunked, reference, draw):
    inputs, _ = draw(5, batch=2)
    names, tensors = zip(*inputs.items(), strict=True)

    def forward(*tensors):
        return chunked(**dict(zip(names, tensors, strict=True)))

    assert torch.autograd.gradcheck(forward, [x.requires_grad_() for x in tensors])


@every_operator
def test_two_halves_joined_by_the_state_are_the_whole(chunked, reference, draw):
    inputs, _ = draw(90)
    state = inputs.pop("initial_state")
    fixed = {n: inputs.pop(n) for n in ("A", "D")}
    whole, last = chunked(**inputs, **fixed, initial_state=state)
    head, tail = ({n: x[:, part] for n, x in inputs.items()} for part in (slice(37), slice(37, 90)))
    first, middle = chunked(**head, **fixed, initial_state=state)
    second, end = chunked(**tail, **fixed, initial_state=middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)
    assert not torch.allclose(chunked(**head, **fixed)[0], first)  # the initial state counts


@every_operator
def test_a_long_sequence_stays_exact(chunked, reference, draw):
    inputs, _ = draw(8191, 0.01, batch=1)
    with torch.no_grad():
        expected, _ = reference(**inputs)
        found, _ = chunked(**{n: x.float() for n, x in inputs.items()})
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


@every_operator
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_precision(chunked, reference, draw, dtype):
    inputs, _ = draw(33)
    inputs = {n: x.to(dtype) for n, x in inputs.items()}
    o, _ = chunked(**inputs)
    expected, _ = chunked(**{n: x.float() for n, x in inputs.items()})
    assert o.dtype == dtype
    torch.testing.assert_close(o.float(), expected, atol=0.02, rtol=0.02)


@every_operator
def test_neither_chunks_nor_blocks_of_sequences_matter(chunked, reference, draw, monkeypatch):
    inputs, grads = draw(50, batch=5)
    expected = run(reference, inputs, grads)
    for module in (scan_module, ssd_module):
        monkeypatch.setattr(module, "CHUNK", 7)
        monkeypatch.setattr(module, "BLOCK", 2 * 24 if module is scan_module else 2 * 50 * 20)
    assert_close(run(chunked, inputs, grads), expected, 1e-11)


@pytest.mark.parametrize("step", [1.0, 30.0])
def test_one_sequence_at_a_time_gives_what_all_at_once_do(step, monkeypatch):
    inputs, grads = draw_ssd(50, step)
    expected = run(ssd_chunked, inputs, grads)
    monkeypatch.setattr(ssd_module, "BLOCK", 1)
    assert_close(run(ssd_chunked, inputs, grads), expected, 1e-11)


@every_operator
def test_transposed_memory_gives_the_same_result(chunked, reference, draw):
    inputs, grads = draw(48)
    expected = run(chunked, inputs, grads)
    odd = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()}
    assert_close(run(chunked, odd, grads), expected, 1e-12)


def test_steps_of_the_selective_scan_take_a_bias_and_a_softplus():
    inputs, grads = draw_scan(20)
    inputs["delta_bias"] = inputs["u"][0, 0] - 3
    expected = run(scan_reference, inputs, grads, delta_softplus=True)
    assert_close(run(selective_scan_chunked, inputs, grads, delta_softplus=True), expected, 1e-11)
    without = run(scan_reference, inputs, grads)
    assert not torch.allclose(without["o"], expected["o"])


def test_a_skip_weight_can_be_a_channel_s_own():
    inputs, grads = draw_ssd(20, wide_D=True)
    assert_close(run(ssd_chunked, inputs, grads), run(ssd_reference, inputs, grads), 1e-11)


def test_ssd_is_the_selective_scan_with_one_rate_a_head():
    inputs, _ = draw_ssd(30, groups=1)
    x, dt, A, B, C, D, state = inputs.values()
    expected, last = ssd(x, dt, A, B, C, D, state)
    width, keys = state.shape[2:]
    found, end = selective_scan(
        x.flatten(2),
        dt.repeat_interleave(width, 2),
        A.repeat_interleave(width).unsqueeze(1).expand(-1, keys),
        B.squeeze(2),
        C.squeeze(2),
        D.repeat_interleave(width),
        initial_state=state.flatten(1, 2),
    )
    torch.testing.assert_close(found, expected.flatten(2))
    torch.testing.assert_close(end, last.flatten(1, 2))


def test_the_fused_selective_scan_refuses_an_initial_state():
    inputs, _ = draw_scan(3)
    with pytest.raises((ValueError, ImportError), match=r"starts from zero|mamba_ssm"):
        selective_scan.fused(**inputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, at its own import
def test_compiled_bodies_compute_the_same():
    inputs, grads = draw_scan(20)
    expected = run(scan_reference, inputs, grads)
    with kernels.use(compile=True):
        assert_close(run(selective_scan_chunked, inputs, grads), expected, 1e-10)


@pytest.mark.parametrize("size", [1, 2, 4, 7])
@pytest.mark.parametrize("seqlen", [1, 2, 3, 33])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("biased", [False, True])
def test_the_short_convolution_agrees_with_its_reference(seqlen, size, activation, biased):
    normal = normals(size)
    inputs = {"x": normal(3, seqlen, 6), "weight": normal(6, 1, size)}
    if biased:
        inputs["bias"] = normal(6)
    tensors = [x.requires_grad_() for x in inputs.values()]
    grad = normal(3, seqlen, 6)
    expected, found = (
        # at one position most taps read nothing: their gradient is zero, not missing
        [y, *torch.autograd.grad(y, tensors, grad)]
        for y in (f(*tensors, activation=activation) for f in (short_conv_reference, short_conv))
    )
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_short_convolution_keeps_half_precision():
    normal = normals(0)
    x, weight, bias = normal(2, 9, 6).bfloat16(), normal(6, 1, 4).float(), normal(6).float()
    y = short_conv(x, weight, bias, "silu")
    assert y.dtype == torch.bfloat16
    expected = short_conv_reference(x.float(), weight, bias, "silu")
    torch.testing.assert_close(y.float(), expected, atol=0.02, rtol=0.02)
