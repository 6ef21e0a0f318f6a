"""What became of controls: rows of the table `controls`, and lines for a terminal."""

import json
from collections import Counter

import pyarrow as pa

from seqgrid import registry
from seqgrid.analysis import expectations as analysis
from seqgrid.analysis import summary
from seqgrid.controls import Controls

WORDS = {True: "met", False: "NOT MET", None: "open"}
STATES = {True: "passed", False: "failed"}


def expectations(read: dict[str, pa.Table]) -> list[dict]:
    """Rows of `expectations` from the tables of a study."""
    return analysis.build(read, summary.build(read)).to_pylist()


def rows(files: list[str], found: list[tuple[Controls, dict[str, pa.Table]]]) -> list[dict]:
    """Rows of `controls` for the task files of a study.

    found: the controls behind the study, and the tables of their cells.
    """
    made: dict[str, list[dict]] = {name: [] for name in files}
    for controls, read in found:
        chosen = {s.row.task: s.row.cell.task_settings for s in controls.standings}
        for row in expectations(read):
            record = registry.settings("task", row["task_file"])(**chosen[row["task"]])
            settings = record.model_dump(mode="json", exclude_defaults=True)
            made[row["task_file"]].append(_control(row, controls.name, settings))
    none = [{"control": "", "state": "not declared", "study": ""}]
    return [{"task_file": name} | row for name in files for row in made[name] or none]


def _control(row: dict, study: str, settings: dict) -> dict:
    kept = ("expected", "observed", "reason", "why", "paths")
    open_ = "partial" if row["begun"] else "not run"
    return {
        "control": analysis.where(row),
        "state": STATES.get(row["met"], open_),
        "settings": json.dumps(settings),
        "study": study,
        **{name: row[name] for name in kept},
    }


def lines(found: list[dict]) -> list[str]:
    """How the expectations of a study stand, those that were not met last."""
    if not found:
        return ["the study expects nothing"]
    order = sorted(found, key=lambda row: (True, None, False).index(row["met"]))
    counts = Counter(row["met"] for row in found)
    text = [
        f"{WORDS[row['met']]:<8}{row['task']}: {analysis.where(row)}: expected {row['expected']}, "
        f"observed {row['observed'] or 'nothing'} ({row['reason']})"
        for row in order
    ]
    total = ", ".join(f"{counts[met]} {WORDS[met]}" for met in WORDS if counts[met])
    return [*text, f"expectations: {total}"]
