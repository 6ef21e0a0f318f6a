"""Models 1b and 1c of the quantum_hydra study: chunks through circuits, then state spaces."""

import math

import pytest
import torch
from model_checks import softmax_biases
from pennylane_circuits import simulate
from pydantic import ValidationError
from torch.nn.functional import silu, softplus
from torch.utils.flop_counter import FlopCounterMode

from seqgrid import quantum, registry
from seqgrid.data import Shape
from seqgrid.models import _qh_chunks, qh_1c
from seqgrid.models._layers import ShortConvolution
from seqgrid.models._pooled import SinusoidalPositions, chunks
from seqgrid.models._qh_ssm import HydraBlock, MambaBlock, SelectiveSSM

NAMES = ["qh_1b", "qh_1c"]
SMALL = {"d_model": 16, "num_qubits": 3, "d_state": 3, "chunk_size": 4, "dropout": 0.0}
each_model = pytest.mark.parametrize("name", NAMES)


def build(name, settings=None, channels=2, targets=5):
    torch.manual_seed(0)
    shape = Shape(num_outputs=targets, pooled=True, seqlen=8, num_channels=channels)
    return registry.make_model(name, SMALL | (settings or {}), shape).double()


def draw(seqlen, batch=2, width=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, seqlen, width, generator=g, dtype=torch.float64)


# documented parameters, those that nothing depends on, and complex ones, which we count twice
@pytest.mark.parametrize(
    ("name", "documented", "dead", "complex_ones"),
    [("qh_1b", 422_633, 2 * 2 * 128 + 3, 0), ("qh_1c", 910_868, 2 * 2 * (128 + 256) + 9, 3)],
)
def test_parameters_are_as_many_as_documented(name, documented, dead, complex_ones):
    shape = Shape(num_outputs=8, pooled=True, seqlen=200, num_channels=2)
    model = registry.make_model(name, {}, shape)
    assert model.num_parameters + softmax_biases(model) + dead - complex_ones == documented


@each_model
@pytest.mark.parametrize(
    ("num_qubits", "num_layers", "seqlen"), [(2, 2, 6), (3, 2, 8), (5, 1, 6), (8, 1, 3)]
)
def test_with_the_circuits_of_pennylane_the_model_is_the_same(
    monkeypatch, name, num_qubits, num_layers, seqlen
):
    model = build(name, {"num_qubits": num_qubits, "num_layers": num_layers})
    inputs, weights = draw(seqlen), draw(1, width=5, seed=2)[:, 0]

    def found():
        outputs = model(inputs)
        return outputs, *torch.autograd.grad((outputs * weights).sum(), [*model.parameters()])

    ours = found()
    for module in (_qh_chunks, qh_1c):
        monkeypatch.setattr(
            module,
            "run_expectations",
            lambda circuit, angles: quantum.pauli_expectations(simulate(angles, circuit)),
        )
    torch.testing.assert_close(ours, found(), atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("start", [None, 0.3])
def test_the_state_space_is_its_recurrence(start):
    torch.manual_seed(0)
    ssm, u = SelectiveSSM(16, 3).double(), draw(7, width=16)
    state = None if start is None else torch.full((2, 16, 3), start, dtype=torch.float64)
    found, last = ssm.from_state(u, state)
    h, outputs = torch.zeros(2, 16, 3, dtype=torch.float64) if state is None else state, []
    for x in u.unbind(1):
        step, B, C = ssm.x_proj(x).split([1, 3, 3], -1)
        step = softplus(ssm.dt_proj(step))[..., None]
        h = (-step * ssm.A_log.exp()).exp() * h + step * B[:, None] * x[..., None]
        outputs.append(ssm.out_proj((h * C[:, None]).sum(-1) + ssm.D * x))
    torch.testing.assert_close(found, torch.stack(outputs, 1))
    torch.testing.assert_close(last, h)
    if state is None:
        torch.testing.assert_close(ssm(u), found)


def test_step_sizes_start_where_the_original_has_them():
    ssm = SelectiveSSM(4096, 2)
    steps = softplus(ssm.dt_proj.bias)
    assert steps.min() >= 0.999e-3
    assert steps.max() <= 0.1001
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.1)
    assert ssm.dt_proj.weight.abs().max() <= 256**-0.5


def test_a_mamba_block_starts_where_the_one_before_it_ended():
    model = build("qh_1b")
    states = []
    for block in model.blocks:
        block.register_forward_hook(lambda _, args, out: states.append((args[1], out[1])))
    model(draw(11))
    assert states[0][0] is None
    assert states[1][0] is states[0][1]


def test_a_two_way_state_space_is_a_weighted_sum():
    torch.manual_seed(0)
    block, x = HydraBlock(8, 3).double(), draw(6, width=8)
    with torch.no_grad():
        block.ssm.weights.copy_(torch.tensor([1.0, -2.0, 0.5]))
    u, gate = block.in_proj(x).chunk(2, -1)
    ssm = block.ssm
    backward = ssm.backward_ssm(u.flip(1)).flip(1)
    y = (ssm.forward_ssm(u) - 2 * backward + 0.5 * ssm.diagonal(u)) / 3.5
    expected = block.out_proj(ssm.out_proj(y) * silu(gate))
    torch.testing.assert_close(block(x), expected, atol=1e-7, rtol=1e-6)


@each_model
def test_only_positions_tell_the_order_within_a_chunk(name):
    inputs = draw(8)
    within, across = inputs[:, [1, 0, 3, 2, 7, 4, 5, 6]], inputs[:, [4, 1, 2, 3, 0, 5, 6, 7]]
    blind, aware = build(name), build(name, {"positions": "sinusoidal"})
    torch.testing.assert_close(blind(within), blind(inputs))
    assert (aware(within) - aware(inputs)).abs().max() > 1e-4
    assert (blind(across) - blind(inputs)).abs().max() > 1e-4
    assert blind.num_parameters == aware.num_parameters


def test_reversed_chunks_are_cut_elsewhere_where_they_do_not_divide_the_length():
    model = build("qh_1c")
    inputs = draw(6)  # chunks 0-3 and 4-5; from behind 5-2 and 1-0
    within = inputs[:, [2, 1, 0, 3, 4, 5]]
    assert (model(within) - model(inputs)).abs().max() > 1e-6
    torch.testing.assert_close(model(inputs[:, [1, 0, 3, 2, 5, 4]]), model(inputs))


@each_model
@pytest.mark.parametrize("positions", ["none", "sinusoidal"])
def test_padding_is_the_zeros_of_the_last_chunk(name, positions):
    model = build(name, {"positions": positions})
    inputs = draw(8)
    padded = inputs.clone()
    padded[:, 6:] = 9.0
    lengths = torch.tensor([6, 6])
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))
    if name == "qh_1b":  # 1c fills the reversed sequence at its other end
        torch.testing.assert_close(model(inputs[:, :6]), model(inputs, lengths))


@pytest.mark.parametrize("width", [1, 5, 8])
def test_positions_are_sines_and_cosines_of_any_length(width):
    found = SinusoidalPositions()(torch.zeros(1, 1200, width, dtype=torch.float64))[0]
    for t in (0, 1, 1199):
        for i in range(width):
            angle = t / 10_000 ** (i // 2 * 2 / width)
            expected = math.cos(angle) if i % 2 else math.sin(angle)
            assert found[t, i].item() == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(
        SinusoidalPositions()(torch.zeros(1, 1200, width))[0].double(), found, atol=1e-6, rtol=0
    )


@each_model
def test_circuits_run_in_one_call_and_are_stated(monkeypatch, name):
    model, runs = build(name), []

    def counted(circuit, angles):
        runs.append((circuit, angles.shape))
        return angles[..., : 3 * circuit.num_qubits]

    monkeypatch.setattr(_qh_chunks, "run_expectations", counted)
    monkeypatch.setattr(qh_1c, "run_expectations", counted)
    model(draw(11))
    ((circuit, shape),) = runs
    (use,) = model.circuits(11)
    assert use.circuit == circuit
    assert shape[-1] == circuit.num_angles == 3 + 2 * 5 * 3
    assert shape[:-1].numel() == 2 * use.runs


@each_model
def test_flops_are_those_torch_counts_but_for_convolutions_and_writes(monkeypatch, name):
    model, inputs = build(name), draw(11)
    for module in (_qh_chunks, qh_1c):
        monkeypatch.setattr(module, "run_expectations", lambda circuit, angles: angles[..., :9])
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(inputs)
    apart = 0
    for module in model.modules():
        if isinstance(module, ShortConvolution):
            apart += 2 * module.weight.numel()
        elif isinstance(module, SelectiveSSM):
            apart += 2 * module.D.numel() * module.A_log.numel()
    expected = counter.get_total_flops() + len(inputs) * chunks(inputs, 4).shape[1] * apart
    assert model.flops_per_token(11) * inputs.shape[:2].numel() == pytest.approx(expected)


@pytest.mark.parametrize("settings", [{"num_qubits": 1}, {"num_qubits": 11}, {"d_model": 7}])
@each_model
def test_what_cannot_be_is_refused(name, settings):
    with pytest.raises(ValidationError, match="should be"):
        registry.settings("model", name)(**settings)


def test_a_mamba_block_of_one_position_reads_it():
    block, x = MambaBlock(8, 3).double(), draw(1, width=8)
    y, state = block(x, None)
    assert y.shape == x.shape
    assert state.shape == (2, 16, 3)
