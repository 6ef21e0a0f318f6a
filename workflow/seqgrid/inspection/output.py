"""An inspection as files: Markdown, CSV and JSON."""

import csv
import json
from pathlib import Path
from typing import Any

from seqgrid.inspection import health
from seqgrid.inspection.page import page, where
from seqgrid.inspection.record import Inspection

TABLES = ("inventory", "components", "tensors", "evolution", "drift")


def markdown(found: Inspection) -> str:
    """The page."""
    return page(found)


def json_text(found: Inspection) -> str:
    """Everything, one JSON object; numbers are finite or null."""
    fired = health.verdicts(found)
    word, why = health.verdict(found, fired)
    content = {
        "name": found.name,
        "verdict": word,
        "why": why,
        "not_said": f"{health.ONLY_FROM_VALIDATION}; {where(found)}",
        "rules": fired,
        "notes": list(health.notes(found)),
    } | {name: getattr(found, name) for name in TABLES}
    return json.dumps(content, indent=1) + "\n"


def write(found: Inspection, folder: Path, kind: str) -> list[Path]:
    """Write the files of a format, or of all; their paths.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    if kind in ("markdown", "all"):
        made.append(_text(folder / "inspect.md", page(found)))
    if kind in ("json", "all"):
        made.append(_text(folder / "inspect.json", json_text(found)))
    if kind in ("csv", "all"):
        made += [_csv(folder / f"{name}.csv", getattr(found, name)) for name in TABLES]
    return made


def _text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def _csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Lists and mappings as JSON in their cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = (row.get(column) for column in columns)
            writer.writerow(json.dumps(v) if isinstance(v, (list, dict)) else v for v in values)
    return path
