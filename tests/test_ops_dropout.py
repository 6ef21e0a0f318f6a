"""Dropout from sixteen bits a value keeps what it should, and scales it exactly."""

import pytest
import torch

from seqgrid.ops.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_are_dropped_or_scaled_and_so_are_gradients(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(33, 101, 7, dtype=dtype, requires_grad=True)
    found = Dropout(p)(x)
    assert found.dtype == dtype
    kept = found != 0
    spread = (p * (1 - p) / x.numel()) ** 0.5
    assert kept.double().mean().item() == pytest.approx(1 - p, abs=5 * spread)
    torch.testing.assert_close(
        found[kept], torch.full_like(found[kept], 1 / (1 - p)), rtol=1e-2, atol=0
    )
    found.backward(3 * torch.ones_like(found))
    assert torch.equal(x.grad != 0, kept)
    torch.testing.assert_close(x.grad, 3 * found.detach(), rtol=1e-2, atol=0)


def test_the_mean_is_that_of_the_input():
    torch.manual_seed(1)
    assert Dropout(0.1)(torch.ones(1_000_000)).mean().item() == pytest.approx(1, abs=2e-3)


def test_it_acts_in_training_only_and_follows_the_seed():
    x, layer = torch.randn(5, 9), Dropout(0.3)
    torch.manual_seed(2)
    first = layer(x)
    torch.manual_seed(2)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5)(torch.empty(0, 3)).shape == (0, 3)
