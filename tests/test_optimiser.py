"""The optimiser against torch's own, and the schedules at their ends."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from seqgrid import optimiser
from seqgrid.cell import Training


def model_and_data():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 1))
    return model, torch.randn(16, 7), 30 * torch.randn(16, 1)


@pytest.mark.parametrize("limit", [None, 1.0, 1e-3, 1e6])
def test_steps_are_torchs_own_with_clipped_gradients(limit):
    training = Training(learning_rate=1e-2, weight_decay=0.1)
    ours, x, y = model_and_data()
    theirs, _, _ = model_and_data()
    mine = optimiser.make(ours, training)
    matrices = [p for p in theirs.parameters() if p.ndim >= 2]
    vectors = [p for p in theirs.parameters() if p.ndim < 2]
    rival = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-2,
    )
    for _ in range(5):
        for model, adamw in ((ours, mine), (theirs, rival)):
            adamw.zero_grad()
            ((model(x) - y) ** 2).mean().backward()
        norm = optimiser.clip(mine, list(ours.parameters()), limit)
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), limit or float("inf"))
        torch.testing.assert_close(norm, expected)
        mine.step()
        rival.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("constant", 1.0, 1.0), ("linear", 0.5, 0.0), ("cosine", 0.5, 0.0)],
)
def test_schedules(schedule, middle, end):
    training = Training(steps=110, warmup_steps=10, schedule=schedule, learning_rate=1.0)
    assert optimiser.learning_rate(0, training) == pytest.approx(0.1)
    assert optimiser.learning_rate(9, training) == pytest.approx(1.0)
    assert optimiser.learning_rate(60, training) == pytest.approx(middle)
    assert optimiser.learning_rate(110, training) == pytest.approx(end)


def test_a_step_does_not_import_the_compiler():
    code = """
import sys, torch
from seqgrid import optimiser
from seqgrid.cell import Training
model = torch.nn.Linear(3, 1)
adamw = optimiser.make(model, Training())
model(torch.ones(2, 3)).sum().backward()
optimiser.clip(adamw, list(model.parameters()), 1.0)
adamw.step(); adamw.zero_grad(); adamw.load_state_dict(adamw.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wsd_holds_its_rate_and_falls_to_nothing_at_the_end():
    training = Training(
        steps=100, warmup_steps=10, schedule="wsd", decay_fraction=0.2, learning_rate=1.0
    )
    rates = [optimiser.learning_rate(step, training) for step in range(101)]
    assert rates[9:81] == [1.0] * 72
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == 0.0


def test_decay_spares_what_is_marked_and_the_embedding_where_chosen():
    model = nn.ModuleDict({"embed": nn.Embedding(3, 2), "mix": nn.Linear(2, 2)})
    model["mix"].gate = nn.Parameter(torch.ones(2, 2))
    model["mix"].gate._no_weight_decay = True

    def decaying(**chosen):
        group, exempt = optimiser.make(model, Training(weight_decay=0.1, **chosen)).param_groups
        assert (group["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
        names = {id(p): name for name, p in model.named_parameters()}
        return {names[id(p)] for p in group["params"]}

    assert decaying() == {"embed.weight", "mix.weight"}
    assert decaying(decay_embeddings=False) == {"mix.weight"}
