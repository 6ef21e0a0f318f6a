"""What a study may expect of its models: a verdict at a place of its grid, known beforehand."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from seqgrid.settings import Chosen
from seqgrid.study_file import unknown

# Rules that may be expected, and how the level that some of them name is written.
NAMED = {"AT SHORTCUT": "AT SHORTCUT (NAME)", "ABOVE": "ABOVE NAME"}
EXPECTED = (
    "SOLVED",
    "NOT SOLVED",
    "AT CEILING",
    "AT SHORTCUT",
    "AT MODEL CEILING",
    "AT CHANCE",
    "ABOVE",
    "UNLEARNABLE AS SCORED",
    "UNSTABLE ACROSS SEEDS",
    "DIVERGED",
    "SKIPPED",
)


def parse(verdict: str) -> tuple[str, str]:
    """The rule of an expected verdict and the level it names, '' for any.

    Raises:
        ValueError: it is none that can be expected.
    """
    for name in EXPECTED if verdict not in ("ABOVE CEILING", "ABOVE MODEL CEILING") else ():
        if verdict == name:
            return name, ""
        level = verdict.removeprefix(f"{name} ")
        if name in NAMED and level != verdict:
            inside = level[1:-1] if name == "AT SHORTCUT" else level
            if inside and NAMED[name].replace("NAME", inside) == verdict:
                return name, inside
    allowed = [*EXPECTED, *NAMED.values()]
    raise ValueError(unknown(verdict, allowed, "a verdict that can be expected"))


def _verdict(value: str) -> str:
    parse(value)
    return value


class Expectation(Chosen):
    """A verdict known beforehand; the report says whether it was met."""

    model: str = Field(description="label of a model")
    task: str = Field(description="label of a task")
    seqlen: int | None = Field(
        None, description="training sequence length, tokens; all where left out"
    )
    evaluated: int | None = Field(
        None, description="evaluated sequence length, tokens; the training length where left out"
    )
    test_set: str = Field("", description="further test set of the task; the usual one if empty")
    verdict: Annotated[str, AfterValidator(_verdict)] = Field(
        description=f"one of {', '.join(f'`{NAMED.get(n, n)}`' for n in EXPECTED)}; "
        "`AT SHORTCUT` and `ABOVE` may also stand alone",
        json_schema_extra={"pattern": f"^({'|'.join(EXPECTED)}|AT SHORTCUT \\(.+\\)|ABOVE .+)$"},
    )
    why: str = Field("", description="where this is known from")


def problems(expect: list[Expectation], models: list[str], tasks: list[str]) -> Iterator[str]:
    """A line for each label that the study does not have."""
    for number, entry in enumerate(expect):
        for what, value, allowed in (("model", entry.model, models), ("task", entry.task, tasks)):
            if value not in allowed:
                text = unknown(value, allowed, f"a {what} of this study")
                yield f"expect.{number}.{what}: {text}"
