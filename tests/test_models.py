"""What holds for every model on the backbone, found by itself; then what some are."""

import math
from copy import deepcopy

import pytest
import torch
from model_checks import SEQLEN, SHAPES, build, draw, loss_of, steps, stirred
from model_variants import VARIANTS
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seqgrid import compute, registry
from seqgrid.cell import Compute
from seqgrid.data import Shape

MODELS = [
    pytest.param(name, settings, id=" ".join([name, *(f"{k}={v}" for k, v in settings.items())]))
    for name in registry.on_backbone()
    for settings in [{}, *VARIANTS.get(name, [])]
]
every_model = pytest.mark.parametrize(("name", "settings"), MODELS)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@every_model
@every_shape
@pytest.mark.parametrize("seqlen", [1, 2, 33])
def test_outputs_have_the_shape_of_the_problem(name, settings, shape, seqlen):
    model = build(name, settings, shape)
    inputs, targets = draw(shape, seqlen=seqlen)
    outputs = model(inputs)
    slots = () if shape.slots is None else (shape.slots,)
    leading = slots if shape.pooled else (seqlen,)
    assert outputs.shape == (4, *leading, shape.num_outputs)
    assert outputs.dtype == torch.float32
    loss_of(model, inputs, targets).backward()


@every_model
def test_a_model_answers_at_the_positions_asked_as_it_answers_at_all(name, settings):
    model = build(name, settings)
    inputs, _ = draw(SHAPES["tokens"])
    positions = torch.tensor([[0, 5, 5], [32, 1, 7], [30, 31, 32], [2, 0, 1]])
    expected = model(inputs).take_along_dim(positions[..., None], 1)
    torch.testing.assert_close(model(inputs, positions=positions), expected, atol=1e-6, rtol=1e-5)


@every_model
@every_shape
def test_the_gradient_reaches_every_parameter(name, settings, shape):
    model = stirred(build(name, settings, shape))
    loss_of(model, *draw(shape)).backward()
    for parameter, p in model.named_parameters():
        assert p.grad is not None, f"{parameter} is not used"
        assert p.grad.isfinite().all(), f"{parameter} has a gradient that is not finite"
        assert p.grad.any(), f"{parameter} has no gradient"


@every_model
@every_shape
def test_the_first_loss_is_that_of_a_constant_guess(name, settings, shape):
    loss = loss_of(build(name, settings, shape), *draw(shape, batch=64)).item()
    guess = 1.0 if shape.num_outputs == 1 else math.log(shape.num_outputs)
    assert loss == pytest.approx(guess, abs=0.15)


@every_model
def test_no_output_depends_on_a_later_input_where_a_model_says_so(name, settings):
    model = stirred(build(name, settings)).eval()
    inputs, _ = draw(SHAPES["tokens"])
    changed = inputs.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 16
    with torch.no_grad():
        difference = (model(inputs) - model(changed)).abs().amax((0, 2))
    assert difference[20] > 1e-6
    if model.causal:
        assert difference[:20].max() < 1e-6
        assert difference[21:].max() > 1e-6, "nothing is carried from position to position"
    else:
        assert difference[:20].max() > 1e-6


def test_initial_values_have_the_widths_that_were_asked():
    def stds(**settings):
        model = build("attention", {"d_model": 64, "positions": "learned", **settings})
        block = model.blocks[0]
        parts = (model.embed, model.positions.table, block.mixer.q_proj, block.mlp.up_proj,
                 model.head, block.mixer.o_proj, block.mlp.down_proj)  # fmt: skip
        return [part.weight.std().item() for part in parts]

    small, residual = math.sqrt(2 / (5 * 64)), math.sqrt(4)
    cases = {
        (): [0.02] * 5 + [0.02 / residual] * 2,
        (("initializer_std", "small"),): [small] * 5 + [small / residual] * 2,
        (("embedding_std", 1.0),): [1.0] * 2 + [0.02] * 3 + [0.02 / residual] * 2,
        (("rescale_prenorm_residual", False),): [0.02] * 7,
    }
    for settings, expected in cases.items():
        assert stds(**dict(settings)) == pytest.approx(expected, rel=0.08), settings


@every_model
@every_shape
def test_the_same_seed_gives_the_same_losses(name, settings, shape):
    runs = []
    for _ in range(2):
        model = build(name, settings | {"dropout": 0.1}, shape)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        runs.append(steps(model, optimiser, draw(shape), 3))
    assert runs[0] == runs[1]
    assert (
        build(name, settings, shape, seed=0)
        .head.weight.ne(build(name, settings, shape, seed=1).head.weight)
        .any()
    )


@every_model
def test_parameters_optimiser_and_random_state_are_all_there_is_to_resume(name, settings):
    settings = settings | {"dropout": 0.1}
    batch = draw(SHAPES["tokens"])
    model = build(name, settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps(model, optimiser, batch, 2)
    random_state, saved = torch.get_rng_state(), deepcopy(optimiser.state_dict())
    other = build(name, settings, seed=5)
    other.load_state_dict(model.state_dict())
    resumed = torch.optim.AdamW(other.parameters(), lr=1e-2)
    resumed.load_state_dict(saved)
    torch.set_rng_state(random_state)
    unbroken = steps(model, optimiser, batch, 2)
    torch.set_rng_state(random_state)
    assert steps(other, resumed, batch, 2) == unbroken
    torch.testing.assert_close(other.state_dict(), model.state_dict(), atol=0, rtol=0)


@every_model
def test_dropout_acts_in_training_only(name, settings):
    model = build(name, settings | {"dropout": 0.5})
    inputs, _ = draw(SHAPES["tokens"])
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@every_model
def test_bfloat16_rounds_and_does_no_more(name, settings):
    exact, rounded = build(name, settings), build(name, settings)
    compute.prepare(rounded, Compute(precision="bf16"), torch.device("cpu"))
    inputs, targets = draw(SHAPES["tokens"])
    for model in (exact, rounded):
        loss_of(model, inputs, targets).backward()
    assert 0 < (exact(inputs) - rounded(inputs)).abs().max() < 0.05
    for (parameter, p), q in zip(exact.named_parameters(), rounded.parameters(), strict=True):
        error = (p.grad - q.grad).norm() / p.grad.norm().clamp(min=1e-6)  # some start at 0
        assert error < 0.2, f"{parameter}: {error:.2f}"


@every_model
def test_a_tiny_batch_is_memorised(name, settings):
    model = build(name, settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = steps(model, optimiser, draw(SHAPES["tokens"], seqlen=12), 60)
    assert losses[-1] < 0.5 * losses[0]


@every_model
def test_a_model_states_its_size_and_cost(name, settings):
    model = build(name, settings)
    assert model.num_parameters == sum(p.numel() for p in model.parameters())
    sizes = [model.state_bytes(seqlen) for seqlen in (1, 64, 1024)]
    assert 0 < sizes[0] <= sizes[1] <= sizes[2]
    assert isinstance(sizes[0], int)
    assert model.state_bytes(64, bytes_per_element=2) * 2 == sizes[1]
    assert model.flops_per_token(64) > 2 * model.head.weight.numel()
    assert model.backend
    assert all(isinstance(x, str) for pair in model.backend.items() for x in pair)


@every_model
def test_without_an_mlp_only_the_mlp_is_missing(name, settings):
    full = {n for n, _ in build(name, settings).named_parameters()}
    model = build(name, settings | {"mlp_ratio": 0})
    assert {n for n in full if ".mlp" not in n} == {n for n, _ in model.named_parameters()}
    assert loss_of(model, *draw(SHAPES["tokens"])).isfinite()


@every_model
def test_a_pooled_output_reads_the_last_position_or_all(name, settings):
    shape = SHAPES["pooled channels"]
    last, mean = (build(name, settings | {"pool": pool}, shape).eval() for pool in ("last", "mean"))
    inputs, _ = draw(shape)
    assert not torch.allclose(last(inputs), mean(inputs))
    torch.testing.assert_close(last(inputs[:, :1]), mean(inputs[:, :1]))


@every_model
@every_shape
@pytest.mark.parametrize("pool", ["last", "mean"])
def test_what_pads_an_example_changes_nothing(name, settings, shape, pool):
    model = build(name, settings | {"pool": pool}, shape).double().eval()
    inputs, _ = draw(shape)
    other, _ = draw(shape, seed=2)
    if shape.num_channels:
        inputs, other = inputs.double(), other.double()
    lengths = torch.tensor([SEQLEN, 7, 1, 20])
    own = torch.arange(SEQLEN) < lengths[:, None]
    padded = torch.where(own if inputs.ndim == 2 else own[..., None], inputs, other)
    with torch.no_grad():
        one, two = model(inputs, lengths), model(padded, lengths)
        alone = [model(inputs[i : i + 1, :n])[0] for i, n in enumerate(lengths)]
    for i, n in enumerate(lengths):
        read = slice(None) if shape.pooled else slice(n)
        torch.testing.assert_close(one[i][read], two[i][read])
        torch.testing.assert_close(one[i][read], alone[i])


@every_model
def test_a_model_reads_longer_sequences_or_says_why_not(name, settings):
    model = build(name, settings).eval()
    inputs, _ = draw(SHAPES["tokens"], seqlen=2 * SEQLEN)
    if model.max_seqlen is None:
        assert model(inputs).shape[1] == 2 * SEQLEN
    else:
        with pytest.raises(ValueError, match="learned positions end at 33 tokens, 66 asked"):
            model(inputs)


@pytest.mark.parametrize("name", ["lstm", "gru", "deltanet"])
def test_a_recurrent_state_does_not_grow(name):
    model = build(name, {})
    assert model.state_bytes(1) == model.state_bytes(10_000)


def test_sizes_are_those_of_the_textbook():
    assert build("lstm", {}).state_bytes(9) == 2 * 2 * 32 * 4
    assert build("gru", {}).state_bytes(9) == 2 * 32 * 4
    assert build("attention", {}).state_bytes(9) == 2 * 2 * 9 * 32 * 4
    assert build("deltanet", {}).state_bytes(9) == 2 * (32 * 8 + 3 * 96) * 4


@every_shape
def test_flops_are_those_torch_counts(shape):
    model = build("attention", {"causal": False}, shape)
    inputs, _ = draw(shape)
    counter = FlopCounterMode(display=False)  # knows matrix products, not the CPU's fused kernel
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(inputs)
    assert model.flops_per_token(SEQLEN) * inputs.shape[:2].numel() == pytest.approx(
        counter.get_total_flops()
    )


def test_deltanet_has_the_parameters_of_flash_linear_attention():
    mixer = build("deltanet", {"d_model": 128}).mixers[0]
    expected = {f"{x}_proj.weight": (128, 128) for x in "qkvo"}
    expected |= {f"{x}_conv1d.weight": (128, 1, 4) for x in "qkv"}
    expected |= {"b_proj.weight": (4, 128), "o_norm.weight": (32,)}
    assert {name: tuple(p.shape) for name, p in mixer.named_parameters()} == expected


def test_rotary_scores_depend_on_distance_alone():
    from seqgrid.models.attention import rotary_phases, rotate

    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)
    phases = rotary_phases(40, 16, 10000.0, q.device)
    q, k = (rotate(x.expand(1, 40, 1, 16), phases)[0, :, 0] for x in (q, k))
    scores = q @ k.T
    torch.testing.assert_close(scores[:-7, :-7], scores[7:, 7:], atol=1e-5, rtol=0)
    assert not torch.allclose(scores[0, 0], scores[0, 7])


def test_a_value_in_one_channel_survives_the_first_norm():
    shape = Shape(num_outputs=1, pooled=True, seqlen=4, num_channels=1)
    model = build("attention", {"positions": "none"}, shape)
    normed = model.blocks[0].mixer_norm(model.embed(torch.tensor([[0.5], [1.0]])))
    assert (normed[0] - normed[1]).abs().max() > 0.05


def test_an_lstm_starts_with_its_memory_open():
    core = build("lstm", {}).mixers[0].core
    gates = (core.bias_ih_l0 + core.bias_hh_l0).view(4, 32)
    assert gates.mean(1).tolist() == [0, 1, 0, 0]  # input, forget, cell, output


def test_learned_positions_reach_as_far_as_they_are_told():
    longer = {"positions": "learned", "max_seqlen": 100}
    assert build("attention", longer)(torch.zeros(1, 100, dtype=torch.long)).shape[1] == 100
    settings = registry.settings("model", "attention")
    assert settings(**longer).unable(100) is None
    assert "end at 100 tokens, 101 asked" in settings(**longer).unable(101)
    assert settings(positions="rope").unable(10**6) is None
    with pytest.raises(ValueError, match="end at 8 tokens, 33 asked"):
        build("attention", longer | {"max_seqlen": 8})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("attention", {"num_heads": 5}, "does not divide"),
        ("attention", {"d_model": 12, "num_heads": 4}, "even head width"),
        ("attention", {"max_seqlen": 64}, "is for learned positions"),
        ("deltanet", {"num_heads": 5}, "does not divide"),
        ("deltanet", {"expand_v": 0.01}, "does not divide"),
        ("deltanet", {"qk_norm": "sum"}, "elu"),
        ("lstm", {"num_heads": 4}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_built_are_refused_with_a_reason(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)
