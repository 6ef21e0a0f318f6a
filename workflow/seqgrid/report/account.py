"""The sections of a report about the study: cost, next steps, rules, provenance."""

from seqgrid import tables
from seqgrid.analysis import ledger
from seqgrid.analysis.verdicts import RULES
from seqgrid.report.content import Content
from seqgrid.report.markdown import (
    blocks,
    code,
    count,
    item,
    listing,
    number,
    seconds,
    size,
    span,
    table,
    text,
)
from seqgrid.report.sections import MOST_ROWS, figure, matrix

# Outcomes after which the same cell is worth another try, and what to look at before.
AGAIN = {
    "failed": "a traceback stands above; mend its cause first",
    "killed": "its processes died; mend what the reason above names first",
    "out_of_memory": "give the job more memory, or set `out_of_memory_pieces` in the study",
    "diverged": "lower or sweep the learning rate; the same settings may diverge again",
}


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
            "gate by gate on all amplitudes; FLOPs a token of section 7 leave them out. Circuits a "
            "second are those of training, forward and backward, the median over cells:"
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


def next_steps(content: Content) -> str:
    """Commands for what is open, as they can be pasted."""
    run = f"snakemake --config study={content.name}"
    about = ledger.coverage(content.cells)
    found = {v["verdict"] for v in content.verdicts}
    steps = []
    again = {k: n for k, n in about["open"].items() if k in AGAIN}
    going = {k: n for k, n in about["open"].items() if k not in AGAIN}
    if going:
        why = ", ".join(f"{n} {outcome}" for outcome, n in going.items())
        steps.append(blocks(f"Go on with what is open ({why}):", code(run)))
    for outcome, n in again.items():
        steps.append(
            blocks(f"{n} {outcome}: {AGAIN[outcome]}, then", code(f"{run} rerun={outcome}"))
        )
    if about["stale"] or about["mixed"]:
        steps.append(
            blocks(
                "Train again what changed sources have made stale, if the change matters:",
                code(f"{run} rerun=stale"),
            )
        )
    where = f"config/studies/{content.name}.yaml"
    advice = {
        "IMPROVING": "more training steps for the cells named improving in section 4",
        "TOO FEW SEEDS": "more seeds, where all that were asked for have finished",
        "SINGLE LR": "a sweep of the learning rate, before a failure is put down to a model",
        "AT GRID EDGE": "a wider grid of the values named at the end of section 2",
        "UNLEARNABLE AS SCORED": "another metric or another scoring for the task",
        "UNSTABLE ACROSS SEEDS": "more seeds, so that the success rate gets an interval of use",
    }
    wanted = [item(f"**{name}**: {words}.") for name, words in advice.items() if name in found]
    if wanted:
        steps.append(blocks(f"What the verdicts ask for, set in `{where}`:", "\n".join(wanted)))
    return blocks(*steps) or "Nothing is open."


def rules(content: Content) -> str:
    """Each rule in one sentence; how often it applied."""
    found = [v["verdict"] for v in content.verdicts]
    lines = [item(f"**{r.name}** ({found.count(r.name)} here): {r.sentence}") for r in RULES]
    note = text(
        "Span: the distance from chance to ceiling. Jointly: each seed's interval over test "
        "examples is widened so that those of all final seeds hold at once with 95 %. The evidence "
        "of each verdict stands in `verdicts.parquet`."
    )
    return blocks(note, "\n".join(lines))


def provenance(content: Content) -> str:
    """Where every number comes from."""
    about = ledger.provenance(content.cells)
    versions = [f"{package} {' or '.join(v)}" for package, v in about["versions"].items()]
    days = [t.strftime("%Y-%m-%d %H:%M") for t in (about["first"], about["last"]) if t is not None]
    lines = [
        item(
            f"commits: {listing(about['commits']) or 'none recorded'};",
            f"cells with changed tracked files: {about['dirty']}",
        ),
        item(f"trained: {' to '.join(dict.fromkeys(days)) or 'never'} (UTC)"),
        item(
            f"hosts: {listing(about['hosts']) or '-'}; devices: {listing(about['devices']) or '-'}"
        ),
        item(f"versions: {', '.join(versions) or 'none recorded'}"),
    ]
    cut = ledger.in_pieces(content.cells)
    if cut:
        which = ", ".join(f"{n} of {model}" for model, n in cut.items())
        lines.append(
            item(
                f"cells that ran out of memory and went on with each batch in pieces: {which};",
                "the pieces' gradients add up to the batch's but for rounding, and dropout draws",
                "other numbers",
            )
        )
    for model, digests in about["digests"].items():
        if digests:
            lines.append(item(f"sources of {model}: {listing([d[:12] for d in digests])}"))
    files = [[name, count(rows)] for name, rows in content.files.items()]
    note = text(
        f"Schema version {tables.SCHEMA_VERSION}. Every number above stands in these files, beside "
        "this report; each column carries its meaning in the field's metadata."
    )
    return blocks("\n".join(lines), note, table(["file", "rows"], files), _levels(content))


def _levels(content: Content) -> str:
    """Where each level's value comes from."""
    seen: dict[tuple[str, str, str, str], list[float]] = {}
    for level in content.levels:
        key = (level["task"], level["metric"], level["level"], level["derivation"] or "-")
        seen.setdefault(key, []).append(level["value"])
    rows = [[t, m, n, span(values, number), why] for (t, m, n, why), values in seen.items()]
    if not rows:
        return ""
    header = ["task", "metric", "level", "value", "where it comes from"]
    return blocks("Levels:", table(header, rows[:MOST_ROWS], left=5))
