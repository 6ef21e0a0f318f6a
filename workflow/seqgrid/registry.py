"""File name -> what the file declares, for models and tasks: a new file is an entry, nothing else.

Names and settings come from the source text, so that a study is validated without torch.
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from seqgrid.settings import ModelSettings, Strict, TaskSettings

Kind = Literal["model", "task"]
FOLDERS: dict[Kind, Path] = {
    "model": Path(__file__).parent / "models",
    "task": Path(__file__).parent / "tasks",
}
BASES: dict[Kind, type[Strict]] = {"model": ModelSettings, "task": TaskSettings}
# What a `Settings` class may lean on: modules that import in no time.
LIGHT = {"seqgrid.settings", "seqgrid.registry", "math", "typing", "pydantic", "collections.abc"}


class RegistryError(Exception):
    """A model or task file does not declare what it must; the message names the file."""


def names(kind: Kind) -> list[str]:
    """Every model or task there is."""
    return sorted(p.stem for p in FOLDERS[kind].glob("*.py") if not p.stem.startswith("_"))


def on_backbone() -> list[str]:
    """Models that answer at positions: those on the backbone that all share."""
    return [name for name in names("model") if not settings("model", name).pooled_only]


@cache
def settings(kind: Kind, name: str) -> type[Any]:
    """The `Settings` class of a model or task file, built from its text alone.

    Raises:
        RegistryError: the file declares no such class, or the class leans on a heavy import.
    """
    path = FOLDERS[kind] / f"{name}.py"
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise RegistryError(f"{path}:{f' line {line}:' if line else ''} {_first(error)}") from error
    light = [
        node
        for node in tree.body
        if (isinstance(node, ast.ImportFrom) and node.module in LIGHT)
        or (isinstance(node, ast.Import) and all(alias.name in LIGHT for alias in node.names))
    ]
    declared = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings"]
    if len(declared) != 1:
        raise RegistryError(f"{path}: declare one class named Settings, found {len(declared)}")
    namespace: dict[str, Any] = {"__name__": f"seqgrid.{FOLDERS[kind].name}.{name}"}
    code = compile(
        ast.Module([*light, *declared], type_ignores=[]), str(path), "exec", dont_inherit=True
    )
    try:
        exec(code, namespace)
    except NameError as error:
        raise RegistryError(
            f"{path}: class Settings may use only {sorted(LIGHT)}: {error}"
        ) from error
    except Exception as error:
        what = f"{type(error).__name__}: {_first(error)}"
        raise RegistryError(f"{path}: class Settings cannot be made: {what}") from error
    found = namespace["Settings"]
    if not issubclass(found, BASES[kind]):
        raise RegistryError(f"{path}: class Settings must derive from {BASES[kind].__name__}")
    return found


def load(kind: Kind, name: str) -> ModuleType:
    """Import a model or task file; this is where torch comes in."""
    return importlib.import_module(f"seqgrid.{FOLDERS[kind].name}.{name}")


def task_class(name: str) -> Any:
    """The subclass of Task in the file of the task `name`.

    Raises:
        RegistryError: the file holds not exactly one.
    """
    from seqgrid.tasks._base import Task

    module = load("task", name)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Task)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise RegistryError(f"{module.__file__}: declare one subclass of Task, found {len(found)}")
    return found[0]


def make_task(name: str, chosen: dict, seqlen: int) -> Any:
    """The task `name` with `chosen` settings at `seqlen` tokens.

    Raises:
        RegistryError: the file holds not exactly one subclass of Task.
    """
    return task_class(name)(load("task", name).Settings(**chosen), seqlen)


def make_model(name: str, chosen: dict, shape: Any) -> Any:
    """The model `name` with `chosen` settings for a problem of `shape` (seqgrid.data.Shape).

    A model file declares `mixer(settings, layer)`, and where its input wants them
    `positions(settings, shape)`, for the backbone that all share; or `build(settings, shape)`, a
    whole model with the backbone's attributes, where it is nothing like it.
    """
    module = load("model", name)
    settings = module.Settings(**chosen)
    if hasattr(module, "build"):
        return module.build(settings, shape)
    from seqgrid.models._base import Backbone

    positions = module.positions(settings, shape) if hasattr(module, "positions") else None
    return Backbone(settings, shape, lambda layer: module.mixer(settings, layer), positions)


def _first(error: Exception) -> str:
    return (getattr(error, "msg", None) or str(error)).strip().splitlines()[0]
