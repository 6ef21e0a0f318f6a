"""Models of the quantum_hydra study whose circuits mix: recurrent (2b, 2c), superposed (2d, 2e)."""

import pennylane_circuits
import pytest
import torch
from model_checks import softmax_biases
from pydantic import ValidationError

from seqgrid import registry
from seqgrid.data import Shape
from seqgrid.models import _qh_recurrence, qh_2d
from seqgrid.quantum import pauli_expectations
from seqgrid.quantum.ansatz import reversed_rings, rings
from seqgrid.quantum.circuit import Gate

COUNTS = {  # parameters of the original with 1 and with 8 outputs, and those that nothing reads
    "qh_2b": (77_958, 78_861, 2 * 2 * 16 * 128),
    "qh_2c": (196_368, 197_271, 2 * 2 * 2 * 16 * 128),
    "qh_2d": (46_052, 46_507, 0),
    "qh_2e": (71_582, 72_037, 0),
}
SUPERPOSED = ["qh_2d", "qh_2e"]
RECURRENT = ["qh_2b", "qh_2c"]


def make(name, num_outputs=2, **settings):
    torch.manual_seed(0)
    shape = Shape(num_outputs=num_outputs, pooled=True, seqlen=21, num_channels=2)
    return registry.make_model(name, settings, shape)


def small(name, **settings):
    sizes = {"d_model": 16, "num_qubits": 3, "num_layers": 2, "chunk_size": 8}
    model = make(name, **(sizes | settings)).double().eval()
    with torch.no_grad():
        for p in model.parameters():  # zeros among initial values hide what lies behind them
            p.add_(0.3 * torch.randn_like(p))
    return model


def inputs(seqlen=21):
    return torch.randn(
        3, seqlen, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_those_of_the_original(name):
    *documented, unused = COUNTS[name]
    models = [make(name, num_outputs=n) for n in (1, 8)]
    assert [m.num_parameters + softmax_biases(m) + unused for m in models] == documented


@pytest.mark.parametrize(
    ("name", "n"), [("qh_2b", 4), ("qh_2c", 2), ("qh_2d", 2), ("qh_2d", 8), ("qh_2e", 3)]
)
def test_value_and_gradient_are_those_of_circuits_in_pennylane(name, n, monkeypatch):
    model = small(name, num_qubits=n, num_layers=1 if n == 8 else 2)

    def found():
        outputs = model(inputs())
        return outputs, *torch.autograd.grad(outputs.sin().sum(), list(model.parameters()))

    ours = found()
    called = []

    def run(circuit, angles, state=None, matrices=()):
        called.append(circuit)
        return pennylane_circuits.simulate(angles, circuit, state, matrices)

    monkeypatch.setattr(qh_2d, "run", run)
    monkeypatch.setattr(_qh_recurrence, "run_expectations", lambda *x: pauli_expectations(run(*x)))
    for one, two in zip(ours, found(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6 * float(two.detach().abs().max()), rtol=0)
    assert called


@pytest.mark.parametrize("n", [2, 3, 6])
def test_reversed_rings_are_rings_with_wires_counted_from_the_other_end(n):
    renamed = tuple(
        Gate(gate.name, tuple(n - 1 - wire for wire in gate.wires), gate.index)
        for gate in rings(n, 2).gates
    )
    assert renamed == reversed_rings(n, 2).gates


@pytest.mark.parametrize("name", SUPERPOSED)
def test_order_is_unknown_unless_positions_say_it(name):
    x = inputs(24)
    within = torch.cat((x[:, :8].flip(1), x[:, 8:]), 1)
    across = torch.cat((x[:, 8:16], x[:, :8], x[:, 16:]), 1)
    mixed = torch.cat((x[:, 7:9].flip(1), x[:, :7], x[:, 9:]), 1)
    blind, knowing = small(name), small(name, positions="sinusoidal")
    for other in (within, across):
        torch.testing.assert_close(blind(x), blind(other))
        assert (knowing(x) - knowing(other)).abs().max() > 1e-4
    assert (blind(x) - blind(mixed)).abs().max() > 1e-4, "which chunk a position is in counts"


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrence_knows_the_order_of_chunks_and_none_within(name):
    model, x = small(name), inputs(24)
    within = torch.cat((x[:, :8].flip(1), x[:, 8:]), 1)
    across = torch.cat((x[:, 8:16], x[:, :8], x[:, 16:]), 1)
    torch.testing.assert_close(model(x), model(within))
    assert (model(x) - model(across)).abs().max() > 1e-4


def test_2b_starts_a_layer_where_the_one_before_has_ended():
    model = small("qh_2b")
    x = torch.randn(1, 3, 16, dtype=torch.float64)
    changed = x.clone()
    changed[:, 2] += 1
    reached = (model.mixed(x) - model.mixed(changed)).abs().amax((0, 2)) > 1e-9
    assert reached.all()
    del model.layers[1]
    reached = (model.mixed(x) - model.mixed(changed)).abs().amax((0, 2)) > 1e-9
    assert reached.tolist() == [False, False, True]


def test_each_superposition_of_2e_is_one_of_2d():
    two, one = small("qh_2e"), small("qh_2d")
    summary = torch.randn(2, 4, 16, dtype=torch.float64)
    both = two._superposed(summary)
    one.encoding_proj, one.dt_proj = two.encoding_proj, two.dt_proj
    for core in range(2):
        with torch.no_grad():
            one.coefficients.copy_(two.coefficients[core : core + 1])
            for mine, theirs in zip(
                one.param_proj.parameters(), two.param_proj.parameters(), strict=True
            ):
                mine.copy_(theirs.chunk(2)[core])
        torch.testing.assert_close(one._superposed(summary)[:, :, 0], both[:, :, core])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        *((name, {"num_qubits": 1}, "greater than or equal to 2") for name in COUNTS),
        *((name, {"d_model": 3}, "equal to 4") for name in SUPERPOSED),
        *((name, {"d_model": 15}, "equal to 16") for name in RECURRENT),
        *((name, {"d_state": 16}, "Extra inputs") for name in RECURRENT),
    ],
)
def test_settings_that_cannot_be_built_are_refused(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)
