"""Which implementation an operator runs on: decided here alone, and named in every result.

On a CPU it is the chunked torch path. On CUDA it is the fused kernel of the library that has one;
where that package is not installed, that is an error, as a slow path that nobody asked for would
spend the GPU-hours of a grid in silence. A cell whose `compute.kernels` is `torch` asked for it.
"""

import importlib.metadata
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

Choice = Literal["auto", "torch"]


class MissingKernel(Exception):
    """CUDA is there and the package with the fused kernel is not; the message has the remedy."""


@dataclass
class _Policy:
    kernels: Choice = "auto"
    compile: bool = False


_policy = _Policy()


@contextmanager
def use(kernels: Choice = "auto", compile: bool = False) -> Generator[None]:
    """Within it operators run so.

    Args:
        kernels: `auto`, fused kernels on CUDA; `torch`, the chunked path everywhere.
        compile: whether bodies that gain from it go through torch.compile.
    """
    global _policy, _outside_graphs
    if compile and _outside_graphs is None:
        _outside_graphs = torch.compiler.disable(_run)  # imports the compiler: not for nothing
    before, _policy = _policy, _Policy(kernels, compile)
    try:
        yield
    finally:
        _policy = before


def _run(operator: "Operator", args: tuple, kwargs: dict[str, Any]) -> Any:
    return operator._run(*args, **kwargs)


_outside_graphs: Callable[..., Any] | None = None


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, through torch.compile where the policy in force says so; it must be pure."""
    return _compiled(function) if _policy.compile else function


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


@dataclass(frozen=True, eq=False)
class Operator:
    """A function of tensors with its implementations, all of one signature.

    Attributes:
        name: as results name it.
        reference: step by step, as the equations read.
        chunked: fast in plain torch, on any device.
        fused: the kernel of a library, imported when it runs; None: `chunked` is best everywhere.
        package: distribution that `fused` needs.
        path: what `chunked` is called in results.
    """

    name: str
    reference: Callable[..., Any]
    chunked: Callable[..., Any]
    fused: Callable[..., Any] | None = None
    package: str | None = None
    path: str = "chunked torch"

    def __call__(self, first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The operator on whatever the device of its first tensor calls for.

        Raises:
            MissingKernel: it calls for a package that is not installed.
        """
        if _policy.compile and _outside_graphs is not None:
            # Unrolled over its chunks it would be a graph without end; torch 2.13 also compiles
            # products into slices of one tensor (`out=`) to NaN. Bodies are for `compiled`.
            return _outside_graphs(self, (first, *args), kwargs)
        return self._run(first, *args, **kwargs)

    def _run(self, first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not self._is_fused(first.device):
            return self.chunked(first, *args, **kwargs)
        assert self.fused is not None
        try:
            # a library's own products between its kernels keep the precision of their inputs
            with torch.autocast(first.device.type, enabled=False):
                return self.fused(first, *args, **kwargs)
        except ImportError as error:
            raise MissingKernel(self._remedy(f"cannot be imported ({error})")) from error

    def backend(self, device: torch.device) -> str:
        """The implementation for tensors on `device`, with its version.

        Raises:
            MissingKernel: it is a package that is not installed.
        """
        if not self._is_fused(device):
            return f"{self.path}, compiled" if _policy.compile else self.path
        return f"{self.package} {_version(self.package or '')}"

    def _is_fused(self, device: torch.device) -> bool:
        if device.type != "cuda" or self.fused is None or _policy.kernels == "torch":
            return False
        if _version(self.package or "") is None:
            raise MissingKernel(self._remedy("is not installed"))
        return True

    def _remedy(self, what: str) -> str:
        return (
            f"{self.name} on CUDA runs on {self.package}, which {what}: "
            f"pip install -c envs/constraints.txt -r envs/requirements-cuda.txt, or set "
            f"compute.kernels: torch to train on the slow path"
        )


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
