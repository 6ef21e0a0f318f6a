"""The answer and the coverage, and what all sections share."""

from collections import defaultdict
from collections.abc import Sequence

from seqgrid.analysis import ledger
from seqgrid.report import checks
from seqgrid.report.content import HEADLINES, Content, complete
from seqgrid.report.markdown import (
    DAGGER,
    STALE,
    blocks,
    count,
    item,
    listing,
    number,
    table,
    text,
)

MOST_ROWS = 40  # of a table; more is no reading, and summary.parquet has them
MOST_COLUMNS = 8  # beside the labels: wider tables wrap in a terminal
MOST_REASONS = 20

STALENESS = {
    "stale": "trained by sources that have changed since",
    "evaluation_stale": "evaluated by sources that have changed since",
    "mixed": "whose parts were trained by different sources",
}


def answer(content: Content) -> str:
    """Coverage first, then what was found, task by task; never a comparison."""
    about = ledger.coverage(content.cells)
    lines = [
        f"{about['done']} of {about['possible']} cells have finished and are evaluated"
        + (f"; open: {_counted(about['open'])}" if about["open"] else "")
        + (f"; {about['skipped']} more cannot exist and were skipped." if about["skipped"] else ".")
    ]
    for key, words in STALENESS.items():
        if about[key]:
            lines.append(f"Cells {words}: {about[key]}.")
    lines += checks.said(content)
    if not about["done"]:
        lines.append("There is no final value, so nothing can be said about any model.")
        return blocks(text(*lines), checks.failed(content))
    lines.append(
        "Per task, with training lengths in tokens and weights best on validation; Verdict rules "
        "below has the rules. None of this compares models: that takes pairs, equal budgets and a "
        "correction for the number of comparisons."
    )
    return blocks(
        text(*lines),
        checks.failed(content),
        "\n".join(_task_answer(content, task) for task in content.tasks),
    )


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{n} {outcome}" for outcome, n in found.items())


def _task_answer(content: Content, task: str) -> str:
    lines = [item(f"**{task}**.", *_headlines(content, content.rows(task)))]
    for name in content.test_sets(task):
        rows = content.rows(task, test_set=name)
        if any(row["final"] for row in rows):
            lines.append(item(f"**{task}**, test set {name}.", *_headlines(content, rows)))
    return "\n".join(lines)


def _headlines(content: Content, rows: list[dict]) -> list[str]:
    """What is said first of each row, models and lengths with the same headline together."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row["selected"]:
            continue
        headline, caveats = content.headline(row)
        note = f" ({'; '.join(caveats)})" if caveats else ""
        found[headline][row["model"]].append(f"{row['seqlen_tokens']}{note}")
    return [
        f"{label}: " + "; ".join(f"{m} at {', '.join(at)}" for m, at in models.items()) + "."
        for label, models in sorted(found.items(), key=lambda pair: _headline_rank(pair[0]))
    ]


def _headline_rank(label: str) -> tuple[int, tuple[int, ...]]:
    names = [i for i, name in enumerate(HEADLINES) if label.startswith(name)]
    # Within one verdict the larger share comes first: 3/3 before 1/3.
    return (names or [len(HEADLINES)])[0], tuple(-ord(c) for c in label)


def coverage(content: Content) -> str:
    """The grid as a matrix, and why cells are not done."""
    about = ledger.coverage(content.cells)
    counts = [["finished and evaluated", str(about["done"])]]
    counts += [[outcome, str(n)] for outcome, n in about["open"].items()]
    counts += [["skipped: cannot exist", str(about["skipped"])], ["all", str(about["cells"])]]
    grid = matrix(content, ledger.matrix(content.cells), "k/n cells finished and evaluated")
    reasons = ledger.reasons(content.cells)
    lines = [_reason(r) for r in reasons[:MOST_REASONS]]
    if reasons[MOST_REASONS:]:
        lines.append(item(f"{len(reasons[MOST_REASONS:])} more reasons stand in `cells.parquet`."))
    why = blocks("Why cells are not done:", "\n".join(lines)) if lines else ""
    refused = "\n".join(_reason(r) for r in ledger.refusals(content.cells)[:MOST_REASONS])
    lengths = blocks("Lengths that trained models cannot read:", refused) if refused else ""
    drawn = figure(content, "coverage")
    return blocks(
        table(["cells", "number"], counts), grid, drawn, why, lengths, _cut_short(content)
    )


def _cut_short(content: Content) -> str:
    """How far the cells got that stopped before their end."""
    cells = [
        c for c in content.cells if c["outcome"] not in ("finished", "skipped") and c["step_steps"]
    ]
    body = [
        [
            f"{c['model']} {c['variant'] or ''}".strip(),
            c["task"],
            c["outcome"],
            str(c["seqlen_tokens"]),
            str(c["seed"]),
            f"{count(c['step_steps'])} of {count(c['budget_steps'])}",
            *(
                "-" if c[k] is None else f"{number(c[k])}{DAGGER}"
                for k in ("best_validation_metric", "last_validation_metric")
            ),
        ]
        for c in cells[:MOST_ROWS]
    ]
    if not body:
        return ""
    header = ["model", "task", "outcome", "length", "seed", "steps", "best", "last"]
    hidden = len(cells[MOST_ROWS:])
    return blocks(
        f"Cut short, with validation metrics so far ({DAGGER} not final, and not the test split):",
        table(header, body, left=3),
        f"{hidden} more stand in `cells.parquet`." if hidden else "",
    )


def _reason(entry: dict) -> str:
    seeds: dict[str, list[str]] = defaultdict(list)
    for c in entry["cells"]:
        words = (c["model"], c["task"], str(c["seqlen_tokens"]), c["variant"])
        seeds[" ".join(filter(None, words))].append(str(c["seed"]))
    where = [f"{group} (seed {', '.join(numbers)})" for group, numbers in seeds.items()]
    last = entry["error"].strip().splitlines()[-1] if entry["error"].strip() else ""
    shown = last if last and last not in entry["reason"] else ""
    first = entry["reason"].splitlines()[0] if entry["reason"] else "no reason recorded"
    why = f"`{first}` (`{shown}`)" if shown else f"`{first}`"
    return item(f"**{entry['outcome']}**, {len(entry['cells'])}: {why}:", listing(where) + ".")


def matrix(content: Content, values: dict[tuple[str, str, int], str], title: str) -> str:
    """Models by task and length, in tables of at most MOST_COLUMNS columns."""
    places = [(t, length) for t in content.tasks for length in content.lengths(t)]
    found = [f"{title}, by model, task and training length:"]
    for start in range(0, len(places), MOST_COLUMNS):
        here = places[start : start + MOST_COLUMNS]
        rows = [[m, *(values.get((m, *place), "") for place in here)] for m in content.models]
        found.append(table(["model", *(f"{t} {length}" for t, length in here)], rows))
    return blocks(*found)


def marked(row: dict) -> str:
    """The median, marked where the seeds behind it are incomplete or stale."""
    if row["median"] is None:
        return "-"
    stale = STALE if any(row["stales"]) else ""
    return f"{number(row['median'])}{'' if complete(row) else DAGGER}{stale}"


def more(rows: Sequence[object]) -> str:
    """Says how many rows a table leaves out."""
    hidden = len(rows[MOST_ROWS:])
    return f"{hidden} more rows stand in `summary.parquet`." if hidden else ""


def figure(content: Content, name: str) -> str:
    """A figure with its caption, where it was drawn; what the caption says first stands for it."""
    if name not in content.figures:
        return ""
    caption = content.figures[name]
    alternative = caption.split(":")[0].split(". ")[0]
    return blocks(
        f"![{alternative}](figures/{name}.png)", text(f"*{caption}* [SVG](figures/{name}.svg)")
    )
