"""Sums of unitaries, polynomials of them, and the models made of these, against PennyLane."""

import math

import pytest
import torch

qml = pytest.importorskip("pennylane")

from pennylane_circuits import simulate as pennylane_state  # noqa: E402

from seqgrid.data import Shape  # noqa: E402
from seqgrid.models import _qsvt, qh_2g, qh_2h, qh_2i  # noqa: E402
from seqgrid.quantum import run  # noqa: E402
from seqgrid.quantum.ansatz import embedding, sim14  # noqa: E402
from seqgrid.quantum.circuit import TWO_WIRES  # noqa: E402
from seqgrid.quantum.lcu import (  # noqa: E402
    block_encoding,
    num_ancillas,
    prepare,
    superpose,
    unitary,
)
from seqgrid.quantum.qsvt import qsvt_expectations, qsvt_state  # noqa: E402

MODELS = {"2g": qh_2g, "2h": qh_2h, "2i": qh_2i}


def pennylane_qsvt(circuit, angles, weights, phases, then, then_angles, what="expectations"):
    """The whole circuit as PennyLane has it; arguments of `qsvt_expectations`."""
    n, a, batch = circuit.num_qubits, weights.shape[1], angles.shape[:-2]
    angles = angles.reshape(-1, *angles.shape[-2:])
    ancillas, qubits = list(range(a)), list(range(a, a + n))

    def gates(circuit, angles):
        for gate in circuit.gates:
            wires = [a + wire for wire in gate.wires]
            where = wires if gate.name in TWO_WIRES else wires[0]
            placed = getattr(qml, gate.name)(angles[..., gate.index], wires=where)
            yield qml.adjoint(placed) if gate.inverse else placed

    def preparation():
        for layer in weights:
            for wire, (y, z) in enumerate(layer):
                qml.RY(y, wires=wire)
                qml.RZ(z, wires=wire)
            for wire in ancillas[:-1]:
                qml.CNOT(wires=[wire, wire + 1])

    def selection():
        made = [
            qml.prod(*reversed(list(gates(circuit, angles[:, t])))) for t in range(angles.shape[1])
        ]
        made += [qml.Identity(wires=qubits[0])] * (2**a - len(made))
        return made, ancillas

    @qml.qnode(qml.device("default.qubit"), interface="torch", diff_method="backprop")
    def whole():
        qml.PCPhase(phases[0], dim=2**n, wires=ancillas + qubits)
        for step, phase in enumerate(phases[1:]):
            preparation()
            made, control = selection()
            if step % 2:
                qml.adjoint(qml.Select)(made, control=control)
            else:
                qml.Select(made, control=control)
            qml.adjoint(preparation)()
            qml.PCPhase(phase, dim=2**n, wires=ancillas + qubits)
        if what == "state":
            return qml.state()
        list(gates(then, then_angles))
        kinds = (qml.PauliX, qml.PauliY, qml.PauliZ)
        return [qml.expval(kind(wire)) for kind in kinds for wire in qubits]

    with qml.queuing.QueuingManager.stop_recording():
        found = whole()
    if what == "state":
        return found.reshape(*batch, 2**a, 2**n)
    return torch.stack(found, -1).reshape(*batch, 3 * n)


def problem(n, T, degree, batch=(2, 2), seed=0):
    """Arguments of `qsvt_expectations` that require gradients."""
    generator = torch.Generator().manual_seed(seed)
    circuit, then, a = sim14(n, 1), sim14(n, 1), num_ancillas(T)
    shapes = [(*batch, T, circuit.num_angles), (a, a, 2), (degree + 1,), (then.num_angles,)]
    drawn = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    angles, weights, phases, last = (x.requires_grad_() for x in drawn)
    return circuit, angles, weights, phases, then, last


def close(ours, theirs, wanted):
    """Values and gradients of a random sum agree to 1e-6 of their scale."""
    assert torch.allclose(ours, theirs, atol=1e-6, rtol=0)
    mix = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = [
        torch.autograd.grad((x * mix).real.sum(), wanted, retain_graph=True, allow_unused=True)
        for x in (ours, theirs)
    ]
    for mine, other in zip(*grads, strict=True):
        if other is None or mine is None:
            assert not any(g is not None and g.abs().max() > 1e-9 for g in (mine, other))
        else:
            assert (mine - other).abs().max() <= 1e-6 * max(1.0, other.abs().max())


@pytest.mark.parametrize(("n", "T", "degree"), [(2, 1, 1), (2, 2, 2), (3, 3, 2), (2, 5, 3)])
def test_the_circuit_is_that_of_pennylane(n, T, degree):
    given = problem(n, T, degree)
    wanted = [x for x in given if isinstance(x, torch.Tensor)]
    close(qsvt_expectations(*given), pennylane_qsvt(*given), wanted)
    close(qsvt_state(*given[:4]), pennylane_qsvt(*given, what="state"), wanted)


def test_the_first_and_last_phase_are_not_read():
    circuit, angles, weights, phases, then, last = problem(3, 4, 2)
    other = phases + torch.tensor([0.7, 0.0, -1.1])
    one, two = (qsvt_expectations(circuit, angles, weights, p, then, last) for p in (phases, other))
    assert torch.allclose(one, two, atol=1e-12)


def test_one_step_mixes_nothing():
    circuit, angles, weights, phases, then, last = problem(3, 4, 1)
    shares = run(prepare(2, 2), weights.flatten()).abs() ** 2
    alone = [
        qsvt_expectations(
            circuit, angles[..., t : t + 1, :], weights[:1, :1] * 0, phases, then, last
        )
        for t in range(4)
    ]
    mean = (shares[:, None] * torch.stack(alone, -2)).sum(-2)
    assert torch.allclose(qsvt_expectations(*problem(3, 4, 1)), mean, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_phases_of_a_quarter_turn_give_the_chebyshev_polynomial(degree):
    # sum of turns about Y by angles of t: in the eigenbasis of Y a sum of phases
    weights = torch.tensor([[[0.8, 0.0], [0.5, 0.3]], [[1.1, 0.2], [0.4, 0.0]]]).double()
    turns = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    shares = run(prepare(2, 2), weights.flatten()).abs() ** 2
    phases = torch.full((degree + 1,), math.pi / 2, dtype=torch.float64)
    phases[0] = phases[-1] = 0
    state = qsvt_state(embedding(1), turns[:, None], weights, phases)[0]
    every = torch.cat((turns, turns.new_zeros(1)))  # the ancillas are filled up with no turn
    eigenvalue = (shares * torch.exp(-0.5j * every)).sum()
    phase = eigenvalue / abs(eigenvalue) if degree % 2 else 1  # an odd polynomial keeps it
    value = 1j ** (degree - 1) * math.cos(degree * math.acos(abs(eigenvalue))) * phase
    # |0> is half of +1 and of -1, whose eigenvalues are conjugates
    plus = torch.tensor([1, 1j], dtype=torch.complex128) / 2**0.5
    assert abs(plus.conj() @ state - value / 2**0.5) < 1e-12


def test_a_block_encoding_holds_the_weighted_sum():
    circuit, angles, weights, *_ = problem(2, 3, 1)
    matrix = unitary(prepare(2, 2), weights.flatten())
    assert torch.allclose(matrix @ matrix.mH, torch.eye(4, dtype=matrix.dtype), atol=1e-12)
    state = torch.zeros(4, 4, dtype=matrix.dtype)
    state[0, 0] = 1
    held = block_encoding(matrix, circuit, angles, state)[..., 0, :]
    shares = matrix[:, 0].abs() ** 2
    states = torch.cat((run(circuit, angles), state[:1].expand(2, 2, 1, 4)), -2)
    assert torch.allclose(held, (shares[:, None] * states).sum(-2), atol=1e-12)
    normalised = superpose(shares, states)
    assert torch.allclose(normalised, held / held.norm(dim=-1, keepdim=True), atol=1e-12)


def test_prepare_is_that_of_pennylane():
    weights = torch.randn(2 * 3 * 3, dtype=torch.float64)
    circuit = prepare(3, 3)
    assert torch.allclose(run(circuit, weights), pennylane_state(weights, circuit), atol=1e-12)


def test_ancillas_have_to_fit():
    assert [num_ancillas(n) for n in (1, 2, 3, 4, 5, 32, 33)] == [1, 1, 2, 2, 3, 5, 6]
    circuit, angles, weights, phases, _, _ = problem(2, 3, 1)
    with pytest.raises(ValueError, match="3 unitaries need 2 ancillas, not 1"):
        qsvt_state(circuit, angles, weights[:1, :1], phases)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("2g", {"num_qubits": 2, "chunk_size": 3, "degree": 3, "num_layers": 1}),
        ("2h", {"num_qubits": 3, "chunk_size": 4, "num_layers": 1}),
        ("2i", {"num_qubits": 2, "chunk_size": 3}),
    ],
)
def test_models_are_those_of_pennylane(name, settings, monkeypatch):
    model, inputs = made(name, 7, d_model=8, **settings)
    lengths = torch.tensor([7, 5])
    ours = model(inputs, lengths)
    monkeypatch.setattr(_qsvt, "qsvt_expectations", pennylane_qsvt)
    close(ours, model(inputs, lengths), list(model.parameters()))


def made(name, L, **settings):
    """A model in float64 and inputs of two channels."""
    torch.manual_seed(0)
    module = MODELS[name]
    shape = Shape(num_outputs=2, pooled=True, seqlen=L, num_channels=2)
    model = module.build(module.Settings(**settings), shape).double().eval()
    return model, torch.randn(2, L, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "numbers", "without_effect"), [("2g", 259, 2), ("2h", 22144, 3), ("2i", 24525, 5)]
)
def test_models_are_as_large_as_the_originals(name, numbers, without_effect):
    """The original also trains two phases a core, and a bias in a softmax."""
    model, _ = made(name, 8)
    assert model.num_parameters + without_effect == numbers
