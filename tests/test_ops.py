"""Fast operators agree with their step-by-step references, forward and gradient."""

import pytest
import torch
from operator_checks import assert_close, run
from torch.nn.functional import normalize

from seqgrid.ops.delta_rule import delta_rule_chunked, delta_rule_reference

LENGTHS = [1, 2, 31, 32, 33, 63, 100]
DRAWS = {
    "random": {},
    "weak writes": {"beta": 0.02},
    "repeated keys, beta 0.99": {"num_keys": 1, "beta": 0.99},
    "repeated keys, beta 1": {"num_keys": 2, "beta": 1.0},
    "repeated keys, beta 1.95": {"num_keys": 2, "beta": 1.95},
}


def draw(seqlen, num_keys=None, beta=None, batch=2, heads=3, key=8, value=5):
    """Inputs and output gradients of the delta rule, float64; keys of unit length."""
    g = torch.Generator().manual_seed(seqlen)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    k = normalize(normal(batch, seqlen, heads, key), dim=-1)
    if num_keys:
        k = k[:, torch.arange(seqlen) % num_keys]
    if beta is None:
        strength = 2 * torch.rand(batch, seqlen, heads, generator=g, dtype=torch.float64)
    else:
        strength = torch.full((batch, seqlen, heads), beta, dtype=torch.float64)
    state = (batch, heads, key, value)
    inputs = {
        "q": normalize(normal(batch, seqlen, heads, key), dim=-1),
        "k": k,
        "v": normal(batch, seqlen, heads, value),
        "beta": strength,
        "initial_state": normal(*state),
    }
    return inputs, (normal(batch, seqlen, heads, value), normal(*state))


@pytest.mark.parametrize("seqlen", LENGTHS)
@pytest.mark.parametrize("kind", DRAWS)
def test_chunks_compute_the_delta_rule(kind, seqlen):
    inputs, grads = draw(seqlen, **DRAWS[kind])
    expected = run(delta_rule_reference, inputs, grads)
    assert_close(run(delta_rule_chunked, inputs, grads), expected, 1e-11)
    # single precision: beta near 2 reflects and never forgets, so rounding adds up
    assert_close(run(delta_rule_chunked, inputs, grads, torch.float32), expected, 2e-5)


@pytest.mark.parametrize("max_chunk", [1, 7, 32, 64])
def test_the_chunk_length_does_not_matter(max_chunk):
    inputs, grads = draw(50)
    expected = run(delta_rule_reference, inputs, grads)
    assert_close(run(delta_rule_chunked, inputs, grads, max_chunk=max_chunk), expected, 1e-11)


def test_the_derivative_written_out_is_that_of_the_forward_pass():
    inputs, _ = draw(5, batch=1, heads=2, key=3, value=2)
    tensors = [x.requires_grad_() for x in inputs.values()]

    def forward(q, k, v, beta, state):
        return delta_rule_chunked(q, k, v, beta, initial_state=state, max_chunk=2)

    assert torch.autograd.gradcheck(forward, tensors)


def test_two_halves_of_a_sequence_joined_by_the_state_are_the_whole():
    inputs, _ = draw(70)
    state = inputs.pop("initial_state")
    whole, last = delta_rule_chunked(**inputs, initial_state=state)
    head, tail = ({n: x[:, part] for n, x in inputs.items()} for part in (slice(37), slice(37, 70)))
    first, middle = delta_rule_chunked(**head, initial_state=state)
    second, end = delta_rule_chunked(**tail, initial_state=middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)
    assert not torch.allclose(delta_rule_chunked(**head)[0], first)  # the initial state counts


def test_a_long_sequence_stays_exact():
    inputs, _ = draw(8192, batch=1, heads=1, num_keys=8, beta=1.0)
    with torch.no_grad():
        expected, _ = delta_rule_reference(**inputs)
        found, _ = delta_rule_chunked(**{n: x.float() for n, x in inputs.items()})
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_a_key_written_with_beta_1_holds_exactly_its_last_value():
    inputs, _ = draw(40, num_keys=1, beta=1.0)
    k, v = inputs["k"], inputs["v"]
    o, state = delta_rule_chunked(k, k, v, inputs["beta"], scale=1.0)
    torch.testing.assert_close(o, v)
    torch.testing.assert_close((k[:, 0].unsqueeze(-1) * state).sum(-2), v[:, -1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_precision(dtype):
    inputs, _ = draw(33)
    inputs = {n: x.to(dtype) for n, x in inputs.items()}
    o, _ = delta_rule_chunked(**inputs)
    expected, _ = delta_rule_chunked(**{n: x.float() for n, x in inputs.items()})
    assert o.dtype == dtype
    torch.testing.assert_close(o.float(), expected, atol=0.05, rtol=0.02)


def test_transposed_memory_gives_the_same_result():
    inputs, grads = draw(48)
    expected = run(delta_rule_chunked, inputs, grads)
    odd = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in inputs.items()}
    assert_close(run(delta_rule_chunked, odd, grads), expected, 1e-12)
