"""What holds for every model that gives one answer a sequence, found by itself."""

from copy import deepcopy

import pytest
import torch
from model_checks import SEQLEN, SHAPES, build, draw, loss_of, steps, stirred
from model_variants import VARIANTS
from torch.utils.flop_counter import FlopCounterMode

from seqgrid import optimiser, registry
from seqgrid.cell import Training

CHANNELS = SHAPES["pooled channels"]
POOLED = [name for name in registry.names("model") if name not in registry.on_backbone()]
MODELS = [
    pytest.param(name, settings, id=" ".join([name, *(f"{k}={v}" for k, v in settings.items())]))
    for name in POOLED
    for settings in [{}, *VARIANTS.get(name, [])]
]
every_model = pytest.mark.parametrize(("name", "settings"), MODELS)
every_shape = pytest.mark.parametrize(
    "shape", [SHAPES[name] for name in ("pooled channels", "pooled classes")]
)


def small(name, settings, shape=CHANNELS, seed=0):
    fields = registry.settings("model", name).model_fields
    cheap = {key: value for key, value in {"num_qubits": 3}.items() if key in fields}
    return build(name, cheap | settings, shape, seed)


@every_model
@every_shape
def test_outputs_have_the_shape_of_the_problem(name, settings, shape):
    model = small(name, settings, shape)
    inputs, targets = draw(shape)
    outputs = model(inputs)
    slots = () if shape.slots is None else (shape.slots,)
    assert outputs.shape == (4, *slots, shape.num_outputs)
    assert outputs.dtype == torch.float32
    loss_of(model, inputs, targets).backward()


@every_model
def test_it_refuses_to_answer_at_positions(name, settings):
    with pytest.raises(ValueError, match="one answer a sequence"):
        small(name, settings, SHAPES["tokens"])


@every_model
@every_shape
def test_the_gradient_reaches_every_parameter(name, settings, shape):
    model = stirred(small(name, settings, shape))
    loss_of(model, *draw(shape)).backward()
    for parameter, p in model.named_parameters():
        assert p.grad is not None, f"{parameter} is not used"
        assert p.grad.isfinite().all(), f"{parameter} has a gradient that is not finite"
        assert p.grad.any(), f"{parameter} has no gradient"


@every_model
def test_the_same_seed_gives_the_same_losses(name, settings):
    def losses(seed):
        model = small(name, settings | {"dropout": 0.1}, seed=seed)
        return steps(model, torch.optim.AdamW(model.parameters(), lr=1e-3), draw(CHANNELS), 3)

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


@every_model
def test_parameters_optimiser_and_random_state_are_all_there_is_to_resume(name, settings):
    settings, batch = settings | {"dropout": 0.1}, draw(CHANNELS)
    model = small(name, settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steps(model, optimiser, batch, 2)
    random_state, saved = torch.get_rng_state(), deepcopy(optimiser.state_dict())
    other = small(name, settings, seed=5)
    other.load_state_dict(model.state_dict())
    resumed = torch.optim.AdamW(other.parameters(), lr=1e-2)
    resumed.load_state_dict(saved)
    torch.set_rng_state(random_state)
    unbroken = steps(model, optimiser, batch, 2)
    torch.set_rng_state(random_state)
    assert steps(other, resumed, batch, 2) == unbroken
    torch.testing.assert_close(other.state_dict(), model.state_dict(), atol=0, rtol=0)


@every_model
def test_dropout_acts_in_training_only(name, settings):
    model = small(name, settings | {"dropout": 0.5})
    inputs, _ = draw(CHANNELS)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@every_model
def test_a_tiny_batch_is_memorised(name, settings):
    model = small(name, settings | {"dropout": 0.0})
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = steps(model, optimiser, draw(CHANNELS), 60)
    assert losses[-1] < 0.5 * losses[0]


@every_model
def test_what_pads_an_example_changes_nothing(name, settings):
    model = small(name, settings).double().eval()
    inputs, other = (draw(CHANNELS, seed=seed)[0].double() for seed in (1, 2))
    lengths = torch.tensor([SEQLEN, 7, 1, 20])
    own = (torch.arange(SEQLEN) < lengths[:, None])[..., None]
    one, two = model(inputs, lengths), model(torch.where(own, inputs, other), lengths)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one[0], model(inputs)[0])


@every_model
def test_a_model_reads_longer_sequences_or_says_why_not(name, settings):
    model = small(name, settings).eval()
    inputs, _ = draw(CHANNELS, seqlen=2 * SEQLEN)
    chosen = registry.settings("model", name)(**settings)
    if model.max_seqlen is None:
        assert model(inputs).shape == (4, 1)
        assert chosen.unable(2 * SEQLEN) is None
    else:
        assert SEQLEN <= model.max_seqlen < 2 * SEQLEN
        with pytest.raises(ValueError, match=str(2 * SEQLEN)):
            model(inputs)


@every_model
def test_a_model_states_its_size_and_cost(name, settings):
    model = small(name, settings)
    assert model.num_parameters == sum(p.numel() for p in model.parameters())
    sizes = [model.state_bytes(seqlen) for seqlen in (1, 64, 1024)]
    assert 0 < sizes[0] <= sizes[1] <= sizes[2]
    assert isinstance(sizes[0], int)
    assert model.state_bytes(64, bytes_per_element=2) * 2 == sizes[1]
    assert model.flops_per_token(64) > 0
    assert model.backend
    assert all(isinstance(x, str) for pair in model.backend.items() for x in pair)
    for use in model.circuits(SEQLEN):
        assert use.runs >= 1
        assert use.circuit.gates
    assert ("quantum_circuit" in model.backend) == bool(model.circuits(SEQLEN))


@every_model
def test_flops_are_of_the_order_torch_counts(name, settings):
    model = small(name, settings).eval()
    inputs, _ = draw(CHANNELS)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(inputs)
    counted = counter.get_total_flops() / inputs.shape[:2].numel()
    # torch sees what circuits and scans are made of here, and not the CPU's fused attention
    assert model.flops_per_token(SEQLEN) / counted < 3
    if not any(use.circuit.gates and use.runs >= SEQLEN for use in model.circuits(SEQLEN)):
        assert model.flops_per_token(SEQLEN) / counted > 0.3  # others are mostly circuits


@every_model
def test_the_matrix_that_embeds_can_be_spared_the_decay(name, settings):
    model = small(name, settings)
    [group] = [
        g
        for g in optimiser.make(model, Training(decay_embeddings=False)).param_groups
        if g["weight_decay"] == 0
    ]
    spared = {id(p) for p in group["params"]}
    widths = [p for p in model.parameters() if getattr(p, "_embeds", False)]
    assert [id(p) in spared for p in widths] == [True] * len(widths)
