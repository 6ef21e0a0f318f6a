"""Which implementation an operator runs on is decided in one place and said."""

import pytest
import torch

from seqgrid import kernels, registry
from seqgrid.data import Shape
from seqgrid.kernels import MissingKernel, Operator, use


def reference(x):
    raise AssertionError("references are for tests")


def chunked(x):
    return x + 1


def fused(x):
    return x + 2


def unimportable(x):
    raise ImportError("no module named kernel")


class OnCuda:
    """As much of a CUDA tensor as the choice looks at."""

    device = torch.device("cuda")

    def __add__(self, number):
        return number


def test_a_cpu_runs_the_chunked_path_and_says_so():
    operator = Operator("twice", reference, chunked, fused, package="no-such-package")
    assert operator(torch.zeros(1)) == 1
    assert operator.backend(torch.device("cpu")) == "chunked torch"


def test_cuda_runs_the_fused_kernel_and_names_its_version():
    operator = Operator("twice", reference, chunked, fused, package="numpy")
    assert operator(OnCuda()) == 2
    assert operator.backend(torch.device("cuda")).startswith("numpy 2.")
    with use("torch"):
        assert operator(OnCuda()) == 1
        assert operator.backend(torch.device("cuda")) == "chunked torch"
    assert operator(OnCuda()) == 2


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (Operator("twice", reference, chunked, fused, "no-such-package"), "is not installed"),
        (Operator("twice", reference, chunked, unimportable, "numpy"), "no module named kernel"),
    ],
)
def test_a_missing_kernel_is_an_error_that_names_the_remedy(operator, words):
    with pytest.raises(MissingKernel, match=words) as error:
        operator(OnCuda())
    assert "pip install -c envs/constraints.txt" in str(error.value)
    assert "compute.kernels: torch" in str(error.value)
    with use("torch"):
        assert operator(OnCuda()) == 1


def test_an_operator_without_a_kernel_of_its_own_is_the_same_everywhere():
    assert Operator("twice", reference, chunked)(OnCuda()) == 1


def test_a_policy_ends_with_its_block_even_where_that_fails():
    with pytest.raises(RuntimeError), use("torch", compile=True):
        raise RuntimeError
    assert kernels._policy == kernels._Policy()


def test_a_model_names_all_that_it_runs_on():
    shape = Shape(num_outputs=3, pooled=False, seqlen=8, vocab_size=4)
    model = registry.make_model("deltanet", {"d_model": 16}, shape)
    assert model.backend == {"delta_rule": "chunked torch", "short_conv": "torch"}
    model = registry.make_model("deltanet", {"d_model": 16, "use_short_conv": False}, shape)
    assert model.backend == {"delta_rule": "chunked torch"}
