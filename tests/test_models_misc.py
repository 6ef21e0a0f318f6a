"""What is particular to attention's settings, recurrent and convolutional models, and hybrids."""

import json

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from seqgrid import registry
from seqgrid.cell import Cell
from seqgrid.data import Shape
from seqgrid.study_file import explain

TOKENS = Shape(num_outputs=11, pooled=False, seqlen=33, vocab_size=16)


def make_mixer(name, layer=0, **settings):
    torch.manual_seed(0)
    return registry.load("model", name).mixer(registry.settings("model", name)(**settings), layer)


def shapes(module):
    return {name: tuple(x.shape) for name, x in module.state_dict().items()}


# -- attention -----------------------------------------------------------------------------------


def test_attention_has_the_parameters_of_flash_linear_attention():
    mixer = make_mixer("attention", num_kv_heads=2, qkv_bias=True, qk_norm=True)
    expected = {"q_proj.weight": (64, 64), "q_proj.bias": (64,), "o_proj.weight": (64, 64)}
    expected |= {f"{x}_proj.weight": (32, 64) for x in "kv"}
    expected |= {f"{x}_proj.bias": (32,) for x in "kv"} | {f"{x}_norm.weight": (16,) for x in "qk"}
    assert shapes(mixer) == expected


@pytest.mark.parametrize("causal", [True, False])
def test_a_window_reaches_as_far_as_it_says(causal):
    mixer = make_mixer("attention", window_size=4, causal=causal)
    x = torch.randn(1, 30, 64)
    changed = x.clone()
    changed[:, 15] += 1
    differs = (mixer(x) - mixer(changed)).abs().amax((0, 2)) > 1e-7
    assert differs.nonzero().flatten().tolist() == list(range(15 if causal else 12, 19))


@pytest.mark.parametrize("causal", [True, False])
def test_what_a_window_keeps_and_computes(causal):
    mixer = make_mixer("attention", window_size=10, causal=causal, num_kv_heads=2)
    kept = 10 if causal else 19
    assert mixer.state_bytes(5) == 2 * 5 * 32 * 4
    assert mixer.state_bytes(100) == mixer.state_bytes(10_000) == 2 * kept * 32 * 4
    t = torch.arange(100)
    lag = t[:, None] - t
    reads = (lag.abs() < 10) & ((lag >= 0) | (not causal))
    projections = 2 * (2 * 64 * 64 + 2 * 64 * 32)
    assert mixer.flops_per_token(100) == projections + 4 * 64 * reads.sum().item() / 100


def test_a_window_as_long_as_the_sequence_is_none():
    x = torch.randn(2, 33, 64)
    for causal in (True, False):
        windowed = make_mixer("attention", window_size=33, causal=causal)
        assert torch.equal(windowed(x), make_mixer("attention", causal=causal)(x))


def test_halves_of_a_head_turn_together_where_asked():
    mixer = make_mixer("attention", num_heads=1, rope_interleaved=False)
    x = torch.randn(1, 5, 64)
    q, k = mixer.q_proj(x)[0], mixer.k_proj(x)[0]
    angles = torch.arange(5)[:, None] * 10000.0 ** (-torch.arange(32) / 32)

    def turned(y):
        one, two = y.chunk(2, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)

    scores = (turned(q) @ turned(k).T / 8).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(mixer(x)[0], mixer.o_proj(scores.softmax(-1) @ mixer.v_proj(x)[0]))


# -- recurrent networks --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "theirs"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_a_recurrent_network_has_torch_s_parameters(name, theirs):
    core, library = make_mixer(name, d_model=8).core, theirs(8, 8, batch_first=True)
    core.load_state_dict(library.state_dict(), strict=True)
    library.load_state_dict(core.state_dict(), strict=True)
    x = torch.randn(2, 5, 8)
    assert torch.equal(core(x)[0], library(x)[0])


def test_slstm_has_the_parameters_of_xlstm():
    expected = {"conv1d.conv.weight": (64, 1, 4), "conv1d.conv.bias": (64,)}
    expected |= {f"{gate}gate.weight": (4, 16, 16) for gate in "fizo"}
    expected |= {"slstm_cell._recurrent_kernel_": (4, 64, 16), "slstm_cell._bias_": (256,)}
    assert shapes(make_mixer("slstm")) == expected | {"group_norm.weight": (64,)}


def test_forget_gates_of_slstm_spread_from_open_to_closed_faster_in_early_layers():
    biases = [
        make_mixer("slstm", layer, num_layers=3).slstm_cell._bias_.view(4, 4, 16)
        for layer in range(3)
    ]
    for bias in biases:
        assert bias[1, :, 0].tolist() == [5] * 4
        assert bias[1, :, -1].tolist() == [-7] * 4
        assert not bias[[0, 2, 3]].any()
    assert biases[0][1, 0, 8] < biases[1][1, 0, 8] < biases[2][1, 0, 8]


def test_a_normaliser_keeps_outputs_of_slstm_in_range_whatever_the_gates():
    cell = make_mixer("slstm").slstm_cell
    assert cell(1e4 * torch.randn(2, 50, 4, 4, 16)).abs().max() <= 1


@pytest.mark.parametrize(("name", "gates"), [("mingru", 2), ("minlstm", 3)])
def test_minimal_networks_have_the_parameters_of_mingru_pytorch(name, gates):
    layer = "to_hidden_and_gate" if gates == 2 else "to_hidden_and_f_i_gate"
    assert shapes(make_mixer(name)) == {f"{layer}.weight": (gates * 64, 64)}
    mixer = make_mixer(name, expansion_factor=1.5)
    expected = {f"{layer}.weight": (gates * 96, 64), "to_out.weight": (64, 96)}
    assert shapes(mixer) == expected
    assert mixer.state_bytes(1) == mixer.state_bytes(10_000) == 96 * 4


@pytest.mark.parametrize("name", ["mingru", "minlstm"])
def test_a_minimal_network_is_a_mean_that_closed_gates_do_not_break(name):
    mixer = make_mixer(name)
    x = torch.full((1, 9, 64), 1e4, requires_grad=True)
    y = mixer(x)
    assert y.isfinite().all()
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_bfloat16_costs_no_long_memory():
    settings = {"num_layers": 1, "mlp_ratio": 0.0}
    for name in ("mingru", "minlstm", "slstm", "hyena"):
        model = registry.make_model(name, settings, TOKENS)
        mixer, x = model.mixers[0], torch.randn(2, 700, 64)
        with torch.autocast("cpu", torch.bfloat16):
            half = mixer(x)
        torch.testing.assert_close(half.float(), mixer(x), atol=0.1, rtol=0.1)
    with torch.no_grad():
        gate = make_mixer("mingru", positive=False)
        gate.to_hidden_and_gate.weight[64:] = -8 / 64  # z = sigmoid(-8) where x is 1
        x = torch.ones(1, 3000, 64)
        with torch.autocast("cpu", torch.bfloat16):
            half = gate(x)
        torch.testing.assert_close(half.float(), gate(x), atol=0.01, rtol=0.02)


# -- hyena ---------------------------------------------------------------------------------------


def test_hyena_has_the_parameters_of_safari():
    expected = {"in_proj.weight": (256, 64), "in_proj.bias": (256,)}
    expected |= {"short_filter.weight": (256, 1, 3), "short_filter.bias": (256,)}
    expected |= {"filter_fn.bias": (128,), "filter_fn.modulation.deltas": (1, 1, 128)}
    expected |= {"filter_fn.pos_emb.z": (1, 20, 5), "filter_fn.pos_emb.t": (1, 20, 1)}
    for number, width in ((0, 5), (2, 64), (4, 64)):
        network = f"filter_fn.implicit_filter.{number}"
        expected |= {f"{network}.weight": (64, width), f"{network}.bias": (64,)}
        expected |= {f"filter_fn.implicit_filter.{number + 1}.freq": (1, 64)}
    expected |= {"filter_fn.implicit_filter.6.weight": (128, 64)}
    expected |= {"out_proj.weight": (64, 64), "out_proj.bias": (64,)}
    assert shapes(make_mixer("hyena", order=3, l_max=20)) == expected


def test_hyena_is_its_equations():
    mixer = make_mixer("hyena", d_model=4, order=3, l_max=20, filter_order=8)
    x = torch.randn(1, 11, 4)
    u = mixer.short_filter(nn.functional.pad(mixer.in_proj(x).mT, (2, 0))).mT[0]
    first, second, third, v = u.split(4, -1)
    filters, bias = mixer.filter_fn(11).view(11, 4, 2), mixer.filter_fn.bias.view(4, 2)
    for n, gate in ((0, third), (1, second)):
        v = v * gate
        mixed = [
            sum(filters[t - s, :, n] * v[s] for s in range(t + 1)) + bias[:, n] * v[t]
            for t in range(11)
        ]
        v = torch.stack(mixed)
    torch.testing.assert_close(mixer(x)[0], mixer.out_proj(v * first), atol=1e-6, rtol=1e-5)


def test_filters_go_on_beyond_the_training_length():
    filters = make_mixer("hyena", l_max=20).filter_fn
    torch.testing.assert_close(filters(50)[:20], filters(20))
    z, t = filters.pos_emb(50)
    assert t.flatten().tolist() == pytest.approx([i / 19 for i in range(50)])
    torch.testing.assert_close(z[0, 20:40, 1:], z[0, :20, 1:], atol=2e-3, rtol=0)  # waves


def test_hyena_keeps_all_of_its_input_and_its_length_is_that_of_training():
    model = registry.make_model("hyena", {}, TOKENS)
    assert model.mixers[0].settings.l_max == 33
    assert model.state_bytes(1000) == 2 * (1000 * 64 + 2 * 3 * 64) * 4
    with pytest.raises(ValueError, match="l_max is open"):
        make_mixer("hyena")
    spared = {n for n, p in model.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared
    assert all(".implicit_filter." in name for name in spared)


def test_the_start_of_hyena_s_filters_is_their_own():
    small, default = (
        registry.make_model("hyena", {"initializer_std": std}, TOKENS).mixers[0]
        for std in ("small", 0.02)
    )
    assert small.in_proj.weight.std() > 3 * default.in_proj.weight.std()
    for layer in (2, 4, 6):
        name = f"filter_fn.implicit_filter.{layer}"
        assert small.get_submodule(name).weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert default.get_submodule(name).weight.std().item() == pytest.approx(0.02, rel=0.1)


# -- hybrid --------------------------------------------------------------------------------------

STACK = {
    "num_layers": 5,
    "pattern": ["slstm", "hyena", "local"],
    "mixers": {
        "slstm": {"num_heads": 2},
        "local": {"model": "attention", "window_size": 4, "num_heads": 4},
    },
}


def hybrid(**settings):
    return registry.settings("model", "hybrid")(**settings)


def test_a_pattern_repeats_and_each_file_counts_its_own_layers():
    model = registry.make_model("hybrid", STACK, TOKENS)
    names = [type(mixer).__name__ for mixer in model.mixers]
    slstm, hyena, attention = "SLSTMMixer", "HyenaMixer", "AttentionMixer"
    assert names == [slstm, hyena, attention, slstm, hyena]
    first, second = (model.mixers[layer].slstm_cell._bias_.view(4, 2, 32) for layer in (0, 3))
    assert first[1, 0, 16] < second[1, 0, 16]  # the first and the last of two
    assert model.mixers[1].settings.l_max == 33
    assert model.mixers[2].settings.window_size == 4
    assert {*model.backend} == {"short_conv", "slstm", "fft_conv", "attention"}
    assert model.state_bytes(50) == sum(mixer.state_bytes(50) for mixer in model.mixers)


def test_settings_of_a_hybrid_are_those_that_differ_and_survive_a_file():
    made = hybrid(**STACK)
    assert made.mixers == {
        "slstm": {"num_heads": 2},
        "local": {"model": "attention", "window_size": 4},
    }
    assert hybrid(**json.loads(json.dumps(made.model_dump()))) == made
    spelled = {"mixers": {"attention": {"num_heads": 4}, "deltanet": {"model": "deltanet"}}}
    cells = [
        Cell(model="hybrid", model_settings=s, task="adding_problem", seqlen=8, seed=0)
        for s in ({}, spelled, STACK, made.model_dump())
    ]
    assert cells[0].fingerprint == cells[1].fingerprint
    assert cells[2].fingerprint == cells[3].fingerprint != cells[0].fingerprint
    assert Cell.model_validate_json(cells[2].model_dump_json()).fingerprint == cells[2].fingerprint


def test_results_of_a_hybrid_depend_on_the_code_of_its_mixers():
    stack = Cell(model="hybrid", model_settings=STACK, task="mqar", seqlen=32, seed=0)
    assert {*stack.parts} == {"attention", "hyena", "slstm"}


def test_a_hybrid_can_do_what_all_of_its_mixers_can():
    learned = {"attention": {"positions": "learned", "max_seqlen": 8}}
    made = hybrid(mixers=learned)
    assert made.unable(8) is None
    assert made.unable(9) == "attention: learned positions end at 8 tokens, 9 asked"
    assert not made.reads_ahead
    assert hybrid(mixers={"attention": {"causal": False}}).reads_ahead
    unused = {"num_layers": 1, "pattern": ["gru"]}
    assert not hybrid(**unused).reads_ahead
    short = Shape(num_outputs=11, pooled=False, seqlen=8, vocab_size=16)
    assert registry.make_model("hybrid", {"mixers": learned}, short).max_seqlen == 8


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"pattern": ["gru", "nope"]}, "pattern.1: no mixer has this name; there are attention"),
        ({"pattern": ["gru", "hybrid"]}, "pattern.1: no mixer has this name"),
        ({"pattern": ["gru", "qh_2d"]}, "pattern.1: no mixer has this name"),
        ({"pattern": ["gru", "gru", "lstm"]}, "pattern.2: num_layers=2 ends before it; at least 3"),
        ({"pattern": []}, "pattern: at least one entry is needed"),
        ({"mixers": {"gru": {}}}, "mixers.gru: the pattern names deltanet, attention"),
        ({"mixers": {"attention": {"model": "x"}}}, "mixers.attention.model: the key model is one"),
        ({"mixers": {"deltanet": {"num_heads": 5}}}, "mixers.deltanet: num_heads=5 does not div"),
        ({"mixers": {"deltanet": {"num_heads": 0}}}, "mixers.deltanet.num_heads: at least 1 is"),
        ({"mixers": {"deltanet": {"d_model": 8}}}, "mixers.deltanet.d_model: it is set for the"),
        ({"mixers": {"attention": {"heads": 8}}}, "mixers.attention.heads: attention has no such"),
    ],
)
def test_a_hybrid_s_mistake_is_one_line_at_its_place(settings, line):
    record = registry.settings("model", "hybrid")
    with pytest.raises(ValidationError) as caught:
        record(**settings)
    found = explain(caught.value, record, lambda place: ".".join(map(str, place)))
    assert len(found) == 1
    assert found[0].startswith(line)
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("attention", {"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ("slstm", {"num_heads": 5}, "does not divide"),
        ("hyena", {"emb_dim": 4}, "emb_dim=4 is even; .* such as 5"),
        ("hyena", {"order": 1}, "greater than or equal to 2"),
        ("mingru", {"expansion_factor": 0.001}, "leaves no hidden channel"),
        ("minlstm", {"expansion_factor": 2.0, "proj_out": False}, "needs proj_out"),
    ],
)
def test_settings_that_cannot_be_built_are_refused_with_a_reason(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)


@pytest.mark.parametrize(
    ("file", "key", "values"),
    [("hgrn2", "use_lower_bound", [False, True]), ("rwkv7", "value_dim", [32, 64])],
)
def test_layers_of_a_hybrid_agree_in_what_they_share(file, key, values):
    mixers = {f"part {i}": {"model": file, key: value} for i, value in enumerate(values)}
    record = registry.settings("model", "hybrid")
    with pytest.raises(ValidationError, match=f"layers of {file} share it") as error:
        record(pattern=list(mixers), mixers=mixers)
    assert error.value.errors()[0]["loc"] == ("mixers", "part 1", key)
