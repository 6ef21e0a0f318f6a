"""Reading the tables of a study that a report is made of."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid import tables

INPUTS = ("cells", "parts", "history", "evaluations", "levels", "controls", "reported")
IMPORTED = ("inventory",)  # beside them, of a study run elsewhere


class Unreadable(Exception):
    """A table is missing or not ours; the message is one line and names the remedy."""


def read(folder: Path) -> dict[str, pa.Table]:
    """The input tables of a study folder.

    Raises:
        Unreadable: a file is missing, no Parquet, of another schema or of another version.
    """
    found = {}
    for name in (*INPUTS, *IMPORTED):
        path = folder / f"{name}.parquet"
        if name in IMPORTED and not path.is_file():
            continue
        if not path.is_file():
            raise Unreadable(f"{path} is missing: collect the study first")
        try:
            table = pq.ParquetFile(path).read()
        except (pa.ArrowInvalid, OSError) as error:
            first = str(error).splitlines()[0]
            raise Unreadable(
                f"{path} is no Parquet file ({first}): collect the study again"
            ) from error
        version = (table.schema.metadata or {}).get(b"seqgrid.schema_version", b"none").decode()
        if version != tables.SCHEMA_VERSION:
            raise Unreadable(
                f"{path} has schema version {version}, this report reads {tables.SCHEMA_VERSION}: "
                "collect the study again"
            )
        if table.schema.names != tables.schema(name).names:
            raise Unreadable(f"{path} does not have the columns of '{name}': collect it again")
        if table.schema.types != tables.schema(name).types:
            raise Unreadable(f"{path} has columns of other types than '{name}': collect it again")
        if name == "cells" and not _says(table):
            raise Unreadable(f"{path} does not say what its study declares: collect it again")
        found[name] = table
    return found


def _says(cells: pa.Table) -> bool:
    """Whether the metadata is an object in JSON; without it, claims and gates would be lost."""
    try:
        about = json.loads((cells.schema.metadata or {}).get(b"seqgrid.study", b"{}"))
    except ValueError:
        return False
    return isinstance(about, dict)
