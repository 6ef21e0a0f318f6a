"""The sections of a report about results: answer, coverage, results, length, curves, peaks."""

from collections import defaultdict

from seqgrid import ledger
from seqgrid.report.content import HEADLINES, Content
from seqgrid.report.markdown import (
    DAGGER,
    STALE,
    blocks,
    item,
    listing,
    number,
    table,
    text,
)

MOST_ROWS = 40  # of a table; more is no reading, and summary.parquet has them
MOST_TABLES = 60
MOST_COLUMNS = 8  # beside the labels: wider tables wrap in a terminal
MOST_REASONS = 20

LEGEND = text(
    f"{DAGGER} not final: the cell has not finished, or the seeds are not complete; such values "
    f"enter no median, interval, success or verdict. {STALE} the sources have changed since. "
    "Median, interval and range are over the final seeds. A percentage behind an interval is how "
    "often such an interval holds the median over all seeds; with fewer than six seeds it is the "
    "whole range and stays below 95 %. Success: seeds at the solved level of seeds asked for, with "
    "the Wilson 95 % interval; unknown cells count as failures in its lower end and as successes "
    "in its upper end."
)


def answer(content: Content) -> str:
    """Coverage first, then what was found, task by task; never a comparison."""
    about = ledger.coverage(content.cells)
    lines = [
        f"{about['done']} of {about['possible']} cells have finished and are evaluated"
        + (f"; open: {_counted(about['open'])}" if about["open"] else "")
        + (f"; {about['skipped']} more cannot exist and were skipped." if about["skipped"] else ".")
    ]
    if about["stale"] or about["evaluation_stale"] or about["mixed"]:
        lines.append(f"{about['stale']} cells were trained by sources that have changed since.")
    if not about["done"]:
        lines.append("There is no final value, so nothing can be said about any model.")
        return text(*lines)
    lines.append(
        "Per task, with training lengths in tokens and weights best on validation (section 9 has "
        "the rules). None of this compares models: that takes pairs, equal budgets and a correction"
        " for the number of comparisons."
    )
    return blocks(text(*lines), "\n".join(_task_answer(content, task) for task in content.tasks))


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{n} {outcome}" for outcome, n in found.items())


def _task_answer(content: Content, task: str) -> str:
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in content.rows(task):
        if not row["selected"]:
            continue
        headline, caveats = content.headline(row)
        note = f" ({'; '.join(caveats)})" if caveats else ""
        found[headline][row["model"]].append(f"{row['seqlen_tokens']}{note}")
    sentences = [
        f"{label}: " + "; ".join(f"{m} at {', '.join(at)}" for m, at in models.items()) + "."
        for label, models in sorted(found.items(), key=lambda pair: _headline_rank(pair[0]))
    ]
    return item(f"**{task}**.", *sentences)


def _headline_rank(label: str) -> tuple[int, str]:
    names = [i for i, name in enumerate(HEADLINES) if label.startswith(name)]
    return (names or [len(HEADLINES)])[0], label


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
    return blocks(table(["cells", "number"], counts), grid, why)


def _reason(entry: dict) -> str:
    where = [
        " ".join(filter(None, [c["model"], c["task"], str(c["seqlen_tokens"]), c["variant"]]))
        + f" seed {c['seed']}"
        for c in entry["cells"]
    ]
    last = entry["error"].strip().splitlines()[-1] if entry["error"].strip() else ""
    shown = last if last and last not in entry["reason"] else ""
    first = entry["reason"].splitlines()[0] if entry["reason"] else "no reason recorded"
    return item(
        f"**{entry['outcome']}**, {len(where)}: `{first}`{f' (`{shown}`)' if shown else ''}:",
        listing(where) + ".",
    )


def matrix(content: Content, values: dict[tuple[str, str, int], str], title: str) -> str:
    """Models by task and length, in tables of at most MOST_COLUMNS columns."""
    places = [(t, length) for t in content.tasks for length in content.lengths(t)]
    found = [f"{title}, by model, task and training length:"]
    for start in range(0, len(places), MOST_COLUMNS):
        here = places[start : start + MOST_COLUMNS]
        rows = [[m, *(values.get((m, *place), "") for place in here)] for m in content.models]
        found.append(table(["model", *(f"{t} {length}" for t, length in here)], rows))
    return blocks(*found)


def results(content: Content) -> str:
    """Per task and length: every model's number with all that belongs to it."""
    found, shown = [LEGEND], 0
    for task in content.tasks:
        found.append(f"### {task}")
        for seqlen in content.lengths(task):
            shown += 1
            if shown <= MOST_TABLES:
                found.append(_results_table(content, content.rows(task, seqlen)))
        if shown <= MOST_TABLES:
            found.append(_seeds_table(content.rows(task)))
    if shown > MOST_TABLES:
        found.append(text(f"{MOST_TABLES} of {shown} tables are shown; `summary.parquet` has all."))
    return blocks(*found, figure(content, "results"))


def _results_table(content: Content, rows: list[dict]) -> str:
    if not rows:
        return ""
    first, swept = rows[0], any(r["variant"] for r in rows)
    header = ["model", "variant"] if swept else ["model"]
    body = []
    for row in rows[:MOST_ROWS]:
        label = [row["variant"] + (" (selected)" if row["selected"] else "")] if swept else []
        body.append(
            [
                row["model"],
                *label,
                f"{row['final']}/{row['asked'] - row['skipped']}",
                marked(row),
                _interval(row),
                _success(row),
                "; ".join(content.labels(row)),
            ]
        )
    title = f"**{first['task']}, trained and evaluated at {first['seqlen_tokens']} tokens**"
    chosen = (
        "The selected variant has the best median validation over seeds; the test split has no say."
    )
    return blocks(
        title,
        level_line(content, first),
        table([*header, "n", "median", "interval", "success", "verdict"], body, left=len(header)),
        chosen if swept else "",
        more(rows),
    )


def level_line(content: Content, row: dict) -> str:
    """What the metric's values mean at a row's evaluated length."""
    metric = f"{row['metric'] or 'no metric yet'}, {row['better']} is better"
    levels = content.levels_at(row)
    if not levels:
        return text(f"Metric: {metric}. No levels are recorded, so no verdict on quality applies.")
    named = [
        f"{'shortcut ' if v['kind'] == 'shortcut' else ''}{v['level']} {number(v['value'])}"
        for v in levels
    ]
    return text(f"Metric: {metric}. Levels: {', '.join(named)}.")


def _seeds_table(rows: list[dict]) -> str:
    """Every seed's value, in the same columns for all models."""
    rows = [r for r in rows if any(v is not None for v in r["values"])]
    if not rows:
        return ""
    swept = any(r["variant"] for r in rows)
    seeds = sorted({s for r in rows for s in r["seeds"]})
    body = []
    for row in rows[:MOST_ROWS]:
        values = dict(zip(row["seeds"], seed_values(row), strict=True))
        body.append(
            [
                row["model"],
                *([row["variant"]] if swept else []),
                str(row["seqlen_tokens"]),
                number(row["minimum"]),
                number(row["maximum"]),
                *(values.get(s, "") for s in seeds[:MOST_COLUMNS]),
            ]
        )
    header = ["model", *(["variant"] if swept else []), "length", "min", "max"]
    header += [f"seed {s}" for s in seeds[:MOST_COLUMNS]]
    hidden = seeds[MOST_COLUMNS:]
    note = f"{len(hidden)} more seeds stand in `summary.parquet`." if hidden else ""
    return blocks("Every seed:", table(header, body, left=2 if swept else 1), note, more(rows))


def seed_values(row: dict) -> list[str]:
    """Each seed's value with its marks; the outcome where there is none."""
    found = []
    for value, final, stale, outcome in zip(
        row["values"], row["finals"], row["stales"], row["outcomes"], strict=True
    ):
        marks = ("" if final else DAGGER) + (STALE if stale else "")
        found.append(f"{number(value)}{marks}" if value is not None else outcome)
    return found


def marked(row: dict) -> str:
    """The median, marked where the seeds behind it are incomplete or stale."""
    if row["median"] is None:
        return "-"
    complete = row["final"] == row["asked"] - row["skipped"]
    return (
        f"{number(row['median'])}{'' if complete else DAGGER}{STALE if any(row['stales']) else ''}"
    )


def _interval(row: dict) -> str:
    if not row["coverage"]:
        return row["interval"]
    return f"[{number(row['low'])}, {number(row['high'])}] {row['coverage']:.1%} {row['interval']}"


def _success(row: dict) -> str:
    if row["successes"] is None:
        return "-"
    open_ = f", {row['unknown']} unknown" if row["unknown"] else ""
    possible = row["asked"] - row["skipped"]
    if not possible:
        return "-"
    ends = f"[{row['success_low']:.2f}, {row['success_high']:.2f}]"
    return f"{row['successes']}/{possible}{open_} {ends}"


def more(rows: list[dict]) -> str:
    """Says how many rows a table leaves out."""
    hidden = len(rows[MOST_ROWS:])
    return f"{hidden} more rows stand in `summary.parquet`." if hidden else ""


def figure(content: Content, name: str) -> str:
    """A figure with its caption, where it was drawn."""
    if name not in content.figures:
        return ""
    caption = content.figures[name]
    return blocks(f"![{name}](figures/{name}.png)", text(f"*{caption}* [SVG](figures/{name}.svg)"))
