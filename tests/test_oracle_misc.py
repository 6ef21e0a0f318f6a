"""Attention, slstm and minimal networks against the libraries' own layers."""

import warnings

import interpreter
import pytest
import torch
from operator_checks import assert_close, run

from seqgrid import registry
from seqgrid.ops.attention import attention_reference
from seqgrid.ops.scan import scan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fla.layers.attn as library
    import fla.ops.hgrn  # noqa: F401

interpreter.patch()
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


def flash_attention(q, k, v, causal, window_size):
    """In place of flash-attn, which has no kernel for a CPU: our step-by-step reference."""
    window = None if window_size == (-1, -1) else window_size[0] + 1
    return attention_reference(q, k, v, causal=causal, window=window)


def test_the_fused_scan_computes_what_the_sequential_one_does():
    g = torch.Generator().manual_seed(0)
    inputs = {n: torch.rand(2, 37, 5, generator=g) for n in ("a", "b")}
    inputs["a"][0, 3] = 0.0
    inputs["initial_state"] = torch.randn(2, 5, generator=g)
    grads = torch.randn(2, 37, 5, generator=g), torch.randn(2, 5, generator=g)
    expected = run(scan.chunked, inputs, grads, torch.float32)
    found = run(scan.fused, inputs, grads, torch.float32)
    expected["grad a"][0, 3] = 0.0  # what the kernel gives where all is forgotten
    assert_close(found, expected, 2e-5)


def compare(ours, theirs, tolerance, seqlen=37, width=32):
    """Outputs and all gradients, after weights have moved both ways."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in theirs.parameters():  # what starts at zero would hide what lies before it
            p.add_(0.1 * torch.randn_like(p))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x, grad = torch.randn(2, 2, seqlen, width)
    found, expected = (results(module, x, grad) for module in (ours, theirs))
    assert found.keys() == expected.keys()
    assert_close(found, expected, tolerance)


def results(module, x, grad):
    x = x.clone().requires_grad_()
    y = module(x)
    y = y[0] if isinstance(y, tuple) else y
    parameters = dict(module.named_parameters())
    found = torch.autograd.grad(y, [x, *parameters.values()], grad)
    names = ["y", "grad x", *(f"grad {name}" for name in parameters)]
    return {n: v.detach().double() for n, v in zip(names, [y, *found], strict=True)}


def mixer(name, layer=0, **settings):
    torch.manual_seed(0)
    record = registry.settings("model", name)
    return registry.load("model", name).mixer(record(d_model=32, **settings), layer)


@pytest.mark.parametrize(
    "options",
    [{}, {"window_size": 5}, {"num_kv_heads": 2, "qkv_bias": True, "qk_norm": True}],
    ids=str,
)
def test_attention_is_that_of_flash_linear_attention(monkeypatch, options):
    monkeypatch.setattr(library, "flash_attn_func", flash_attention)
    theirs = library.Attention(hidden_size=32, num_heads=4, layer_idx=0, **options)
    compare(mixer("attention", rope_interleaved=False, **options), theirs, 2e-5)


@pytest.mark.parametrize("options", [{}, {"conv1d_kernel_size": 0, "group_norm_weight": False}])
def test_slstm_is_that_of_xlstm(options):
    layer = pytest.importorskip("xlstm.blocks.slstm.layer", reason="pip install --no-deps xlstm")
    theirs = layer.sLSTMLayer(
        layer.sLSTMLayerConfig(embedding_dim=32, num_heads=4, backend="vanilla", **options)
    )
    compare(mixer("slstm", **options), theirs, 5e-5)


@pytest.mark.parametrize("bias", ["powerlaw_blockdependent", "small_init"])
def test_slstm_starts_as_the_library_starts_it(bias):
    layer = pytest.importorskip("xlstm.blocks.slstm.layer", reason="pip install --no-deps xlstm")
    for block in range(3):
        ours = mixer("slstm", block, num_layers=3, bias_init=bias)
        theirs = layer.sLSTMLayer(
            layer.sLSTMLayerConfig(
                embedding_dim=32, num_heads=4, backend="vanilla", bias_init=bias,
                _block_idx=block, _num_blocks=3,
            )
        )  # fmt: skip
        expected = theirs.slstm_cell.state_dict()
        torch.testing.assert_close(ours.slstm_cell.state_dict(), expected)


@pytest.mark.parametrize("options", [{}, {"expansion_factor": 1.5}], ids=str)
@pytest.mark.parametrize(("name", "theirs"), [("mingru", "minGRU"), ("minlstm", "minLSTM")])
def test_minimal_networks_are_those_of_mingru_pytorch(name, theirs, options):
    package = pytest.importorskip(
        f"minGRU_pytorch.{theirs}", reason="pip install --no-deps minGRU-pytorch"
    )
    compare(mixer(name, **options), getattr(package, theirs)(dim=32, **options), 5e-5)
