"""The section of a report on coverage: what is done, what is not, and why."""

from collections import defaultdict
from datetime import datetime

from seqgrid.analysis import ledger
from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import (
    blocks,
    count,
    item,
    listing,
    number,
    seconds,
    table,
    text,
)
from seqgrid.report.sections import (
    MOST_COLUMNS,
    MOST_ROWS,
    figure,
    group_header,
    grouped,
    labels,
    matrix,
    more,
)

MOST_REASONS = 20
DONE = "finished and evaluated"
INVALID = "finished, not evaluated"

MEANINGS = {
    DONE: "trained to its end, and a valid test result exists; only these count as done",
    INVALID: "its training is said to have ended, but no valid test result exists: not done",
    "timed_out": "its time ran out; saved, and it can go on",
    "interrupted": "stopped from outside, or its process died; it can go on",
    "running": "was being trained when the tables were made; wait for its end",
    "diverged": "loss or validation metric stopped being a number",
    "out_of_memory": "memory ran out",
    "killed": "its processes died without a word",
    "failed": "an error ended it",
    "corrupt": "its files are damaged or foreign",
    "missing": "nothing has been trained",
    "skipped": "cannot exist, as the model or the task said beforehand; counts nowhere",
}


def coverage(content: Content) -> str:
    """The grid as a matrix, and why cells are not done."""
    reasons = ledger.reasons(content.cells)
    lines = [_reason(r) for r in reasons[:MOST_REASONS]]
    if reasons[MOST_REASONS:]:
        lines.append(item(f"{len(reasons[MOST_REASONS:])} more reasons stand in `cells.parquet`."))
    why = blocks("Why cells are not done:", "\n".join(lines)) if lines else ""
    refused = "\n".join(_reason(r) for r in ledger.refusals(content.cells)[:MOST_REASONS])
    lengths = blocks("Lengths that trained models cannot read:", refused) if refused else ""
    grid = matrix(content, ledger.matrix(content.cells), f"k/n cells {DONE}")
    return blocks(
        _statuses(content),
        _completeness(content),
        grid,
        figure(content, "coverage"),
        why,
        lengths,
        _without_result(content),
        _reused(content),
        _again(content),
        _cut_short(content),
    )


def _statuses(content: Content) -> str:
    about = ledger.coverage(content.cells)
    counts = {DONE: about["done"], **about["open"], "skipped": about["skipped"]}
    body = [[s, str(n), MEANINGS.get(s, "-")] for s, n in counts.items() if n or s == DONE]
    body.append(["all", str(about["cells"]), ""])
    return table(["cells", "number", "meaning"], body, words=1)


def _completeness(content: Content) -> str:
    """Models by task with totals, and those for which only a checkpoint gives a value."""
    if not content.cells:
        return ""
    derived = checkpoint_cells(content)
    plus = (
        f"; + cells for which only a checkpoint gives a value ({marks.CHECKPOINT}), which are not "
        "done and enter no median"
        if derived
        else ""
    )
    done = ledger.completeness(content.cells)
    found = [
        text(f"k/n cells {DONE}, of those that can exist{plus}:"),
        *_totals(content, done, ledger.completeness(content.cells, derived)),
    ]
    return blocks(*found)


def _totals(content: Content, done: dict, added: dict) -> list[str]:
    """k/n by model and task with totals; `added` counts what is added behind a plus."""

    def shown(model: str | None, task: str | None) -> str:
        k, n = done.get((model, task), (0, 0))
        plus = added.get((model, task), (0, 0))[0] - k
        return f"{k}/{n}{f' +{plus}{marks.CHECKPOINT}' if plus else ''}" if n else "-"

    tables = []
    # A report from elsewhere has models and tasks of which no cell is known.
    known = [t for t in content.tasks if any(c["task"] == t for c in content.cells)]
    models = [m for m in content.models if any(c["model"] == m for c in content.cells)]
    for start in range(0, len(known), MOST_COLUMNS - 1):
        tasks = known[start : start + MOST_COLUMNS - 1]
        columns = [*tasks, None]
        body = [
            [model, *grouped(content, model), *(shown(model, task) for task in columns)]
            for model in models
        ]
        body.append(["all", *(["-"] if content.groups else []), *(shown(None, t) for t in columns)])
        header = ["model", *group_header(content), *tasks, "all tasks"]
        tables.append(table(header, body, left=labels(content)))
    return tables


def checkpoint_cells(content: Content) -> set[tuple]:
    """Identities of the cells that have a value from a checkpoint and no test result."""
    origins: dict[tuple, set[str]] = defaultdict(set)
    for row in content.evaluations:
        if row["value"] is not None:
            origins[ledger.identity(row)].add(row["origin"] or marks.ORIGIN_TEST)
    return {cell for cell, found in origins.items() if marks.ORIGIN_TEST not in found}


def _without(content: Content) -> list[dict]:
    return [c for c in content.cells if ledger.standing(c) == INVALID]


def _without_result(content: Content) -> str:
    """Cells said to be finished that have no valid result, by name."""
    cells = _without(content)
    if not cells:
        return ""
    places: dict[tuple, list[str]] = defaultdict(list)
    for c in cells:
        places[_label(c), c["task"], c["seqlen_tokens"]].append(str(c["seed"]))
    body = [[m, t, str(length), ", ".join(seeds)] for (m, t, length), seeds in places.items()]
    return blocks(
        text(
            f"Finished, as their outcome says, and without a valid test result: {len(cells)} cells,"
            " which count as not done:"
        ),
        table(["model", "task", "length", "seeds"], body[:MOST_ROWS], left=2),
        more(body, "cells.parquet"),
    )


def _reused(content: Content) -> str:
    """Cells that another study trained, by that study."""
    places: dict[tuple, list[str]] = defaultdict(list)
    for cell in content.cells:
        if cell["reused"]:
            study = cell["trained_for"] or "another study"
            places[study, _label(cell), cell["task"], cell["seqlen_tokens"]].append(
                str(cell["seed"])
            )
    if not places:
        return ""
    body = [
        [study, model, task, str(seqlen), ", ".join(seeds)]
        for (study, model, task, seqlen), seeds in places.items()
    ]
    words = "Trained by another study and reused here ({}), as their settings are equal:"
    if content.about.get("imported"):
        words = "Not trained for themselves but reused ({}), as their study says:"
    return blocks(
        words.format(marks.REUSED),
        table(["trained for", "model", "task", "length", "seeds"], body[:MOST_ROWS], left=3),
        more(body, "cells.parquet"),
    )


def _steps(cell: dict) -> int:
    """Steps done; of a cell under way, those it had reached when the tables were made."""
    reached = cell["reached_steps"] if cell["outcome"] == "running" else None
    return reached or cell["step_steps"] or 0


def _again(content: Content) -> str:
    """Cells whose result a run under way is to replace."""
    cells = [c for c in content.cells if ledger.trained_again(c)]
    if not cells:
        return ""
    body = [
        [
            *(_label(c), c["task"], str(c["seqlen_tokens"]), str(c["seed"])),
            f"{count(c['reached_steps'])} of {count(c['budget_steps'])}",
            f"{c['outcome']}{marks.STALE if c['stale'] else ''}",
        ]
        for c in cells[:MOST_ROWS]
    ]
    header = ["model", "task", "length", "seed", "new run at step", "shown"]
    return blocks(
        text(
            f"Being trained again when the tables were made: {len(cells)}. Until a new run has "
            "ended, all values in this report are of the one before."
        ),
        table(header, body, left=2),
        more(cells, "cells.parquet"),
    )


def _cut_short(content: Content) -> str:
    """How far the cells got that stopped before their end."""
    cells = [c for c in content.cells if c["outcome"] not in ("finished", "skipped") and _steps(c)]
    if not cells:
        return ""
    said = {ledger.identity(row): row for row in content.inventory}
    newest = newest_time(content)
    body = []
    for c in cells[:MOST_ROWS]:
        foreign = said.get(ledger.identity(c), {})
        metrics = (c["best_validation_metric"], c["last_validation_metric"])
        best, last = ("-" if v is None else f"{number(v)}{marks.DAGGER}" for v in metrics)
        epochs = foreign.get("epochs")
        body.append(
            [
                *(_label(c), c["task"], c["outcome"], str(c["seqlen_tokens"]), str(c["seed"])),
                f"{count(_steps(c))} of {count(c['budget_steps'])}",
                "-" if epochs is None else f"{epochs:g}",
                *(best, count(c["best_step_steps"]), last),
                _when(c["ended_at"] or foreign.get("modified_at"), newest),
            ]
        )
    header = ["model", "task", "outcome", "length", "seed", "steps", "epochs", "best", "best at"]
    header += ["last", "last update"]
    kept = [i for i in range(len(header)) if i < 6 or any(row[i] != "-" for row in body)]
    header, *body = ([row[i] for i in kept] for row in (header, *body))
    age = (
        " Last update: UTC, and how long before the newest of these tables; the age of a file "
        "says nothing of whether its training still runs."
        if "last update" in header
        else ""
    )
    running = any(c["outcome"] == "running" for c in cells)
    return blocks(
        text(
            f"Cut short{' or still running' if running else ''}, with validation metrics so far "
            f"({marks.DAGGER} not final, and not the test split).{age}"
        ),
        table(header, body, left=3),
        more(cells, "cells.parquet"),
    )


def newest_time(content: Content) -> datetime | None:
    """The last time that any cell says: the date of the data."""
    times = [c[name] for c in content.cells for name in ("started_at", "ended_at")]
    times += [row["modified_at"] for row in content.inventory]
    return max((t for t in times if t is not None), default=None)


def _when(time: datetime | None, newest: datetime | None) -> str:
    if time is None or newest is None:
        return "-"
    before = (newest - time).total_seconds()
    age = "newest" if before < 1 else f"{before / 86400:.3g} days" if before >= 172800 else ""
    return f"{time:%Y-%m-%d %H:%M} ({age or seconds(before)})"


def _label(cell: dict) -> str:
    return f"{cell['model']} {cell['variant'] or ''}".strip()


def _reason(entry: dict) -> str:
    seeds: dict[str, list[str]] = defaultdict(list)
    for c in entry["cells"]:
        words = (c["model"], c["task"], str(c["seqlen_tokens"]), c["variant"])
        seeds[" ".join(filter(None, words))].append(str(c["seed"]))
    where = [f"{group} (seed {', '.join(numbers)})" for group, numbers in seeds.items()]
    last = entry["error"].strip().splitlines()[-1] if entry["error"].strip() else ""
    shown = last if last and last not in entry["reason"] else ""
    first = entry["reason"].splitlines()[0] if entry["reason"] else "no reason recorded"
    first, shown = (words.replace("`", "'") for words in (first, shown))  # they stand as code
    why = f"`{first}` (`{shown}`)" if shown else f"`{first}`"
    return item(f"**{entry['outcome']}**, {len(entry['cells'])}: {why}:", listing(where) + ".")
