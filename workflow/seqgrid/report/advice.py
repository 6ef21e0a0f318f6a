"""The section of a report on what to do next."""

from collections import defaultdict

import yaml

from seqgrid.analysis import edits
from seqgrid.analysis.rates import Rates
from seqgrid.analysis.resuming import LEAVE, OPEN, RESUME
from seqgrid.analysis.study_advice import UNDECIDED, goes_on
from seqgrid.report.content import Content
from seqgrid.report.markdown import (
    blocks,
    code,
    interval,
    number,
    seconds,
    table,
    text,
    without_empty,
)
from seqgrid.report.sections import MOST_ROWS

ON_CELLS = (RESUME, OPEN, "monitor", LEAVE)
# What an edit costs beside time, said once under the table of its action.
TRUTHS = {
    "more seeds": "New seeds are new cells; no other cell is trained again. What several rows ask "
    "of a group is added once.",
    "more seeds everywhere": "New seeds are new cells; no other cell is trained again. This stands "
    "in place of more seeds for single groups, not beside them: no cell may stand there twice. "
    "What the study excludes stays excluded, and a task with seeds of its own keeps them.",
    "raise the budget": "The number of steps is part of a cell's identity: these are trainings of "
    "their own from step 0, and the present ones stay as they are. Give every model of a "
    "comparison the same budget.",
    "sweep the learning rate": "Cells at the present rate are kept, and become one variant of the "
    "sweep. A comparison takes the same number of rates for every model.",
    "widen the grid": "Cells at the present values are kept.",
}


def advice(content: Content) -> str:
    """What is open first, then cells, then groups: reasons, costs and commands to paste."""
    rows = content.advice
    unit = Rates(content.cells).unit
    return (
        blocks(
            _finish(content, rows, unit),
            _again(rows, unit),
            on_cells(rows, unit),
            _sources(rows),
            *(_action(content, rows, action, unit) for action in _actions(rows)),
        )
        or "Nothing is open."
    )


def _finish(content: Content, rows: list[dict], unit: str) -> str:
    """The line that a study goes on with."""
    found = [r for r in rows if r["action"] == "finish"]
    if not found:
        return ""
    row = found[0]
    hours = "" if row["hours"] is None else f", at most {_hours(row['hours'])} of {unit}"
    first = blocks(text(f"Open: {row['reason']}{hours}."), *_commands(found))
    left = [r for r in rows if r["action"] == LEAVE]
    if not left or not row["command"]:
        return first
    others = _others(content, left)
    words = f"That resumes {len(left)} that the table below advises against"
    if not others:
        return blocks(first, text(f"{words}, and nothing else."))
    return blocks(first, text(f"{words}. All but those:"), code(*others))


def _others(content: Content, left: list[dict]) -> list[str]:
    """Commands for what a plain run goes on with, but for some cells: by group where possible."""
    names = ("model", "task", "variant", "seqlen_tokens", "seed")
    avoided = {tuple(r[name] for name in names) for r in left}
    groups = defaultdict(list)
    for cell in content.cells:
        if goes_on(cell):
            groups[edits.pattern(cell["path"])].append(cell)
    found = []
    for pattern, cells in groups.items():
        wanted = [c for c in cells if tuple(c[name] for name in names) not in avoided]
        paths = [c["path"] for c in wanted]
        found += paths if wanted != cells or len(cells) == 1 else [pattern]
    return [edits.run(content.name, path) for path in found[:MOST_ROWS]]


def _again(rows: list[dict], unit: str) -> str:
    """What asks for `rerun`, or for something outside the study's file."""
    names = ("mend and rerun", "train again", "run the controls", "understand the control")
    names += ("score differently",)
    found = [r for r in rows if r["action"] in names]
    body = [
        [r["action"], r["verdict"], _count(r["cells"]), _hours(r["hours"]), r["reason"]]
        for r in found[:MOST_ROWS]
    ]
    if not body:
        return ""
    header = ["what", "rule", "cells", unit, "why"]
    return blocks(table(header, body, left=2, words=1), *_commands(found))


def on_cells(rows: list[dict], unit: str) -> str:
    """Cells that were cut or still run: those worth most an hour first."""
    found = [r for r in rows if r["action"] in ON_CELLS and r["scope"] == "cell"]
    found.sort(key=lambda r: (ON_CELLS.index(r["action"]), -_worth(r)))
    if not found:
        return ""
    body = [
        [
            *_who(r),
            str(r["seed"]),
            r["action"],
            r["verdict"],
            number(r["gain"]),
            interval(r["gain_low"], r["gain_high"]),
            _hours(r["hours"]),
            r["reason"],
        ]
        for r in found[:MOST_ROWS]
    ]
    header = ["model", "task", "length", "seed", "advice", "rule", "gain", "interval", unit, "why"]
    return blocks(
        text(
            "Cells cut short. The gain is that of the best validation by the end of the budget, "
            "by saturating curves, which know nothing of a break or a collapse still to come: "
            "where plateaus as long as its own are known to break on the task, the interval "
            "reaches to the ceiling, and how much comes cannot be told from this curve "
            "(docs/advice.md has the rules and how often they were right). A cell that is not "
            "resumed stays partial: its value enters no median and no success rate."
        ),
        table(header, body, left=2, words=1),
        _rest(found),
        *_block("Worth resuming, most gain an hour first:", found, RESUME),
        *_block("Where it cannot be told:", found, OPEN),
    )


def _sources(rows: list[dict]) -> str:
    """What to think of before cells are added beside stale ones."""
    stale = sum(r["cells"] for r in rows if r["action"] == "train again" and r["cells"])
    if not stale or not _actions(rows):
        return ""
    return text(
        "What follows adds cells, which the present sources train. Train the stale ones "
        f"({stale}) again first, or new and old cells differ in more than what is added."
    )


def _actions(rows: list[dict]) -> list[str]:
    """Actions that change the study's file, in the order of their first row."""
    return [a for a in dict.fromkeys(r["action"] for r in rows) if a in TRUTHS]


def _action(content: Content, rows: list[dict], action: str, unit: str) -> str:
    """A table of one action, its change of the study's file and the commands after it."""
    found = [r for r in rows if r["action"] == action]
    shown = found[:MOST_ROWS]
    body = [
        [
            *_who(r),
            r["verdict"],
            number(r["gain"]),
            interval(r["gain_low"], r["gain_high"]),
            _count(r["cells"]),
            _hours(r["hours"]),
            r["reason"],
        ]
        for r in shown
    ]
    header = ["model", "task", "length", "rule", "gain", "interval", "cells", unit, "why"]
    header, body = without_empty(header, body, ("gain", "interval"))
    changes = [yaml.safe_load(r["edit"]) for r in shown if r["edit"]]
    edit = ""
    if changes:
        where = f"config/studies/{content.name}.yaml"
        lines = ["```yaml", f"# {where}", edits.text(edits.merged(*changes)), "```"]
        whole = f"run `snakemake --config study={content.name}` for all of it"
        several = len({r["command"] for r in shown if r["command"]}) > 1
        single = "or a command below for a part of it: paths name the files of models and tasks"
        parts = f"{whole}, {single}, and labels of one file go together"
        run = parts if several else "run the command"
        edit = blocks(
            text(f"Set these keys in `{where}`, each list whole, then {run}:"),
            "\n".join(lines),
        )
    return blocks(
        f"**{action[0].upper()}{action[1:]}**",
        table(header, body, left=2, words=1),
        _rest(found),
        text(TRUTHS[action]) if changes else "",
        edit,
        *(_commands(shown) if changes else []),
    )


def _block(title: str, rows: list[dict], action: str) -> list[str]:
    found = [r for r in rows[:MOST_ROWS] if r["action"] == action and r["command"]]
    return [title, *_commands(found)] if found else []


def _commands(rows: list[dict]) -> list[str]:
    """Their commands as one block; nothing for a study that was run elsewhere."""
    found = dict.fromkeys(r["command"] for r in rows if r["command"])
    return [code(*found)] if found else []


def _who(row: dict) -> list[str]:
    everyone = "both sides" if row["verdict"] in UNDECIDED else "all"
    name = f"{row['model'] or everyone} {row['variant'] or ''}".strip()
    return [name, row["task"] or "all", str(row["seqlen_tokens"] or "all")]


def _worth(row: dict) -> float:
    """Gain an hour."""
    return (row["gain"] or 0.0) / max(row["hours"] or 0.0, 1e-9)


def _rest(rows: list[dict]) -> str:
    hidden = len(rows[MOST_ROWS:])
    return f"{hidden} more rows stand in `advice.parquet`." if hidden else ""


def _count(cells: int | None) -> str:
    return "-" if cells is None else str(cells)


def _hours(hours: float | None) -> str:
    """Device-hours in a unit that reads."""
    return "-" if hours is None else seconds(3600 * hours)
