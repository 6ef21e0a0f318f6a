"""What tests of every model build and run."""

import torch
from torch.nn.functional import cross_entropy, mse_loss

from seqgrid import registry
from seqgrid.data import Shape
from seqgrid.models._pooled import AttentionPool

SEQLEN = 33
SMALL = {"d_model": 32, "num_layers": 2}
SHAPES = {
    "tokens": Shape(num_outputs=11, pooled=False, seqlen=SEQLEN, vocab_size=16),
    "pooled channels": Shape(num_outputs=1, pooled=True, seqlen=SEQLEN, num_channels=2),
    "pooled classes": Shape(num_outputs=5, pooled=True, seqlen=SEQLEN, vocab_size=16, slots=3),
}


def build(name, settings, shape=SHAPES["tokens"], seed=0):
    torch.manual_seed(seed)
    record = registry.settings("model", name)
    small = {key: value for key, value in SMALL.items() if key in record.model_fields}
    return registry.make_model(name, small | settings, shape)


@torch.no_grad()
def stirred(model):
    """The model, with matrices that start at zero moved from there: they hide what lies before."""
    for p in model.parameters():
        if p.ndim >= 2 and not p.any():
            p.normal_(std=0.02)
    return model


def draw(shape, batch=4, seqlen=SEQLEN, seed=1):
    """Inputs and targets; the values to regress have mean 0 and variance 1."""
    g = torch.Generator().manual_seed(seed)
    if shape.vocab_size:
        inputs = torch.randint(shape.vocab_size, (batch, seqlen), generator=g)
    else:
        inputs = torch.randn(batch, seqlen, shape.num_channels, generator=g)
    if shape.slots:
        return inputs, torch.randint(shape.num_outputs, (batch, shape.slots), generator=g)
    if shape.pooled:
        targets = torch.randn(batch, shape.num_outputs, generator=g)
        return inputs, (targets - targets.mean(0)) / targets.std(0, correction=0)
    return inputs, torch.randint(shape.num_outputs, (batch, seqlen), generator=g)


def loss_of(model, inputs, targets):
    outputs = model(inputs)
    if targets.is_floating_point():
        return mse_loss(outputs, targets)
    return cross_entropy(outputs.flatten(0, 1), targets.flatten())


def steps(model, optimiser, batch, num_steps):
    losses = []
    for _ in range(num_steps):
        loss = loss_of(model, *batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def softmax_biases(model):
    """Parameters of an original that ours is without: biases of what goes into a softmax."""
    return sum(isinstance(module, AttentionPool) for module in model.modules())
