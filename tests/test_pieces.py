"""After an out-of-memory a training goes on with each batch in pieces: the same gradients."""

import re

import pyarrow.parquet as pq
import pytest
import torch
from test_outcomes import MODEL, run_cell, write_study
from test_resume import make_cell, rows_without_times, same

from seqgrid import checkpoint, optimiser, registry
from seqgrid.data import IGNORE, Batch
from seqgrid.loop import Loop

# torch.OutOfMemoryError is what CUDA raises; here the model raises it for batches above a size.
TOO_LARGE = "if {when} x.shape[0] > {size}: import torch; raise torch.OutOfMemoryError('no room')"


def make_batch(kind, size, dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(11, (size, 9), generator=generator)
    if kind == "mse":
        return Batch(inputs, torch.randn(size, 3, generator=generator).to(dtype))
    targets = torch.randint(5, (size, 9), generator=generator)
    # Example i is scored at i positions, the first at none: every piece has another number.
    scored = torch.arange(9) < torch.arange(size)[:, None]
    return Batch(inputs, targets.where(scored, IGNORE))


class Model(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(1)
        self.embed = torch.nn.Embedding(11, 16)
        self.mix = torch.nn.GRU(16, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 3 if kind == "mse" else 5)
        self.pooled = kind == "mse"
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        y = self.mix(self.embed(x))[0]
        return self.head(y[:, -1] if self.pooled else y)


def gradients(kind, batch, dtype, pieces):
    model = Model(kind).to(dtype)
    loss = optimiser.backward(model, batch, kind, pieces)
    return model, loss, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("kind", ["cross_entropy", "mse"])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("pieces", [2, 3, 4, 7, 50])
def test_gradients_of_the_pieces_add_up_to_the_whole_batch(kind, dtype, close, pieces):
    batch = make_batch(kind, 10, dtype)
    _, whole, expected = gradients(kind, batch, dtype, 1)
    model, loss, found = gradients(kind, batch, dtype, pieces)
    assert len(model.sizes) == min(pieces, 10)
    assert sum(model.sizes) == 10
    assert max(model.sizes) - min(model.sizes) <= 1
    assert expected.abs().max() > 0.01
    assert (found - expected).abs().max() <= close * max(1.0, expected.abs().max().item())
    assert loss.item() == pytest.approx(whole.item(), abs=close)


def test_equal_weights_for_unequal_pieces_would_be_another_gradient():
    batch = make_batch("cross_entropy", 10, torch.float64)
    _, _, expected = gradients("cross_entropy", batch, torch.float64, 1)
    means = [gradients("cross_entropy", p, torch.float64, 1)[2] for p in batch.pieces(3)]
    assert (sum(means) / 3 - expected).abs().max() > 1e-3


def test_a_piece_in_which_nothing_is_scored_adds_nothing():
    batch = make_batch("cross_entropy", 10, torch.float32)
    batch.targets[:5] = IGNORE
    _, _, expected = gradients("cross_entropy", batch, torch.float32, 1)
    _, _, found = gradients("cross_entropy", batch, torch.float32, 2)
    assert torch.isfinite(found).all()
    assert (found - expected).abs().max() <= 1e-6


def test_pieces_are_cut_evenly_and_lose_no_example():
    batch = Batch(torch.arange(10)[:, None], torch.arange(10)[:, None])
    assert [len(p) for p in batch.pieces(4)] == [2, 3, 2, 3]
    assert torch.equal(torch.cat([p.inputs for p in batch.pieces(4)]), batch.inputs)
    assert [len(p) for p in batch.pieces(1)] == [10]
    assert [len(p) for p in batch.pieces(99)] == [1] * 10


def test_a_training_in_pieces_follows_the_one_with_whole_batches(tmp_path):
    cell = make_cell(settings={"dropout": 0.0})
    loops = []
    for pieces in (1, 3):
        loop = Loop(cell, tmp_path, 1, None, pieces)
        loop.run(lambda loop: False)
        loops.append(loop)
    whole, cut = loops
    assert (whole.pieces, cut.pieces) == (1, 3)
    assert max(map(len, cut.validation)) < max(map(len, whole.validation))
    assert len(whole.track.rows) == len(cut.track.rows)
    for a, b in zip(whole.track.rows, cut.track.rows, strict=True):
        for name in ("train_loss", "validation_loss", "validation_metric", "gradient_norm"):
            assert b[name] == pytest.approx(a[name], rel=1e-3, abs=1e-4), name


def test_a_training_in_pieces_is_resumed_in_pieces_with_the_same_bits(tmp_path):
    cell = make_cell()
    whole = Loop(cell, tmp_path / "whole", 1, None, 3)
    whole.run(lambda loop: False)
    (tmp_path / "cut").mkdir()
    first = Loop(cell, tmp_path / "cut", 1, None, 3)
    assert first.run(lambda loop: loop.track.step >= 13) is None
    saved = checkpoint.load(first.save())
    assert saved["pieces"] == 3
    second = Loop(cell, tmp_path / "cut", 2, saved)
    assert second.pieces == 3
    second.run(lambda loop: False)
    same(whole.model.state_dict(), second.model.state_dict())
    assert rows_without_times(whole) == rows_without_times(second)


def with_pieces(project, pieces, trouble, checkpoint_seconds=1e-9):
    project.add("model", "trouble", MODEL.format(trouble=trouble))
    write_study(project, label="trouble", settings="", checkpoint_seconds=checkpoint_seconds)
    path = project.folder / "config/studies/small.yaml"
    path.write_text(path.read_text() + f"out_of_memory_pieces: {pieces}\n")


def test_without_leave_an_out_of_memory_is_the_end(project):
    with_pieces(project, 1, TOO_LARGE.format(when="self.training and", size=6))
    outcome, said, _ = run_cell(project)
    assert outcome["outcome"] == "out_of_memory"
    assert outcome["reason"].startswith("no room; peak 0.")
    assert outcome["reason"].endswith(" GB with batches whole")
    assert "pieces" not in said
    assert outcome["progress"]["pieces"] == 1
    assert outcome["progress"]["peak_memory_bytes"] > 10_000_000


@pytest.mark.parametrize("when", ["self.training and", "not self.training and"])
def test_a_training_that_runs_out_of_memory_goes_on_in_pieces(project, when):
    # 16 examples a step, 64 in a validation: the larger of them in 4 pieces fits.
    size = 4 if when.startswith("self") else 16
    with_pieces(project, 4, TOO_LARGE.format(when=when, size=size))
    outcome, said, _ = run_cell(project)
    assert (outcome["outcome"], outcome["progress"]["step"]) == ("finished", 40)
    assert outcome["progress"]["pieces"] == 4
    assert outcome["attempts"] == 1
    assert "no room; peak" in said
    assert "with batches whole; now in 4 pieces" in said


def test_it_goes_on_from_the_newest_checkpoint(project):
    when = "self.training and self.calls > 20 and"  # 18 steps and 2 validations
    with_pieces(project, 4, TOO_LARGE.format(when=when, size=4))
    outcome, said, part = run_cell(project)
    assert (outcome["outcome"], outcome["progress"]["step"]) == ("finished", 40)
    assert outcome["progress"]["pieces"] == 4
    assert int(re.search(r"goes on from \S+/live/step(\d+)-", said)[1]) >= 17
    history = pq.read_table(part / "history.parquet").to_pylist()
    assert [row["step_steps"] for row in history] == [10, 20, 30, 40]


def test_what_does_not_fit_in_pieces_either_says_what_was_tried(project):
    with_pieces(project, 4, TOO_LARGE.format(when="", size=1))
    outcome, said, _ = run_cell(project)
    assert outcome["outcome"] == "out_of_memory"
    assert outcome["reason"].endswith(" GB with batches whole, then in 4 pieces")
    assert said.count("now in 4 pieces") == 1
    assert outcome["progress"]["pieces"] == 4
    assert outcome["progress"]["peak_memory_bytes"] > 10_000_000


def test_a_cell_in_pieces_is_evaluated_in_pieces_and_named_in_the_report(project):
    with_pieces(project, 4, TOO_LARGE.format(when="", size=32))
    path = project.folder / "config/studies/small.yaml"
    path.write_text(
        path.read_text().replace("evaluation: {examples: 32}", "evaluation: {examples: 200}")
    )
    done = project.snakemake()
    assert done.returncode == 0, done.text
    report = (project.folder / "results/studies/small/report.md").read_text()
    assert "1 of 1 cells have finished and are evaluated" in report
    assert "each batch in pieces: 1 of trouble" in " ".join(report.split())


def test_every_model_of_the_registry_trains_in_pieces(tmp_path):
    for name in registry.names("model"):
        (tmp_path / name).mkdir()
        loop = Loop(make_cell(name, steps=3), tmp_path / name, 1, None, 3)
        assert loop.run(lambda loop: False) == "budget of 3 steps"
