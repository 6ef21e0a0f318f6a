"""The libraries' own Triton kernels on a CPU: importing this starts Triton's interpreter.

Import it before anything that imports triton. Where the packages of requirements-kernels.txt are
not installed, a test file that imports this is skipped.
"""

import os
import sys
import types

import pytest

if "triton" in sys.modules and "TRITON_INTERPRET" not in os.environ:
    # other tests import parts of torch that import it, for a GPU
    pytest.skip("these files alone: make test-oracle", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"
triton = pytest.importorskip("triton", reason="pip install -r envs/requirements-kernels.txt")
pytest.importorskip("fla", reason="pip install -r envs/requirements-kernels.txt")

import torch  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime.interpreter import interpreter_builder  # noqa: E402


class _Utilities:
    def get_device_properties(self, device):
        return {
            "multiprocessor_count": 1,
            "max_shared_mem": 232448,
            "warpSize": 32,
            "max_num_regs": 65536,
        }


class _Driver:
    """What autotuners and launchers ask a driver; nothing is timed, nothing is compiled."""

    utils = _Utilities()

    def get_benchmarker(self):
        return lambda fn, quantiles=None, **_: [0.0] * (len(quantiles) if quantiles else 1)

    def get_current_target(self):
        return GPUTarget("cpu", 0, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")

    def get_device_interface(self):
        return torch.cpu

    def get_empty_cache_for_benchmark(self):
        return torch.empty(1)

    def clear_cache(self, cache):
        pass


triton.runtime.driver.set_active(_Driver())
# a product sums over 16 at least, as on a GPU; the interpreter by itself takes any number
interpreter_builder.codegen_fns["min_dot_size"] = lambda *operands: (1, 1, 16)
# mamba-ssm imports its CUDA extension whether it is used or not
sys.modules.setdefault("selective_scan_cuda", types.ModuleType("selective_scan_cuda"))


class _Integer(int):
    """Kernels cast the index of a loop, which in the interpreter is a plain integer."""

    def to(self, *args, **kwargs):
        return self


def _range(*bounds):
    plain = [int(x.handle.data.item()) if hasattr(x, "handle") else int(x) for x in bounds]
    return (_Integer(i) for i in range(*plain))


def patch():
    """To be called after the modules with the kernels are imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("fla.ops", "fla.modules", "mamba_ssm.ops")) and hasattr(module, "tl"):
            module.__dict__["range"] = _range
