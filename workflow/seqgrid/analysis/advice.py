"""The table `advice`: what to do next, each with the rule that fired, its cost and a command.

The study first, then groups, then cells. A study that was run elsewhere gets reasons and no
commands: seqgrid can neither resume nor rerun it.
"""

import json
from collections.abc import Iterator

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis import group_advice, ledger, resuming, study_advice
from seqgrid.analysis.advice_view import View, about

CUT = ("timed_out", "interrupted", "killed")


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `advice` of a study from all tables before it."""
    view = View(read, built)
    rows = [*study_advice.rows(view), *group_advice.rows(view), *_cells(view)]
    if view.foreign:
        rows = [row | {"command": None, "edit": None} for row in rows]
    return tables.from_rows("advice", rows, {"seqgrid.study": json.dumps(view.about)})


def _cells(view: View) -> Iterator[dict]:
    """A row for each cell that was cut or still runs."""
    for key, group in view.groups.items():
        rows = {row["seed"]: row for row in view.cells[key]}
        fallen = {row["seed"] for row in view.verdicts[key].get("COLLAPSED", [])}
        for cell in group.cells:
            row = rows[cell.seed]
            known = row["reached_steps"]
            reached = (cell.step or 0) if known is None else known
            left = view.rates.remaining(row | {"step_steps": reached})
            common = about(key, cell.seed) | {"cells": 1, "hours": left}
            if cell.outcome == "running" or ledger.trained_again(row):
                words = f"step {reached:,} of {cell.budget or 0:,}: wait for its end"
                if ledger.trained_again(row):
                    words = f"trained again, {words}; what is shown is of the run before"
                yield common | {"action": "monitor", "verdict": "RUNNING", "reason": words}
                continue
            if cell.outcome not in CUT or (cell.outcome == "killed" and not cell.history):
                continue
            judged = resuming.judge(
                cell, group, view.thresholds, cell.known_plateau, cell.seed in fallen
            )
            again = "killed" if cell.outcome == "killed" else None
            yield common | {
                "action": judged.action,
                "verdict": judged.rule,
                "reason": judged.reason,
                "gain": judged.gain,
                "gain_low": judged.low,
                "gain_high": judged.high,
                "command": None
                if judged.action == resuming.LEAVE
                else view.command(row["path"], again),
            }
