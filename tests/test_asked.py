"""Outputs only where something is asked: the loss, gradients, metrics and bits of all of them."""

import pytest
import torch
from task_variants import VARIANTS
from test_resume import cut_at, rows_without_times, run_with_cuts, same

from seqgrid import compute, metrics, optimiser, predict, registry
from seqgrid.cell import Cell, Compute, Training, Validation
from seqgrid.data import IGNORE, Batch, outputs_of
from seqgrid.loop import Loop

TASKS = [
    pytest.param(name, settings, id=" ".join([name, *(f"{k}={v}" for k, v in settings.items())]))
    for name in registry.names("task")
    for settings in [{}, *VARIANTS.get(name, [])]
]
SEQLEN = 32


def make_task(name, settings, seqlen=SEQLEN):
    try:
        task = registry.make_task(name, settings, seqlen)
    except ValueError as error:
        pytest.skip(str(error))
    return task if not task.shape.pooled else pytest.skip("pooled")


def make_model(shape, **settings):
    torch.manual_seed(0)
    small = {"d_model": 16, "num_layers": 2, "num_heads": 2, "initializer_std": 0.3}
    return registry.make_model("attention", small | settings, shape).double()


def gradients(model, batch, pieces=1):
    model.zero_grad()
    loss = optimiser.backward(model, batch, "cross_entropy", pieces)
    return loss, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize(("name", "settings"), TASKS)
def test_every_task_trains_and_scores_as_with_outputs_everywhere(name, settings):
    task = make_task(name, settings)
    whole = task.batch(0, "test", torch.arange(24))
    asked = whole.asked()
    model = make_model(task.shape)
    full = model(whole.inputs) if whole.lengths is None else model(whole.inputs, whole.lengths)
    loss = metrics.loss_of(full, whole, task.loss)
    model.zero_grad()
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    for pieces in (1, 5):
        found, gradient = gradients(model, asked, pieces)
        torch.testing.assert_close(found, loss.detach(), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=1e-9)
    slices = {"": torch.full_like(whole.targets, True, dtype=torch.bool), **task.slices(whole)}
    scores = predict.slice_scores(model, whole.pieces(2), task, task.slices)
    assert scores.keys() == slices.keys()
    for part, chosen in slices.items():
        columns = metrics.score(full, whole.only(chosen), task.loss)
        for column, values in scores[part].items():
            torch.testing.assert_close(
                torch.from_numpy(values), columns[column], atol=1e-5, rtol=1e-6
            )


def test_what_is_asked_keeps_its_place_and_the_rest_is_ignored():
    targets = torch.tensor([[IGNORE, 5, IGNORE, 6], [IGNORE, IGNORE, 7, IGNORE]])
    inputs = torch.arange(8).view(2, 4)
    asked = Batch(inputs, targets, scored=targets > 5).asked()
    assert asked.targets.tolist() == [[5, 6], [7, IGNORE]]
    assert asked.scored.tolist() == [[False, True], [True, False]]
    assert asked.positions.tolist() == [[1, 3], [2, 0]]
    assert asked.asked() is asked
    assert torch.equal(asked.rows(1, 2).positions, asked.positions[1:])


def test_a_batch_in_which_all_or_nothing_is_asked():
    inputs = torch.zeros(2, 3, dtype=torch.int64)
    everywhere = Batch(inputs, inputs)
    assert everywhere.asked() is everywhere
    nowhere = Batch(inputs, torch.full_like(inputs, IGNORE)).asked()
    assert nowhere.targets.tolist() == [[IGNORE], [IGNORE]]


def test_even_numbers_alone_are_gathered_where_shapes_must_not_change():
    inputs = torch.zeros(2, 3, dtype=torch.int64)
    even = torch.tensor([[1, IGNORE, IGNORE], [IGNORE, IGNORE, 1]])
    uneven = torch.tensor([[1, 1, IGNORE], [IGNORE, IGNORE, 1]])
    assert Batch(inputs, even).asked(even=True).positions.tolist() == [[0], [2]]
    assert Batch(inputs, uneven).asked(even=True).positions is None
    assert Batch(inputs, uneven).asked().targets.shape == (2, 2)


def flip_flop_cell(**compute):
    """Numbers that differ from block to block of batches."""
    return Cell(
        model="gru", model_settings={"d_model": 8, "num_layers": 1, "dropout": 0.1},
        task="flip_flop", seqlen=64, seed=0, compute=Compute(**compute),
        training=Training(steps=40, batch_size=128),
        validation=Validation(every_steps=20, examples=32),
    )  # fmt: skip


def test_a_cut_training_meets_the_same_shapes(tmp_path):
    cell = flip_flop_cell()
    whole, _ = run_with_cuts(cell, tmp_path / "whole", [], False)
    cut, _ = run_with_cuts(cell, tmp_path / "cut", [5, 22], False)
    same(whole.model.state_dict(), cut.model.state_dict())
    assert rows_without_times(whole) == rows_without_times(cut)
    batches = [whole.examples.batch(step) for step in range(0, 40, whole.examples.block_steps)]
    assert len({batch.targets.shape for batch in batches}) > 1


def test_a_recorded_pass_gets_tensors_alone_and_evaluates_without_them(tmp_path, monkeypatch):
    """What torch records takes tensors by place, and leaves a model that does not train alone."""
    recorded = []

    def record(model, tensors, **_):
        recorded.append([tuple(tensor.shape) for tensor in tensors])
        plain = model.forward
        model.forward = lambda *given: plain(*given)
        return model

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    for task, settings in (("mqar", {}), ("flip_flop", {})):
        chosen = registry.make_task(task, settings, SEQLEN)
        model = make_model(chosen.shape)
        batch = chosen.batch(0, "train", torch.arange(16)).asked(even=True)
        expected = outputs_of(model, batch)
        compute.capture(model, batch)
        assert torch.equal(outputs_of(model, batch), expected)
        assert torch.equal(outputs_of(model.eval(), batch), expected)
    assert recorded == [[(16, SEQLEN), (16, 4)], [(16, SEQLEN)]]


def test_examples_of_a_recorded_pass_have_one_shape(tmp_path):
    loop = Loop(flip_flop_cell(), tmp_path, 1, None)
    loop.run(cut_at(1))
    loop.examples.cell = flip_flop_cell(cuda_graphs=True)
    loop.examples.block = None
    assert loop.examples.batch(0).positions is None
