"""What a study declares it will say: groups, comparisons, claims, gates and published numbers.

Declared before the results are known, each is answered by a rule; nothing is compared that the
study does not name.
"""

from math import isfinite
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from seqgrid.settings import Chosen

# What a claim may be that rests on a comparison, or on a course over lengths; on a place it is a
# verdict of `expectation`.
COMPARED = ("A BETTER", "B BETTER", "NO DIFFERENCE")
COURSES = ("RISES", "FALLS", "FLAT", "CEILING MOVES", "AT CEILING")


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


def _side(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Lengths = Annotated[
    list[int], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=int | list[int])
]
Labels = Annotated[
    list[str], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])
]


def _bounds(value: Any) -> Any:
    """Before its type is looked at, whose alternatives would each make a line of their own."""
    words = "a number, or [lowest, highest]"
    given = value if isinstance(value, list) else [value]
    if value is None:
        return None
    if any(isinstance(entry, bool | list | dict) or entry is None for entry in given):
        raise ValueError(words)
    try:
        numbers = [float(entry) for entry in given]
    except (TypeError, ValueError):
        raise ValueError(words) from None
    ordered = not isinstance(value, list) or (len(numbers) == 2 and numbers[0] <= numbers[1])
    if not ordered or not all(map(isfinite, numbers)):
        raise ValueError(words)
    return numbers if isinstance(value, list) else numbers[0]


Bounds = float | list[float] | None
Expected = Annotated[Bounds, BeforeValidator(_bounds, json_schema_input_type=Bounds)]


class Side(Chosen):
    """One side of a comparison: a model, or a group of models; what is left out is free."""

    model: str | None = Field(None, description="label of a model")
    group: str | None = Field(None, description="label of a group: the mean of its models")
    task: str | None = Field(None, description="label of a task, where the sides differ in it")
    seqlen: int | None = Field(
        None,
        description="training sequence length, tokens, where the sides differ in it; they can be "
        "compared only where all that depends on it is alike, as at one length of `on.evaluated`",
    )
    variant: str | None = Field(
        None,
        description="swept settings as key=value, in the order of `sweep`, without what stands "
        "before the dot: learning_rate=0.001, or 1e-3; the selected variant where left out",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.model is None) == (self.group is None):
            raise ValueError("give one of model and group")
        return self


class On(Chosen):
    """Where a comparison is made: everywhere that both sides ran, unless said otherwise."""

    task: Labels | None = Field(None, description="labels of tasks")
    seqlen: Lengths | None = Field(None, description="training sequence lengths, tokens")
    evaluated: int | None = Field(
        None, description="evaluated sequence length, tokens; the training length where left out"
    )
    test_set: str = Field("", description="further test set of the task; the usual one if empty")


class Comparison(Chosen):
    """Two sides whose difference the report judges, paired by seed at each place."""

    a: Annotated[Side, BeforeValidator(_side, json_schema_input_type=Side | str)] = Field(
        description="label of a model, or a mapping"
    )
    b: Annotated[Side, BeforeValidator(_side, json_schema_input_type=Side | str)] = Field(
        description="label of a model, or a mapping"
    )
    on: On = On()
    metric: str | None = Field(
        None,
        description="a metric of the task, `steps` to solve it, or `solved`: the share of seeds "
        "that do; the task's metric where left out",
    )
    margin: float | None = Field(
        None,
        gt=0,
        description="differences up to this count as none, in units of the metric; of `solved` a "
        "share of seeds",
    )
    why: str = Field("", description="what the comparison is for")


class Place(Chosen):
    """Where a claim holds."""

    model: str = Field(description="label of a model")
    task: str = Field(description="label of a task")
    seqlen: int | None = Field(
        None, description="training sequence length, tokens; all where left out"
    )
    evaluated: int | None = Field(
        None, description="evaluated sequence length, tokens; the training length where left out"
    )
    test_set: str = Field("", description="further test set of the task; the usual one if empty")


class Along(Chosen):
    """A model whose scores are followed over training lengths."""

    model: str = Field(description="label of a model")
    task: str = Field(description="label of a task")


class Claim(Chosen):
    """A statement somebody wants to make, and what would support it."""

    statement: Words = Field(description="the statement, in words")
    compare: str | None = Field(None, description="name of a comparison of this study")
    place: Place | None = Field(None, description="where a verdict is looked up")
    scaling: Along | None = Field(None, description="whose course over lengths is looked up")
    verdict: str | None = Field(
        None,
        alias="is",
        description="what would support it: an outcome of the comparison (`A BETTER`, `B BETTER`, "
        "`NO DIFFERENCE`), a verdict as in `expect`, or a course (`RISES`, `FALLS`, `FLAT`, "
        "`CEILING MOVES`, `AT CEILING`)",
    )
    expected: Expected = Field(
        None,
        description="number that was expected, or [lowest, highest]: of the difference, the "
        "median, or the slope a doubling",
    )
    why: str = Field("", description="where the claim comes from")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [self.compare, self.place, self.scaling]
        if sum(entry is not None for entry in given) != 1:
            raise ValueError("give one of compare, place and scaling")
        if self.verdict is None and self.expected is None:
            raise ValueError("give `is`, `expected` or both: without them nothing supports it")
        return self


class Gate(Chosen):
    """A band that a known model must fall into before anything on the task is believed."""

    model: str = Field(description="label of a model")
    task: str = Field(description="label of a task")
    seqlen: int | None = Field(
        None, description="training sequence length, tokens; all where left out"
    )
    metric: str | None = Field(None, description="the task's metric where left out")
    low: float | None = Field(None, description="least value, in units of the metric")
    high: float | None = Field(None, description="largest value, in units of the metric")
    why: str = Field("", description="where the band is known from")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


def dotted(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, where groups of them may be nested."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = value if isinstance(value, dict) else None
        found |= {key: value} if nested is None else {f"{key}.{k}": v for k, v in nested.items()}
    return found


class Published(Chosen):
    """A number from elsewhere, held beside ours."""

    model: str = Field(description="label of the model of this study it is about")
    task: str = Field(description="label of the task")
    seqlen: int = Field(description="training sequence length, tokens")
    evaluated: int | None = Field(
        None, description="evaluated sequence length, tokens; the training length where left out"
    )
    test_set: str = Field("", description="further test set of the task; the usual one if empty")
    metric: str | None = Field(None, description="the task's metric where left out")
    value: float = Field(description="in units of the metric")
    low: float | None = Field(None, description="lower end of its interval, where one is given")
    high: float | None = Field(None, description="upper end")
    seeds: int | None = Field(None, ge=1, description="runs behind it; not said where left out")
    source: Words = Field(description="paper, table; or repository, file and commit")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="how it was made: dotted keys as in `sweep`, such as training.learning_rate, "
        "or nested groups are held against ours; others are printed",
    )

    @field_validator("settings")
    @classmethod
    def _once(cls, settings: dict[str, Any]) -> dict[str, Any]:
        given = [name for key, value in settings.items() for name in dotted({key: value})]
        if twice := [name for name in given if given.count(name) > 1]:
            raise ValueError(f"{twice[0]} is given twice, dotted and nested")
        return dotted(settings)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        ends = [end for end in (self.low, self.value, self.high) if end is not None]
        if ends != sorted(ends):
            raise ValueError("low <= value <= high is needed")
        return self
