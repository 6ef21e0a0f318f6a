"""Batches: whatever is done to one is done to all of its tensors."""

import pytest
import torch

from seqgrid.data import IGNORE, Batch
from seqgrid.metrics import score


@pytest.fixture
def batch():
    targets = torch.tensor([[1, 2, IGNORE], [0, IGNORE, IGNORE], [2, 2, 2], [1, 0, 1]])
    lengths, scored = torch.tensor([2, 1, 3, 3]), targets == 2
    return Batch(torch.arange(12).view(4, 3), targets, lengths, scored)


def test_rows_and_pieces_keep_the_tensors_together(batch):
    first, second = batch.pieces(2)
    assert (len(first), len(second)) == (2, 2)
    for name in ("inputs", "targets", "lengths", "scored"):
        whole = getattr(batch, name)
        assert torch.equal(torch.cat([getattr(first, name), getattr(second, name)]), whole)
        assert torch.equal(getattr(batch.rows(1, 3), name), whole[1:3])
        assert torch.equal(getattr(batch.to(torch.device("cpu")), name), whole)


def test_what_a_batch_lacks_its_rows_lack(batch):
    plain = Batch(batch.inputs, batch.targets).rows(0, 2)
    assert plain.lengths is None
    assert plain.scored is None


def test_metrics_look_at_what_is_scored_and_the_choice_narrows_it(batch):
    outputs = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 3).float()

    def scored(found):
        return score(outputs, found, "cross_entropy")["scored"].tolist()

    assert scored(Batch(batch.inputs, batch.targets)) == [2, 1, 3, 3]
    assert scored(batch) == [1, 0, 3, 0]
    assert scored(batch.only(torch.tensor([False, True, True, True]))) == [0, 0, 3, 0]
    assert scored(batch.only(torch.arange(3).expand(4, 3) > 0)) == [1, 0, 2, 0]


def test_a_value_within_the_tolerance_counts_as_right():
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    outputs = torch.tensor([[0.55, 0.7], [1.0, float("nan")]])
    found = score(outputs, Batch(torch.zeros(2, 3, 1), targets), "mse", tolerance=0.1)
    assert found["correct"].tolist() == [1, 1]
    assert score(outputs, Batch(torch.zeros(2, 3, 1), targets), "mse")["correct"] is None
