import math

import numpy as np
import pytest
import torch

from seqgrid.data import IGNORE, Batch
from seqgrid.metrics import gather, loss_of, score, summarise


def classification(correct, scored, loss=None):
    correct, scored = np.asarray(correct), np.asarray(scored)
    loss = np.ones(len(scored)) if loss is None else np.asarray(loss)
    return {"scored": scored, "correct": correct, "loss_sum": loss}


def accuracy(correct, scored):
    return summarise(classification(correct, scored), "cross_entropy")["accuracy"]


def test_the_loss_is_the_mean_over_scored_positions():
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.full((3, 5), IGNORE)
    targets[0, 1], targets[2, 4] = 3, 6
    batch = Batch(torch.zeros(3, 5, dtype=torch.int64), targets)
    logs = logits.log_softmax(2)
    expected = -(logs[0, 1, 3] + logs[2, 4, 6]) / 2
    assert loss_of(logits, batch, "cross_entropy").item() == pytest.approx(expected.item())
    columns = gather([score(logits, batch, "cross_entropy")])
    assert columns["scored"].tolist() == [1, 0, 1]
    summary = summarise(columns, "cross_entropy")["loss"]
    assert summary.value == pytest.approx(expected.item())
    assert (summary.examples, summary.scored, summary.correct) == (2, 2, None)


def test_the_loss_has_a_gradient_and_a_score_has_none():
    outputs = torch.zeros(2, 3, requires_grad=True)
    batch = Batch(torch.zeros(2, 4, 1), torch.ones(2, 3))
    loss_of(outputs, batch, "mse").backward()
    assert outputs.grad is not None
    assert not score(outputs, batch, "mse")["loss_sum"].requires_grad


def test_half_precision_outputs_are_scored_in_full():
    outputs = torch.zeros(2, 3, 4, dtype=torch.bfloat16)
    batch = Batch(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64))
    assert loss_of(outputs, batch, "cross_entropy").item() == pytest.approx(math.log(4), abs=1e-6)


def test_outputs_that_are_nan_are_never_correct():
    outputs = torch.full((2, 3, 4), math.nan)
    batch = Batch(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64))
    found = summarise(gather([score(outputs, batch, "cross_entropy")]), "cross_entropy")
    assert found["accuracy"].value == 0
    assert math.isnan(found["loss"].value)
    assert math.isnan(found["loss"].low)


def test_outputs_of_another_shape_are_refused():
    batch = Batch(torch.zeros(4, 2, 1), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"\(4,\) do not fit targets \(4, 1\)"):
        score(torch.zeros(4), batch, "mse")


def test_regression_scores_are_sums_over_outputs():
    outputs, targets = (
        torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
        torch.tensor([[1.0, 4.0], [1.0, 0.0]]),
    )
    columns = gather([score(outputs, Batch(torch.zeros(2, 3, 1), targets), "mse")])
    assert columns.keys() == {"scored", "loss_sum", "target_sum", "target_square_sum"}
    assert columns["loss_sum"].tolist() == [4.0, 2.0]
    assert columns["target_sum"].tolist() == [5.0, 1.0]
    assert columns["target_square_sum"].tolist() == [17.0, 1.0]
    found = summarise(columns, "mse")
    assert found["mse"].value == pytest.approx(1.5)
    assert found["r2"].value == pytest.approx(1 - 6 / (18 - 9))


@pytest.mark.parametrize("kind", ["cross_entropy", "mse"])
@pytest.mark.parametrize("scored", [[], [0, 0]])
def test_nothing_scored_gives_nan(kind, scored):
    zeros = np.zeros(len(scored))
    names = ("loss_sum", "correct", "target_sum", "target_square_sum")
    columns = {"scored": np.array(scored)} | {name: zeros for name in names}
    for summary in summarise(columns, kind).values():
        assert math.isnan(summary.value)
        assert math.isnan(summary.low)
        assert math.isnan(summary.high)
        assert (summary.examples, summary.scored) == (0, 0)
    assert gather([]) == {}


@pytest.mark.parametrize("kind", ["cross_entropy", "mse"])
def test_one_example_has_no_standard_error(kind):
    columns = classification([1], [2]) | {
        "target_sum": np.array([3.0]),
        "target_square_sum": np.array([5.0]),
    }
    for summary in summarise(columns, kind).values():
        assert summary.examples == 1
        assert math.isnan(summary.standard_error)


def test_equal_targets_have_no_r2():
    columns = {
        "scored": np.ones(5),
        "loss_sum": np.arange(5.0),
        "target_sum": np.full(5, 0.1),
        "target_square_sum": np.full(5, 0.01),
    }
    assert math.isnan(summarise(columns, "mse")["r2"].value)


def test_independent_outputs_get_wilsons_interval():
    summary = accuracy([1] * 80 + [0] * 20, [1] * 100)
    assert summary.value == pytest.approx(0.8)
    assert summary.standard_error == pytest.approx(0.0402, abs=1e-4)
    # Wilson 1927 at 80 of 100: 0.7112 to 0.8666
    assert (summary.low, summary.high) == pytest.approx((0.7112, 0.8666), abs=1e-3)
    assert (summary.examples, summary.scored, summary.correct) == (100, 100, 80)


def test_positions_of_one_example_do_not_count_as_independent():
    """All or nothing in each example: 8 positions tell no more than one."""
    right = np.array([1] * 80 + [0] * 20)
    one, eight = accuracy(right, [1] * 100), accuracy(right * 8, [8] * 100)
    assert (eight.low, eight.high) == pytest.approx((one.low, one.high))
    assert eight.scored == 800


@pytest.mark.parametrize(
    ("right", "low", "high"), [(0, 0, 0.0370), (4, 0.9630, 1), (1, 0.17, 0.34)]
)
def test_examples_that_are_all_alike_still_have_an_interval(right, low, high):
    summary = accuracy([right] * 100, [4] * 100)
    assert summary.standard_error == 0
    assert (summary.low, summary.high) == pytest.approx((low, high), abs=0.01)
    assert summary.low <= summary.value <= summary.high
    if right in (0, 4):
        assert summary.value in (summary.low, summary.high)


def test_a_sequence_is_right_where_all_its_scored_positions_are():
    columns = classification([2, 1, 0, 3], [2, 2, 0, 3])
    summary = summarise(columns, "cross_entropy")["sequence_accuracy"]
    assert summary.value == pytest.approx(2 / 3)
    assert (summary.examples, summary.scored, summary.correct) == (3, 3, 2)


REPLICATES = 1000


def coverage(truth: float, draw) -> float:
    """How often the interval of `draw(rng)` holds the truth."""
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(REPLICATES)]
    return np.mean([summary.low <= truth <= summary.high for summary in found])


@pytest.mark.parametrize("share", [0.03, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("spread", [0.5, 4.0, 1000.0], ids=["clustered", "mixed", "independent"])
def test_the_accuracy_interval_covers_correlated_positions(share, spread):
    """Beta-binomial examples of unequal size; at a small spread most are all right or all wrong."""

    def draw(rng):
        scored = rng.integers(1, 9, size=300)
        rates = rng.beta(share * spread, (1 - share) * spread, size=300)
        return accuracy(rng.binomial(scored, rates), scored)

    assert coverage(share, draw) > 0.93


def test_an_interval_that_takes_positions_for_independent_would_not_cover():
    def draw(rng):
        right = rng.binomial(1, 0.8, size=300)
        return accuracy(np.repeat(right, 8), np.ones(2400))

    assert coverage(0.8, draw) < 0.6


def test_the_r2_interval_covers():
    def draw(rng):
        targets = rng.uniform(size=(300, 4))
        errors = rng.normal(size=(300, 4)) * 0.15 * rng.uniform(0.2, 1.8, size=(300, 1))
        columns = {
            "scored": np.full(300, 4),
            "loss_sum": (errors**2).sum(1),
            "target_sum": targets.sum(1),
            "target_square_sum": (targets**2).sum(1),
        }
        return summarise(columns, "mse")["r2"]

    # variance of the targets 1/12; mean square of the errors' scale 1 + 1.6^2 / 12
    truth = 1 - 12 * 0.15**2 * (1 + 1.6**2 / 12)
    assert coverage(truth, draw) > 0.93


def test_the_mse_interval_covers():
    def draw(rng):
        errors = rng.normal(size=200) ** 2
        columns = {
            "scored": np.ones(200),
            "loss_sum": errors,
            "target_sum": np.zeros(200),
            "target_square_sum": np.ones(200),
        }
        return summarise(columns, "mse")["mse"]

    assert coverage(1.0, draw) > 0.92
