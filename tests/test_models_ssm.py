"""What is particular to Mamba, Mamba-2 and Hydra."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import rms_norm, silu, softplus

from seqgrid import registry
from seqgrid.data import Shape

SHAPE = Shape(num_outputs=5, pooled=False, seqlen=9, vocab_size=16)


def mixer_of(name, settings, seed=0):
    torch.manual_seed(seed)
    chosen = {"d_model": 32, "num_layers": 1} | settings
    return registry.make_model(name, chosen, SHAPE).mixers[0]


def shapes(mixer):
    return {name: tuple(p.shape) for name, p in mixer.named_parameters()}


def test_parameters_have_the_names_and_shapes_of_the_libraries():
    assert shapes(mixer_of("mamba", {})) == {
        "A_log": (64, 16), "D": (64,), "in_proj.weight": (128, 32), "conv1d.weight": (64, 1, 4),
        "conv1d.bias": (64,), "x_proj.weight": (34, 64), "dt_proj.weight": (64, 2),
        "dt_proj.bias": (64,), "out_proj.weight": (32, 64),
    }  # fmt: skip
    assert shapes(mixer_of("mamba2", {})) == {
        "dt_bias": (2,), "A_log": (2,), "D": (2,), "in_proj.weight": (258, 32),
        "conv1d.weight": (192, 1, 4), "conv1d.bias": (192,), "norm.weight": (64,),
        "out_proj.weight": (32, 64),
    }  # fmt: skip
    assert shapes(mixer_of("hydra", {"learnable_init_states": True})) == {
        "init_states": (2, 32, 64), "dt_bias": (2,), "A_log": (2,), "D": (2,),
        "in_proj.weight": (388, 32), "conv1d.weight": (320, 1, 7), "conv1d.bias": (320,),
        "fc_D.weight": (2, 64), "norm.weight": (64,), "out_proj.weight": (32, 64),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mamba", "mamba2", "hydra"])
def test_step_sizes_start_in_their_range_and_rates_are_not_decayed(name):
    mixer = mixer_of(name, {"dt_min": 0.01, "dt_max": 0.2, "d_model": 256})
    bias = mixer.dt_proj.bias if name == "mamba" else mixer.dt_bias
    steps = softplus(bias)
    assert 0.0099 < steps.min() < 0.03
    assert 0.1 < steps.max() < 0.201
    spared = {n for n, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert {"A_log", "D"} <= spared
    assert name == "mamba" or "dt_bias" in spared


def test_rates_start_as_in_mamba_ssm():
    assert torch.allclose(mixer_of("mamba", {}).A_log.exp()[3], torch.arange(1.0, 17))
    rates = mixer_of("mamba2", {"d_model": 512, "A_init_range": [2.0, 3.0]}).A_log.exp()
    assert 2 <= rates.min() < 2.3 < 2.7 < rates.max() <= 3
    assert mixer_of("hydra", {}).A_log.exp().eq(1).all()


@pytest.mark.parametrize("name", ["mamba", "mamba2", "hydra"])
def test_what_the_state_carries_is_felt_at_the_start(name):
    mixer = mixer_of(name, {"d_conv": 1})
    x = torch.randn(1, 20, 32)
    changed = x.clone()
    changed[:, 3] += 1
    difference = (mixer(x) - mixer(changed)).abs().amax((0, 2))
    assert difference[4:].max() > 1e-4 * difference[3]


def dense_hydra(mixer, u):
    """Hydra of one sequence (L, D) from the matrix of its definition, a head at a time."""
    settings, H, P, N = mixer.settings, mixer.nheads, mixer.headdim, mixer.settings.d_state
    L = len(u)
    z, xBC, dt = mixer.in_proj(u).split([mixer.d_inner, mixer.conv_dim, 2 * H], -1)
    reach = settings.d_conv // 2
    around = torch.nn.functional.pad(xBC, (0, 0, reach, reach))
    taps = mixer.conv1d.weight[:, 0]
    xBC = sum(around[j : j + L] * taps[:, j] for j in range(settings.d_conv)) + mixer.conv1d.bias
    x, *keys = silu(xBC).split([mixer.d_inner, N, N, N, N], -1)
    steps = softplus(dt.view(L, 2, H) + mixer.dt_bias)
    decay = steps * -mixer.A_log.exp()
    x = x.view(L, H, P)
    skip = x.flatten(1) @ mixer.fc_D.weight.T + mixer.D
    outputs = []
    for h in range(H):
        matrix = torch.diag(skip[:, h])
        for t in range(L):
            for s in range(t):  # t reads s as the state stood at t - 1
                gone = decay[s + 1 : t, 0, h].sum().exp()
                matrix[t, s] = keys[1][t - 1] @ keys[0][s] * gone * steps[s, 0, h]
            for s in range(t + 1, L):
                gone = decay[t + 1 : s, 1, h].sum().exp()
                matrix[t, s] = keys[3][t + 1] @ keys[2][s] * gone * steps[s, 1, h]
        outputs.append(matrix @ x[:, h])
    y = torch.stack(outputs, 1).flatten(1)
    y = rms_norm(y, (mixer.d_inner,), eps=1e-5) * mixer.norm.weight * silu(z)
    return mixer.out_proj(y)


def test_hydra_is_the_quasiseparable_matrix_of_its_definition():
    mixer = mixer_of("hydra", {"d_state": 4, "headdim": 16}).double()
    u = torch.randn(9, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(mixer(u.unsqueeze(0))[0], dense_hydra(mixer, u))


@pytest.mark.parametrize("settings", [{}, {"learnable_init_states": True, "ngroups": 2}], ids=str)
def test_hydra_reads_no_padding_at_any_length(settings):
    mixer = mixer_of("hydra", settings | {"headdim": 16}).double()
    with torch.no_grad():
        for p in mixer.parameters():
            p += 0.1 * torch.randn_like(p)
    lengths = torch.tensor([9, 1, 2, 5, 8])
    x = torch.randn(5, 9, 32, dtype=torch.float64)
    other = torch.where(torch.arange(9)[:, None] < lengths[:, None, None], x, 1e3)
    one, two = mixer(x, lengths), mixer(other, lengths)
    for i, n in enumerate(lengths):
        alone = mixer(x[i : i + 1, :n])[0]
        torch.testing.assert_close(one[i, :n], alone)
        torch.testing.assert_close(two[i, :n], alone)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mamba", {"dt_rank": 0}, "below 1"),
        ("mamba", {"expand": 0.001}, "no channel"),
        ("mamba", {"dt_min": 0.2}, "above dt_max"),
        ("mamba2", {"headdim": 24}, "does not divide the 128 channels"),
        ("mamba2", {"d_ssm": 160}, "above d_model"),
        ("mamba2", {"ngroups": 3}, "does not divide the 4 heads"),
        ("mamba2", {"A_init_range": [0.0, 1.0]}, "0 < lower"),
        ("mamba2", {"dt_limit": [0.2, 0.1]}, "lower < upper"),
        ("mamba2", {"dt_limit": [0.1]}, "dt_limit"),
        ("mamba2", {"norm_before_gate": True, "rmsnorm": False}, "leaves out"),
        ("hydra", {"d_conv": 4}, "no centre"),
        ("hydra", {"headdim": 24}, "does not divide d_model"),
    ],
)
def test_settings_that_cannot_be_built_are_refused_with_a_reason(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)


def test_sizes_are_those_of_the_textbook():
    assert mixer_of("mamba", {}).state_bytes(9) == 64 * (16 + 3) * 4
    assert mixer_of("mamba2", {}).state_bytes(9) == (64 * 64 + 3 * 192) * 4
    assert mixer_of("hydra", {}).state_bytes(9) == (2 * 64 * 64 + 9 * 32) * 4
