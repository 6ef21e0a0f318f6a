"""What is particular to linear attention, RetNet, GLA, HGRN2 and mLSTM."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import layer_norm, logsigmoid

from seqgrid import registry
from seqgrid.data import Shape


def mixer(name, layer=0, **options):
    settings = registry.settings("model", name)(**options)
    made = registry.load("model", name).mixer(settings, layer)
    made.initialise(0.02, 0.01)
    return made


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gla", {"num_heads": 3}, "num_heads=3 does not divide d_model"),
        ("gla", {"expand_k": 0.01}, "does not divide"),
        ("gla", {"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ("retnet", {"d_model": 12, "num_heads": 4}, "even head width"),
        ("hgrn2", {"num_heads": 4}, "set one of num_heads and expand_ratio"),
        ("hgrn2", {"expand_ratio": 24}, "expand_ratio=24 does not divide d_model=64"),
        ("linear_attention", {"feature_map": "elu", "tie_feature_map_qk": True}, "to train"),
        ("mlstm", {"num_heads": 3}, "does not divide the inner width 128"),
        ("mlstm", {"proj_factor": 0.1, "round_proj_up_dim_up": False}, "is below"),
    ],
)
def test_impossible_settings_are_refused(name, options, words):
    with pytest.raises(ValidationError, match=words):
        registry.settings("model", name)(**options)


def test_bounds_of_hgrn2_rise_from_the_first_layer_on():
    options = {"num_layers": 3, "d_model": 32}
    layers = [mixer("hgrn2", layer, **options) for layer in range(3)]
    assert layers[0].lower_bounds.shape == (3, 32)
    carried = {}
    x = torch.randn(2, 5, 32)
    for layer in layers:
        layer(x, carried=carried)
    bounds = carried["hgrn2_lower_bounds"]
    torch.testing.assert_close(bounds[:, 0], torch.tensor([0, 1 / 3, 2 / 3]))
    layers[2](x, carried=carried).sum().backward()
    assert layers[0].lower_bounds.grad is not None


def test_one_layer_of_hgrn2_has_no_bounds():
    layer = mixer("hgrn2", num_layers=1)
    assert not layer.carries
    assert "lower_bounds" not in layer.state_dict()


def test_retnet_s_heads_forget_at_their_rates():
    layer = mixer("retnet", num_heads=4)
    expected = torch.tensor([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128, 1 - 1 / 256])
    torch.testing.assert_close(layer.log_gamma.exp(), expected)


def test_mlstm_is_the_parallel_form_of_its_paper():
    """arXiv:2405.04517, eq. 40-47, unstabilised and in double precision."""
    torch.manual_seed(0)
    layer = mixer("mlstm", d_model=16, num_heads=2).double()
    x = torch.randn(2, 19, 16, dtype=torch.float64)
    with torch.no_grad():
        for p in layer.mlstm_cell.parameters():
            p.add_(0.3 * torch.randn_like(p))
        u, z = layer.proj_up(x).chunk(2, -1)
        c = torch.nn.functional.silu(layer.conv1d(u))
        q, k, v = layer.q_proj(c), layer.k_proj(c), layer.v_proj(u)
        every = torch.cat([q, k, v], -1)
        cell = layer.mlstm_cell
        i, f = cell.igate(every).mT, logsigmoid(cell.fgate(every)).mT  # (B, H, L)
        total = f.cumsum(-1)
        D = (total[..., :, None] - total[..., None, :] + i[..., None, :]).exp().tril()
        q, k, v = (y.unflatten(-1, (2, -1)).transpose(1, 2) for y in (q, k, v))
        scores = q @ k.mT / math.sqrt(q.shape[-1]) * D
        h = scores @ v / scores.sum(-1, keepdim=True).abs().clamp(min=1)
        h = layer_norm(h, h.shape[-1:]).transpose(1, 2).flatten(-2) * (1 + cell.outnorm.weight)
        expected = layer.proj_down((h + layer.learnable_skip * c) * torch.nn.functional.silu(z))
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-6)


def test_blocks_of_mlstm_s_projections_see_their_own_channels():
    blocks = registry.load("model", "mlstm").BlockDiagonal(24, 4, True)
    torch.nn.init.normal_(blocks.weight)
    torch.nn.init.normal_(blocks.bias)
    x = torch.randn(3, 5, 24)
    expected = x @ torch.block_diag(*blocks.weight).mT + blocks.bias
    torch.testing.assert_close(blocks(x), expected)


def test_feature_maps_start_as_their_papers_say():
    hedgehog = mixer("linear_attention", feature_map="hedgehog").feature_map_q.layer
    torch.testing.assert_close(hedgehog.weight, torch.eye(16))
    product = mixer("linear_attention").feature_map_k
    assert product.layer1.weight.std() > 0.1


@pytest.mark.parametrize("name", ["gla", "hgrn2", "linear_attention", "mlstm", "retnet"])
def test_gradients_stay_finite_where_gates_are_strong(name):
    torch.manual_seed(0)
    shape = Shape(num_outputs=4, pooled=False, seqlen=50, vocab_size=8)
    options = {"d_model": 32, "initializer_std": 3.0}
    model = registry.make_model(name, options, shape)
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            if "gk_proj" in parameter or "gate" in parameter:
                value.normal_(std=10)
    model(torch.randint(8, (2, 50))).square().mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(("name", "states"), [("gla", 1), ("linear_attention", 1), ("retnet", 4)])
def test_heads_that_hold_the_same_state_count_once(monkeypatch, name, states):
    """RetNet's heads forget at rates of their own, so that theirs differ."""
    layer = mixer(name, d_model=32, num_heads=4, num_kv_heads=1, expand_k=1.0, expand_v=1.0)
    held = []
    module = type(layer).forward.__globals__
    operator = next(n for n in ("gla", "linear_attention", "simple_gla") if n in module)

    def spy(*inputs, **options):
        held.append(original(*inputs, **options))
        return held[-1]

    original = module[operator]
    monkeypatch.setitem(module, operator, spy)
    layer(torch.randn(1, 9, 32))
    different = {tuple(state.flatten().tolist()) for state in held[0][1][0]}
    assert len(different) == states
    assert layer.state_bytes(9) == states * 8 * 8 * 4
    alone = mixer(name, d_model=32, num_heads=4, expand_k=1.0, expand_v=1.0)

    def beside_projections(model):
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
        return model.flops_per_token(9) - sum(2 * m.weight.numel() for m in layers)

    if name != "linear_attention":  # whose feature maps are applied once a head
        assert beside_projections(alone) - beside_projections(layer) == 2 * (4 - states) * 64
