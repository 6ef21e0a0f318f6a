"""Models 1a and 2a of the quantum_hydra study: attention over chunks, in name or in fact."""

import math

import pytest
import torch
from model_checks import softmax_biases
from pennylane_circuits import simulate
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, relu, silu
from torch.utils.flop_counter import FlopCounterMode

from seqgrid import quantum, registry
from seqgrid.data import Shape
from seqgrid.models import qh_1a, qh_2a
from seqgrid.models._pooled import chunks

NAMES = ["qh_1a", "qh_2a"]
SMALL = {"d_model": 16, "num_qubits": 3, "num_layers": 2, "chunk_size": 4}
each_model = pytest.mark.parametrize("name", NAMES)


def build(name, settings=None, seqlen=10, outputs=3, **shape):
    """A model in float64 that is evaluated, with every parameter moved from where it starts."""
    torch.manual_seed(0)
    if not shape:
        shape = {"num_channels": 2}
    problem = Shape(outputs, True, seqlen, **shape)
    model = registry.make_model(name, SMALL | (settings or {}), problem)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn_like(p)
    return model.double().eval()


def draw(seqlen, batch=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, seqlen, 2, generator=g, dtype=torch.float64)


def compared(model, expected, inputs):
    """The value and every gradient of a model are those of a function of the same parameters."""
    outputs = model(inputs), expected(inputs)
    weights = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((o * weights).sum(), [*model.parameters()]) for o in outputs]
    torch.testing.assert_close(*outputs, atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=1e-6)


def pooled(x, pool):
    """The weighted mean over positions, (B, T, C) -> (B, C)."""
    first, _, second = pool.children()
    return (second(first(x).tanh()).softmax(1) * x).sum(1)


def measured(circuit, angles, state=None):
    return quantum.pauli_expectations(simulate(angles, circuit, state))


# parameters of the original; those of it that are not trained or that nothing depends on; complex
# ones, which we count twice
@pytest.mark.parametrize(
    ("name", "seqlen", "outputs", "documented", "dead", "complex_ones"),
    [
        ("qh_1a", 100, 1, 335_074, 7 * 128 + 3, 0),
        ("qh_1a", 1000, 8, 343_145, 63 * 128 + 3, 0),
        ("qh_2a", 100, 1, 35_811, 0, 7),
        ("qh_2a", 100, 8, 36_714, 0, 7),
        ("qh_2a", 1000, 8, 36_770, 0, 63),
    ],
)
def test_parameters_are_as_many_as_documented(
    name, seqlen, outputs, documented, dead, complex_ones
):
    model = registry.make_model(name, {}, Shape(outputs, True, seqlen, num_channels=2))
    assert model.num_parameters + softmax_biases(model) + dead - complex_ones == documented


@each_model
@pytest.mark.parametrize(
    ("num_qubits", "num_layers", "seqlen"), [(2, 2, 10), (3, 2, 8), (5, 1, 6), (8, 1, 3)]
)
def test_with_the_circuits_of_pennylane_the_model_is_the_same(
    monkeypatch, name, num_qubits, num_layers, seqlen
):
    model = build(name, {"num_qubits": num_qubits, "num_layers": num_layers})

    def expected(inputs):
        with monkeypatch.context() as patch:
            for module in (qh_1a, qh_2a):
                patch.setattr(module, "run_expectations", measured)
            patch.setattr(qh_2a, "run", lambda circuit, angles: simulate(angles, circuit))
            return model(inputs)

    compared(model, expected, draw(seqlen))


def test_features_of_a_chunk_are_magnitudes_of_a_weighted_sum():
    model = build("qh_1a")
    features = model.chunk_features

    def defined(inputs):
        x, found = silu(model.embed(inputs)), []
        a, b, c = features.coefficients
        for start in (0, 4, 8):
            part = torch.cat((x, torch.zeros_like(x[:, :2])), 1)[:, start : start + 4]
            summary, read = pooled(part, features.pool), []
            for k in range(3):
                own = slice(30 * k, 30 * (k + 1))
                layer = features.angle_proj
                angles = linear(summary, layer.weight[own], layer.bias[own]) + features.base[k]
                angles = 2 * math.pi / (1 + (-angles).exp())
                read.append(quantum.run_expectations(features.circuit, angles))
            total = (a * read[0] + b * read[1] + c * read[2]) / (a * a + b * b + c * c).sqrt()
            found.append(silu(features.norm(features.out_proj(total.abs()))))
        return model.head(model.encoder(torch.stack(found, 1)))

    compared(model, defined, draw(10))


def test_the_state_of_a_sequence_is_a_weighted_sum_of_those_of_its_chunks():
    model = build("qh_2a")
    mixer = model.mixer

    def defined(inputs):
        x, state = chunks(model.embed(inputs), 4), 0
        for j in range(3):
            angles = mixer.angle_proj(pooled(x[:, j], model.pool)).sigmoid()
            real, imaginary = mixer.coefficients[j]
            state = state + (real + 1j * imaginary) * quantum.run(mixer.of_chunk, angles)
        state = state / state.abs().square().sum(-1, keepdim=True).sqrt()
        read = mixer.out_proj(quantum.run_expectations(mixer.of_sum, mixer.angles, state))
        return model.head(relu(model.hidden(model.norm(read))))

    compared(model, defined, draw(10))


@each_model
def test_chunks_are_in_order_and_what_is_within_them_only_where_asked(name):
    model, told = build(name), build(name, {"positions": "sinusoidal"})
    inputs = draw(8)
    within, between = inputs[:, [1, 0, 3, 2, 4, 6, 7, 5]], inputs.roll(4, 1)
    torch.testing.assert_close(model(inputs), model(within))
    assert (model(inputs) - model(between)).abs().max() > 1e-6
    assert (told(inputs) - told(within)).abs().max() > 1e-6


@each_model
def test_fewer_chunks_are_read_as_the_original_reads_them(name):
    model = build(name)
    assert model(draw(3)).shape == (2, 3)
    assert model(draw(1)).shape == (2, 3)
    lengths = torch.tensor([10, 5])
    filled = model.project(draw(10)) * (torch.arange(10) < lengths[:, None])[..., None]
    torch.testing.assert_close(model(draw(10), lengths), model.answer(filled))


def test_there_are_coefficients_for_the_chunks_of_training_and_no_more():
    model = build("qh_2a")
    assert model.max_seqlen == 12
    assert model(draw(12)).shape == (2, 3)
    with pytest.raises(ValueError, match="end at 12 positions, 13 asked; train at the longest"):
        model(draw(13))
    assert build("qh_1a").max_seqlen is None


@each_model
def test_one_channel_tokens_and_slots_are_read(name):
    assert build(name, num_channels=1)(draw(10)[..., :1]).shape == (2, 3)
    model = build(name, vocab_size=7, slots=2)
    assert model(torch.randint(7, (2, 10))).shape == (2, 2, 3)
    assert not torch.equal(*(model.train()(torch.ones(2, 10).long()) for _ in range(2)))


@each_model
def test_flops_are_those_torch_counts(monkeypatch, name):
    model, inputs = build(name), draw(10)
    for module in (qh_1a, qh_2a):
        monkeypatch.setattr(module, "run_expectations", lambda circuit, angles, *_: angles[..., :9])
    monkeypatch.setattr(qh_2a.SummedStates, "forward", without_circuits)
    counter = FlopCounterMode(display=False)  # knows matrix products, not the CPU's fused kernel
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(inputs)
    assert model.flops_per_token(10) * 2 * 10 == pytest.approx(counter.get_total_flops())


def without_circuits(self, x):
    return self.out_proj(self.angle_proj(x)[:, 0, :9])


def test_circuits_are_counted():
    [use] = build("qh_1a").circuits(10)
    assert (use.runs, use.circuit.num_angles) == (9, 30)
    of_chunk, of_sum = build("qh_2a").circuits(10)
    assert (of_chunk.runs, of_chunk.circuit.num_angles) == (3, 30)
    assert (of_sum.runs, of_sum.circuit.num_angles) == (1, 15)


def test_initial_values_are_those_of_the_original():
    shape = Shape(1, True, 16 * 400, num_channels=2)
    features = registry.make_model("qh_1a", {"num_layers": 20}, shape).chunk_features
    assert 0 <= features.base.min() < 0.1 < 6.2 < features.base.max() < 2 * math.pi
    assert features.base.mean().item() == pytest.approx(math.pi, abs=0.2)
    assert 0 <= features.coefficients.min() < features.coefficients.max() < 1
    mixer = registry.make_model("qh_2a", {"num_qubits": 10}, shape).mixer
    assert mixer.coefficients.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.06)
    assert 0 <= mixer.coefficients.min() < 0.02 < 0.98 < mixer.coefficients.max() < 1
    assert mixer.angles.std().item() == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("qh_1a", {"num_qubits": 1}, "greater than or equal to 2"),
        ("qh_1a", {"num_heads": 5}, "num_heads=5 does not divide d_model=128"),
        ("qh_2a", {"num_qubits": 11}, "less than or equal to 10"),
        ("qh_2a", {"d_model": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be_built_are_refused_with_a_reason(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        registry.settings("model", name)(**settings)
