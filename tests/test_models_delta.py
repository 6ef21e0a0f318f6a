"""What is particular to the layers on delta rules and to RWKV-7."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import softplus

from seqgrid import registry
from seqgrid.data import Shape

SHAPE = Shape(num_outputs=11, pooled=False, seqlen=33, vocab_size=16)


def build(name, **settings):
    torch.manual_seed(0)
    return registry.make_model(name, {"d_model": 128} | settings, SHAPE)


def projections(**widths):
    return {f"{name}_proj.weight": (width, 128) for name, width in widths.items()}


def convolutions(q, k, v):
    return {f"{x}_conv1d.weight": (width, 1, 4) for x, width in zip("qkv", (q, k, v), strict=True)}


LIBRARY = {  # what flash-linear-attention 0.6.0 calls its parameters, and their shapes
    "gated_deltanet": projections(q=128, k=128, v=256, a=4, b=4, g=256)
    | convolutions(128, 128, 256)
    | {"A_log": (4,), "dt_bias": (4,), "o_norm.weight": (64,), "o_proj.weight": (128, 256)},
    "gated_deltaproduct": projections(q=128, k=256, v=512, b=8, a=4, g=256)
    | convolutions(128, 256, 512)
    | {"A_log": (4,), "dt_bias": (4,), "o_norm.weight": (64,), "o_proj.weight": (128, 256)},
    "kda": projections(q=128, k=128, v=128, b=4, o=128)
    | convolutions(128, 128, 128)
    | {"A_log": (4,), "dt_bias": (128,), "o_norm.weight": (32,)}
    | {"f_proj.0.weight": (32, 128), "f_proj.1.weight": (128, 32)}
    | {"g_proj.0.weight": (32, 128), "g_proj.1.weight": (128, 32), "g_proj.1.bias": (128,)},
    "rwkv7": projections(r=128, k=128, v=128, o=128)
    | {f"x_{name}": (1, 1, 128) for name in "rwkvag"}
    | {"k_k": (128,), "k_a": (128,), "r_k": (4, 32), "g_norm.weight": (128,)}
    | {"g_norm.bias": (128,), "w_lora.lora.0.weight": (32, 128), "w_lora.lora.2.bias": (128,)}
    | {"w_lora.lora.2.weight": (128, 32), "a_lora.lora.0.weight": (32, 128)}
    | {"a_lora.lora.2.weight": (128, 32), "a_lora.lora.2.bias": (128,)}
    | {"g_lora.lora.0.weight": (64, 128), "g_lora.lora.2.weight": (128, 64)},
}


@pytest.mark.parametrize("name", LIBRARY)
def test_parameters_are_those_of_flash_linear_attention(name):
    model = build(name, **({"head_dim": 32} if name == "rwkv7" else {}))
    found = {name: tuple(p.shape) for name, p in model.mixers[0].named_parameters()}
    assert found == LIBRARY[name]


def test_a_gated_delta_product_of_one_write_is_a_gated_delta_rule():
    product = build("gated_deltaproduct", num_householder=1, allow_neg_eigval=False)
    rule = build("gated_deltanet")
    rule.load_state_dict(product.state_dict(), strict=True)
    tokens = torch.randint(SHAPE.vocab_size, (2, 33))
    torch.testing.assert_close(product(tokens), rule(tokens), atol=0, rtol=0)


def test_only_later_layers_mix_in_the_values_of_the_first():
    first, second = build("rwkv7").mixers
    assert not hasattr(first, "v_lora")
    x, carried = torch.randn(2, 5, 128), {}
    first(x, carried=carried)
    assert carried["v_first"].shape == (2, 5, 128)
    with torch.no_grad():
        second.o_proj.weight.normal_()
    other = {"v_first": carried["v_first"] + 1}
    assert not torch.allclose(second(x, carried=carried), second(x, carried=other))


def test_weight_decay_spares_what_is_no_matrix_of_rwkv7():
    mixer = build("rwkv7").mixers[0]
    vectors = [*(mixer.get_parameter(f"x_{name}") for name in "rwkvag"), mixer.r_k]
    assert all(p._no_weight_decay for p in vectors)


def test_rwkv7_starts_with_what_its_authors_chose():
    mixers = build("rwkv7", num_layers=3, head_dim=32).mixers
    for layer, mixer in enumerate(mixers):
        assert not mixer.o_proj.weight.any()
        assert mixer.g_norm.weight.unique().item() == pytest.approx(((layer + 1) / 3) ** 0.7)
        gram = mixer.r_proj.weight @ mixer.r_proj.weight.mT
        torch.testing.assert_close(gram, torch.eye(128), atol=1e-5, rtol=0)
        assert mixer.x_r[0, 0, 0] == 1  # the first channel reads the position before
    slowest, fastest = mixers[0].w_lora.lora[2].bias[[0, -1]].sigmoid() * math.exp(-0.5)
    assert slowest < 1e-3
    assert fastest > 0.5
    assert build("rwkv7", num_layers=1).mixers[0].w_lora.lora[2].bias.isfinite().all()


@pytest.mark.parametrize(("name", "lowest"), [("gated_deltanet", 0.0), ("kda", 1.0)])
def test_decays_start_as_the_library_draws_them(name, lowest):
    mixer = build(name).mixers[0]
    assert mixer.A_log._no_weight_decay
    assert mixer.dt_bias._no_weight_decay
    steps = softplus(mixer.dt_bias)
    assert steps.min() >= 0.001 - 1e-6
    assert steps.max() <= 0.1 + 1e-6
    assert mixer.A_log.exp().min() >= lowest
    assert mixer.A_log.exp().max() <= 16


def test_a_bounded_gate_stays_within_its_bound(monkeypatch):
    model = build("kda", safe_gate=True, lower_bound=-2.0)
    seen = []

    def spy(q, k, v, beta, g, lower_bound):
        seen.append((g.min().item(), g.max().item(), lower_bound))
        return v, None

    monkeypatch.setitem(type(model.mixers[0]).forward.__globals__, "kda", spy)
    model(torch.zeros(1, 5, dtype=torch.long))
    assert len(seen) == 2
    assert all(-2 < low <= high < 0 and bound == -2 for low, high, bound in seen)


def test_sizes_are_those_of_the_textbook():
    assert build("gated_deltanet").state_bytes(9) == 2 * 4 * (4 * 32 * 64 + 3 * (128 * 2 + 256))
    assert build("gated_deltaproduct").state_bytes(9) == 2 * 4 * (4 * 32 * 64 + 3 * (384 + 512))
    assert build("kda").state_bytes(9) == 2 * 4 * (4 * 32 * 32 + 3 * 384)
    assert build("rwkv7").state_bytes(9) == 2 * 4 * (8 * 16 * 16 + 128)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gated_deltanet", {"num_heads": 5}, "does not divide d_model=64; set head_dim"),
        ("gated_deltanet", {"num_v_heads": 6}, "not a multiple of num_heads=4"),
        ("gated_deltanet", {"expand_v": 0.3}, "not a whole number"),
        ("gated_deltaproduct", {"num_householder": 0}, "greater than or equal to 1"),
        ("gated_deltaproduct", {"expand_v": 1.05}, "not a whole number"),
        ("kda", {"safe_gate": True}, "lower_bound=-5 is usual"),
        ("kda", {"lower_bound": -5.0}, "set both or none"),
        ("kda", {"num_heads": 3}, "set head_dim"),
        ("rwkv7", {"num_heads": 4}, "set one of them and the other to null"),
        ("rwkv7", {"head_dim": 24}, "not a divisor of d_model=64"),
        ("rwkv7", {"value_dim": 33}, "not a multiple of the 4 heads"),
        ("rwkv7", {"head_dim": None, "num_heads": 64}, "one channel"),
    ],
)
def test_settings_that_cannot_be_built_are_refused_with_a_reason(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)


@pytest.mark.parametrize(
    "name", ["deltanet", "gated_deltanet", "gated_deltaproduct", "kda", "rwkv7"]
)
def test_autocast_leaves_keys_their_length(monkeypatch, name):
    """A key rounded to halves is longer or shorter than 1: what is overwritten would grow."""
    model = build(name, **({"head_dim": 32} if name == "rwkv7" else {}))
    keys = []
    forward = type(model.mixers[0]).forward.__globals__
    operators = {
        "deltanet": "delta_rule",
        "gated_deltanet": "gated_delta_rule",
        "gated_deltaproduct": "gated_delta_product",
        "rwkv7": "dplr",
    }

    def spy(q, k, v, *others, **options):
        keys.append(others[0] if name == "rwkv7" else k)
        return v[:, : q.shape[1]], None

    monkeypatch.setitem(forward, operators.get(name, name), spy)
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.arange(15).unsqueeze(0))
    for k in keys:
        assert k.dtype == torch.float32
        torch.testing.assert_close(k.norm(dim=-1), torch.ones(k.shape[:-1]), atol=1e-3, rtol=0)


def test_an_input_written_2048_times_with_a_beta_near_2_stays_bounded(monkeypatch):
    settings = registry.settings("model", "deltanet")(d_model=64, allow_neg_eigval=True)
    module = registry.load("model", "deltanet")
    largest = {}
    for halves in (False, True):
        torch.manual_seed(2)
        mixer = module.mixer(settings, 0)
        mixer.initialise(0.02, 0.02)
        x = torch.randn(1, 1, 64).abs().expand(1, 2048, 64)
        answers = []

        def spy(*inputs, original=module.delta_rule, answers=answers):
            answers.append(original(*inputs))
            return answers[-1]

        with torch.no_grad(), monkeypatch.context() as patch:
            mixer.b_proj.weight.fill_(1.0)
            patch.setattr(module, "delta_rule", spy)
            with torch.autocast("cpu", torch.bfloat16, enabled=halves):
                mixer(x)
        largest[halves] = answers[0][0].abs().max().item()
    assert largest[True] < 1.5 * largest[False]
