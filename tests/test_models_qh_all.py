"""All models of the quantum_hydra study: how large they are, and what they see of the order."""

import pytest
import torch
from model_checks import build, softmax_biases, stirred

from seqgrid import registry
from seqgrid.data import Shape

# Trained numbers of the original for 2 channels, 1 and 8 outputs and 200 positions, a complex one
# counted once; how many more there are here, fewer where some have no effect. The bias that a
# softmax takes away, which is nowhere here, is counted.
STUDY = {
    "qh_1a": (334_178, 335_081, -3),
    "qh_1b": (421_730, 422_633, -512 - 3),
    "qh_1c": (909_965, 910_868, -1536 - 9 + 3),  # 3 are complex
    "qh_2a": (35_817, 36_720, 13),  # 13 are complex
    "qh_2b": (77_958, 78_861, -8192),
    "qh_2c": (196_368, 197_271, -16_384),
    "qh_2d": (46_052, 46_507, 0),
    "qh_2e": (71_582, 72_037, 0),
    "qh_3a": (331_137, 332_040, 0),
    "qh_3b": (233_857, 234_760, 0),
    "qh_3c": (232_321, 232_776, 0),
    "qh_4a": (36_737, 37_192, 0),
    "qh_4d": (53_126, 53_581, 0),
    "qh_4e": (86_396, 86_851, 0),
}
MODELS = [name for name in registry.names("model") if name.startswith("qh_")]
CHUNK = 8


def shape(num_outputs, seqlen):
    return Shape(num_outputs=num_outputs, pooled=True, seqlen=seqlen, num_channels=2)


@pytest.mark.parametrize("name", [name for name in MODELS if name in STUDY])
def test_sizes_are_those_of_the_study_or_it_is_said_why_not(name):
    *original, more = STUDY[name]
    models = [registry.make_model(name, {}, shape(n, 200)) for n in (1, 8)]
    ours = [model.num_parameters + softmax_biases(model) for model in models]
    assert ours == [number + more for number in original]


def small(name, settings):
    cheap = {"num_qubits": 3, "chunk_size": CHUNK} | settings
    record = registry.settings("model", name)
    chosen = {key: value for key, value in cheap.items() if key in record.model_fields}
    model = stirred(build(name, chosen, shape(2, 3 * CHUNK))).double().eval()
    return model, registry.settings("model", name)(**chosen).sight


def differences(model):
    """How much the answer changes as positions of a chunk are exchanged; as two chunks are."""
    x = torch.randn(4, 3 * CHUNK, 2, generator=torch.Generator().manual_seed(1)).double()
    within, across = x.clone(), x.clone()
    within[:, [1, 5]] = x[:, [5, 1]]
    across[:, :CHUNK], across[:, CHUNK : 2 * CHUNK] = x[:, CHUNK : 2 * CHUNK], x[:, :CHUNK]
    with torch.no_grad():
        answer = model(x)
        scale = answer.std(0).max()
        return [((model(moved) - answer).abs().max() / scale).item() for moved in (within, across)]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_sees_of_the_order_what_its_settings_say(name):
    model, sight = small(name, {})
    within, across = differences(model)
    assert (within < 1e-9) == (sight is not None)
    assert (across < 1e-9) == (sight is not None and sight.order == "unordered_chunks")


@pytest.mark.parametrize(
    "name", [n for n in MODELS if "positions" in registry.settings("model", n).model_fields]
)
def test_a_model_that_is_told_positions_sees_the_order(name):
    model, sight = small(name, {"positions": "sinusoidal"})
    assert sight is None
    assert min(differences(model)) > 1e-9
