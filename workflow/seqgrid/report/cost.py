"""The section of a report on cost: where the time went."""

from seqgrid import tables
from seqgrid.analysis import ledger
from seqgrid.analysis.spending import KINDS, WASTE, spending, unit
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, seconds, size, span, table, text
from seqgrid.report.sections import MOST_ROWS, figure, matrix

TITLES = {
    "done": "training, ended",
    "open": "can go on",
    "broken": "broken",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "evaluation": "evaluation",
    "superseded": "replaced",
    "lost": "lost",
    "start": "no clock on",
}
WORDS = {
    "done": "training, ended: steps of cells that came to their end",
    "open": "can go on: steps of cells that were cut or are not evaluated",
    "broken": "broken: steps of cells that failed",
    "superseded": "replaced: all work of runs that a later run has replaced",
    "lost": "lost: steps after the last checkpoint of a process that died without a word, of the "
    "last such death of each part, so at least",
    "start": "no clock on: start-up, restoring, compiling, and what else processes lost",
}


def cost(content: Content) -> str:
    """Where the time went, by device, and what became of it."""
    rows = spending(content.cells, content.parts)
    steps = {k: seconds(v) for k, v in ledger.step_seconds(content.cells).items()}
    found = blocks(
        *(_device(content, rows, device) for device in dict.fromkeys(r["device"] for r in rows)),
        text(*_notes(content, rows)),
        matrix(content, steps, "Training time per step, median over cells") if steps else "",
        _circuits(content),
        _asked(content),
        figure(content, "cost"),
        figure(content, "pareto"),
    )
    return found or "No time is recorded."


def said(content: Content) -> str:
    """One sentence on the whole: device-hours, what became of them, what is still to come."""
    parts, others = [], False
    for row in spending(content.cells, content.parts):
        if row["model"] is None and row["seconds"]:
            others |= any(row[kind] for kind in ("validation", "checkpoint", "evaluation", "start"))
            wasted = sum(row[kind] for kind in ("broken", *WASTE))
            shares = [f"{_share(row['done'], row)} training that came to its end"]
            if row["open"]:
                shares.append(f"{_share(row['open'], row)} training that can go on")
            if wasted:
                shares.append(f"{_share(wasted, row)} in what broke, was lost or replaced")
            named = "" if row["device"] in ("cpu", "unknown") else f" ({row['device']})"
            took = f"{seconds(row['seconds'])} of {unit(row['device'])}{named}"
            parts.append(f"{took}: {', '.join(shares)}")
    if not parts:
        return ""
    finish = next((r for r in content.advice if r["action"] == "finish"), None)
    rest = ""
    if finish and finish["hours"] is not None:
        rest = f"; what is open takes at most {seconds(3600 * finish['hours'])} more"
    other = "; the other shares are validation, evaluation, checkpoints and starting up"
    other = other if others else ""
    return f"All of this took {'; '.join(parts)}{other}{rest}."


def _device(content: Content, rows: list[dict], device: str) -> str:
    """A table of one device; the last row is that of all models."""
    here = [row for row in rows if row["device"] == device]
    # Columns that are empty for every model say nothing.
    kinds = [k for k in KINDS if any(row[k] for row in here)]
    order = {model: number for number, model in enumerate([*content.models, None])}
    body = [
        [
            row["model"] or "all",
            *(seconds(row[kind]) for kind in kinds),
            seconds(row["seconds"]),
            size(_peak(content, device, row["model"])),
        ]
        for row in sorted(here, key=lambda row: order[row["model"]])
    ]
    header = ["model", *(TITLES[kind] for kind in kinds), "all", "peak memory"]
    where = "on devices that are not recorded" if device == "unknown" else f"on {device}"
    title = f"{unit(device)[0].upper()}{unit(device)[1:]} {where}, by what became of it:"
    return blocks(text(title), table(header, body))


def _notes(content: Content, rows: list[dict]) -> list[str]:
    used = [words for kind, words in WORDS.items() if any(row[kind] for row in rows)]
    notes = [f"Columns: {'; '.join(used)}."] if used else []
    wholes = [row for row in rows if row["model"] is None]
    for row in wholes:
        wasted = sum(row[kind] for kind in ("broken", *WASTE))
        if wasted:
            where = f" on {row['device']}" if wholes[1:] else ""
            notes.append(f"Wasted unless it is taken up again{where}: {seconds(wasted)}.")
    if reused := sum(row["reused"] for row in wholes):
        notes.append(
            f"Besides, {seconds(reused)} were spent by another study on cells that are reused here."
        )
    if dead := ledger.deaths(content.parts):
        kinds = ", ".join(f"{n} {state}" for state, n in dead.items())
        notes.append(f"Of {sum(dead.values())} parts a process died without a word: {kinds}.")
    finish = next((r for r in content.advice if r["action"] == "finish"), None)
    if finish and finish["command"]:
        hours = finish["hours"]
        cells = f"{finish['cells']} open cells"
        known = f"take at most {seconds(3600 * hours)} more" if hours is not None else ""
        notes.append(f"The {cells} {known or 'take a time that nothing is known of yet'}.")
    return notes


def _peak(content: Content, device: str, model: str | None) -> float | None:
    found = [
        c["peak_memory_bytes"]
        for c in content.cells
        if (c["device"] or "unknown") == device
        and model in (None, c["model"])
        and c["peak_memory_bytes"]
    ]
    return max(found, default=None)


def _share(value: float, row: dict) -> str:
    return f"{value / row['seconds']:.0%}"


def _circuits(content: Content) -> str:
    """What quantum models run beside their classical part; nothing where there are none."""
    rows = ledger.circuits(content.cells)
    if not rows:
        return ""
    body = [
        [
            *(row["model"], row["task"], str(row["seqlen_tokens"])),
            *(span(row[name], count) for name in tables.CIRCUITS),
            count(row["circuits_per_second"]),
        ]
        for row in rows
    ]
    header = ["model", "task", "length", "qubits", "depth", "gates/example", "circuits/example"]
    header += ["simulated FLOPs/example", "circuits/s"]
    hidden = len(rows[MOST_ROWS:])
    return blocks(
        text(
            "Quantum circuits, simulated: of the largest circuit its qubits, of the deepest its "
            "depth, and all that is run for one example. FLOPs are those of a forward simulation "
            "gate by gate on all amplitudes; FLOPs a token under Fairness leave them out. Circuits "
            "a second are those of training, forward and backward, the median over cells:"
        ),
        table(header, body[:MOST_ROWS], left=2),
        f"{hidden} more stand in `cells.parquet`." if hidden else "",
    )


def _asked(content: Content) -> str:
    """What jobs asked the scheduler for, and what of it they used."""
    rows = ledger.asked(content.parts)
    if not rows:
        return ""
    body = [
        [
            *(row["model"], row["task"], str(row["seqlen_tokens"]), str(row["parts"])),
            seconds(row["asked_seconds"]),
            seconds(row["wall_seconds"]),
            f"{row['share']:.0%}",
            size(row["asked_bytes"]),
            size(row["peak_host_bytes"]),
        ]
        for row in rows
    ]
    header = ["model", "task", "length", "parts", "time asked", "time used", "share used"]
    header += ["memory asked", "memory used"]
    hidden = len(rows[MOST_ROWS:])
    return blocks(
        "Asked of the scheduler and used by training jobs, medians over parts; the share is of all "
        "time:",
        table(header, body[:MOST_ROWS], left=2),
        f"{hidden} more stand in `parts.parquet`." if hidden else "",
    )
