"""Models 4a, 4d and 4e of the quantum_hydra study, each end to end in circuits."""

import pennylane_circuits
import pytest
import torch
from model_checks import softmax_biases
from pydantic import ValidationError

from seqgrid import registry
from seqgrid.data import Shape
from seqgrid.models import _qh_superposition, qh_4a
from seqgrid.models._qh_superposition import mirrored
from seqgrid.quantum import pauli_expectations
from seqgrid.quantum.ansatz import embedding, reversed_rings, rings

# of the original, for 2 channels and 1 or 8 outputs
COUNTS = {"qh_4a": (36_737, 37_192), "qh_4d": (53_126, 53_581), "qh_4e": (86_396, 86_851)}
TINY = {"d_model": 12, "num_qubits": 3, "chunk_size": 8}
every_model = pytest.mark.parametrize("name", COUNTS)


def make(name, num_outputs=2, seqlen=21, **settings):
    torch.manual_seed(0)
    shape = Shape(num_outputs=num_outputs, pooled=True, seqlen=seqlen, num_channels=2)
    return registry.make_model(name, settings, shape)


def small(name, **settings):
    """In float64, with weights far enough from 0 that every part is seen in the answer."""
    model = make(name, **(TINY | settings)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def draw(seqlen=21):
    return torch.randn(3, seqlen, 2, generator=torch.Generator().manual_seed(1)).double()


@every_model
def test_parameters_are_as_many_as_those_of_the_original(name):
    models = [make(name, num_outputs=n) for n in (1, 8)]
    assert tuple(m.num_parameters + softmax_biases(m) for m in models) == COUNTS[name]


def run_by_pennylane(circuit, angles, state=None, matrices=()):
    return pennylane_circuits.simulate(angles, circuit, state, matrices)


@pytest.mark.parametrize(
    ("name", "n", "num_layers"),
    [
        ("qh_4a", 2, 2),
        ("qh_4a", 6, 2),
        ("qh_4a", 8, 1),
        ("qh_4d", 3, 2),
        ("qh_4d", 8, 1),
        ("qh_4e", 2, 2),
        ("qh_4e", 6, 1),
    ],
)
def test_value_and_gradient_are_those_of_circuits_in_pennylane(name, n, num_layers, monkeypatch):
    model = small(name, num_qubits=n, num_layers=num_layers)

    def found():
        outputs = model(draw())
        return outputs, *torch.autograd.grad(outputs.sin().sum(), list(model.parameters()))

    ours = found()
    monkeypatch.setattr(_qh_superposition, "run", run_by_pennylane)
    measured = lambda *args: pauli_expectations(run_by_pennylane(*args))  # noqa: E731
    monkeypatch.setattr(qh_4a, "run_expectations", measured)
    for one, two in zip(ours, found(), strict=True):
        # the last bias of attention has no effect and a gradient of rounding errors
        scale = max(1e-6, float(two.detach().abs().max()))
        torch.testing.assert_close(one, two, atol=1e-6 * scale, rtol=0)


@pytest.mark.parametrize(("name", "n"), [("qh_4d", 2), ("qh_4d", 4), ("qh_4e", 3)])
def test_branches_are_the_circuits_they_are_defined_as(name, n):
    model = small(name, num_qubits=n, num_layers=2)
    angles = torch.randn(5, model.angle_proj.out_features).double()
    encoded, injected, step, parameters = angles.split(model.parts, -1)
    injected, step = torch.pi * injected.tanh(), step.sigmoid()
    # of a layer's angles the first 3 n rotate and are scaled
    scale = torch.where(torch.arange(10 * n) % (5 * n) < 3 * n, step, 1.0)
    branches = {
        rings(n, 2).then(embedding(n)): (scale, step * injected),
        reversed_rings(n, 2).then(embedding(n)): (scale, step * injected),
        rings(n, 2): (torch.ones_like(scale), injected[:, :0]),
    }
    expected = []
    for head, weights in enumerate(model.weights.detach()):
        own = parameters.unflatten(-1, (model.heads, 4, -1))[:, head]
        psi = torch.zeros(5, 2**n, dtype=torch.complex128)
        for i, (branch, (factor, last)) in enumerate(branches.items()):
            circuit = embedding(n).then(rings(n, 2)).then(branch)
            given = (torch.pi * encoded.tanh(), own[:, 0], factor * own[:, i + 1], last)
            state = run_by_pennylane(circuit, torch.cat(given, -1))
            psi = psi + torch.complex(*weights[i]) * state
        expected.append(pauli_expectations(psi / psi.norm(dim=-1, keepdim=True)))
    torch.testing.assert_close(model.measured(angles), torch.cat(expected, -1), atol=1e-7, rtol=0)


def test_a_mirrored_state_has_its_qubits_in_reverse_order():
    states = torch.eye(8)
    assert mirrored(states).argmax(-1).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


@pytest.mark.parametrize("name", ["qh_4d", "qh_4e"])
def test_size_and_phase_that_weights_share_have_no_effect(name):
    model, x = small(name), draw()
    before = model(x)
    with torch.no_grad():
        turned = torch.view_as_complex(model.weights) * (0.3 - 0.8j)
        model.weights.copy_(torch.view_as_real(turned))
    torch.testing.assert_close(model(x), before)


@every_model
def test_of_the_order_only_neighbours_are_known_unless_positions_say_it(name):
    x = draw(24)
    x[:, [0, 7, 8, 15, 16, 23]] = 0  # at the edges of chunks nothing tells them apart
    chunks_moved = torch.cat((x[:, 8:16], x[:, :8], x[:, 16:]), 1)
    turned = torch.cat((x[:, :8].flip(1), x[:, 8:]), 1)
    model = small(name)
    torch.testing.assert_close(model(chunks_moved), model(x))
    assert not torch.allclose(model(turned), model(x), atol=1e-6)
    model = small(name, positions="sinusoidal")
    assert not torch.allclose(model(chunks_moved), model(x), atol=1e-6)


@every_model
def test_within_a_chunk_places_with_equal_neighbours_are_one(name):
    ones = torch.zeros(1, 8, 2).double()
    ones[0, 2] = 1
    elsewhere = ones.roll(2, 1)  # at 4, not at an edge either
    model = small(name)
    torch.testing.assert_close(model(elsewhere), model(ones))


@every_model
@pytest.mark.parametrize("length", [17, 20])
def test_a_shorter_example_is_answered_as_if_alone_where_no_chunk_is_empty(name, length):
    model, x = small(name), draw()
    alone = model(x[:, :length])
    torch.testing.assert_close(model(x, torch.full((3,), length)), alone)


@every_model
def test_tokens_are_read_as_their_embeddings(name):
    shape = Shape(num_outputs=2, pooled=True, seqlen=20, vocab_size=7, slots=3)
    model = registry.make_model(name, TINY, shape)
    assert model(torch.randint(7, (4, 20))).shape == (4, 3, 2)


@every_model
def test_circuits_are_counted(name):
    model = make(name)
    uses = model.circuits(33)  # 3 chunks
    assert sum(use.runs for use in uses) == {"qh_4a": 3, "qh_4d": 9, "qh_4e": 18}[name]
    assert uses[0].circuit.num_angles == (126 if name == "qh_4a" else 132)


@every_model
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_qubits": 1}, "greater than or equal to 2"),
        ({"d_model": 3}, "greater than or equal to 4"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)
