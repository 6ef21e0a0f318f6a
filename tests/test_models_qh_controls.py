"""Models 3a, 3b and 3c of the quantum_hydra study: the controls without a circuit."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import conv1d, gelu, linear, silu, softplus
from torch.utils.flop_counter import FlopCounterMode

from seqgrid import registry
from seqgrid.data import Shape
from seqgrid.ops.dropped_attention import attention_with_dropout, dropped_attention

# (model, sequence length, outputs) -> parameters of the original for two channels
DOCUMENTED = {
    ("qh_3a", 100, 1): 343_937,
    ("qh_3a", 100, 8): 344_840,
    ("qh_3a", 1000, 1): 459_137,
    ("qh_3a", 1000, 8): 460_040,
    ("qh_3b", 100, 1): 233_857,
    ("qh_3b", 1000, 8): 234_760,
    ("qh_3c", 100, 1): 232_321,
    ("qh_3c", 1000, 8): 232_776,
}
SMALL = {
    "qh_3a": {"d_model": 16, "num_layers": 2},
    "qh_3b": {"d_model": 16, "num_layers": 2, "d_state": 3},
    "qh_3c": {"d_model": 16, "num_layers": 2, "d_state": 3},
}
NAMES = sorted(SMALL)


def make(name, settings, seqlen=13, outputs=3, seed=0, **shape):
    """A model in float64 that is evaluated, with every parameter moved from where it starts."""
    torch.manual_seed(seed)
    if not shape:
        shape = {"num_channels": 2}
    model = registry.make_model(name, settings, Shape(outputs, True, seqlen, **shape))
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model.double().eval()


def compared(model, expected, inputs):
    """The value and every gradient of a model are those of a function of the same parameters."""
    found, wanted = model(inputs), expected(inputs)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    weights = torch.randn_like(found)
    parameters = dict(model.named_parameters())
    gradients = [
        torch.autograd.grad((outputs * weights).sum(), [*parameters.values()])
        for outputs in (found, wanted)
    ]
    for name, one, two in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: n + m)


def rms(x, norm):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight


@pytest.mark.parametrize(("name", "seqlen", "outputs"), DOCUMENTED)
def test_parameters_are_as_many_as_documented(name, seqlen, outputs):
    model = registry.make_model(name, {}, Shape(outputs, True, seqlen, num_channels=2))
    table = seqlen * 128 if name == "qh_3a" else 0  # positions, which are not trained
    assert model.num_parameters + table == DOCUMENTED[name, seqlen, outputs]


@pytest.mark.parametrize("name", NAMES)
def test_what_pads_an_example_changes_nothing(name):
    model = make(name, SMALL[name])
    inputs, other = torch.randn(2, 3, 13, 2, dtype=torch.float64)
    lengths = torch.tensor([13, 7, 1])
    padded = torch.where((torch.arange(13) < lengths[:, None])[..., None], inputs, other)
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))
    assert (model(inputs) - model(padded)).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_the_head_is_told_the_order(name):
    model = make(name, SMALL[name])
    inputs = torch.randn(1, 13, 2, dtype=torch.float64)
    swapped = inputs[:, [0, 1, 6, 3, 4, 5, 2, *range(7, 13)]]
    assert (model(inputs) - model(swapped)).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_tokens_slots_and_longer_sequences_are_read(name):
    model = make(name, SMALL[name], outputs=5, vocab_size=7, slots=2)
    assert model(torch.randint(7, (3, 40))).shape == (3, 2, 5)
    assert model(torch.randint(7, (3, 1))).shape == (3, 2, 5)
    assert model.state_bytes(40) > 0
    assert model.flops_per_token(40) > 0


def sinusoid(t, i, dim):
    angle = torch.tensor(t / 10000 ** (i // 2 * 2 / dim))
    return angle.cos() if i % 2 else angle.sin()


def test_the_transformer_is_its_definition():
    model = make("qh_3a", SMALL["qh_3a"])
    D, H = 16, 4

    def defined(u):
        L = u.shape[1]
        positions = torch.tensor([[sinusoid(t, i, D) for i in range(D)] for t in range(L)])
        x = model.embedding(u) + positions
        for block in model.encoder.layers:
            normed, heads = rms(x, block.norm1), []
            parts = block.attention
            for h in range(H):
                own = slice(h * D // H, (h + 1) * D // H)
                q, k, v = (
                    linear(normed, p.weight[own], p.bias[own])
                    for p in (parts.q_proj, parts.k_proj, parts.v_proj)
                )
                heads.append((q @ k.mT / (D // H) ** 0.5).softmax(-1) @ v)
            x = x + parts.out_proj(torch.cat(heads, -1))
            hidden = block.in_proj(rms(x, block.norm2))
            x = x + block.out_proj(silu(hidden[..., : 2 * D]) * hidden[..., 2 * D :])
        return model.classifier(rms(x, model.encoder.final_norm).mean(1))

    compared(model, defined, torch.randn(3, 13, 2, dtype=torch.float64))


def test_flops_of_the_transformer_are_those_torch_counts():
    model = make("qh_3a", SMALL["qh_3a"])
    counter = FlopCounterMode(display=False)  # knows matrix products, not the CPU's fused kernel
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(torch.zeros(2, 13, 2, dtype=torch.float64))
    assert model.flops_per_token(13) * 2 * 13 == pytest.approx(counter.get_total_flops())


def scanned(v, decay, write, C, D):
    """C h + D v of a state h that decays (B, L, D, N) and is written into (B, L, D, N)."""
    state, found = torch.zeros_like(write[:, 0]), []
    for t in range(v.shape[1]):
        state = decay[:, t] * state + write[:, t]
        found.append((state * C[:, t, None]).sum(-1) + D * v[:, t])
    return torch.stack(found, 1)


def convolved(v, layer):
    x = v.mT
    filters = {"padding": layer.weight.shape[-1] - 1, "groups": x.shape[1]}
    return silu(conv1d(x, layer.weight, layer.bias, **filters)[..., : x.shape[-1]]).mT


def test_the_mamba_stack_is_its_definition():
    model = make("qh_3b", SMALL["qh_3b"])

    def defined(u):
        x = model.embedding(u)
        for block in model.layers:
            layer = block.mixer
            v, z = layer.in_proj(rms(x, block.norm)).split(32, -1)
            v = convolved(v, layer.conv1d)
            steps, B, C = layer.x_proj(v).split([1, 3, 3], -1)
            delta = softplus(layer.dt_proj(steps))[..., None]
            write = delta * B[:, :, None] * v[..., None]
            y = scanned(v, (-delta * layer.A_log.exp()).exp(), write, C, layer.D)
            x = x + layer.out_proj(y * silu(z))
        return model.classifier(rms(x, model.final_norm).mean(1))

    compared(model, defined, torch.randn(3, 13, 2, dtype=torch.float64))


def test_the_stack_of_two_scans_is_its_definition():
    model = make("qh_3c", SMALL["qh_3c"])

    def defined(u):
        x = model.embedding(u)
        for block in model.layers:
            layer = block.mixer
            z, v, B, C, steps = layer.in_proj(x).split([32, 32, 3, 3, 1], -1)
            v = convolved(v, layer.conv1d)
            delta = softplus(layer.dt_proj(steps))[..., None]
            given = (v, (-delta * layer.A_log.exp()).exp(), B[:, :, None] * v[..., None], C)
            backward = scanned(*(part.flip(1) for part in given), layer.D).flip(1)
            y = rms(scanned(*given, layer.D) + backward, layer.norm)
            x = x + rms(layer.out_proj(y * silu(z)), block.norm)
        first, _, _, second = model.classifier
        return second(gelu(first(rms(x, model.final_norm).mean(1))))

    compared(model, defined, torch.randn(3, 13, 2, dtype=torch.float64))


@pytest.mark.parametrize("name", ["qh_3b", "qh_3c"])
def test_steps_start_between_a_thousandth_and_a_tenth(name):
    model = registry.make_model(name, {}, Shape(1, True, 9, num_channels=2))
    layer = model.layers[0].mixer.dt_proj
    steps = softplus(layer.bias)
    assert 0.001 <= steps.min() < 0.002 < 0.05 < steps.max() <= 0.1
    assert 0.3 < layer.weight.abs().max() <= 8**-0.5


def test_steps_that_vanish_leave_the_two_scans_finite():
    model = make("qh_3c", SMALL["qh_3c"]).float()
    with torch.no_grad():
        model.layers[0].mixer.dt_proj.bias.fill_(-200.0)
    outputs = model(torch.randn(3, 13, 2))
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_attention_drops_weights_in_training_and_keeps_their_mean():
    torch.manual_seed(0)
    model = make("qh_3a", SMALL["qh_3a"] | {"dropout": 0.5})
    attention = model.encoder.layers[0].attention
    x = torch.randn(1, 5, 16, dtype=torch.float64)
    expected = attention(x)
    drawn = attention.train()(x.expand(20_000, -1, -1))
    assert drawn.std(0).min() > 1e-3
    torch.testing.assert_close(drawn.mean(0), expected[0], atol=0.02, rtol=0)


@pytest.mark.parametrize(("seqlen", "dtype"), [(7, torch.float64), (300, torch.float32)])
def test_attention_with_dropped_weights_is_its_reference(seqlen, dtype):
    torch.manual_seed(0)
    given = [torch.randn(2, seqlen, 3, w, dtype=dtype, requires_grad=True) for w in (4, 4, 5)]
    kept = torch.rand(2, 3, seqlen, seqlen) < 0.7
    results = []
    for form in (dropped_attention.reference, dropped_attention):
        o = form(*given, kept, 0.7)
        results.append((o, *torch.autograd.grad(o.square().sum(), given)))
    torch.testing.assert_close(*results, atol=1e-4 if dtype == torch.float32 else 1e-9, rtol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999])
def test_as_many_weights_are_dropped_as_asked(monkeypatch, p):
    found = []
    monkeypatch.setattr(
        "seqgrid.ops.dropped_attention.dropped_attention", lambda *given: found.append(given[3:])
    )
    attention_with_dropout(*torch.zeros(3, 2, 301, 1, 1), p)
    [(kept, share)] = found
    assert share == pytest.approx(1 - p, abs=2**-16)
    assert kept.shape == (2, 1, 301, 301)
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.006)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("qh_3a", {"num_heads": 5}, "num_heads=5 does not divide d_model=128"),
        ("qh_3c", {"d_model": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be_built_are_refused_with_a_reason(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)
