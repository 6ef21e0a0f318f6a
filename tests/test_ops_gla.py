"""Linear attention with and without decay agrees with its step-by-step references."""

import math

import pytest
import torch
from operator_checks import assert_close, run
from torch.nn.functional import logsigmoid

from seqgrid.ops import _tiles
from seqgrid.ops.gla import LIMIT, gla_chunked, gla_reference, longest_block
from seqgrid.ops.linear_attention import linear_attention_chunked, linear_attention_reference
from seqgrid.ops.mlstm import mlstm_chunked, mlstm_reference
from seqgrid.ops.simple_gla import simple_gla_chunked, simple_gla_reference

BATCH, HEADS, KEY, VALUE = 2, 3, 8, 5
LENGTHS = [1, 2, 17, 33, 70]
GATES = {  # log gates from numbers in [0, 1) and normal ones
    "none forgets": lambda u, x: 0 * u,
    "weak": lambda u, x: -0.05 * u,
    "of a sigmoid": lambda u, x: logsigmoid(2 * x),
    "strong": lambda u, x: -10 * u,
    "resets": lambda u, x: -1000.0 * (u < 0.2),
    "shut": lambda u, x: torch.where(u < 0.2, -math.inf, -u),
}


def draw(seqlen, gates=None, channels=False, seed=0):
    """Inputs and output gradients, float64."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(BATCH, *shape, generator=g, dtype=torch.float64)

    inputs = {
        "q": normal(seqlen, HEADS, KEY),
        "k": normal(seqlen, HEADS, KEY),
        "v": normal(seqlen, HEADS, VALUE),
    }
    if gates:
        shape = (seqlen, HEADS, KEY) if channels else (seqlen, HEADS)
        uniform = torch.rand(BATCH, *shape, generator=g, dtype=torch.float64)
        inputs["g"] = GATES[gates](uniform, normal(*shape))
    inputs["initial_state"] = normal(HEADS, KEY, VALUE)
    return inputs, (normal(seqlen, HEADS, VALUE), normal(HEADS, KEY, VALUE))


@pytest.fixture(params=["one tile", "many tiles"])
def tile(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(_tiles, "SIZE", 2 * 16 * BATCH * HEADS * KEY)  # two chunks of 16


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("seqlen", LENGTHS)
@pytest.mark.parametrize("gates", GATES)
def test_chunks_compute_gated_linear_attention(gates, seqlen):
    inputs, grads = draw(seqlen, gates, channels=True)
    expected = run(gla_reference, inputs, grads)
    assert_close(run(gla_chunked, inputs, grads), expected, 1e-11)
    assert_close(run(gla_chunked, inputs, grads, torch.float32), expected, 1e-5)


@pytest.mark.parametrize("chunk", [8, 32])
@pytest.mark.parametrize("block", [1, 2, 8, 32])
@pytest.mark.parametrize("gates", ["weak", "of a sigmoid"])
def test_the_length_of_chunks_and_blocks_does_not_matter(gates, block, chunk):
    inputs, grads = draw(50, gates, channels=True)
    expected = run(gla_reference, inputs, grads)
    found = run(gla_chunked, inputs, grads, chunk=chunk, block=block)
    assert_close(found, expected, 1e-11)


def test_the_block_is_the_longest_that_float32_factorises():
    gates = torch.full((1, 32, 1), -LIMIT / 8)
    assert longest_block(gates, 32) == 8
    gates[0, 5] *= 1.01
    assert longest_block(gates, 32) == 4
    assert longest_block(0 * gates, 32) == 32
    assert longest_block(gates - 1e30, 32) == 1


@pytest.mark.parametrize("block", [None, 1])
def test_gates_at_the_limit_lose_no_precision(block):
    """A block that keeps exp(-LIMIT) of everything, with large and repeated keys."""
    inputs, grads = draw(64, "weak", channels=True)
    inputs["g"] = torch.full_like(inputs["g"], -LIMIT / 16)
    inputs["k"] = 30 * inputs["k"][:, :1].expand_as(inputs["k"]).clone()
    expected = run(gla_reference, inputs, grads)
    assert longest_block(inputs["g"], 16) == 16
    assert_close(run(gla_chunked, inputs, grads, torch.float32, block=block), expected, 1e-5)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("seqlen", LENGTHS)
@pytest.mark.parametrize("gates", [*GATES, "constant"])
def test_chunks_compute_one_decay_a_head(gates, seqlen):
    inputs, grads = draw(seqlen, "weak" if gates == "constant" else gates)
    if gates == "constant":
        inputs["g"] = torch.tensor([-0.5, -0.03, -4.0], dtype=torch.float64)
    expected = run(simple_gla_reference, inputs, grads)
    assert_close(run(simple_gla_chunked, inputs, grads), expected, 1e-11)
    assert_close(run(simple_gla_chunked, inputs, grads, torch.float32), expected, 1e-5)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("seqlen", LENGTHS)
@pytest.mark.parametrize("normalize", [False, True])
def test_chunks_compute_linear_attention(normalize, seqlen):
    inputs, grads = draw(seqlen)
    if normalize:
        state = torch.cat([inputs["initial_state"], torch.ones(BATCH, HEADS, KEY, 1)], -1)
        inputs = {name: x.abs() for name, x in inputs.items()} | {"initial_state": state.abs()}
        grads = (grads[0], state)
    options = {"normalize": normalize}
    expected = run(linear_attention_reference, inputs, grads, **options)
    assert_close(run(linear_attention_chunked, inputs, grads, **options), expected, 1e-11)
    found = run(linear_attention_chunked, inputs, grads, torch.float32, **options)
    assert_close(found, expected, 1e-5)


def cell(operator, units, plain=False):
    """The mLSTM with a state of one tensor, as `run` wants it; `plain` in units of 1."""

    def wrapped(initial_state=None, **inputs):
        if initial_state is not None:
            initial_state = (initial_state, units.to(initial_state.dtype))
        h, (state, m) = operator(**inputs, initial_state=initial_state)
        return h, state * m.exp()[..., None, None] if plain else state

    return wrapped


def draw_cell(seqlen, gates, size, seed=0):
    inputs, (grad_h, _) = draw(seqlen, gates, seed=seed)
    g = torch.Generator().manual_seed(seed + 1)
    state = torch.randn(BATCH, HEADS, KEY, VALUE + 1, generator=g, dtype=torch.float64)
    units = size * torch.randn(BATCH, HEADS, generator=g, dtype=torch.float64)
    weights = size * torch.randn(BATCH, seqlen, HEADS, generator=g, dtype=torch.float64)
    return inputs | {"i": weights, "initial_state": state}, (grad_h, state.flip(0)), units


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("seqlen", LENGTHS)
@pytest.mark.parametrize("size", [1.0, 300.0])
@pytest.mark.parametrize("gates", ["none forgets", "of a sigmoid", "resets"])
@pytest.mark.parametrize("started", [False, True])
def test_chunks_compute_the_mlstm_cell(gates, size, started, seqlen):
    inputs, grads, units = draw_cell(seqlen, gates, size)
    if not started:
        del inputs["initial_state"]
    expected = run(cell(mlstm_reference, units), inputs, grads)
    assert_close(run(cell(mlstm_chunked, units), inputs, grads), expected, 1e-9)
    found = run(cell(mlstm_chunked, units), inputs, grads, torch.float32)
    # rounding a logarithm of 300 to float32 changes its exponential by 2e-5, sums cancel
    assert_close(found, expected, 1e-4 if size == 1 else 0.05)


def test_units_of_the_mlstm_do_not_change_the_output():
    inputs, _, units = draw_cell(20, "of a sigmoid", 1.0)
    state = inputs.pop("initial_state")
    h, (_, m) = mlstm_chunked(**inputs, initial_state=(state, units))
    shifted = (state / math.exp(3), units + 3)
    other, (_, other_m) = mlstm_chunked(**inputs, initial_state=shifted)
    assert torch.allclose(h, other, rtol=1e-4, atol=1e-4)
    assert bool((other_m >= m).all())


OPERATORS = {
    "gla": (gla_chunked, lambda: draw(5, "of a sigmoid", channels=True)[0]),
    "gla, exact": (
        lambda **x: gla_chunked(**x, block=1),
        lambda: draw(5, "of a sigmoid", channels=True)[0],
    ),
    "simple_gla": (simple_gla_chunked, lambda: draw(5, "of a sigmoid")[0]),
    "linear_attention": (linear_attention_chunked, lambda: draw(5)[0]),
    "mlstm": (
        cell(mlstm_chunked, torch.zeros(1, 1), plain=True),
        lambda: draw_cell(5, "of a sigmoid", 0.5)[0],
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_derivatives_written_out_are_those_of_the_forward_pass(name):
    operator, make = OPERATORS[name]
    inputs = make()
    small = {
        key: (x[:1, :1, :3, :2] if key == "initial_state" else x[:1, :, :1, ..., :3])
        if x.dim() == 4
        else x[:1, :, :1]
        for key, x in inputs.items()
    }
    small["v"] = small["v"][..., : 1 if name == "mlstm" else 2]
    tensors = [x.clone().requires_grad_() for x in small.values()]
    assert torch.autograd.gradcheck(
        lambda *x: operator(**dict(zip(small, x, strict=True))), tensors, atol=1e-5
    )


@pytest.mark.parametrize("name", ["gla", "simple_gla", "linear_attention"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(name, dtype):
    operator, _ = OPERATORS[name]
    gates = {"gla": {"channels": True, "gates": "weak"}, "simple_gla": {"gates": "weak"}}
    inputs, _ = draw(40, **gates.get(name, {}))
    inputs = {key: x.to(dtype) for key, x in inputs.items()}
    o, state = operator(**inputs)
    expected, held = operator(**{key: x.float() for key, x in inputs.items()})
    assert o.dtype == dtype
    assert torch.equal(o, expected.to(dtype))
    assert torch.equal(state, held)


@pytest.mark.parametrize("name", OPERATORS)
def test_long_sequences_stay_finite(name):
    operator = cell(mlstm_chunked, None) if name == "mlstm" else OPERATORS[name][0]
    seqlen = 8191
    inputs, grads = draw(8192, "resets", channels=name.startswith("gla"))
    if name == "mlstm":
        inputs["i"] = 100 * inputs["q"][..., 0]
        grads = (grads[0], torch.zeros(BATCH, HEADS, KEY, VALUE + 1))
    if name == "linear_attention":
        del inputs["g"]
    del inputs["initial_state"]
    found = run(
        operator,
        {key: x[:, :seqlen] for key, x in inputs.items()},
        (grads[0][:, :seqlen], grads[1]),
        torch.float32,
    )
    assert all(bool(x.isfinite().all()) for x in found.values())
