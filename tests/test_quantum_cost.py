"""What circuits cost: counted by hand, and on its way from a model into tables and report."""

import json
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from tables_factory import Tables

from seqgrid import cost, sources, tables
from seqgrid.quantum import cost as quantum_cost
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.quantum.circuit import Circuit, Gate
from seqgrid.quantum.cost import CircuitCost, flops, of_uses
from seqgrid.report.__main__ import write

MODEL = '''
"""A circuit of two qubits on each position and one on the whole."""
import torch
from torch import nn
from seqgrid.models._pooled import CircuitUse, PooledModel
from seqgrid.quantum import run_expectations
from seqgrid.quantum.ansatz import embedding, rings
from seqgrid.quantum.circuit import Circuit
from seqgrid.settings import ModelSettings

class Settings(ModelSettings):
    """None."""
    pooled_only = True
    d_model: int = 2

class Model(PooledModel):
    def __init__(self, settings, shape):
        super().__init__(settings, shape)
        self.input = self.input_layer(2)
        self.output = nn.Linear(6, self.num_targets)
        self.circuit = embedding(2).then(rings(2, 1))
        self.angles = nn.Parameter(torch.zeros(10))
    def project(self, inputs):
        return self.input(inputs)
    def answer(self, x):
        angles = torch.cat((x, self.angles.expand(*x.shape[:-1], 10)), -1)
        return self.output(run_expectations(self.circuit, angles).mean(1))
    def circuits(self, seqlen):
        return CircuitUse(self.circuit, seqlen), CircuitUse(embedding(3), 1)
    def state_bytes(self, seqlen, bytes_per_element=4):
        return bytes_per_element
    def flops_per_token(self, seqlen):
        return 2.0 * self.input.weight.numel()

def build(settings, shape):
    return Model(settings, shape)
'''
# At 8 positions: RY on 2 wires, 6 rotations and 4 CRX on 4 amplitudes; once RY on 3 wires on 8.
COST = CircuitCost(3, 8, 8 * 12 + 3, 9, 8.0 * (8 * 8 + 4 * 4) * 4 + 3 * 8 * 8)
STUDY = """
question: What do circuits cost?
models: {tiny_circuits: {}, gru: {settings: {d_model: 8, num_layers: 1}}}
tasks: {adding_problem: {}}
lengths: [8]
seeds: [0]
training: {steps: 4, batch_size: 4}
validation: {every_steps: 4, examples: 8}
evaluation: {examples: 8}
"""
TRAIN = (
    "from seqgrid import driver; d = driver.start({'study': 'small'}); d.prepare(0);"
    "from pathlib import Path; from seqgrid import train;"
    "[train.main([str(Path(p).parent.parent)]) for p in d.collected]"
)


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        # 2^3 amplitudes; each takes two numbers, real or imaginary, times a complex one
        (Gate("RY", (0,), 0), 8 * 2 * 2 * 2),
        (Gate("RX", (0,), 0), 8 * 2 * 2 * 2),
        (Gate("H", (2,)), 8 * 2 * 2 * 2),
        (Gate("RZ", (1,), 0), 8 * 1 * 4 * 2),  # one complex number
        (Gate("CRX", (0, 2), 0), 4 * 2 * 2 * 2),  # on half of them
        (Gate("CRZ", (0, 2), 0), 4 * 1 * 4 * 2),
        (Gate("U", (1,), 0), 8 * 2 * 4 * 2),
        (Gate("U", (1, 0), 0), 8 * 4 * 4 * 2),
        *((Gate(name, (1,)), 0) for name in ("X", "Y", "Z", "S")),
        *((Gate(name, (1, 2)), 0) for name in ("CNOT", "CZ")),
    ],
    ids=str,
)
def test_flops_of_a_gate(gate, expected):
    assert flops(Circuit(3, (gate,))) == expected


class Use:
    def __init__(self, circuit, runs):
        self.circuit, self.runs = circuit, runs


def test_the_cost_of_circuits_is_summed_over_runs():
    bell = Circuit(2, (Gate("H", (0,)), Gate("CNOT", (0, 1))))
    found = of_uses([Use(bell, 5), Use(embedding(3), 2)])
    assert found == CircuitCost(3, 2, 5 * 2 + 2 * 3, 7, 5 * 8.0 * 4 + 2 * 3 * 8 * 8)
    ring = embedding(6).then(rings(6, 2))
    assert of_uses([Use(ring, 1)]).gates_per_example == 66
    assert flops(ring) == (6 + 2 * 18) * 8 * 64 + 2 * 12 * 4 * 64


def test_a_model_without_circuits_has_no_such_cost():
    assert of_uses([]) is None
    assert quantum_cost.of_model(object(), 8) is None


def test_columns_are_named_as_the_cost_is():
    assert tuple(vars(COST)) == tables.CIRCUITS


def test_circuits_are_no_source_of_a_model_that_has_none():
    reached = ["loop", "evaluate", "models.gru"]
    for module in reached:
        reached += [name for name in sources._parsed(module)[1] if name not in reached]
    assert not [name for name in reached if name.startswith("quantum")]


@pytest.fixture(scope="module")
def trained(shared_project):
    """A project with a trained cell of a quantum and of a classical model."""
    shared_project.add("model", "tiny_circuits", MODEL)
    shared_project.study(STUDY)
    folder, environment = shared_project.folder, shared_project.environment
    subprocess.run([sys.executable, "-c", TRAIN], cwd=folder, env=environment, check=True)
    return shared_project


def collected(project):
    """Rows of the table `cells` by model, and the report."""
    for command in (("seqgrid.collect", "small"), ("seqgrid.report", "results/studies/small")):
        done = project.run(*command)
        assert done.returncode == 0, done.stderr
    folder = project.folder / "results/studies/small"
    rows = pq.read_table(folder / "cells.parquet").to_pylist()
    return {row["model"]: row for row in rows}, (folder / "report.md").read_text()


def test_the_cost_of_a_cell_reaches_its_outcome_the_tables_and_the_report(trained):
    progress = {path.split("/")[0]: o["progress"] for path, o in trained.outcomes().items()}
    assert {name: progress["tiny_circuits"][name] for name in tables.CIRCUITS} == vars(COST)
    assert {progress["gru"][name] for name in tables.CIRCUITS} == {None}
    rows, report = collected(trained)
    assert {name: rows["tiny_circuits"][name] for name in tables.CIRCUITS} == vars(COST)
    assert {rows["gru"][name] for name in tables.CIRCUITS} == {None}
    rate = rows["tiny_circuits"]["tokens_per_second"] / 8 * 9
    [line] = re.findall(r"^\| tiny_circuits \| adding_problem .*\|$", part(report), re.M)
    found = [cell.strip() for cell in line.strip("|").split("|")]
    assert found[2:] == ["8", "3", "8", "99", "9", "2,752", f"{rate:,.0f}"]


def part(report):
    """The table of circuits."""
    return report.split("Quantum circuits, simulated: ")[1].split("\n\n")[1]


def test_results_that_are_older_than_this_cost_are_collected(trained):
    for cell in trained.cells():
        path = cell / "part1/outcome.json"
        content = json.loads(path.read_text())
        del content["seal"]
        content["progress"] = {
            name: value
            for name, value in content["progress"].items()
            if name not in tables.CIRCUITS
        }
        path.write_text(json.dumps(content))
    rows, report = collected(trained)
    assert {rows["tiny_circuits"][name] for name in tables.CIRCUITS} == {None}
    assert rows["tiny_circuits"]["outcome"] == "finished"
    assert "Quantum circuits" not in report


def test_the_report_spans_what_a_sweep_varies(tmp_path):
    made = Tables()
    for qubits, rate in ((2, 100.0), (3, 300.0)):
        known = dict(zip(tables.CIRCUITS, (qubits, 5, 10**qubits, 4, 2e6), strict=True))
        made.cells("tiny_circuits", "parity", 64, [0.5, 0.6], variant=f"num_qubits={qubits}",
                   tokens_per_second=rate * 64, **known)  # fmt: skip
    made.cells("gru", "parity", 64, [0.5, 0.6], tokens_per_second=64.0)
    write(made.write(tmp_path))
    table = part((tmp_path / "report.md").read_text()).splitlines()
    assert len(table) == 3
    cells = [cell.strip() for cell in table[2].strip("|").split("|")]
    assert cells[3:] == ["2 to 3", "5", "100 to 1,000", "4", "2,000,000", "800"]


def test_the_cost_card_shows_circuits_of_models_that_have_any(trained, capsys, monkeypatch):
    done = trained.run(
        "seqgrid.cost",
        "tiny_circuits",
        "--task",
        "adding_problem",
        "--lengths",
        "8",
        "--batch",
        "2",
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| +8 \| +3 \| +8 \| +99 \| +9 \| +2,752 \| +[\d,]+ \|", done.stdout)
    assert "| angles " in done.stdout
    monkeypatch.setattr(cost, "LEAST_SECONDS", 0.0)
    words = ["gru", "--settings", "d_model=8", "num_layers=1", "--lengths", "16", "--batch", "2"]
    assert cost.main(words) == 0
    assert "ircuits" not in capsys.readouterr().out
