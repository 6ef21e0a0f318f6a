"""Tables of the keys of a record: type, default, unit and meaning of each."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from seqgrid import study_schema

# Key, or its last word -> unit of its value.
UNITS = {
    "steps": "steps",
    "seconds": "s",
    "seqlen": "tokens",
    "evaluated": "tokens",
    "lengths": "tokens",
    "examples": "examples",
    "batch_size": "examples",
    "conv_size": "positions",
    "d_conv": "positions",
    "validations": "validations",
    "d_model": "channels",
}
WORDS = {int: "integer", float: "number", str: "text", bool: "true, false", Any: "any"}
BOUNDS = {
    annotated_types.Ge: ("ge", "≥"),
    annotated_types.Gt: ("gt", ">"),
    annotated_types.Le: ("le", "≤"),
    annotated_types.Lt: ("lt", "<"),
}


def section(title: str, where: str, record: type[BaseModel], known: Any) -> Iterator[str]:
    """A heading, where the keys of a record stand, and a row for each but those in `known`."""
    rows = [
        (
            f"`{field.alias or key}`",
            _type(field),
            _default(field),
            _unit(key, field),
            _meaning(key, field),
        )
        for key, field in record.model_fields.items()
        if key not in known
    ]
    if not rows:
        return
    if title:
        yield from (title, "")
    yield from (where, "")
    yield from table(("key", "type", "default", "unit", "meaning"), rows)
    yield ""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "the defaults below"
    if value in (None, "") or value is PydanticUndefined:
        return "none"
    text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else str(value)
    return f"`{text}`"


def _unit(key: str, field: FieldInfo) -> str:
    if _bare(field.annotation) not in (int, float, list):
        return ""
    return UNITS.get(key) or UNITS.get(key.rpartition("_")[2], "")


def _meaning(key: str, field: FieldInfo) -> str:
    if field.description:
        return field.description
    inside = field.annotation
    while get_args(inside):  # mapping to a record
        inside = get_args(inside)[0 if get_origin(inside) is Annotated else -1]
    if isinstance(inside, type) and issubclass(inside, BaseModel):
        return (inside.__doc__ or "").splitlines()[0].rstrip(".")
    return f"{key} of a cell"


def _bare(annotation: Any) -> Any:
    """int, float, list ... behind Annotated and `| None`."""
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = get_args(annotation)[0]
    return get_origin(annotation) or annotation


def _type(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(bound, attribute)}"
        for bound in field.metadata
        for kind, (attribute, sign) in BOUNDS.items()
        if isinstance(bound, kind)
    ]
    first, *others = _words(field.annotation).split(" or ")
    if field.annotation in (study_schema.Seeds, list[study_schema.Seed]):
        others = ["range"]
    elif field.annotation == study_schema.Seeds | None:
        others = ["range", *others]
    words = " ".join([first, ", ".join(limits)]).strip()
    return " or ".join([words + "," * bool(others and limits), *others])


def _words(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        return _words(inside[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, inside))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin is list:
        return f"list of {_words(inside[0])}s"
    if origin is tuple:
        return f"list of {len(inside)} {_words(inside[0])}s"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return WORDS[annotation]
