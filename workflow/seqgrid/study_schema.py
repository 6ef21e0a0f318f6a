"""What a study file may say. `python -m seqgrid.study_schema` prints it as JSON schema for editors.

Classes check a study when it is read; the schema made from them, and from the `Settings` of every
model and task, lets an editor complete keys and mark mistakes while they are typed.
"""

import json
import re
import sys
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic.json_schema import models_json_schema

from seqgrid import registry
from seqgrid.cell import Compute, Stopping, Training, Validation
from seqgrid.expectation import Expectation
from seqgrid.settings import Chosen
from seqgrid.statements import Claim, Comparison, Gate, Published
from seqgrid.thresholds import Thresholds

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+=-]*")
RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
MOST_SEEDS = 10_000
MOST_TOKENS = 2**40  # what follows from a length, such as its bytes, still fits the tables
SWEPT: dict[str, type[Chosen]] = {
    "training": Training,
    "validation": Validation,
    "stopping": Stopping,
    "compute": Compute,
}


def _label(value: str) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError(
            "a label starts with a letter or digit and goes on with letters, digits, spaces "
            "and . _ + = -"
        )
    return value


def _seeds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = RANGE.fullmatch(value)
    if not match:
        raise ValueError("seeds are a list of integers or a range such as 0..4")
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise ValueError(f"a range goes upwards, such as {last}..{first}")
    if last - first >= MOST_SEEDS:
        raise ValueError(f"at most {MOST_SEEDS} seeds")
    return list(range(first, last + 1))


def _distinct(values: list) -> list:
    most, count = Counter(values).most_common(1)[0] if values else (0, 0)
    if count > 1:
        raise ValueError(f"{most} stands there {count} times")
    return values


def _entry(value: Any) -> Any:
    return {} if value is None else value  # `gru:` alone is enough


Label = Annotated[str, AfterValidator(_label)]
Length = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Lengths = Annotated[list[Length], AfterValidator(_distinct)]
Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[
    list[Seed],
    BeforeValidator(_seeds, json_schema_input_type=list[int] | str),
    AfterValidator(_distinct),
]


class SizeTo(Chosen):
    """A budget that a setting of the model is chosen for, at each task and length."""

    params: int | None = Field(
        None, ge=1, description="trained numbers, embedding and head included"
    )
    state_bytes: int | None = Field(
        None, ge=1, description="state or cache of one sequence at the training length, bytes"
    )
    by: str = Field("d_model", description="the integer setting that is chosen")
    multiple_of: int = Field(
        1, ge=1, description="choose among multiples of it, such as widths that a GPU likes"
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.params is None) == (self.state_bytes is None):
            raise ValueError("give one of params and state_bytes")
        return self

    @property
    def budget(self) -> int:
        """The size wanted, in parameters or bytes."""
        return self.params or self.state_bytes or 0


class ModelEntry(Chosen):
    """One model of the study; its label is the key it stands under."""

    model: str | None = Field(None, description="file in models/; the label where left out")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of that file")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides for this model")
    compute: dict[str, Any] = Field(default_factory=dict, description="overrides for this model")
    sweep: dict[str, list[Any]] = Field(
        default_factory=dict, description="settings to vary for this model; wins over the study's"
    )
    recipe: Literal["literature"] | None = Field(
        None,
        description="training after this model's literature, wherever the study says nothing else; "
        "docs/models.md has it",
    )
    size_to: SizeTo | None = Field(
        None, description="size it to a number of parameters or bytes of state"
    )


class TaskEntry(Chosen):
    """One task of the study; its label is the key it stands under."""

    task: str | None = Field(None, description="file in tasks/; the label where left out")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of that file")
    training: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    validation: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    stopping: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    compute: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    lengths: Lengths | None = Field(None, min_length=1, description="instead of the study's")
    evaluation_lengths: Lengths | None = Field(None, description="instead of the study's")
    seeds: Seeds | None = Field(None, min_length=1, description="instead of the study's")
    models: Annotated[list[str], AfterValidator(_distinct)] | None = Field(
        None, min_length=1, description="labels of the models that run on it; all where left out"
    )


class Evaluated(Chosen):
    """What the test split looks like. Changing it evaluates again and never trains again."""

    examples: int = Field(1000, ge=2, description="test examples at each length")
    lengths: Lengths = Field(
        default_factory=list, description="sequence lengths besides the training length, tokens"
    )


class Match(Chosen):
    """Cells to leave out: those that agree with every key given."""

    model: str | None = Field(None, description="label of a model")
    task: str | None = Field(None, description="label of a task")
    seqlen: int | None = Field(None, description="training sequence length, tokens")
    seed: int | None = None


class Extra(Chosen):
    """Cells to add beside the product of the axes."""

    model: str = Field(description="label of a model")
    task: str = Field(description="label of a task")
    lengths: Lengths = Field(min_length=1, description="training sequence lengths, tokens")
    seeds: Seeds = Field(min_length=1, description="a list, or a range such as 0..4")


class Study(Chosen):
    """The content of config/studies/NAME.yaml."""

    question: str = Field(description="what the study asks, in one sentence")
    models: dict[Label, Annotated[ModelEntry, BeforeValidator(_entry)]] = Field(min_length=1)
    tasks: dict[Label, Annotated[TaskEntry, BeforeValidator(_entry)]] = Field(min_length=1)
    lengths: Lengths = Field(min_length=1, description="training sequence lengths, tokens")
    seeds: Seeds = Field(min_length=1, description="a list, or a range such as 0..4")
    training: Training = Training()
    validation: Validation = Validation()
    stopping: Stopping = Stopping()
    compute: Compute = Compute()
    evaluation: Evaluated = Evaluated()
    sweep: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="settings to vary, such as training.learning_rate: [1e-3, 3e-3]; the best is "
        "selected on validation",
    )
    exclude: list[Match] = Field(default_factory=list, description="cells to leave out")
    include: list[Extra] = Field(default_factory=list, description="cells to add")
    expect: list[Expectation] = Field(
        default_factory=list, description="verdicts known beforehand; the report compares"
    )
    groups: dict[Label, Annotated[list[str], AfterValidator(_distinct)]] = Field(
        default_factory=dict, description="models that belong together: a factor of the study"
    )
    compare: dict[Label, Comparison] = Field(
        default_factory=dict, description="differences that the report judges, by name"
    )
    claims: list[Claim] = Field(
        default_factory=list, description="statements, and what would support them"
    )
    gates: list[Gate] = Field(
        default_factory=list,
        description="bands that known models must fall into, or CONTROL FAILED is said of the task",
    )
    published: list[Published] = Field(
        default_factory=list, description="numbers from elsewhere to hold ours against"
    )
    thresholds: Thresholds = Thresholds()
    part_seconds: float | None = Field(
        None, gt=0, description="training time of one job; what is left is resumed by the next"
    )
    checkpoint_seconds: float = Field(
        60.0, gt=0, description="time between checkpoints: what a killed job loses at most"
    )
    out_of_memory_pieces: int = Field(
        1,
        ge=1,
        description="after an out-of-memory, go on once with each batch in so many pieces whose "
        "gradients add up to the whole batch's; 1: do not",
    )


def json_schema() -> dict[str, Any]:
    """The schema of a study file."""
    records: dict[str, type[BaseModel]] = {r.__name__: r for r in (Study, *SWEPT.values())}
    files = {}
    for kind in ("model", "task"):
        for name in registry.names(kind):
            files[kind, name] = registry.settings(kind, name)
    _, made = models_json_schema([(record, "validation") for record in records.values()])
    definitions = made["$defs"]
    for (kind, name), record in files.items():
        inner = record.model_json_schema()
        definitions |= inner.pop("$defs", {})
        definitions[_name(kind, name)] = inner
    for kind in ("model", "task"):
        entry = definitions[f"{kind.title()}Entry"]
        names = registry.names(kind)
        entry["type"] = ["object", "null"]
        entry["properties"][kind] = {"enum": names, "description": _description(entry, kind)}
        for group in SWEPT:
            if group in entry["properties"]:
                entry["properties"][group] = _reference(group.title())
        entry["allOf"] = [
            _settings(kind, name, {"properties": {kind: {"const": name}}, "required": [kind]})
            for name in names
        ]
        entries = definitions["Study"]["properties"][f"{kind}s"]
        base = _reference(f"{kind.title()}Entry")
        entries["propertyNames"] = {"pattern": f"^{LABEL.pattern}$"}
        entries["properties"] = {
            name: {"allOf": [base, _settings(kind, name, {"not": {"required": [kind]}})]}
            for name in names
        }
        # A label that is no file's name says which file it means.
        entries["additionalProperties"] = {"allOf": [base, {"type": "object", "required": [kind]}]}
    study = definitions.pop("Study")
    for record in (study, definitions["Extra"], definitions["TaskEntry"]):
        seeds = record["properties"]["seeds"]
        null = [kind for kind in seeds["anyOf"] if kind == {"type": "null"}]
        seeds["anyOf"] = [
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            {"type": "string", "pattern": f"^{RANGE.pattern}$"},
            *null,
        ]
    for record in (study, definitions["ModelEntry"]):
        record["properties"]["sweep"] |= {"$ref": "#/$defs/Sweep"}
        record["properties"]["sweep"].pop("additionalProperties")
    definitions["Sweep"] = {
        "type": "object",
        "properties": dict(sorted(_sweep(definitions, files).items())),
        "additionalProperties": False,
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "seqgrid study"}
    return head | _tidy(study | {"$defs": dict(sorted(definitions.items()))})


def _name(kind: str, name: str) -> str:
    return f"{kind}-{name}"


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _description(entry: dict[str, Any], key: str) -> str:
    return entry["properties"][key]["description"]


def _settings(kind: str, name: str, condition: dict[str, Any]) -> dict[str, Any]:
    return {
        "if": condition,
        "then": {"properties": {"settings": _reference(_name(kind, name))}},
    }


def _sweep(definitions: dict[str, Any], files: dict) -> dict[str, Any]:
    """What may be swept -> lists of what it may be."""
    found: dict[str, Any] = {}
    for group in SWEPT:
        for key, schema in definitions[group.title()]["properties"].items():
            found[f"{group}.{key}"] = {"type": "array", "items": schema, "minItems": 1}
    for kind, name in files:
        for key, schema in definitions[_name(kind, name)]["properties"].items():
            items = {k: v for k, v in schema.items() if k not in ("title", "default")}
            entry = found.setdefault(
                f"{kind}.{key}", {"type": "array", "items": {"anyOf": []}, "minItems": 1}
            )
            if items not in entry["items"]["anyOf"]:
                entry["items"]["anyOf"].append(items)
    return found


def _tidy(schema: Any, inside_properties: bool = False) -> Any:
    """Without pydantic's titles, which only repeat the keys."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _tidy(value, inside_properties=key in ("properties", "$defs"))
        for key, value in schema.items()
        if inside_properties or key != "title"
    }


def main() -> int:
    """Entry point; returns the exit status."""
    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
