"""Circuits: against PennyLane in value and gradient, fast against step by step, memory."""

import random

import pennylane as qml
import pennylane_circuits
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import normalize

from seqgrid.quantum import pauli_expectations, run, run_expectations
from seqgrid.quantum.ansatz import embedding, reversed_rings, rings, sim14
from seqgrid.quantum.circuit import CONTROLLED, ROTATIONS, TWO_WIRES, Circuit, Gate
from seqgrid.quantum.encodings import amplitude, product
from seqgrid.quantum.program import programs
from seqgrid.quantum.readout import pauli_expectations_reference
from seqgrid.quantum.simulate import simulate_reference

NAMES = ("RX", "RY", "RZ", "CRX", "CRY", "CRZ", "H", "X", "Y", "Z", "S", "CNOT", "CZ", "U1", "U2")
BATCHES = [(), (1,), (7,), (2, 5), (3, 0)]
ANSATZES = [rings, reversed_rings, sim14]


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    torch.manual_seed(0)


def placed(names, num_qubits):
    """A circuit of gates by name, on random wires."""
    gates, angles, matrices = [], 0, 0
    for name in names:
        two = name in TWO_WIRES or name == "U2"
        wires = tuple(random.sample(range(num_qubits), 2 if two else 1))
        index = None
        if name in ROTATIONS | CONTROLLED:
            index, angles = angles, angles + 1
        elif name in ("U1", "U2"):
            name, index, matrices = "U", matrices, matrices + 1
        gates.append(Gate(name, wires, index, inverse=random.random() < 0.3))
    return Circuit(num_qubits, tuple(gates))


def drawn(circuit, batch, shared, with_state):
    """Angles, state and matrices for a circuit, float64; those shared have no batch."""

    def shape():
        return () if shared else batch

    widths = {g.index: 2 ** len(g.wires) for g in circuit.gates if g.name == "U"}
    angles = 4 * torch.randn(*shape(), circuit.num_angles, dtype=torch.float64)  # past pi too
    state = None
    if with_state:
        state = torch.randn(*batch, 2**circuit.num_qubits, dtype=torch.complex128)
        state = normalize(state, dim=-1).requires_grad_()
    matrices = [
        torch.linalg.qr(torch.randn(*shape(), widths[i], widths[i], dtype=torch.complex128))[0]
        for i in range(circuit.num_matrices)
    ]
    return angles.requires_grad_(), state, [m.requires_grad_() for m in matrices]


def compare(found, expected, inputs, tolerance):
    """Value, and gradient in every input through random weights."""
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=0, atol=tolerance)
    inputs = [x for x in inputs if x is not None]
    weights = torch.randn_like(expected)
    pairs = zip(
        *(
            torch.autograd.grad(
                (x * weights.conj()).real.sum(), inputs, retain_graph=True, materialize_grads=True
            )
            for x in (found, expected)
        ),
        strict=True,
    )
    for ours, theirs in pairs:
        scale = theirs.abs().max().item() if theirs.numel() else 1
        assert torch.allclose(ours, theirs, rtol=0, atol=tolerance * max(1, scale))


def against_pennylane(circuit, batch=(3,), shared=False, with_state=False):
    angles, state, matrices = drawn(circuit, batch, shared, with_state)
    inputs = (angles, state, *matrices)
    expected = pennylane_circuits.simulate(angles, circuit, state, matrices)
    compare(run(circuit, angles, state, matrices), expected, inputs, 1e-10)
    found = run_expectations(circuit, angles, state, matrices)
    compare(found, pauli_expectations_reference(expected), inputs, 1e-10)
    reference = simulate_reference(angles, circuit, state, matrices)
    assert (reference - expected).abs().max() < 1e-10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_every_gate_is_that_of_pennylane(name, shared):
    two = name in TWO_WIRES or name == "U2"
    for num_qubits in (2 if two else 1, 3):
        around = ["RY", "RX", "CRX"] if num_qubits > 1 else ["RY"]
        circuit = placed([*around, name, *around], num_qubits)
        against_pennylane(circuit, shared=shared, with_state=num_qubits == 3)


@pytest.mark.parametrize("ansatz", ANSATZES)
@pytest.mark.parametrize("num_qubits", [2, 3, 6])
def test_every_ansatz_is_what_pennylane_makes_of_it(ansatz, num_qubits):
    against_pennylane(embedding(num_qubits).then(ansatz(num_qubits, 2)))
    against_pennylane(ansatz(num_qubits, 1), shared=True, with_state=True)


@pytest.mark.parametrize("num_qubits", range(1, 9))
def test_random_circuits_are_those_of_pennylane(num_qubits):
    names = [name for name in NAMES if num_qubits > 1 or name not in {*TWO_WIRES, "U2"}]
    circuit = placed(random.choices(names, k=12), num_qubits)
    against_pennylane(circuit, batch=(2,), with_state=num_qubits % 2 == 0)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("with_state", [True, False])
def test_the_fast_path_computes_what_the_reference_does(batch, shared, with_state):
    for num_qubits in (2, 3, 5):
        circuit = placed(random.choices(NAMES, k=30), num_qubits)
        angles, state, matrices = drawn(circuit, batch, shared, with_state)
        expected = simulate_reference(angles, circuit, state, matrices)
        inputs = (angles, state, *matrices)
        compare(run(circuit, angles, state, matrices), expected, inputs, 1e-11)
        found = run_expectations(circuit, angles, state, matrices)
        compare(found, pauli_expectations_reference(expected), inputs, 1e-11)


def test_shapes_of_a_batch_broadcast():
    circuit = rings(3, 1)
    angles = torch.randn(2, 1, circuit.num_angles, dtype=torch.float64, requires_grad=True)
    state = torch.randn(5, 8, dtype=torch.complex128, requires_grad=True)
    expected = simulate_reference(angles, circuit, state)
    assert expected.shape == (2, 5, 8)
    compare(run(circuit, angles, state), expected, (angles, state), 1e-11)


def test_a_batch_in_tiles_and_one_shared_circuit_as_a_product(monkeypatch):
    monkeypatch.setattr("seqgrid.quantum.reversible.CACHE", 64)
    circuit = embedding(3).then(rings(3, 1))
    for shared in (True, False):
        angles, state, _ = drawn(circuit, (33,), shared, with_state=True)
        expected = simulate_reference(angles, circuit, state)
        compare(run(circuit, angles, state), expected, (angles, state), 1e-11)
        expected = pauli_expectations_reference(expected)
        compare(run_expectations(circuit, angles, state), expected, (angles, state), 1e-11)


@pytest.mark.parametrize("num_qubits", [1, 3])
def test_an_empty_circuit_changes_nothing(num_qubits):
    angles = torch.zeros(4, 0)
    state = normalize(torch.randn(4, 2**num_qubits, dtype=torch.complex64), dim=-1)
    assert torch.equal(run(Circuit(num_qubits), angles, state), state)
    zero = run(Circuit(num_qubits), angles)
    assert torch.equal(zero[:, 0], torch.ones_like(zero[:, 0]))
    assert not zero[:, 1:].any()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_a_circuit_and_its_inverse_undo_each_other(shared):
    circuit = placed(random.choices(NAMES, k=30), 4)
    angles, state, matrices = drawn(circuit, (6,), shared, with_state=True)
    there = run(circuit, angles, state, matrices)
    assert (run(circuit.inverse, angles, there, matrices) - state).abs().max() < 1e-12


@pytest.mark.parametrize("readout", [run, run_expectations])
@pytest.mark.parametrize("with_state", [True, False])
def test_derivatives_are_those_of_finite_differences(readout, with_state):
    names = ("RY", "H", "RX", "CRX", "CRX", "U1", "CRZ", "CRY", "RZ", "U2")
    for shared, batch in ((False, (2,)), (True, (16,))):  # the latter as one product
        circuit = placed(names, 2)
        angles, state, matrices = drawn(circuit, batch, shared, with_state)
        fixed = [m.detach() for m in matrices]

        def function(angles, state, circuit=circuit, fixed=fixed):
            return readout(circuit, angles, state, fixed)

        assert torch.autograd.gradcheck(function, (angles, state))


def test_angles_beyond_a_turn_and_many_layers_cost_no_precision():
    circuit = embedding(4).then(rings(4, 20))
    for scale in (1.0, 30.0):
        angles = scale * torch.randn(9, circuit.num_angles, dtype=torch.float64)
        exact, single = angles.requires_grad_(), angles.detach().float().requires_grad_()
        expected = run_expectations(circuit, single.double())
        found = run_expectations(circuit, single)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 1e-5
        ours = torch.autograd.grad(found.sum(), single)[0]
        theirs = torch.autograd.grad(run_expectations(circuit, exact).sum(), exact)[0]
        assert (ours - theirs).abs().max() < (1e-5 if scale == 1 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    circuit = embedding(3).then(rings(3, 1))
    angles = torch.randn(4, circuit.num_angles).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = run_expectations(circuit, angles)
    assert found.dtype == torch.float32
    assert torch.equal(found, run_expectations(circuit, angles.float()))
    found.sum().backward()
    assert angles.grad.dtype == dtype


def test_a_readout_is_not_rounded_by_autocast():
    state = normalize(torch.randn(3, 16, dtype=torch.complex64), dim=-1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = pauli_expectations(state)
        (grad,) = torch.autograd.grad(found.square().sum(), state)
    (wanted,) = torch.autograd.grad(pauli_expectations(state).square().sum(), state)
    assert torch.equal(found, pauli_expectations(state))
    torch.testing.assert_close(grad, wanted)


@pytest.mark.parametrize("readout", [run, run_expectations])
def test_what_is_kept_for_the_derivative_does_not_grow_with_depth(readout):
    def kept(num_layers):
        circuit = embedding(4).then(rings(4, num_layers))
        angles = torch.randn(32, circuit.num_angles, requires_grad=True)
        sizes = {}

        def keep(x):
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with saved_tensors_hooks(keep, lambda x: x):
            found = readout(circuit, angles)
        own = angles.untyped_storage()
        total = sum(sizes.values()) - sizes.get(own.data_ptr(), 0)
        assert found.requires_grad
        return total

    assert kept(64) == kept(2)
    assert kept(64) <= 32 * 16 * 8 * 2  # the final state


@pytest.mark.parametrize("readout", [run, run_expectations])
def test_a_deep_circuit_is_done_in_parts(readout):
    """More gates than are held at once: rings of two kinds, so that the frame changes between."""
    n = 3
    turned = Circuit(n, tuple(Gate("CRY", (i % n, (i + 1) % n), i) for i in range(200)))
    circuit = embedding(n).then(rings(n, 10)).then(turned).then(rings(n, 10).inverse)
    assert len(programs(circuit, True)) > 3
    angles = torch.randn(4, circuit.num_angles, dtype=torch.float64)
    state = normalize(torch.randn(4, 2**n, dtype=torch.complex128), dim=-1)
    wanted = None
    for simulator in (readout, reference_of(readout)):
        inputs = angles.clone().requires_grad_(), state.clone().requires_grad_()
        found = simulator(circuit, *inputs)
        grads = torch.autograd.grad((found * torch.arange(found.shape[-1])).abs().sum(), inputs)
        wanted = wanted or (found, *grads)
    for one, other in zip(wanted, (found, *grads), strict=True):
        torch.testing.assert_close(one, other)


def reference_of(readout):
    def simulated(circuit, angles, state):
        found = simulate_reference(angles, circuit, state)
        return found if readout is run else pauli_expectations_reference(found)

    return simulated


def test_what_cannot_be_undone_is_refused():
    circuit = Circuit(1, (Gate("U", (0,), 0),))
    with pytest.raises(ValueError, match=r"0\.5 off a unitary one: normalise it"):
        run(circuit, torch.zeros(0), matrices=[torch.diag(torch.tensor([1, 0.5**0.5]))])


@pytest.mark.parametrize("ansatz", ANSATZES)
def test_a_ring_of_one_wire_is_refused(ansatz):
    with pytest.raises(ValueError, match="num_qubits=1 has no ring of CRX: give at least 2"):
        ansatz(1, 1)


def test_expectations_are_those_of_pennylane():
    state = normalize(torch.randn(5, 8, dtype=torch.complex128), dim=-1)

    @qml.qnode(qml.device("default.qubit", wires=3), interface="torch")
    def read():
        qml.StatePrep(state, wires=range(3))
        paulis = (qml.PauliX, qml.PauliY, qml.PauliZ)
        return [qml.expval(pauli(wire)) for pauli in paulis for wire in range(3)]

    assert torch.allclose(pauli_expectations(state), torch.stack(read(), -1), atol=1e-12)
    given = state.view(5, 1, 8).requires_grad_()
    compare(pauli_expectations(given), pauli_expectations_reference(given), [given], 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_amplitudes_are_those_of_pennylane(dtype):
    features = torch.randn(5, 6, dtype=dtype)

    @qml.qnode(qml.device("default.qubit", wires=3), interface="torch")
    def encode():
        qml.AmplitudeEmbedding(features, wires=range(3), pad_with=0.0, normalize=True)
        return qml.state()

    assert torch.allclose(amplitude(features, 3), encode(), atol=1e-12)


def test_impossible_amplitudes_are_refused():
    with pytest.raises(ValueError, match="5 features are more than the 4 amplitudes of 2 qubits"):
        amplitude(torch.ones(5), 2)
    with pytest.raises(ValueError, match="a vector of zeros is no state"):
        amplitude(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 2)


def test_a_product_of_wires_is_what_rotations_of_each_make():
    angles = torch.randn(2, 5, 3, dtype=torch.float64)
    wires = torch.stack(((angles / 2).cos(), (angles / 2).sin()), -1)
    assert torch.allclose(product(wires) + 0j, run(embedding(3), angles), atol=1e-12)
