"""Linear attention, its gated kin and mLSTM against the libraries' own layers and kernels."""

import warnings

import interpreter
import pytest
import torch
from operator_checks import assert_close, run, run_mixed
from torch.nn.functional import layer_norm, logsigmoid

from seqgrid import registry
from seqgrid.ops.gla import gla
from seqgrid.ops.linear_attention import linear_attention
from seqgrid.ops.mlstm import mlstm
from seqgrid.ops.simple_gla import simple_gla

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fla.layers as library
    import fla.ops.gla
    import fla.ops.linear_attn
    import fla.ops.simple_gla  # noqa: F401

interpreter.patch()
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
SEQLEN, HEADS, KEY, VALUE = 37, 2, 16, 16


def draw(gate=None, columns=None, key=KEY, value=VALUE):
    g = torch.Generator().manual_seed(0)
    columns = columns or value

    def normal(*shape):
        return torch.randn(2, *shape, generator=g)

    widths = {"q": key, "k": key, "v": value}
    inputs = {name: normal(SEQLEN, HEADS, width) for name, width in widths.items()}
    if gate == "head":
        inputs["g"] = logsigmoid(normal(SEQLEN, HEADS))
    if gate == "channel":
        inputs["g"] = logsigmoid(normal(SEQLEN, HEADS, key))
    inputs["initial_state"] = normal(HEADS, key, columns)
    return inputs, (normal(SEQLEN, HEADS, value), normal(HEADS, key, columns))


CASES = {
    "gla": (gla, draw("channel"), {}),
    "simple_gla": (simple_gla, draw("head"), {}),
    "retention": (simple_gla, draw(), {"g": torch.tensor([-0.03, -0.5])}),
    "linear_attention": (linear_attention, draw(), {}),
    "linear_attention, scaled": (linear_attention, draw(), {"scale": 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_fused_kernel_computes_what_the_chunked_path_does(name):
    operator, (inputs, grads), options = CASES[name]
    expected = run(operator.chunked, inputs, grads, torch.float32, **options)
    found = run(operator.fused, inputs, grads, torch.float32, **options)
    assert_close(found, expected, 2e-5)


KINDS = [(gla, "channel"), (simple_gla, "head"), (linear_attention, None)]


@pytest.mark.parametrize(("operator", "gate"), KINDS, ids=lambda x: getattr(x, "name", ""))
@pytest.mark.parametrize("halves", [("v",), ("q", "v", "g")], ids=str)
def test_a_fused_kernel_takes_what_autocast_on_cuda_mixes(operator, gate, halves):
    inputs, grads = draw(gate)
    expected, found = (
        run_mixed(f, inputs, grads, halves) for f in (operator.chunked, operator.fused)
    )
    assert_close(found, expected, 0.01)


@pytest.mark.parametrize(("operator", "gate"), KINDS, ids=lambda x: getattr(x, "name", ""))
def test_a_fused_kernel_takes_narrow_heads(operator, gate):
    inputs, grads = draw(gate, key=6, value=5)
    expected, found = (
        run(f, inputs, grads, torch.float32) for f in (operator.chunked, operator.fused)
    )
    assert_close(found, expected, 2e-5)


def test_the_fused_normaliser_is_the_chunked_one():
    inputs, grads = draw(columns=VALUE + 1)
    inputs = {name: x.abs() for name, x in inputs.items()}
    expected, found = (
        run(operator, inputs, grads, torch.float32, normalize=True)
        for operator in (linear_attention.chunked, linear_attention.fused)
    )
    assert_close(found, expected, 2e-5)


WIDTH = 32
LAYERS = {
    "linear_attention": (
        library.LinearAttention,
        [
            {},
            {"feature_map": "hedgehog", "tie_feature_map_qk": True, "norm_q": True, "norm_k": True},
            {"feature_map": "t2r", "do_feature_map_norm": True, "expand_k": 2.0},
            {"feature_map": "dpfp", "output_norm": "identity", "num_kv_heads": 1},
            {"feature_map": "elu", "do_feature_map_norm": True, "elementwise_affine": False},
        ],
    ),
    "retnet": (
        library.MultiScaleRetention,
        [
            {},
            {"use_short_conv": True, "conv_bias": True, "num_kv_heads": 1, "feature_map": "relu"},
            {"use_output_gate": False, "expand_v": 1.0},
        ],
    ),
    "gla": (
        library.GatedLinearAttention,
        [
            {},
            {"use_short_conv": True, "num_kv_heads": 1, "clamp_min": -0.04, "expand_k": 1.0},
            {"gate_fn": "sigmoid", "feature_map": "silu", "gate_logit_normalizer": 2.0,
             "gate_low_rank_dim": 4, "elementwise_affine": False},
        ],
    ),
    "hgrn2": (
        library.HGRN2Attention,
        [
            {"expand_ratio": None},
            {"expand_ratio": None, "use_short_conv": True, "conv_bias": True},
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(name, options, id=" ".join([name, *options]))
        for name, (_, variants) in LAYERS.items()
        for options in variants
    ],
)
def test_a_layer_is_the_library_s(name, options):
    theirs = LAYERS[name][0](hidden_size=WIDTH, num_heads=2, layer_idx=0, **options)
    if name == "hgrn2":  # whose bounds are a parameter of the library's model, not of its layer
        options = options | {"use_lower_bound": False}
    ours = mixer(name, num_heads=2, **options)
    compare(ours, theirs, lambda x: theirs(x)[0])


def test_a_bounded_layer_of_hgrn2_is_the_library_s():
    theirs = library.HGRN2Attention(hidden_size=WIDTH, num_heads=2, expand_ratio=None, layer_idx=1)
    ours = mixer("hgrn2", layer=1, num_layers=3, num_heads=2, expand_ratio=None)
    bounds = torch.linspace(0, 0.9, WIDTH).expand(3, WIDTH)
    compare(
        ours,
        theirs,
        lambda x: theirs(x, lower_bound=bounds[1] + 1e-3)[0],
        lambda x: ours(x, carried={"hgrn2_lower_bounds": bounds + 1e-3}),
    )


def mixer(name, layer=0, **options):
    settings = registry.settings("model", name)(d_model=WIDTH, **options)
    return registry.load("model", name).mixer(settings, layer)


def compare(ours, theirs, their_forward, our_forward=None, tolerance=1e-4):
    """Weights move both ways; outputs and all gradients are the same."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():  # what starts at zero would hide what lies before it
            p.add_(0.1 * torch.randn_like(p))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x, grad = torch.randn(2, 1, 70, WIDTH)  # up to 64 tokens the library takes other kernels
    found, expected = (
        results(forward, module, x, grad)
        for forward, module in ((our_forward or ours, ours), (their_forward, theirs))
    )
    assert_close(found, expected, tolerance)


def results(forward, module, x, grad):
    x = x.clone().requires_grad_()
    y = forward(x)
    parameters = dict(module.named_parameters())
    found = torch.autograd.grad(y, [x, *parameters.values()], grad)
    names = ["y", "grad x", *(f"grad {name}" for name in sorted(parameters))]
    found = [found[0], *(found[1 + list(parameters).index(n)] for n in sorted(parameters))]
    return {n: v.detach().double() for n, v in zip(names, [y, *found], strict=True)}


@pytest.mark.parametrize(
    "options", [{}, {"bias": True, "conv1d_kernel_size": 2, "qkv_proj_blocksize": 8}]
)
def test_mlstm_is_the_layer_of_its_authors(options):
    authors = pytest.importorskip("xlstm.blocks.mlstm.layer", reason="pip install --no-deps xlstm")
    config = authors.mLSTMLayerConfig(
        embedding_dim=WIDTH, num_heads=2, context_length=70, round_proj_up_to_multiple_of=16,
        **options,
    )  # fmt: skip
    theirs = authors.mLSTMLayer(config)
    compare(mixer("mlstm", num_heads=2, **options), theirs, theirs)


def test_mlstm_starts_as_its_authors_start_it():
    authors = pytest.importorskip("xlstm.blocks.mlstm.layer", reason="pip install --no-deps xlstm")
    theirs = authors.mLSTMLayer(authors.mLSTMLayerConfig(embedding_dim=256, context_length=4))
    ours = registry.load("model", "mlstm").mixer(
        registry.settings("model", "mlstm")(d_model=256), 0
    )
    ours.initialise(0.02, 0.02)
    found = ours.state_dict()
    for name, expected in theirs.state_dict().items():
        if name.startswith(("proj_", "conv1d")):  # as every model's here
            continue
        if name == "mlstm_cell.igate.bias" or expected.ndim > 2:  # drawn
            assert 0.5 < found[name].std() / expected.std() < 2 or expected.numel() < 16
        else:
            torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("seqlen", [37, 130])
def test_the_fused_mlstm_is_the_chunked_one(seqlen):
    """Behind a norm: the kernel's derivative leaves out that of the normaliser, which it undoes."""
    pytest.importorskip("mlstm_kernels", reason="pip install --no-deps mlstm_kernels")
    g = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(1, seqlen, HEADS, 16, generator=g) for name in "qkv"}
    inputs["i"] = torch.randn(1, seqlen, HEADS, generator=g)
    inputs["g"] = logsigmoid(2 * torch.randn(1, seqlen, HEADS, generator=g))
    inputs["g"][:, 3] = -1e-6

    def normed(operator):
        def wrapped(**x):
            h, (state, m) = operator(**x)
            return layer_norm(h, (16,)), 0 * (state * m.exp()[..., None, None]).sum()

        return wrapped

    grads = (torch.randn(1, seqlen, HEADS, 16, generator=g), torch.ones(()))
    expected = run(normed(mlstm.chunked), inputs, grads, torch.float32)
    assert_close(run(normed(mlstm.fused), inputs, grads, torch.float32), expected, 1e-3)
    with torch.no_grad():
        (h, (state, m)), (other, held) = mlstm.chunked(**inputs), mlstm.fused(**inputs)
    torch.testing.assert_close(other, h, rtol=1e-4, atol=1e-4)
    factor = (held[1] - m).exp()[..., None, None]
    torch.testing.assert_close(held[0] * factor, state, rtol=1e-4, atol=1e-4)
