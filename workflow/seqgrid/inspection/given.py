"""What a report says of checkpoints that are not here: its tables, read with a mapping file."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from seqgrid.foreign import files
from seqgrid.foreign.mapping import Factor, Format, Origin, TableEntry
from seqgrid.inspection.contents import ITEMS
from seqgrid.settings import Chosen
from seqgrid.study_file import StudyError, explain, read_yaml, unknown

Kind = Literal["files", "statistics", "components"]
About = Literal[
    "convergence", "overfitting", "forgetting", "quality", "best checkpoint", "health", "weights"
]
# Our columns of each table, in the order in which they are printed.
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "files": ("file", "step", "size"),
    "statistics": ("step", "mean", "std", "abs_mean", "l2", "zeros", "minimum", "minimum_tensor",
                   "maximum", "maximum_tensor", "note"),
    "components": ("component", "parameters", "share"),
}  # fmt: skip
NEEDED: dict[Kind, tuple[str, ...]] = {
    "files": ("file", "step"),
    "statistics": ("step",),
    "components": ("component", "parameters"),
}
WHOLE = ("step", "parameters")  # counts, that a row needs
WORDS = ("file", "component", "minimum_tensor", "maximum_tensor", "note", "share")


class Table(Chosen):
    """One table of the report."""

    file: str = Field(description="path beside the mapping file")
    rows: Kind = Field(description="what a row is")
    format: Format | None = Field(None, description="by the name's ending where left out")
    columns: dict[str, str] = Field(description="our column: their column")
    units: dict[str, Factor] = Field(
        default_factory=dict, description="our column: factor, such as 1e6 for sizes in MB"
    )


class Said(Chosen):
    """A statement of the report."""

    statement: str = Field(description="in its words")
    about: About = Field(description="what it is about")


class Given(Chosen):
    """The content of the mapping file."""

    name: str = Field(description="name of the checkpoints")
    origin: Origin
    parameters: int | None = Field(None, ge=1, description="numbers in a file, as the report says")
    tensors: int | None = Field(None, ge=1, description="tensors in a file, as the report says")
    weighting: Literal["tensors", "numbers"] | None = Field(
        None, description="what weighs the same in the statistics; not said where left out"
    )
    missing: dict[str, str] = Field(
        default_factory=dict, description="entry of the list of what is needed: as the report says"
    )
    claims: list[Said] = Field(default_factory=list)
    tables: list[Table] = Field(min_length=1)


class Reported:
    """Rows of a report: for each table, texts as they stand there, and numbers in our units."""

    def __init__(self, given: Given, rows: dict[str, list[dict[str, Any]]]) -> None:
        self.given, self.rows = given, rows

    def table(self, kind: Kind) -> list[dict[str, Any]]:
        """Rows of a kind; statistics of the same step are one row."""
        return self.rows.get(kind, [])


def read(path: Path) -> Reported:
    """A mapping file and the tables beside it.

    Raises:
        StudyError: something is wrong with either; one line a problem.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise StudyError([f"{path}: a mapping with the keys {', '.join(Given.model_fields)}"])

    def place(location: list) -> str:
        return ": ".join(filter(None, [str(path), ".".join(map(str, location))]))

    try:
        given = Given.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, Given, place)) from error
    problems = [
        f"{path}: missing: {unknown(name, list(ITEMS), 'something that is looked for')}"
        for name in given.missing
        if name not in ITEMS
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for number, entry in enumerate(given.tables):
        here = f"{path}: tables.{number}"
        try:
            rows, wrong = _table(path.parent / entry.file, entry)
        except files.Unreadable as error:
            problems.append(f"{here}: {error}")
            continue
        problems += [f"{here}: {line}" for line in wrong]
        found.setdefault(entry.rows, []).extend(rows)
    if problems:
        raise StudyError(problems)
    found["statistics"] = _joined(found.get("statistics", []))
    return Reported(given, found)


def _table(path: Path, entry: Table) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with `NAME` the number or word and `NAME_text` what stands there, and what is wrong."""
    known = COLUMNS[entry.rows]
    problems = [
        unknown(name, list(known), f"a column of {entry.rows}")
        for name in (*entry.columns, *entry.units)
        if name not in known
    ]
    problems += [f"{name} is needed" for name in NEEDED[entry.rows] if name not in entry.columns]
    problems += [
        f"units: {name}: only numbers have a unit" for name in entry.units if name in WORDS
    ]
    # Of the entry only how the file is read.
    opened = files.read(path, TableEntry(file=entry.file, rows="cells", format=entry.format))
    for theirs in entry.columns.values():
        if theirs not in opened.columns:
            problems.append(unknown(theirs, opened.columns, f"a column of {path}"))
    if problems:
        return [], problems
    rows = []
    for record in opened.records:
        row: dict[str, Any] = {}
        for name, theirs in entry.columns.items():
            text = str(record.values[theirs])
            row[f"{name}_text"] = text
            if name in WORDS:
                row[name] = text
                continue
            what = "a whole number from 0 on" if name in WHOLE else "a number"
            try:
                row[name] = number(text, entry.units.get(name, 1)) if text else None
                if name in WHOLE and not _whole(row[name]):
                    raise ValueError
            except ValueError:
                problems.append(f"{record.place} column '{theirs}': {what} is needed: '{text}'")
        rows.append(row)
    return rows, problems


def _whole(value: float | None) -> bool:
    return value is not None and value >= 0 and float(value).is_integer()


def number(text: str, unit: float = 1) -> float:
    """A number as reports print it, with thousands marked or a percent sign.

    Raises:
        ValueError: it is none.
    """
    bare = text.replace(",", "").replace("_", "no digit").strip()
    share = bare.endswith("%")
    return float(bare.rstrip("% ")) * unit * (0.01 if share else 1)


def _joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[float, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["step"], {}).update(row)
    return [found[step] for step in sorted(found)]
