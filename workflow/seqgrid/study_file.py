"""Reading a study's YAML, and saying what is wrong with it in one line a problem."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError


class StudyError(Exception):
    """A study that cannot be used: each line names file, key, value and what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    """YAML in which a key may stand once, and 1e-3 is a number."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict:
    seen: dict[Any, int] = {}
    for key, _ in node.value:
        name, line = key.value, key.start_mark.line + 1
        if name in seen:
            raise yaml.YAMLError(f"line {line}: key '{name}' stands here and in line {seen[name]}")
        seen[name] = line
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
# YAML 1.1 reads 1e-3 as a string; YAML 1.2 and everybody who writes a learning rate do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        StudyError: no such file, or not YAML; with the line.
    """
    try:
        return yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise StudyError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise StudyError([f"{path}: not a text file ({error.reason})"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise StudyError([f"{path}: {where}{error.problem or error.context}"]) from error
    except yaml.YAMLError as error:
        raise StudyError([f"{path}: {' '.join(str(error).split())}"]) from error


def unknown(value: str, allowed: list[str], what: str) -> str:
    """One clause for a name that is not among the allowed ones, with the nearest of them."""
    near = difflib.get_close_matches(value, allowed, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"'{value}' is not {what}; allowed: {', '.join(allowed)}{hint}"


def explain(error: ValidationError, model: type[BaseModel], where: str) -> list[str]:
    """One line for each problem that pydantic found in a record of type `model`."""
    return [_line(dict(item), model, where) for item in error.errors(include_url=False)]


def _line(item: dict[str, Any], model: type[BaseModel], where: str) -> str:
    location = [part for part in item["loc"] if not _is_tag(part)]
    path = ".".join(str(part) for part in location)
    prefix = f"{where}{path}" if where.endswith(": ") else f"{where}.{path}" if path else where
    if item["type"] == "extra_forbidden":
        allowed = sorted(_fields(model, list(item["loc"][:-1])))
        text = unknown(str(location[-1]), allowed, "a key here") if allowed else "unknown key"
        return f"{prefix}: {text}"
    if item["type"] == "missing":
        return f"{prefix}: this key is needed"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = repr(item["input"])
    shown = value if len(value) <= 60 else value[:57] + "..."
    return f"{prefix}: {message}, got {shown}"


def _is_tag(part: Any) -> bool:
    # Branches of a union that pydantic adds to the location; no key of ours looks like them.
    return isinstance(part, str) and bool(
        re.match(r"^(list\[|function-|constrained-|literal\[)", part)
    )


def _fields(model: type[BaseModel], location: list[Any]) -> set[str]:
    """Names of the keys allowed at a location inside `model`; empty where that cannot be told."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:  # a key or index into dict[str, X] or list[X]
            arguments = getattr(current, "__args__", ())
            current = arguments[-1] if arguments else None
    if isinstance(current, type) and issubclass(current, BaseModel):
        return set(current.model_fields)
    return set()
