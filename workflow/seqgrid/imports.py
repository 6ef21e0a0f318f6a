"""`seqgrid import MAPPING.yaml`: the tables of a study that seqgrid did not run, and its report.

Reads the files that the mapping names, writes results/studies/NAME/ as `collect` would, and the
report there. Nothing is written unless all of it is right; exits 2 with one line a mistake.
docs/import.md says what a mapping file holds.
"""

import argparse
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid import tables
from seqgrid.foreign import build, mapping_file
from seqgrid.foreign.rows import Wrong
from seqgrid.job import WRONG_CALL, say
from seqgrid.study import STUDIES
from seqgrid.study_file import StudyError

MOST_LINES = 50  # of mistakes shown; more are one mistake many times


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="seqgrid import", description=__doc__)
    parser.add_argument("mapping", type=Path, help="a YAML file; its tables lie beside it")
    parser.add_argument("--results", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--no-report", action="store_true", help="write the tables alone")
    options = parser.parse_args(arguments)
    try:
        folder = write(options.mapping, options.results)
    except (StudyError, Wrong) as error:
        lines = str(error).splitlines()
        rest = [f"{len(lines) - MOST_LINES} more mistakes"] if len(lines) > MOST_LINES else []
        say("\n".join([*lines[:MOST_LINES], *rest]))
        return WRONG_CALL
    except OSError as error:
        say(f"{options.results}: cannot be written: {error.strerror} ({error.filename})")
        return WRONG_CALL
    if options.no_report:
        sys.stdout.write(f"{folder}\nits report: seqgrid report {folder}\n")
        return 0
    from seqgrid.report import __main__ as report

    return report.main([str(folder)])


def write(path: Path, results: Path) -> Path:
    """Import a study; the folder its tables are in.

    Raises:
        StudyError: something is wrong with the mapping file, or the folder is not its own.
        Wrong: something is wrong with the tables it names.
    """
    read = mapping_file.read(path)
    folder = results / "studies" / read.name
    if reason := _taken(read.name, folder):
        raise StudyError([f"{path}: name: {reason}; give the study another name"])
    try:
        made = build.build(read, path.parent)
    except Wrong as error:
        raise Wrong([f"{path}: {line}" for line in error.problems]) from None
    for name, table in made.items():
        tables.write(table, folder / f"{name}.parquet")
    return folder


def _taken(name: str, folder: Path) -> str | None:
    """Why a folder belongs to a study that was run here; None where it does not."""
    if (STUDIES / f"{name}.yaml").exists():
        return f"{STUDIES / name}.yaml is a study of that name"
    if (folder / ".made").exists():
        return f"{folder} holds a study that was run here"
    cells = folder / "cells.parquet"
    if not cells.exists():
        return None
    try:
        metadata = pq.read_schema(cells).metadata or {}
        about = json.loads(metadata.get(b"seqgrid.study", b"{}"))
    except (pa.ArrowException, OSError, ValueError):
        return f"{cells} cannot be read"
    return None if about.get("imported") else f"{folder} holds a study that was not imported"


if __name__ == "__main__":
    sys.exit(main())
