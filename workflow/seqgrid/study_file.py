"""Reading a study's YAML, and saying what is wrong with it in one line a problem."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

# pydantic's words, where a user would not know them
WORDS = {
    "int_type": "an integer is needed",
    "float_type": "a number is needed",
    "finite_number": "a finite number is needed",
    "bool_type": "true or false is needed",
    "string_type": "text is needed",
    "list_type": "a list is needed",
    "dict_type": "a mapping is needed",
    "model_type": "a mapping is needed",
    "too_short": "at least one entry is needed",
    "string_too_short": "text that is not empty is needed",
    "literal_error": "{expected} is needed",
    "greater_than_equal": "at least {ge} is needed",
    "greater_than": "more than {gt} is needed",
    "less_than_equal": "at most {le} is needed",
    "less_than": "less than {lt} is needed",
}


class StudyError(Exception):
    """A study that cannot be used: each line names file, key, value and what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(map(one_line, problems)))


def one_line(text: str) -> str:
    """The text with every break in it written out, as a quoted value may hold some."""
    return "\\n".join(text.splitlines())


class Loader(yaml.SafeLoader):
    """YAML in which a key may stand once, 1e-3 is a number and `on` is a word."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.YAMLError(f"line {line}: a key is plain text, not a list or a mapping")
        if key.value in seen:
            raise yaml.YAMLError(
                f"line {line}: key '{key.value}' stands here and in line {seen[key.value]}"
            )
        seen[key.value] = line
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
# YAML 1.1 reads 1e-3 as a string; YAML 1.2 and everybody who writes a learning rate do not.
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
# YAML 1.1 reads the key `on` as true, and a label `no` as false; YAML 1.2 has true and false alone.
Loader.yaml_implicit_resolvers = {
    first: [(tag, test) for tag, test in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        StudyError: no such file, or not YAML; with the line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=Loader)
    except OSError as error:
        raise StudyError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        text = f"not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        raise StudyError([f"{path}: {text}"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        what = str(error.problem or error.context)
        if "'\\t'" in what:
            what = "a tab, where YAML has spaces"
        raise StudyError([f"{path}: {where}{what}"]) from error
    except RecursionError as error:
        raise StudyError([f"{path}: not YAML that can be read: nested too deeply"]) from error
    except (yaml.YAMLError, ValueError) as error:  # such as an impossible date
        raise StudyError([f"{path}: {' '.join(str(error).split())}"]) from error


def unknown(value: str, allowed: list[str], what: str) -> str:
    """One clause for a name that is not among the allowed ones, with the nearest of them."""
    near = difflib.get_close_matches(value, allowed, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"'{value}' is not {what}; allowed: {', '.join(allowed) or 'none'}{hint}"


def explain(
    error: ValidationError, model: type[BaseModel], place: Callable[[list[Any]], str]
) -> list[str]:
    """One line for each problem that pydantic found in a record of type `model`.

    Args:
        error: what pydantic raised.
        model: type of the record.
        place: from a location inside the record to the words for it.
    """
    return [_line(dict(item), model, place) for item in error.errors(include_url=False)]


def _line(item: dict[str, Any], model: type[BaseModel], place: Callable[[list[Any]], str]) -> str:
    location = [part for part in item["loc"] if part != "[key]"]
    where = place(location)
    if item["type"] == "extra_forbidden":
        allowed = sorted(_fields(model, location[:-1]))
        return f"{where}: {unknown(str(location[-1]), allowed, 'a key here')}"
    if item["type"] == "missing":
        return f"{where}: this key is needed; given {_keys(item['input'])}"
    if item["type"] == "value_error":
        text = item["msg"].removeprefix("Value error, ")
        return f"{where}: {text}" + (f", got {_shown(item['input'])}" if location else "")
    words = WORDS.get(item["type"])
    limits = {k: f"{v:g}" if isinstance(v, float) else v for k, v in item.get("ctx", {}).items()}
    text = words.format(**limits) if words else item["msg"]
    if item["type"] == "model_type":
        keys = _fields(model, location)
        text += f" with the keys {', '.join(keys)}" if keys else ""
    return f"{where}: {text}, got {_shown(item['input'])}"


def _keys(given: Any) -> str:
    return f"are {', '.join(map(str, given))}" if given else "is nothing"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(model: type[BaseModel], location: list[Any]) -> list[str]:
    """Names of the keys allowed at a location inside `model`."""
    current: Any = model
    for part in location:
        if _is_record(current):
            named = {f.alias or name: f for name, f in current.model_fields.items()}
            field = named.get(str(part))
            current = field.annotation if field else None
        else:  # a key or index into dict[str, X] or list[X]
            current = (get_args(current) or (None,))[-1]
        current = _inside(current)
    if not _is_record(current):
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _is_record(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def _inside(type_: Any) -> Any:
    """X of Annotated[X, ...] and of X | None."""
    if hasattr(type_, "__metadata__"):
        return _inside(get_args(type_)[0])
    if isinstance(type_, UnionType) or get_origin(type_) is Union:
        records = [one for one in map(_inside, get_args(type_)) if _is_record(one)]
        return records[0] if records else type_
    return type_
