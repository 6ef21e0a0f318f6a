"""Gated delta rules, KDA and DPLR: chunks against step by step, whatever the gates."""

import math

import pytest
import torch
from operator_checks import assert_close, run
from torch.nn.functional import logsigmoid, normalize

from seqgrid.ops import _decay
from seqgrid.ops.delta_rule import delta_rule
from seqgrid.ops.dplr import dplr
from seqgrid.ops.gated_delta_rule import gated_delta_product, gated_delta_rule
from seqgrid.ops.kda import kda

OPERATORS = {x.name: x for x in (gated_delta_rule, gated_delta_product, kda, dplr)}
# nats a position: open, what trained layers have, far beyond what float32 can factorise
STRENGTHS = {"open": 0.0, "mild": 0.6, "strong": 12.0, "extreme": 400.0}
every_operator = pytest.mark.parametrize("name", OPERATORS)


def draw(name, seqlen, strength=0.6, batch=2, heads=2, key=4, value=3, num_keys=None, beta=None):
    """Inputs and output gradients, float64; keys of unit length, some gates entirely shut."""
    g = torch.Generator().manual_seed(seqlen)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    writes = seqlen * (2 if name == "gated_delta_product" else 1)
    k = normalize(normal(batch, writes, heads, key), dim=-1)
    if num_keys:
        k = k[:, torch.arange(writes) % num_keys]
    inputs = {"q": normal(batch, seqlen, heads, key), "k": k}
    inputs["v"] = normal(batch, writes, heads, value)
    gates = (batch, seqlen, heads)
    if name == "dplr":
        inputs |= {"a": -k, "b": k * normal(*k.shape).sigmoid()}
    elif beta is None:
        inputs["beta"] = 2 * normal(batch, writes, heads).sigmoid()
    else:
        inputs["beta"] = torch.full((batch, writes, heads), beta, dtype=torch.float64)
    if name in ("kda", "dplr"):
        gates = (*gates, key)
    inputs["g"] = strength * logsigmoid(normal(*gates))
    if strength == STRENGTHS["extreme"]:
        inputs["g"][:, seqlen // 3 :: 5] = -math.inf
    inputs["initial_state"] = normal(batch, heads, key, value)
    return inputs, (normal(batch, seqlen, heads, value), normal(batch, heads, key, value))


@every_operator
@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("seqlen", [1, 2, 17, 47])
def test_chunks_compute_what_the_equations_say(name, seqlen, strength):
    operator = OPERATORS[name]
    inputs, grads = draw(name, seqlen, strength)
    expected = run(operator.reference, inputs, grads)
    assert_close(run(operator.chunked, inputs, grads), expected, 1e-11)
    assert_close(run(operator.chunked, inputs, grads, torch.float32), expected, 2e-5)


@pytest.mark.parametrize("name", ["gated_delta_rule", "gated_delta_product", "kda"])
@pytest.mark.parametrize("beta", [1.0, 1.95])
def test_repeated_keys_stay_exact(name, beta):
    inputs, grads = draw(name, 60, 0.01, num_keys=2, beta=beta)
    expected = run(OPERATORS[name].reference, inputs, grads)
    assert_close(run(OPERATORS[name].chunked, inputs, grads, torch.float32), expected, 2e-5)


@every_operator
@pytest.mark.parametrize("strength", [0.5, 30.0])
def test_the_derivative_written_out_is_that_of_the_forward_pass(name, strength):
    inputs, _ = draw(name, 5, strength, batch=1, heads=1, key=3, value=2)
    tensors = [x.requires_grad_() for x in inputs.values()]

    def forward(*tensors):
        return OPERATORS[name].chunked(**dict(zip(inputs, tensors, strict=True)))

    assert torch.autograd.gradcheck(forward, tensors)


@every_operator
def test_two_halves_of_a_sequence_joined_by_the_state_are_the_whole(name):
    inputs, _ = draw(name, 40)
    operator, state = OPERATORS[name].chunked, inputs.pop("initial_state")
    whole, last = operator(**inputs, initial_state=state)
    cut = {n: 19 * (x.shape[1] // 40) for n, x in inputs.items()}
    first, middle = operator(**{n: x[:, : cut[n]] for n, x in inputs.items()}, initial_state=state)
    second, end = operator(**{n: x[:, cut[n] :] for n, x in inputs.items()}, initial_state=middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)


@every_operator
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_precision(name, dtype):
    inputs = {n: x.to(dtype) for n, x in draw(name, 33)[0].items()}
    o, state = OPERATORS[name].chunked(**inputs)
    expected, last = OPERATORS[name].chunked(**{n: x.float() for n, x in inputs.items()})
    assert o.dtype == dtype
    torch.testing.assert_close(o, expected.to(dtype))
    torch.testing.assert_close(state, last)


@every_operator
def test_autocast_rounds_nothing_within(name):
    inputs, grads = draw(name, 20)
    expected = run(OPERATORS[name].chunked, inputs, grads, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):  # backward too, though training calls that outside
        assert_close(run(OPERATORS[name].chunked, inputs, grads, torch.float32), expected, 1e-9)


@pytest.mark.parametrize("name", ["gated_delta_rule", "kda", "dplr"])
def test_a_long_sequence_stays_exact(name):
    inputs, _ = draw(name, 8191, 0.05, batch=1, heads=1, num_keys=8)
    with torch.no_grad():
        expected, _ = OPERATORS[name].reference(**inputs)
        found, _ = OPERATORS[name].chunked(**{n: x.float() for n, x in inputs.items()})
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_open_gates_are_the_delta_rule():
    inputs, grads = draw("gated_delta_rule", 40, 0.0)
    gated = run(gated_delta_rule.chunked, inputs, grads)
    del inputs["g"]
    plain = run(delta_rule.chunked, inputs, grads)
    assert_close(gated, plain, 1e-12)
    product = run(gated_delta_product.chunked, inputs, grads)
    assert_close(product, plain, 1e-12)


def test_kda_is_a_case_of_dplr():
    inputs, _ = draw("kda", 40)
    q, k, v, beta, g, state = inputs.values()
    beta = beta.unsqueeze(-1)
    found = dplr.chunked(q, k, v * beta, k * g.exp(), -beta * k, g, initial_state=state)
    torch.testing.assert_close(found, kda.chunked(**inputs))


@pytest.mark.parametrize("base", [1, 2, 4, 8, 16])
def test_whatever_the_blocks_the_levels_cover_each_pair_once(base):
    g = torch.full((1, 1, 16, 1), -0.3, dtype=torch.float64)
    t = torch.arange(16, dtype=torch.float64)
    found = torch.zeros(16, 16, dtype=torch.float64)
    for level in _decay.levels(base, g):
        read, write = level.factors(g)
        found += level.mask * (read[0, 0] * write[0, 0].mT)
    torch.testing.assert_close(found, (-0.3 * (t[:, None] - t)).exp().tril())


def test_blocks_are_as_long_as_the_strongest_gate_allows():
    g = torch.zeros(1, 2, 16, 3)
    assert _decay.choose_base(g) == 16
    g[0, 1, 8, 2] = -1000.0  # the first of a block of 8, which no pair of it spans
    assert _decay.choose_base(g) == 8
    g[0, 1, 9, 2] = -1000.0
    assert _decay.choose_base(g) == 1
    assert _decay.choose_base(g, lower_bound=-0.6) == 16
