"""The studies of the quantum hybrids are what they say they are, and run."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from seqgrid import registry, sizing, study

MODELS = ["1a", "1b", "1c", "2a", "2d", "2e", "3a", "3b", "3c", "4a", "4d", "4e"]
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["quantum_hydra", "quantum_hydra_iso"])
def test_a_study_has_the_grid_and_the_hyperparameters_of_the_original(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    asked, rows = study.load(name)
    assert list(asked.models) == MODELS
    places = {(r.model, r.task, r.cell.seqlen, r.cell.seed) for r in rows}
    assert len(rows) == len(places) == 12 * 2 * 4 * 3
    assert {r.cell.seqlen for r in rows} == {100, 200, 500, 1000}
    assert {r.cell.seed for r in rows} == {2024, 2025, 2026}
    [training] = {r.cell.training for r in rows}
    assert training.steps * training.batch_size == 100 * training.examples == 100 * 4000
    assert (training.learning_rate, training.weight_decay) == (1e-3, 1e-4)
    assert (training.schedule, training.gradient_clip) == ("cosine", 1.0)
    for row in rows:
        assert row.cell.model == f"qh_{row.model}"
        settings = registry.settings("model", row.cell.model)()
        changed = {"d_model"} if name == "quantum_hydra_iso" else set()
        for key, value in settings.model_dump().items():
            assert key in changed or row.cell.model_settings[key] == value


def test_at_equal_parameters_the_parameters_are_equal(monkeypatch):
    monkeypatch.chdir(ROOT)
    _, rows = study.load("quantum_hydra_iso")
    for row in rows:
        if (row.cell.seqlen, row.cell.seed) == (100, 2024):
            task = registry.make_task(row.cell.task, row.cell.task_settings, 100)
            made = sizing.counted(row.cell.model, row.cell.model_settings, task.shape)
            assert made.num_parameters == pytest.approx(100_000, rel=0.1)


def test_the_ablation_differs_in_positions_alone(monkeypatch):
    monkeypatch.chdir(ROOT)
    _, rows = study.load("quantum_hydra_positions")
    cells = {(r.model, r.task, r.cell.seqlen, r.cell.seed): r.cell for r in rows}
    for (model, *place), cell in cells.items():
        if model.endswith("+pos"):
            other = cells[(model.removesuffix("+pos"), *place)]
            told = cell.model_settings | {"positions": "none"}
            assert told == other.model_settings != cell.model_settings
            assert (cell.training, cell.task_settings) == (other.training, other.task_settings)


@pytest.mark.slow
def test_the_study_runs_from_end_to_end(project):
    done = project.snakemake(study="quantum_hydra_smoke")
    assert done.returncode == 0, done.text
    folder = project.folder / "results/studies/quantum_hydra_smoke"
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "28 of 28 cells have finished and are evaluated" in " ".join(page.split())
    assert "Quantum circuits, simulated" in page
    assert "The best that a model can score here" in " ".join(page.split())
    cells = {c["model"]: c for c in pq.read_table(folder / "cells.parquet").to_pylist()}
    assert set(MODELS) < set(cells)
    for model, cell in cells.items():
        assert (cell["qubits"] == 3) == (model[0] != "3"), model
