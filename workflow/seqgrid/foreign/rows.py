"""Rows of their tables as rows of ours: names, values and units of each column."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pyarrow as pa

from seqgrid import outcome
from seqgrid.columns import BOOL, COLLECTED, FLOAT, HISTORY_FILE, INT, TEXT, TIME
from seqgrid.foreign.files import File, Record
from seqgrid.foreign.mapping import Kind, Mapping, TableEntry
from seqgrid.foreign.patterns import Matches, text_of
from seqgrid.foreign.values import as_type, decimal, with_point
from seqgrid.study_file import one_line, unknown

OUTCOMES = (*get_args(outcome.Name), "running", "missing", "corrupt")
KEYS: dict[str, pa.DataType] = {
    "model": TEXT,
    "task": TEXT,
    "seqlen_tokens": INT,
    "variant": TEXT,
    "seed": INT,
}
# What decides a row; the rest says something of it.
NEEDED: dict[Kind, tuple[str, ...]] = {
    "cells": ("model", "task", "seqlen_tokens", "seed", "outcome"),
    "history": ("model", "task", "seqlen_tokens", "seed", "step_steps"),
    "evaluations": ("model", "task", "seqlen_tokens", "seed", "metric", "value"),
    "reported": ("model", "task", "seqlen_tokens", "metric", "statistic", "value"),
}
ALLOWED: dict[str, tuple[str, ...]] = {
    "outcome": OUTCOMES,
    "origin": ("test", "validation", "mixed"),
    "weights": ("best", "last"),
    "statistic": ("mean", "median", "peak", "final"),
}
# Columns of `cells` that are worked out here, and are not for a mapping to give.
MADE = (
    *("fingerprint", "path", "complete", "evaluated", "refused", "stale"),
    *("evaluation_stale", "mixed_sources", "model_file", "task_file", "settings", "log2_inputs"),
    *("source_digest", "versions", "backend", "parts"),
)
POSITIVE = ("seqlen_tokens", "evaluated_seqlen_tokens", "examples")  # other counts may be 0
EXTRA = {
    "status": TEXT,
    "result_valid": BOOL,
    "counted": BOOL,
    "file": TEXT,
    "modified_at": TIME,
    "epochs": FLOAT,
    "note": TEXT,
}


def columns(kind: Kind) -> dict[str, pa.DataType]:
    """Our columns that a table of this kind may give, with their types."""
    named = {name: type_ for name, type_, _ in COLLECTED[kind]}
    if kind == "cells":
        return {name: t for name, t in named.items() if name not in MADE} | EXTRA
    if kind == "history":
        return KEYS | {name: t for name, t, _ in HISTORY_FILE if name != "part"}
    left_out = {"fingerprint", "path", "primary", "interval", "source"}
    left_out |= {name for name in named if name.startswith("model_ceiling")}
    kept = {name: t for name, t in named.items() if name not in left_out}
    return kept | ({"standard_error": FLOAT, "outcome": TEXT} if kind == "evaluations" else {})


class Wrong(Exception):
    """Rows that cannot be used; one line a problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(map(one_line, problems))
        super().__init__("\n".join(self.problems))


def checked(number: int, entry: TableEntry) -> list[str]:
    """What is wrong with a table's entry beside its types, one line a problem."""
    here, known = f"tables.{number}", columns(entry.rows)
    what = f"a column of {entry.rows} that can be given"
    given = [
        (f"{here}.{key}.{name}", name)
        for key in ("columns", "values", "constants", "scale")
        for name in getattr(entry, key)
    ]
    for place, parse in enumerate(entry.parse):
        where = f"{here}.parse.{place}.pattern"
        given += [(where, name) for name in re.compile(parse.pattern).groupindex]
    for column, stands in entry.wide.items():
        given += [(f"{here}.wide.{column}.{name}", name) for name in stands]
    found = [
        f"{where}: {unknown(name, list(known), what)}" for where, name in given if name not in known
    ]
    found += [
        f"{here}.scale.{name}: only numbers have a unit"
        for name in entry.scale
        if known.get(name) not in (INT, FLOAT, None)
    ]
    words = (f"{here}.values", f"{here}.scale")  # of columns that are given elsewhere
    says = [name for where, name in given if not where.startswith(words)]
    covered = {*says, *_defaults(entry.rows)} | ({_value(entry.rows)} if entry.wide else set())
    for name in NEEDED[entry.rows]:
        if name not in covered:
            found.append(
                f"{here}: {name} is needed in rows: {entry.rows}; give it in columns, constants, "
                "parse or wide"
            )
    return found


def _defaults(kind: Kind) -> dict[str, Any]:
    if kind == "evaluations":
        return {"weights": "best", "origin": "test", "test_set": "", "slice": "", "variant": ""}
    if kind == "reported":
        return {"origin": "test", "test_set": "", "variant": ""}
    return {"variant": ""}


def _value(kind: Kind) -> str:
    """The column that a wide table's cells hold."""
    return {"history": "validation_metric"}.get(kind, "value")


def convert(number: int, entry: TableEntry, file: File, mapping: Mapping) -> list[dict[str, Any]]:
    """The rows of one file in our columns, each with its place under `_place`.

    Raises:
        Wrong: a column is not there, or a value is none that its column may have.
    """
    absent = [name for name in entry.theirs if name not in file.columns]
    if file.records and absent:
        raise Wrong(
            [
                f"tables.{number}: {unknown(name, file.columns, f'a column of {file.path}')}"
                for name in absent
            ]
        )
    records = [
        record
        for record in file.records
        if all(str(record.values.get(name)) in map(str, kept) for name, kept in entry.only.items())
    ]
    problems: list[str] = []
    try:
        matches = Matches.of(number, entry.parse, records)
    except ValueError as error:
        raise Wrong([str(error)]) from None
    raws = [(record, raw) for record in records for raw in _raw(entry, record, matches, problems)]
    try:
        comma = _comma(entry, file, [raw for _, raw in raws])
    except ValueError as error:
        raise Wrong([f"tables.{number}.decimal: {file.path}: {error}"]) from None
    rows = [_typed(entry, raw, record, mapping, problems, comma) for record, raw in raws]
    if problems:
        raise Wrong(problems)
    return rows


Raw = dict[str, tuple[str, Any]]  # our column -> their column, '' for none, and their value


def _comma(entry: TableEntry, file: File, raws: list[Raw]) -> bool:
    """Whether a comma stands before the decimals of a file's numbers.

    Raises:
        ValueError: that cannot be told.
    """
    if entry.decimal or file.separator in (None, ","):
        return entry.decimal == "comma"
    types = columns(entry.rows)
    found = (
        value
        for raw in raws
        for name, (theirs, value) in raw.items()
        if theirs and types[name] in (INT, FLOAT) and isinstance(value, str)
        if value not in map(str, entry.values.get(name, {})) and not _absent(entry, value)
    )
    return decimal(found) == "comma"


def _raw(entry: TableEntry, record: Record, matches: Matches, problems: list[str]) -> Iterator[Raw]:
    """What a record says, by our columns; several rows where it is wide."""
    base: Raw = {name: ("", value) for name, value in _defaults(entry.rows).items()}
    base |= {name: ("", value) for name, value in entry.constants.items()}
    base |= {ours: (theirs, record.values.get(theirs)) for ours, theirs in entry.columns.items()}
    for parse in entry.parse:
        text = text_of(parse, record)
        match = matches.found[parse.pattern, text]
        if match is None:
            where = f"{record.place} column '{parse.column}'" if parse.column else "name of a file"
            line = f"{where}: '{text}' does not match {parse.pattern}"
            problems += [] if line in problems else [line]
            return
        base |= {name: (parse.column or "", value) for name, value in match.groupdict().items()}
    if not entry.wide:
        yield base
    for theirs, stands in entry.wide.items():
        value = record.values.get(theirs)
        if not _absent(entry, value):
            more = {name: ("", given) for name, given in stands.items()}
            yield base | more | {_value(entry.rows): (theirs, value)}


def _absent(entry: TableEntry, value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in entry.missing)


def _typed(
    entry: TableEntry,
    raw: Raw,
    record: Record,
    mapping: Mapping,
    problems: list[str],
    comma: bool,
) -> dict[str, Any]:
    """One row, its values in our words, units and types."""
    types = columns(entry.rows)
    row: dict[str, Any] = {"_place": record.place}
    for name, (theirs, value) in raw.items():
        where = f"{record.place} column '{theirs}'" if theirs else f"{record.place}: {name}"
        if name in entry.constants:
            where = f"{entry.file}: constants.{name}"
        named = {str(key): ours for key, ours in entry.values.get(name, {}).items()}
        if str(value) in named:
            value = named[str(value)]
        elif theirs and _absent(entry, value):
            value = None
        if value is None:
            row[name] = None
            continue
        try:
            if comma and theirs and isinstance(value, str) and types[name] in (INT, FLOAT):
                value = with_point(value)
            row[name] = _unit(entry, name, as_type(types[name], value), bool(theirs), types[name])
        except ValueError as error:
            line = f"{where}: {error}, got {value!r:.60}"
            problems += [] if line in problems else [line]
            continue
        allowed = _allowed(name, mapping)
        if allowed is not None and row[name] not in allowed:
            article = "an" if name[0] in "aeiou" else "a"
            text = unknown(str(row[name]), allowed, f"{article} {name} here")
            more = f"; give what it means under values: {{{name}: {{...}}}}" if theirs else ""
            line = f"{where}: {text}{more}"
            problems += [] if line in problems else [line]
    for name in NEEDED[entry.rows]:
        if row.get(name) is not None or name == "value":
            continue
        if name not in row and name in raw:
            continue  # said above
        if not any(line.startswith(record.place) for line in problems):
            theirs = entry.columns.get(name)
            column = f" column '{theirs}'" if theirs else ""
            problems.append(f"{record.place}{column}: {name} is needed and there is none")
    return row


def _allowed(name: str, mapping: Mapping) -> list[str] | None:
    if name in ("model", "task"):
        return list(getattr(mapping, f"{name}s"))
    return list(ALLOWED[name]) if name in ALLOWED else None


def _unit(entry: TableEntry, name: str, value: Any, read: bool, type_: pa.DataType) -> Any:
    """The value in our unit; what the mapping itself states is in it already.

    Raises:
        ValueError: it is no whole number and must be one.
    """
    if type_ not in (INT, FLOAT):
        return value
    rounded = read and (name in entry.scale or bool(entry.epochs and name.endswith("_steps")))
    if read and entry.epochs and name.endswith("_steps"):
        value = (value + (1 - entry.epochs.first)) * entry.epochs.steps
    if read:
        value *= entry.scale.get(name, 1)
    if type_ == FLOAT:
        return value
    if not rounded and value != int(value):
        raise ValueError("a whole number is needed")
    least = 1 if name in POSITIVE else 0
    if not least <= value < 2**63:
        raise ValueError(f"a whole number from {least} on is needed")
    return round(value)
