"""The Triton kernel of circuits, interpreted, against the definition gate by gate."""

import os
import subprocess
import sys

import interpreter  # noqa: F401
import numpy as np
import pytest
import torch
from triton.runtime.interpreter import ReduceOps

from seqgrid.quantum.ansatz import embedding, reversed_rings, rings, sim14
from seqgrid.quantum.circuit import Circuit, Gate
from seqgrid.quantum.simulate import expectations, simulate

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
by_python = ReduceOps.generic_reduce


def by_numpy(self, given):
    """The one reduction of the kernel that the interpreter has no fast form of."""
    if self.combine_fn.fn.__name__ != "_xor_combine":
        return by_python(self, given)
    data = given[0].handle.data
    data = np.bitwise_xor.reduce(data, self.axis, keepdims=self.keep_dims)
    return [self.to_tensor(data, given[0].dtype)]


@pytest.fixture(autouse=True)
def _fast_reductions(monkeypatch):
    monkeypatch.setattr(ReduceOps, "generic_reduce", by_numpy)


def every_gate(n):
    """Each kind of gate and its inverse, an angle used twice, and one that is not."""
    gates = [Gate(name, (0,), i) for i, name in enumerate(("RX", "RY", "RZ"))]
    gates += [Gate(name, (n - 1,)) for name in ("H", "X", "Y", "Z", "S")]
    gates += [Gate("RX", (n // 2,), 4)]
    if n > 1:
        pairs = [(0, n - 1), (n - 1, 0), (n // 2, n // 2 - 1)]
        gates += [Gate(name, pairs[0], 4) for name in ("CRX", "CRY", "CRZ")]
        gates += [Gate(name, pair) for name in ("CNOT", "CZ") for pair in pairs]
        gates += [Gate(name, pairs[1], 5) for name in ("CRX", "CRY", "CRZ")]
    circuit = Circuit(n, tuple(gates))
    halves = Circuit(n, tuple(gates[: len(gates) // 2]))
    return circuit.then(halves.inverse)


def draw(circuit, batch, shared, start, seed=0):
    """Angles, and a state: none, one, or one an element."""
    g = torch.Generator().manual_seed(seed)
    batch = (batch,) if isinstance(batch, int) else batch
    angles = 3 * torch.randn(*(() if shared else batch), circuit.num_angles, generator=g)
    if start is None:
        return angles, None
    shape = (*(batch if start == "each" else ()), 2**circuit.num_qubits)
    state = torch.randn(*shape, dtype=torch.complex64, generator=g)
    return angles, state / torch.linalg.vector_norm(state, dim=-1, keepdim=True)


STATES = simulate.fused, simulate.reference
READ = expectations.fused, expectations.reference


def agree(circuit, angles, state, matrices=(), tolerance=3e-6, functions=STATES):
    """States and all gradients, in float32 by the kernel and in float64 by the definition."""
    results = []
    for function, real in zip(functions, (torch.float32, torch.float64), strict=True):
        wide = torch.complex64 if real == torch.float32 else torch.complex128
        given = [angles.to(real).requires_grad_()]
        given += [x.to(wide).requires_grad_() for x in (state, *matrices) if x is not None]
        start = None if state is None else given[1]
        psi = function(given[0], circuit, start, given[1 + (state is not None) :])
        g = torch.Generator().manual_seed(7)
        weight = torch.randn(psi.shape, dtype=torch.complex128, generator=g).to(psi.dtype)
        loss = (psi * weight).real.sum()
        grads = torch.autograd.grad(loss, given, allow_unused=True, materialize_grads=True)
        results.append([psi, *grads])
    for found, expected in zip(*results, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(
            found, expected, rtol=tolerance, atol=tolerance, check_dtype=False
        )


@pytest.mark.parametrize("start", [None, "one", "each"])
@pytest.mark.parametrize("shared", [False, True], ids=["an angle each", "angles shared"])
@pytest.mark.parametrize("n", range(1, 7))
def test_the_kernel_computes_what_the_gates_do(n, shared, start):
    circuit = every_gate(n)
    agree(circuit, *draw(circuit, 5, shared, start))


@pytest.mark.parametrize("start", [None, "one", "each"])
@pytest.mark.parametrize("shared", [False, True], ids=["an angle each", "angles shared"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_kernel_reads_what_the_definition_reads(n, shared, start):
    circuit = every_gate(n)
    agree(circuit, *draw(circuit, 5, shared, start), functions=READ)


@pytest.mark.parametrize("layers", [embedding, rings, reversed_rings, sim14])
def test_circuits_of_models(layers):
    circuit = embedding(3) if layers is embedding else embedding(3).then(layers(3, 2))
    agree(circuit, *draw(circuit, (3, 11), False, None))


@pytest.mark.parametrize("shared", [False, True], ids=["an angle each", "angles shared"])
def test_ten_qubits_lie_on_several_warps(shared):
    circuit = embedding(10).then(Circuit(10, rings(10, 1).gates[20:]))
    agree(circuit, *draw(circuit, 3, shared, "each"))
    agree(circuit, *draw(circuit, 2, shared, None), functions=READ)


def test_the_state_is_shared_by_no_batch_at_all():
    circuit = every_gate(2)
    agree(circuit, *draw(circuit, 1, True, None))
    agree(circuit, *draw(circuit, 1, True, "one"))


def test_a_given_matrix_is_done_between_two_runs_of_the_kernel():
    g = torch.Generator().manual_seed(1)

    def unitary(*shape):
        return torch.linalg.qr(torch.randn(*shape, dtype=torch.complex64, generator=g))[0]

    turns = embedding(3)
    cut = Circuit(3, (Gate("U", (1,), 0), Gate("H", (0,)), Gate("U", (2, 0), 1, inverse=True)))
    for circuit in (turns.then(cut).then(turns), cut.then(turns), Circuit(3, cut.gates[:1])):
        given = [unitary(2, 2), unitary(5, 4, 4)][: circuit.num_matrices]
        for shared in (False, True):
            agree(circuit, *draw(circuit, 5, shared, None), given)
    agree(circuit, *draw(circuit, 5, False, None), given, functions=READ)
    agree(turns.then(cut), *draw(turns, 5, True, "each"), [unitary(5, 2, 2), unitary(4, 4)])


def test_no_gate_and_no_gradient_of_the_state():
    angles, state = draw(Circuit(2), 3, False, "each")
    assert torch.equal(simulate.fused(angles, Circuit(2), state), state)
    circuit = every_gate(2)
    angles, state = draw(circuit, 3, False, "each")
    agree(circuit, angles.bfloat16().float(), None)
    agree(Circuit(2, (Gate("H", (0,)),)), torch.randn(3, 1), state)


def test_float64_and_wide_circuits_run_on_the_other_path():
    circuit = every_gate(2)
    angles, _ = draw(circuit, 3, False, None)
    found = simulate.fused(angles.double(), circuit)
    assert torch.equal(found, simulate.chunked(angles.double(), circuit))
    wide = embedding(11)
    angles, _ = draw(wide, 1, False, None)
    for operator in (simulate, expectations):
        assert torch.equal(operator.fused(angles, wide), operator.chunked(angles, wide))


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from seqgrid.quantum.triton_circuit import TILE, WARP
from seqgrid.quantum.triton_kernels import INTEGERS, backward, forward

types = dict.fromkeys(INTEGERS, "i32") | {"places": "*i32"}
for kernel, flag in ((forward, "GIVEN"), (backward, "WANTED")):
    for n in (1, 6, 9, 10):
        known = {"QUBITS": n, "N": 2**n, "TILE": max(1, TILE // 2**n)}
        known |= {flag: n % 2 == 0, "READ": n != 9}
        names = kernel.arg_names
        signature = {x: "constexpr" if x in known else types.get(x, "*fp32") for x in names}
        constants = {(names.index(x),): value for x, value in known.items()}
        source = ASTSource(kernel, signature, constexprs=constants)
        warps = {"num_warps": max(1, 2**n // WARP)}
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=warps)
        assert made.asm["cubin"] and ".local" not in made.asm["ptx"]
"""


def test_the_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path):
    settings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    settings |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", COMPILED], env=settings, check=True)


def test_half_precision_is_computed_in_float32():
    circuit = every_gate(2)
    angles = draw(circuit, 3, False, None)[0].bfloat16()
    found, expected = simulate.fused(angles, circuit), simulate.reference(angles.float(), circuit)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_the_shortcut_of_these_tests_changes_nothing(monkeypatch):
    circuit = every_gate(2)
    angles, _ = draw(circuit, 1, False, None)
    quick = simulate.fused(angles, circuit)
    monkeypatch.setattr(ReduceOps, "generic_reduce", by_python)
    assert torch.equal(simulate.fused(angles, circuit), quick)
