"""Circuits, forward and backward, against PennyLane's simulator and plain autograd.

Needs PennyLane, of envs/requirements-dev.txt.
"""

import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import measure
import pennylane as qml
import torch
from table import Table, ratio

from seqgrid import worker
from seqgrid.quantum import pauli_expectations, run_expectations
from seqgrid.quantum import run as simulate
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.quantum.simulate import simulate_reference

SIZES = [(6, 128), (6, 1024), (6, 6400), (4, 6400), (8, 1024), (10, 256)]  # qubits, circuits
LAYERS = 2
TURNS = 3
DEPTHS = (2, 8, 32)
MEMORY = (6, 1024)


def run(quick: bool) -> Iterator[Table]:
    """Two tables; `quick` only has the smallest."""
    torch.set_num_threads(1)
    worker._keep_memory()  # as in training; all sides gain by it
    yield times(SIZES[:1] if quick else SIZES)
    yield memory(DEPTHS[:1] if quick else DEPTHS)


def times(sizes: list[tuple[int, int]]) -> Table:
    """Processor time of each way, in turns."""
    table = Table(
        f"Circuits, forward and backward, CPU milliseconds on one thread, {LAYERS} layers of rings",
        ["angles", "qubits", "circuits", "ours", "PennyLane", "faster",
         "gate by gate", "faster than it"],
    )  # fmt: skip
    for shared in (False, True):
        for qubits, circuits in sizes:
            inputs = angles(qubits, circuits, shared)
            ways = {
                way: stepped(way, qubits, inputs) for way in (ours, default_qubit, gate_by_gate)
            }
            found = {way: [] for way in ways}
            for turn in range(4 * TURNS):
                for way, step in ways.items():
                    if turn < TURNS or way is ours:  # the rivals take most of the time
                        start = time.process_time()
                        step()
                        found[way].append(time.process_time() - start)
            best, *others = (1e3 * min(seconds) for seconds in found.values())
            cells = (cell for x in others for cell in (f"{x:.0f}", ratio(x, best)))
            table.add("shared" if shared else "own", qubits, circuits, f"{best:.1f}", *cells)
    table.notes = [
        "An RY on every wire with an angle of each circuit, then layers whose angles are each",
        "circuit's own, or shared by all; X, Y and Z of every wire. Quickest of several, float32.",
        f"Rival: default.qubit of PennyLane {version('pennylane')}, backprop, broadcasting, given",
        "the same float32 angles; and our reference, which is autograd through each gate.",
    ]
    return table


def memory(depths: tuple[int, ...]) -> Table:
    """Growth of the largest resident memory by one forward and backward pass, a process each."""
    qubits, circuits = MEMORY
    table = Table(
        f"Memory of {circuits} circuits of {qubits} qubits, MiB above that before the pass",
        ["layers", "angles alone", "ours", "PennyLane", "gate by gate"],
    )
    for depth in depths:
        count = circuits * (embedding(qubits).num_angles + rings(qubits, depth).num_angles)
        cells = [
            f"{float(measure.python(__file__, way.__name__, str(depth)).output.split()[-1]):.1f}"
            for way in WAYS
        ]
        table.add(depth, f"{count * 4 / 2**20:.1f}", *cells)
    table.notes = ["Angles are each circuit's own; their gradient is as large as they are."]
    return table


def angles(qubits: int, circuits: int, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the embedding and of the layers, radians in (-pi, pi)."""
    generator = torch.Generator().manual_seed(0)
    own = (circuits, qubits), (() if shared else (circuits,)) + (5 * qubits * LAYERS,)
    first, second = (torch.pi * torch.randn(s, generator=generator).tanh() for s in own)
    return first.requires_grad_(), second.requires_grad_()


def stepped(way: Callable, qubits: int, inputs: tuple) -> Callable[[], object]:
    """A forward and backward pass."""
    layers = inputs[1].shape[-1] // (5 * qubits)
    return lambda: torch.autograd.grad(way(qubits, layers, *inputs).sum(), inputs)


def ours(qubits: int, layers: int, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """As models call it."""
    embed, ansatz = embedding(qubits), rings(qubits, layers)
    if second.dim() == 1:
        return run_expectations(ansatz, second, simulate(embed, first))
    return run_expectations(embed.then(ansatz), torch.cat((first, second), -1))


def gate_by_gate(qubits: int, layers: int, first, second) -> torch.Tensor:
    """Our reference."""
    state = simulate_reference(first, embedding(qubits))
    return pauli_expectations(simulate_reference(second, rings(qubits, layers), state))


def default_qubit(qubits: int, layers: int, first, second) -> torch.Tensor:
    """The circuit as PennyLane's users write it."""
    device = qml.device("default.qubit", wires=qubits)

    @qml.qnode(device, interface="torch", diff_method="backprop")
    def circuit():
        qml.AngleEmbedding(first, wires=range(qubits), rotation="Y")
        for gate in rings(qubits, layers).gates:
            getattr(qml, gate.name)(second[..., gate.index], wires=list(gate.wires))
        paulis = (qml.PauliX, qml.PauliY, qml.PauliZ)
        return [qml.expval(pauli(wire)) for pauli in paulis for wire in range(qubits)]

    return torch.stack(circuit(), -1)


def _memory_of(way: Callable, layers: int) -> float:
    """MiB by which one pass raises the peak, after one with few circuits."""
    torch.set_num_threads(1)
    qubits, circuits = MEMORY
    for batch in (2, circuits):
        first = torch.rand(batch, qubits, requires_grad=True)
        second = torch.rand(batch, 5 * qubits * layers, requires_grad=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _peak()
        stepped(way, qubits, (first, second))()
    return (_peak() - before) / 1024


def _peak() -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


WAYS = ours, default_qubit, gate_by_gate

if __name__ == "__main__":
    print(_memory_of(globals()[sys.argv[1]], int(sys.argv[2])))
