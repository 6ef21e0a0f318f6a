"""Whether a study's tables and report show what is on disk; no torch, no pandas.

Each collection is numbered and stamped with a digest of what it saw. When the study and its
cells still give that digest, there is nothing to collect.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from seqgrid.controls import Controls
from seqgrid.plan import Standing
from seqgrid.study import Study


def digest(study: Study, standings: list[Standing], controls: Sequence[Controls] = ()) -> str:
    """Digest of everything the tables of a study are made from.

    controls: those of the task files that the study uses.
    """
    seen = hashlib.sha256(study.model_dump_json().encode())
    for found in controls:
        seen.update(json.dumps([found.name, found.seen]).encode())
    for s in [*standings, *(s for found in controls for s in found.standings)]:
        last = s.last
        found = s.evaluation
        line = [
            s.row.model, s.row.task, s.row.variant, s.row.cell.path, s.reported_run, s.state,
            s.reason, s.stale, last.part if last else 0, last.ended_at if last else "",
            (found.name, found.valid, found.stale, found.error) if found else None,
        ]  # fmt: skip
        seen.update(json.dumps(line).encode())
    return seen.hexdigest()


def stamps(results: Path, name: str) -> Path:
    """Folder of a study's stamps."""
    return results / "studies" / name / ".made"


def generation(
    results: Path,
    name: str,
    study: Study,
    standings: list[Standing],
    controls: Sequence[Controls] = (),
) -> int:
    """Number of the collection that a run should end with: the last one, or the next."""
    folder = stamps(results, name)
    last = max((int(p.stem) for p in folder.glob("*.collected") if p.stem.isdigit()), default=0)
    if last == 0 or any(s.target for s in standings):
        return last + 1
    try:
        made = (folder / f"{last}.collected").read_text().strip()
    except OSError:
        return last + 1
    current = made == digest(study, standings, controls)
    return last if current and all(path.exists() for path in _files(folder, last)) else last + 1


def _files(folder: Path, last: int) -> list[Path]:
    """What a study's folder holds after a collection; the copies kept of it name the rest."""
    names = ["cells.parquet", "report.md", "report.html"]
    names += [f"{copy.stem}.parquet" for copy in folder.glob(f"{last}.tables/*.csv")]
    names += [f"figures/{copy.name}" for copy in folder.glob(f"{last}.figures/*.svg")]
    return [folder.parent / name for name in names]
