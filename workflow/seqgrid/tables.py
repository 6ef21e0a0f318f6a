"""The Parquet tables: every column with its type and meaning, and the only way to write them.

A column whose name ends in `_seconds`, `_bytes`, `_tokens` or `_steps` is in that unit. The
schema's version is in the file's metadata under `seqgrid.schema_version`, a column's meaning in the
field's metadata under `description`.
"""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid.columns import CIRCUITS, COLLECTED, Column
from seqgrid.conclusions import CONCLUSIONS

__all__ = [
    "CIRCUITS",
    "CONCLUSIONS",
    "SCHEMA_VERSION",
    "TABLES",
    "from_columns",
    "from_rows",
    "history_bytes",
]
__all__ += ["schema", "write"]

SCHEMA_VERSION = "3"

TABLES: dict[str, list[Column]] = COLLECTED | CONCLUSIONS


def schema(table: str, metadata: dict[str, str] | None = None) -> pa.Schema:
    """The Arrow schema of a table, with descriptions and the schema's version in its metadata."""
    fields = [pa.field(n, t, metadata={"description": d}) for n, t, d in TABLES[table]]
    return pa.schema(
        fields,
        metadata={"seqgrid.table": table, "seqgrid.schema_version": SCHEMA_VERSION}
        | (metadata or {}),
    )


def from_rows(table: str, rows: list[dict], metadata: dict[str, str] | None = None) -> pa.Table:
    """Rows as an Arrow table; a key that is no column is an error, a missing one is null.

    Raises:
        KeyError: a row has a key that the table has no column for.
    """
    target = schema(table, metadata)
    names = set(target.names)
    for row in rows:
        if unknown := row.keys() - names:
            raise KeyError(f"table {table} has no column {sorted(unknown)}")
    return pa.Table.from_pylist(rows, schema=target)


def from_columns(
    table: str, blocks: list[dict[str, Any]], metadata: dict[str, str] | None = None
) -> pa.Table:
    """Blocks of rows as an Arrow table: each column an array, or one value for all of the block.

    Every block has an array; what a block leaves out is null.
    """
    target = schema(table, metadata)
    made = [target.empty_table()]
    for block in blocks:
        size = max(len(value) for value in block.values() if isinstance(value, np.ndarray))
        columns = [
            pa.array(value, field.type)
            if isinstance(value := block.get(field.name), np.ndarray)
            else pa.repeat(pa.scalar(value, field.type), size)
            for field in target
        ]
        made.append(pa.Table.from_arrays(columns, schema=target))
    return pa.concat_tables(made)


def write(table: pa.Table, path: Path) -> None:
    """Write a table whole or not at all: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as sink:
        pq.write_table(table, sink)
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(path)


def history_bytes(rows: list[dict]) -> bytes:
    """The content of a part's history.parquet."""
    sink = io.BytesIO()
    pq.write_table(from_rows("history_file", rows), sink)
    return sink.getvalue()
