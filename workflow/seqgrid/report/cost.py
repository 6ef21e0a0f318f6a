"""The section of a report on cost: where the time went."""

from seqgrid import tables
from seqgrid.analysis import ledger
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, seconds, size, span, table, text
from seqgrid.report.sections import MOST_ROWS, figure, matrix


def cost(content: Content) -> str:
    """Where the time went."""
    rows = ledger.costs(content.cells)
    body = [
        [
            row["model"] or "all",
            str(row["cells"]),
            *(seconds(row[name]) for name in ledger.COSTS),
            seconds(row["seconds"]),
            seconds(row["unfinished_seconds"]),
            size(row["peak_memory_bytes"] or None),
        ]
        for row in rows
    ]
    header = ["model", "cells", "training", "validation", "checkpoints", "evaluation", "all"]
    header += ["in cells not done", "peak memory"]
    total, earlier = rows[-1], ledger.superseded_seconds(content.parts)
    notes = [
        f"{seconds(total['unfinished_seconds'])} went into cells that failed or have not finished."
    ]
    if total["reused_seconds"]:
        notes.append(f"{seconds(total['reused_seconds'])} were spent by another study.")
    if earlier:
        notes.append(f"{seconds(earlier)} went into earlier runs of cells trained again.")
    if dead := ledger.deaths(content.parts):
        kinds = ", ".join(f"{n} {state}" for state, n in dead.items())
        notes.append(f"Of {sum(dead.values())} parts a process died without a word: {kinds}.")
    steps = {k: seconds(v) for k, v in ledger.step_seconds(content.cells).items()}
    return blocks(
        table([*header], body),
        text(*notes),
        matrix(content, steps, "Training time per step, median over cells"),
        _circuits(content),
        _asked(content),
        figure(content, "cost"),
        figure(content, "pareto"),
    )


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
