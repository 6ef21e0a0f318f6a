"""What a report says of verdicts known beforehand: expectations of the study, controls of tasks."""

import json

from seqgrid.analysis import expectations
from seqgrid.report import gates, marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, code, free, item, listing, number, table, text
from seqgrid.thresholds import of

KNOWN = ("passed", "failed")
MET = {True: "yes", False: "NO", None: "cannot be told yet"}


def expected(content: Content) -> str:
    """The expectations of the study, and what became of them."""
    rows = content.expectations
    body = [
        [
            row["task"],
            expectations.where(row),
            row["expected"],
            MET[row["met"]],
            "-" if row["solved"] is None else f"{row['solved']}/{row['asked']}",
            marks.added(number(row["median"]), marks.behind(_found(content, row))),
            row["observed"] or "-",
            row["reason"],
        ]
        for row in rows
    ]
    header = ["task", "model", "expected", "met", "solved", "median", "observed", "because"]
    counts = {met: sum(row["met"] is met for row in rows) for met in MET}
    known = [
        item(f"{r['task']}, {expectations.where(r)}: {free(r['why'])}") for r in rows if r["why"]
    ]
    return blocks(
        text(
            f"Of {len(rows)} expectations {counts[True]} are met, {counts[False]} are not, and",
            f"{counts[None]} cannot be told yet. {expectations.RULE}",
        ),
        table(header, body, left=4, words=2),
        blocks("Where they are known from:", "\n".join(dict.fromkeys(known))) if known else "",
    )


def _found(content: Content, row: dict) -> list[dict]:
    found = content.row_at(row)
    return [found] if found else []


def said(content: Content) -> list[str]:
    """Sentences of the answer about thresholds of the study and controls of the tasks."""
    rows = content.controls
    known = [row for row in rows if row["state"] in KNOWN]
    found = []
    if known:
        passed = sum(row["state"] == "passed" for row in known)
        stale = sum("STALE" in row["observed"] for row in known)
        since = f", {stale} of them before the sources changed" if stale else ""
        found.append(
            f"{passed} of {len(known)} controls of these tasks passed{since} (see Controls)."
        )
    shown = _files(rows, *KNOWN)
    open_ = _files(rows, "partial", "not run")
    if some := [name for name in open_ if name in shown]:
        found.append(f"Not every control was run of {listing(some)}.")
    if none := [name for name in open_ if name not in shown]:
        found.append(
            f"No control has been run of {listing(none)}: nothing shows that the task does here "
            "what it is for."
        )
    if bare := _files(rows, "not declared"):
        found.append(f"No control is declared for {listing(bare)}.")
    return [*_thresholds(content), *gates.said(content), *found]


def _thresholds(content: Content) -> list[str]:
    """What the study has set otherwise than usual."""
    changed = of(content.about).changed()
    named = [f"{name} {own} (usually {usual})" for name, (own, usual) in changed.items()]
    return (
        [f"This study sets thresholds of its own: {listing(named, len(named))}."] if named else []
    )


def failed(content: Content) -> str:
    """The failed controls, for the first screen."""
    return "\n".join(
        item(
            f"**CONTROL FAILED** on {task}: {row['control']}: {row['expected']} expected,",
            f"{row['observed'] or 'nothing'} observed. Nothing that this report says of {task} can",
            "be trusted before that is understood.",
        )
        for task, row in (
            *((row["task_file"], row) for row in content.controls),
            *((row["task"], row) for row in content.gates),
        )
        if row["state"] == "failed"
    )


def controls(content: Content) -> str:
    """The controls of the task files that the study uses, and its own gates."""
    return blocks(_controls(content), gates.gates(content))


def _controls(content: Content) -> str:
    rows = content.controls
    if not rows:
        return (
            "The study is made of controls: their verdicts stand above."
            if content.expectations
            else "No control is declared for the tasks of this study."
        )
    body = [
        [
            row["task_file"],
            _settings(row["settings"]),
            row["control"] or "-",
            row["expected"] or "-",
            row["observed"] or "-",
            row["state"].upper() if row["state"] == "failed" else row["state"],
            (row["paths"] or ["-"])[0],
        ]
        for row in rows
    ]
    header = [
        "task file",
        "set to",
        "control",
        "expected",
        "observed",
        "state",
        "first cell",
    ]
    steps = [
        blocks(f"What is open of `{study}` is made by", code(_command(study)))
        for study in dict.fromkeys(r["study"] for r in rows if r["state"] in ("partial", "not run"))
    ]
    note = text(
        "A control is a model whose verdict on a task is known beforehand. One that passed shows "
        "that the task, as set here, does what it is for on this machine, with these sources. It "
        "speaks for the file of the task, not for the settings of this study."
    )
    return blocks(note, table(header, body, left=7), *steps)


def _command(study: str) -> str:
    return "snakemake controls" if study == "controls" else f"snakemake --config study={study}"


def _files(rows: list[dict], *states: str) -> list[str]:
    return list(dict.fromkeys(row["task_file"] for row in rows if row["state"] in states))


def _settings(text_: str | None) -> str:
    found = json.loads(text_ or "{}")
    return " ".join(f"{key}={value}" for key, value in found.items()) or "defaults"
