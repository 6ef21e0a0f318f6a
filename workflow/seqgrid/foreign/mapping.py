"""What a mapping file may say: which tables a study has, and what their columns are called here."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from seqgrid.expectation import Expectation
from seqgrid.metric_names import BETTER
from seqgrid.settings import Chosen
from seqgrid.statements import Claim, Comparison, Gate, Published
from seqgrid.study_schema import Label, Lengths, Seeds
from seqgrid.thresholds import Thresholds

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # it becomes part of paths and commands
MISSING = ["", "-", "--", "NA", "N/A", "null", "None"]
Kind = Literal["cells", "history", "evaluations", "reported"]
Format = Literal["csv", "tsv", "json", "jsonl", "parquet"]


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("a name is made of letters, digits, '.', '_' and '-'")
    return value


def _day(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value


def _pattern(value: str) -> str:
    try:
        groups = re.compile(value).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if not groups:
        raise ValueError("name a group after each of our columns, such as (?P<seed>[0-9]+)")
    return value


def _factor(value: float) -> float:
    if value == 0:
        raise ValueError("a factor of 0 leaves nothing of the values")
    return value


Factor = Annotated[float, AfterValidator(_factor)]
Day = Annotated[str | None, BeforeValidator(_day)]
Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


class Origin(Chosen):
    """Where a study comes from."""

    who: str = Field(description="who ran it")
    where: str = Field(description="repository and file, or paper and table")
    commit: Text | None = Field(None, description="commit of the code that ran, where known")
    date: Day = Field(None, description="day of its report, such as 2026-01-19")
    note: str = Field("", description="what else a reader must know")


class ModelEntry(Chosen):
    """A model of the study."""

    model: str | None = Field(
        None,
        description="file in models/ that has the same architecture: then parameters are counted, "
        "and what it can score at best is known",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="settings of that file; without one, printed only"
    )
    training: dict[str, Any] = Field(default_factory=dict, description="overrides for this model")
    parameters: int | None = Field(None, ge=0, description="trainable parameters")
    state_bytes: int | None = Field(None, ge=0, description="state or cache of one sequence")
    flops_per_token: float | None = Field(None, ge=0, description="forward, 2 each multiply-add")


class LevelEntry(Chosen):
    """A score that means something, given by hand."""

    level: str = Field(description="its name")
    kind: Literal["chance", "shortcut", "ceiling", "solved"] = Field(description="what it is")
    value: float = Field(description="in units of the metric")
    derivation: str = Field(description="where the value comes from")
    metric: str | None = Field(None, description="the task's metric where left out")
    lengths: Lengths | None = Field(
        None, description="evaluated lengths it holds at, tokens; all where left out"
    )
    test_set: str = Field("", description="test set of the task; the usual one if empty")


class TaskEntry(Chosen):
    """A task of the study."""

    task: str | None = Field(
        None, description="file in tasks/ that is the same task: then its levels are known"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of that file")
    metric: str | None = Field(
        None, description="what the task is judged by; that of the file where left out"
    )
    better: Literal["higher", "lower"] | None = Field(
        None, description="which values of it are better; known for " + ", ".join(BETTER)
    )
    levels: list[LevelEntry] = Field(
        default_factory=list, description="given by hand, beside those of the file"
    )
    examples: int | None = Field(
        None, ge=1, description="examples behind a value whose row names none"
    )
    training: dict[str, Any] = Field(default_factory=dict, description="overrides for this task")
    lengths: Lengths | None = Field(None, min_length=1, description="instead of the study's")
    seeds: Seeds | None = Field(None, min_length=1, description="instead of the study's")
    models: list[str] | None = Field(None, min_length=1, description="all where left out")


class Parse(Chosen):
    """Columns read out of a text."""

    column: str | None = Field(None, description="their column; the name of the file if left out")
    pattern: Annotated[str, AfterValidator(_pattern)] = Field(
        description="regular expression; each named group is one of our columns"
    )


class Epochs(Chosen):
    """How to turn epochs into steps."""

    steps: int = Field(ge=1, description="optimiser steps of an epoch")
    first: Literal[0, 1] = Field(1, description="number of the first epoch, as they count")


class TableEntry(Chosen):
    """One file, or several alike, and what its rows and columns are here."""

    file: str = Field(description="path beside the mapping file; * and ? match several files")
    rows: Kind = Field(description="what a row is: a run, a validation, a test value, or a mean")
    format: Format | None = Field(None, description="by the name's ending where left out")
    at: str = Field("", description="in JSON: keys down to the list of rows, with dots between")
    columns: dict[str, str] = Field(default_factory=dict, description="our column: their column")
    values: dict[str, dict[Any, Any]] = Field(
        default_factory=dict, description="our column: {their value: ours}"
    )
    constants: dict[str, Any] = Field(
        default_factory=dict, description="our column: the value of all rows"
    )
    wide: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="their column that holds values: what of ours it stands for, such as "
        "{metric: accuracy} or {seqlen_tokens: 100}",
    )
    parse: list[Parse] = Field(default_factory=list, description="columns read out of a text")
    only: dict[str, list[Any]] = Field(
        default_factory=dict, description="their column: values of the rows to read"
    )
    scale: dict[str, Factor] = Field(
        default_factory=dict, description="our column: factor, such as 0.01 for percent"
    )
    decimal: Literal["comma", "point"] | None = Field(
        None,
        description="what stands before decimals; in text between commas and in JSON a point, "
        "elsewhere told by the numbers, where left out",
    )
    epochs: Epochs | None = Field(None, description="our columns of steps are read from epochs")
    missing: list[str] = Field(
        default_factory=lambda: list(MISSING), description="texts that stand for no value"
    )
    unreadable: Literal["error", "invalid"] = Field(
        "error",
        description="a file that cannot be read: an error, or a run, by its name, without a valid "
        "result",
    )

    @property
    def theirs(self) -> list[str]:
        """The columns of its file that are read."""
        named = [*self.columns.values(), *self.wide, *self.only]
        named += [parse.column for parse in self.parse if parse.column]
        return list(dict.fromkeys(named))

    @model_validator(mode="after")
    def _once(self) -> Self:
        given = [*self.columns, *self.constants]
        given += [name for p in self.parse for name in re.compile(p.pattern).groupindex]
        for name in given:
            if given.count(name) > 1:
                raise ValueError(f"our column {name} is given twice, in columns, constants, parse")
        if self.unreadable == "invalid" and self.rows != "cells":
            raise ValueError("unreadable: invalid is for rows: cells")
        return self


class Mapping(Chosen):
    """The content of a mapping file."""

    name: Annotated[str, AfterValidator(_name)] = Field(description="folder in results/studies")
    question: str = Field(description="what the study asks, in one sentence")
    origin: Origin
    models: dict[Label, ModelEntry] = Field(min_length=1)
    tasks: dict[Label, TaskEntry] = Field(min_length=1)
    lengths: Lengths = Field(
        default_factory=list,
        description="training sequence lengths asked for; with seeds: a run that no table names is "
        "missing",
    )
    seeds: Seeds = Field(default_factory=list, description="seeds asked for")
    training: dict[str, Any] = Field(
        default_factory=dict, description="how the models were trained, keys as in a study's"
    )
    groups: dict[Label, list[str]] = Field(default_factory=dict)
    compare: dict[Label, Comparison] = Field(default_factory=dict)
    claims: list[Claim] = Field(default_factory=list)
    gates: list[Gate] = Field(default_factory=list)
    published: list[Published] = Field(default_factory=list)
    expect: list[Expectation] = Field(default_factory=list)
    thresholds: Thresholds = Thresholds()
    tables: list[TableEntry] = Field(min_length=1)

    @property
    def files(self) -> Iterator[tuple[int, TableEntry]]:
        """The tables with their place in the list."""
        return enumerate(self.tables)
