"""Reading a table of any of four formats: text only, nothing in it is ever run."""

import csv
import hashlib
import io
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgrid.foreign.mapping import TableEntry

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
# What may stand between columns, in a file of either ending -> its name.
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


class Unreadable(Exception):
    """A file that is not what it should be; the message is one line and names it."""


@dataclass(frozen=True)
class Record:
    """One row as it was read.

    place: file and line, or row, counted from 1.
    file: name of the file, without its folder.
    """

    place: str
    file: str
    values: dict[str, Any]


@dataclass(frozen=True)
class File:
    """A file that was read: its hash, its columns, its rows, and what stands between columns."""

    path: str
    sha256: str
    columns: list[str]
    records: list[Record]
    problem: str | None = None
    separator: str | None = None


def find(entry: TableEntry, folder: Path) -> list[Path]:
    """The files of a table, in the order of their names.

    Raises:
        Unreadable: there is none.
    """
    if any(mark in entry.file for mark in "*?["):
        try:
            found = sorted(path for path in folder.glob(entry.file) if path.is_file())
        except (ValueError, NotImplementedError) as error:
            raise Unreadable(f"{entry.file}: {error}") from None
    else:
        # Not `is_file` of the path, which raises where a name is too long.
        path = folder / entry.file
        found = [path] if os.path.isfile(path) else []  # noqa: PTH113
    if not found:
        raise Unreadable(f"no such file: {folder / entry.file}")
    return found


def read(path: Path, entry: TableEntry) -> File:
    """One file.

    Raises:
        Unreadable: it cannot be read as what it says it is.
    """
    kind = entry.format or FORMATS.get(path.suffix.lower())
    if kind is None:
        raise Unreadable(f"{path}: give `format`, one of csv, tsv, json, jsonl, parquet")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    digest, separator = hashlib.sha256(content).hexdigest(), None
    if kind == "parquet":
        found = _parquet(path, content)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{path}: not UTF-8 text, byte {error.start}") from None
        if kind in ("csv", "tsv"):
            separator = _separator(path, text, "," if kind == "csv" else "\t", {*entry.theirs})
            found = _delimited(path, text, separator)
        else:
            found = _json(path, text, entry.at) if kind == "json" else _lines(path, text)
    columns = list(dict.fromkeys(name for _, row in found for name in row))
    records = [Record(f"{path.name} {place}", path.name, row) for place, row in found]
    return File(str(path), digest, columns, records, separator=separator)


Rows = list[tuple[str, dict[str, Any]]]


def _separator(path: Path, text: str, usual: str, named: set[str]) -> str:
    """What stands between columns, by the header: what parts it into the columns that are named.

    Where nothing does, `usual` if it parts the header at all, else what does.

    Raises:
        Unreadable: two do.
    """
    heads = {}
    for mark in SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        with suppress(csv.Error):
            heads[mark] = [name.strip() for name in next(reader, [])]
    having = [mark for mark, head in heads.items() if named and named <= {*head}]
    several = [mark for mark in having or heads if len(heads[mark]) > 1]
    if having and len(several) > 1:
        words = " or ".join(SEPARATORS[mark] for mark in several)
        raise Unreadable(f"{path}: its columns may stand between {words}; name columns without")
    return usual if usual in several or not several else several[0]


def _delimited(path: Path, text: str, delimiter: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        twice = {f"'{name}'" for name in head if head.count(name) > 1}
        if not head or twice:
            what = (
                f"column {', '.join(sorted(twice))} stands there twice" if twice else "it is empty"
            )
            raise Unreadable(f"{path}: {what}")
        rows = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(head):
                raise Unreadable(
                    f"{path} line {reader.line_num}: {len(row)} fields where the header has "
                    f"{len(head)}"
                )
            values = (value.strip() for value in row)
            rows.append((f"line {reader.line_num}", dict(zip(head, values, strict=True))))
    except csv.Error as error:
        raise Unreadable(f"{path} line {reader.line_num}: {error}") from None
    return rows


def _json(path: Path, text: str, at: str) -> Rows:
    found = _parsed(path, text, "")
    for key in filter(None, at.split(".")):
        if not isinstance(found, dict) or key not in found:
            keys = ", ".join(found) if isinstance(found, dict) else "none, it is no object"
            raise Unreadable(f"{path}: no key '{key}' of at: {at}; there are {keys}")
        found = found[key]
    if isinstance(found, dict):
        lists = found and all(isinstance(value, list) for value in found.values())
        if lists and len({len(value) for value in found.values()}) == 1:
            size = len(next(iter(found.values())))
            found = [{key: value[i] for key, value in found.items()} for i in range(size)]
        else:
            found = [found]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Unreadable(f"{path}: a list of objects is needed; `at` names the key that holds it")
    return [(f"row {number}", _flat(row)) for number, row in enumerate(found, 1)]


def _lines(path: Path, text: str) -> Rows:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # text in JSON may hold other breaks
        if line.strip():
            row = _parsed(path, line, f" line {number}")
            if not isinstance(row, dict):
                raise Unreadable(f"{path} line {number}: an object is needed")
            rows.append((f"line {number}", _flat(row)))
    return rows


def _parsed(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        line = where or f" line {error.lineno}"
        raise Unreadable(f"{path}{line}: not JSON: {error.msg}") from None
    except ValueError as error:  # a key twice, or a number of thousands of digits
        raise Unreadable(f"{path}{where}: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise Unreadable(f"{path}{where}: not JSON: nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which a key stands once.

    Raises:
        ValueError: it stands there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' stands twice in one object")
    return found


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Objects inside objects, with dots between their keys; lists are left out."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[f"{prefix}{key}"] = value
    return found


def _parquet(path: Path, content: bytes) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(content)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"{path}: no Parquet file: {str(error).splitlines()[0]}") from None
    except (OverflowError, ValueError) as error:  # such as a time beyond the year 9999
        raise Unreadable(f"{path}: a value that cannot be read: {error}") from None
    return [(f"row {number}", _flat(row)) for number, row in enumerate(rows, 1)]
