"""Settings of `compute` do what they say, and leave everything else as it was."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from seqgrid import compute, kernels, registry
from seqgrid.cell import Cell, Compute, Stopping, Training, Validation
from seqgrid.compute import Unfit
from seqgrid.data import Batch, Shape
from seqgrid.loop import Loop

SHAPE = Shape(num_outputs=8, pooled=False, seqlen=16, vocab_size=8)
CPU = torch.device("cpu")


def model_for(chosen):
    torch.manual_seed(0)
    model = registry.make_model("deltanet", {"d_model": 32, "num_heads": 2}, SHAPE)
    compute.prepare(model, chosen, CPU)
    return model


def loss_and_gradients(model):
    tokens = torch.randint(8, (4, 16), generator=torch.Generator().manual_seed(1))
    outputs = model(tokens)
    assert outputs.dtype == torch.float32
    loss = cross_entropy(outputs.flatten(0, 1), tokens.flatten())
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


def cell(**chosen):
    return Cell(
        model="gru", model_settings={"d_model": 16}, task="mqar", task_settings={"vocab_size": 32},
        seqlen=32, seed=0, training=Training(steps=4, batch_size=4),
        validation=Validation(every_steps=2, examples=8),
        stopping=Stopping(solved_validations=None), compute=Compute(**chosen),
    )  # fmt: skip


def test_bfloat16_rounds_products_and_nothing_else():
    exact, gradients = loss_and_gradients(model_for(Compute()))
    model = model_for(Compute(precision="bf16"))
    rounded, found = loss_and_gradients(model)
    assert 0 < abs(rounded - exact) < 0.01
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, gradient in gradients.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 0.05, f"{name}: {error:.2f}"


def test_a_cell_in_bfloat16_trains_and_says_so(tmp_path):
    loop = Loop(cell(precision="bf16"), tmp_path, 1, None)
    assert loop.run(lambda loop: False) == "budget of 4 steps"
    assert loop.facts()["dtype"] == "float32, bfloat16 products"
    plain = Loop(cell(), tmp_path, 1, None)
    plain.run(lambda loop: False)
    assert plain.facts()["dtype"] == "float32"
    assert plain.track.rows[-1]["train_loss"] != loop.track.rows[-1]["train_loss"]


def test_compute_is_part_of_what_a_cell_is_and_its_defaults_are_not():
    assert cell().fingerprint != cell(precision="bf16").fingerprint
    assert cell().fingerprint == cell(precision="fp32", kernels="auto").fingerprint
    older = cell().model_dump()
    del older["compute"]
    assert Cell(**older).fingerprint == cell().fingerprint


def test_policies_end_with_their_block():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with compute.applied(Compute(tf32=True, kernels="torch"), torch.device("cuda")):
        assert matmul.allow_tf32
        assert kernels._policy.kernels == "torch"
    assert matmul.allow_tf32 == before
    with compute.applied(Compute(), torch.device("cuda")):
        assert not matmul.allow_tf32


def test_what_cannot_run_here_is_refused_with_the_key(tmp_path):
    with pytest.raises(Unfit, match=r"compute\.cuda_graphs: true needs a GPU"):
        Loop(cell(cuda_graphs=True), tmp_path, 1, None)
    tokens = torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(Unfit, match="differ in length"):
        compute.capture(torch.nn.Identity(), Batch(tokens, tokens, lengths=torch.tensor([4, 2])))
    with pytest.raises(Unfit, match="cut into pieces"):
        compute.capture(torch.nn.Identity(), Batch(tokens, tokens), pieces=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own
def test_a_compiled_model_is_the_same_model():
    exact, gradients = loss_and_gradients(model_for(Compute()))
    with compute.applied(Compute(compile=True), CPU):
        model = model_for(Compute(compile=True))
        found, compiled = loss_and_gradients(model)
        assert model.backend["delta_rule"] == "chunked torch, compiled"
    torch.testing.assert_close(found, exact)
    for name, gradient in gradients.items():
        torch.testing.assert_close(compiled[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_pass_trains_as_the_plain_one(tmp_path):
    losses = []
    for chosen in ({}, {"cuda_graphs": True}):
        loop = Loop(cell(**chosen), tmp_path, 1, None)
        loop.run(lambda loop: False)
        losses.append(loop.track.rows[-1]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
