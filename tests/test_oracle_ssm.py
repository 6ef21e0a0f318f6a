"""State space models against mamba-ssm's and flash-linear-attention's own layers and kernels."""

import contextlib
import types
import warnings

import interpreter
import pytest
import torch
from operator_checks import assert_close, run, run_mixed
from test_ops_ssm import draw_scan, draw_ssd, normals

from seqgrid import registry
from seqgrid.ops.selective_scan import selective_scan
from seqgrid.ops.short_conv import short_conv
from seqgrid.ops.ssd import ssd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fla.layers.mamba as fla_mamba
    import fla.layers.mamba2 as fla_mamba2
    import mamba_ssm.modules.mamba2 as ssm_mamba2
    import mamba_ssm.modules.mamba_simple as ssm_mamba
    import mamba_ssm.ops.selective_scan_interface as interface

interpreter.patch()
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _kernels_on_a_cpu(monkeypatch):
    """What mamba-ssm asks of CUDA; its compiled scan is replaced by its own reference."""
    properties = types.SimpleNamespace(multi_processor_count=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    for module in (interface, ssm_mamba, fla_mamba):
        monkeypatch.setattr(module, "selective_scan_fn", interface.selective_scan_ref)


@pytest.mark.parametrize("wide_D", [False, True])
def test_the_fused_ssd_computes_what_the_chunked_path_does(wide_D):
    inputs, grads = draw_ssd(21, batch=1, width=16, keys=16, wide_D=wide_D)
    expected = run(ssd.chunked, inputs, grads, torch.float32)
    assert_close(run(ssd.fused, inputs, grads, torch.float32), expected, 2e-5)


def test_the_fused_scan_is_called_as_the_chunked_path_is():
    inputs, grads = draw_scan(37)
    del inputs["initial_state"]
    inputs["delta_bias"] = inputs["D"] - 2
    expected = run(selective_scan.chunked, inputs, grads, torch.float32, delta_softplus=True)
    assert_close(
        run(selective_scan.fused, inputs, grads, torch.float32, delta_softplus=True), expected, 2e-5
    )


def test_fused_kernels_take_what_autocast_on_cuda_mixes():
    inputs, grads = draw_ssd(21, batch=1, width=16, keys=16)
    halves = {"x", "C"}
    expected, found = (run_mixed(f, inputs, grads, halves) for f in (ssd.chunked, ssd.fused))
    assert_close(found, expected, 0.01)
    given = []

    def scan(*tensors, **options):
        given.extend(tensors)
        return interface.selective_scan_ref(*tensors, **options)

    inputs, grads = draw_scan(37)
    del inputs["initial_state"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interface, "selective_scan_fn", scan)
        run_mixed(selective_scan.fused, inputs, grads, {"u", "C"})
    assert {x.dtype for x in given} == {torch.float32}  # the kernel refuses a mixture


@pytest.mark.parametrize("size", [4, 7])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("biased", [False, True])
def test_the_fused_convolution_computes_what_the_chunked_path_does(size, activation, biased):
    normal = normals(size)
    tensors = [normal(2, 37, 24), normal(24, 1, size), *([normal(24)] if biased else [])]
    tensors = [x.float().requires_grad_() for x in tensors]
    grad = normal(2, 37, 24).float()
    expected, found = (
        [y, *torch.autograd.grad(y, tensors, grad)]
        for y in (
            f(*tensors, activation=activation) for f in (short_conv.chunked, short_conv.fused)
        )
    )
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


def same_layer(name, settings, theirs):
    """Weights move both ways; outputs and all gradients are the same."""
    torch.manual_seed(0)
    mixer = registry.settings("model", name)(d_model=32, **settings)
    ours = registry.load("model", name).mixer(mixer, 0)
    ours.initialise(0.02, 0.02)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        for p in theirs.parameters():  # nothing that starts as zero or one stays so
            p += 0.1 * torch.randn_like(p)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 21, 32)
    grad = torch.randn(2, 21, 32)
    results = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        y = layer(given)
        y = y[0] if isinstance(y, tuple) else y
        names, parameters = zip(*layer.named_parameters(), strict=True)
        found = torch.autograd.grad(y, [given, *parameters], grad)
        results.append(dict(zip(["y", "x", *names], [y.detach(), *found], strict=True)))
    assert_close(*results, 2e-5)


MAMBA = [
    {},
    {"d_state": 8, "d_conv": 3, "expand": 1, "dt_rank": 5, "conv_bias": False, "bias": True},
]
MAMBA2 = [
    {"headdim": 16, "d_state": 16},
    {"headdim": 16, "d_state": 16, "ngroups": 2, "norm_before_gate": True, "bias": True},
    {"headdim": 16, "d_state": 16, "rmsnorm": False, "D_has_hdim": True, "conv_bias": False},
    {"headdim": 16, "d_state": 16, "d_ssm": 32, "dt_limit": (0.01, 0.05), "d_conv": 3},
]


@pytest.mark.parametrize("settings", MAMBA, ids=str)
def test_mamba_is_that_of_mamba_ssm(settings):
    same_layer("mamba", settings, ssm_mamba.Mamba(32, **settings))


@pytest.mark.parametrize("settings", MAMBA, ids=str)
def test_mamba_is_that_of_flash_linear_attention(settings):
    renamed = {"d_state": "state_size", "d_conv": "conv_kernel", "bias": "use_bias"}
    renamed |= {"conv_bias": "use_conv_bias", "dt_rank": "dt_rank"}
    given = {renamed[n]: x for n, x in settings.items() if n != "expand"}
    inner = 32 * settings.get("expand", 2)
    same_layer("mamba", settings, fla_mamba.Mamba(32, intermediate_size=inner, **given).eval())


@pytest.mark.parametrize("settings", MAMBA2, ids=str)
def test_mamba2_is_that_of_mamba_ssm(settings):
    same_layer("mamba2", settings, ssm_mamba2.Mamba2(32, use_mem_eff_path=False, **settings))


# its path for a CPU deals heads to groups in turn, not in runs as its kernels do: one group only
@pytest.mark.parametrize("settings", [MAMBA2[0], MAMBA2[2]], ids=str)
def test_mamba2_is_that_of_flash_linear_attention(settings):
    renamed = {"headdim": "head_dim", "d_state": "state_size", "ngroups": "n_groups"}
    renamed |= {"bias": "use_bias", "conv_bias": "use_conv_bias"}
    given = {renamed.get(n, n): x for n, x in settings.items()}
    same_layer("mamba2", settings, fla_mamba2.Mamba2(hidden_size=32, **given))
