"""What a study declares it will say: groups, comparisons, claims, gates and published numbers.

Declared before the results are known, each is answered by a rule; nothing is compared that the
study does not name.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from seqgrid import expectation
from seqgrid.metric_names import SOLVED, UNIT
from seqgrid.settings import Chosen
from seqgrid.study_file import unknown

# What a claim may be that rests on a comparison, or on a course over lengths; on a place it is a
# verdict of `expectation`.
COMPARED = ("A BETTER", "B BETTER", "NO DIFFERENCE")
COURSES = ("RISES", "FALLS", "FLAT", "CEILING MOVES", "AT CEILING")


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else [value]


def _side(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


Lengths = Annotated[list[int], BeforeValidator(_listed, json_schema_input_type=int | list[int])]
Labels = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


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
        None, description="training sequence length, tokens, where the sides differ in it"
    )
    variant: str | None = Field(
        None, description="swept settings as key=value; the selected variant where left out"
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

    statement: str = Field(description="the statement, in words")
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
        return self


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
    source: str = Field(description="paper, table; or repository, file and commit")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="how it was made: dotted keys as in `sweep`, such as training.learning_rate, "
        "are held against ours; others are printed",
    )


def problems(study: Any) -> Iterator[str]:
    """A line for each label in these entries that the study does not have."""
    models, tasks, groups = list(study.models), list(study.tasks), list(study.groups)
    for name, members in study.groups.items():
        if name in models:
            yield f"groups.{name}: a model of this study has this label; give another"
        if not members:
            yield f"groups.{name}: has no model; allowed: {', '.join(models)}"
        for value in members:
            if value not in models:
                yield f"groups.{name}: {unknown(value, models, 'a model of this study')}"
    allowed = {"model": models, "task": tasks, "group": groups}
    for name, entry in study.compare.items():
        for side in ("a", "b"):
            yield from _labels(getattr(entry, side), f"compare.{name}.{side}", allowed)
        for task in entry.on.task or ():
            if task not in tasks:
                yield f"compare.{name}.on.task: {unknown(task, tasks, 'a task of this study')}"
        if entry.a == entry.b:
            yield f"compare.{name}: a and b are the same"
        elif shared := _shared(entry, study.groups):
            words = f"{', '.join(shared)} on both sides, which is no difference"
            yield f"compare.{name}: {words}; give a group without"
        if entry.metric in UNIT and entry.metric != SOLVED and (entry.margin or 0) >= 1:
            yield (
                f"compare.{name}.margin: {entry.margin:g} is no margin of {entry.metric}, which "
                "lies in 0 to 1; allowed: below 1"
            )
    for number, claim in enumerate(study.claims):
        here = f"claims.{number}"
        if claim.compare is not None and claim.compare not in study.compare:
            text = unknown(claim.compare, list(study.compare), "a comparison of this study")
            yield f"{here}.compare: {text}"
        if problem := _word(claim):
            yield f"{here}.is: {problem}"
        for key in ("place", "scaling"):
            if entry := getattr(claim, key):
                yield from _labels(entry, f"{here}.{key}", allowed)
    for key in ("gates", "published"):
        for number, entry in enumerate(getattr(study, key)):
            yield from _labels(entry, f"{key}.{number}", allowed)


def _shared(entry: Comparison, groups: dict[str, list[str]]) -> list[str]:
    """Models that are on both sides of a comparison of groups at the same place."""
    sides = (entry.a, entry.b)
    places = zip(*((side.task, side.seqlen, side.variant) for side in sides), strict=True)
    apart = any(one != two and None not in (one, two) for one, two in places)
    if apart or not (entry.a.group or entry.b.group):
        return []
    a, b = ([side.model] if side.model else groups.get(side.group or "", []) for side in sides)
    return [str(model) for model in a if model in b]


def _word(claim: Claim) -> str | None:
    """What is wrong with what a claim says would support it."""
    if claim.verdict is None:
        return None
    if claim.place is not None:
        try:
            expectation.parse(claim.verdict)
        except ValueError as error:
            return str(error)
        return None
    allowed, of = (
        (COURSES, "a course over lengths") if claim.scaling else (COMPARED, "a comparison")
    )
    if claim.verdict in allowed:
        return None
    return unknown(claim.verdict, list(allowed), f"an outcome of {of}")


def _labels(entry: Any, where: str, allowed: dict[str, list[str]]) -> Iterator[str]:
    for what, known in allowed.items():
        value = getattr(entry, what, None)
        if value is not None and value not in known:
            yield f"{where}.{what}: {unknown(value, known, f'a {what} of this study')}"
