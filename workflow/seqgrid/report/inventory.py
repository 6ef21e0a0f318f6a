"""What a study run elsewhere says of its runs, beside what that counts as here."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime

from seqgrid.analysis.rates import Rates
from seqgrid.analysis.resuming import LEAVE
from seqgrid.report.advice import on_cells
from seqgrid.report.content import Content
from seqgrid.report.markdown import (
    CHECKPOINT,
    REUSED,
    blocks,
    count,
    free,
    item,
    listing,
    number,
    plural,
    seconds,
    size,
    table,
    text,
)
from seqgrid.report.sections import MOST_ROWS, more

SO_FAR = "SO FAR"  # in the names of the rules about runs that have not finished
RUN = ("model", "task", "variant", "seqlen_tokens", "seed")


def runs(content: Content) -> str:
    """Statuses with their counts, every run with a value or a status that is open, and n of N."""
    note = text(
        "seqgrid did not run this study. A run whose study calls it complete counts as evaluated",
        "here only where its test value stands in a table; a value taken from a checkpoint is one",
        "of validation and never final.",
    )
    found = _statuses(content), _complete(content), _runs(content), _courses(content)
    return blocks(note, *found)


def _statuses(content: Content) -> str:
    found: Counter = Counter()
    for row in content.inventory:
        found[row["status"] or "-", row["outcome"], _result(content, row)] += 1
    body = [[*key, str(n)] for key, n in found.most_common()]
    return table(["its study says", "counts as", "its result", "runs"], body, left=3)


def _result(content: Content, row: dict) -> str:
    if row["value_origin"] == "test":
        reused = any(cell["reused"] for cell in content.cells if _run(cell) == _run(row))
        return f"its test value stands here{', reused' + REUSED if reused else ''}"
    if row["result_valid"] is False:
        return "cannot be read: finished, not evaluated"
    if row["outcome"] != "finished":
        return f"of a checkpoint{CHECKPOINT}" if row["value_origin"] else "none"
    known = "can be read; " if row["result_valid"] else ""
    place = ("model", "task", "seqlen_tokens")
    said = {r["origin"] for r in content.reported if all(r[n] == row[n] for n in place)}
    if said == {"validation"}:
        return f"{known}its value is of the validation split, not of a test: see Results"
    if said:
        return f"{known}a value is reported without its seed: see Results"
    return f"{known}its value stands in no table"


def _complete(content: Content) -> str:
    """n/N by model and task: called complete, with a checkpoint's value, with a valid result."""
    asked = Counter((cell["model"], cell["task"]) for cell in content.cells)
    said: dict[str, Counter] = defaultdict(Counter)
    for row in content.inventory:
        key = row["model"], row["task"]
        done = row["outcome"] == "finished"
        valid = row["result_valid"] or row["value_origin"] == "test"
        said["called complete"][key] += done
        said["with checkpoints that its study counts"][key] += bool(done or row["counted"])
        said["with a result that can be read"][key] += bool(done and valid)
        said["with a test value here"][key] += bool(done and row["value_origin"] == "test")
    if all(counts == said["called complete"] for counts in said.values()):
        return ""  # the coverage below says it all
    if all(row["result_valid"] is None for row in content.inventory):
        del said["with a result that can be read"]  # nobody says
    if not any(row["counted"] for row in content.inventory):
        del said["with checkpoints that its study counts"]
    places = [
        (model, tasks)
        for model in [*content.models, None]
        for tasks in [*([task] for task in content.tasks), content.tasks]
    ]
    shown = []
    for words, counts in said.items():
        body: dict[str, list[str]] = defaultdict(list)
        for model, tasks in places:
            keys = [key for key in asked if model in (key[0], None) and key[1] in tasks]
            n = sum(asked[key] for key in keys)
            body[model or "all"].append(f"{sum(counts[key] for key in keys)}/{n}" if n else "-")
        rows = [[model, *cells] for model, cells in body.items()]
        shown.append(f"Runs {words}, of those asked for:")
        shown.append(table(["model", *content.tasks, "all"], rows))
    return blocks(*shown)


def _runs(content: Content) -> str:
    values: dict[tuple, dict[str, dict]] = defaultdict(dict)
    for row in content.evaluations:
        if row["evaluated_seqlen_tokens"] == row["seqlen_tokens"] and row["weights"] == "best":
            values[_run(row)][row["metric"]] = row
    cells = {_run(cell): cell for cell in content.cells}
    spent = {
        run: (cell["training_seconds"], cell["peak_memory_bytes"]) for run, cell in cells.items()
    }
    shown = [
        row
        for row in content.inventory
        if row["outcome"] != "finished"
        or row["value_origin"]
        or row["note"]
        or any(spent[_run(row)])
    ]
    if not shown:
        return ""
    metrics = sorted({metric for row in shown for metric in values[_run(row)]})
    sizes = {run: cell["parameters"] for run, cell in cells.items()}

    def shown_value(row: dict, metric: str) -> str:
        value = _value(values[_run(row)].get(metric))
        return value + REUSED if value and cells[_run(row)]["reused"] else value

    said = defaultdict(list)
    for verdict in content.verdicts:
        if verdict["seed"] is not None and verdict["verdict"].endswith(SO_FAR):
            said[_run(verdict)].append(verdict["label"])
    columns = {
        "model": lambda row: row["model"],
        "task": lambda row: row["task"],
        "length": lambda row: str(row["seqlen_tokens"]),
        "seed": lambda row: str(row["seed"]),
        "status": lambda row: row["status"],
        "epochs": lambda row: row["epochs"] and f"{row['epochs']:g}",
        **{metric: lambda row, m=metric: shown_value(row, m) for metric in metrics},
        "so far": lambda row: ", ".join(said[_run(row)]),
        "parameters": lambda row: sizes.get(_run(row)) and count(sizes[_run(row)]),
        "training": lambda row: _shown(spent[_run(row)][0], seconds),
        "peak memory": lambda row: _shown(spent[_run(row)][1], size),
        "note": lambda row: free(row["note"] or ""),
        "last written": lambda row: _day(row["modified_at"]),
        "days before the report": lambda row: _age(content, row["modified_at"]),
        "file": lambda row: row["file"],
    }
    body = [[get(row) or "" for get in columns.values()] for row in shown]
    kept = [i for i in range(len(columns)) if any(row[i] for row in body)]
    head = [list(columns)[i] for i in kept]
    rows = [[row[i] or "-" for i in kept] for row in body]
    shown_rows = table(head, rows[:MOST_ROWS], left=2)
    words = "Runs of which a value, a cost or a note is known, or that have not finished:"
    return blocks(words, shown_rows, more(rows, "inventory.parquet"))


def _courses(content: Content) -> str:
    """Reported means of each model by training length, with the change from the shortest."""
    found: dict[tuple, dict[int, dict]] = defaultdict(dict)
    judged = {(v["task"], v["metric"]) for v in content.summary if v["primary"]}
    for row in content.reported:
        here = row["evaluated_seqlen_tokens"] == row["seqlen_tokens"] and not row["test_set"]
        if here and (row["task"], row["metric"]) in judged and row["statistic"] == "mean":
            found[row["task"], row["metric"], row["model"]][row["seqlen_tokens"]] = row
    shown = []
    for task, metric in dict.fromkeys(key[:2] for key in found):
        here = {key[2]: rows for key, rows in found.items() if key[:2] == (task, metric)}
        lengths = sorted({at for rows in here.values() for at in rows})
        if len(lengths) < 2:
            continue
        body = []
        for model, rows in here.items():
            first = rows[min(rows)]["value"]
            cells = []
            for at in lengths:
                row = rows.get(at)
                change = ""
                if row and at != min(rows) and first:
                    change = f" ({row['value'] / first - 1:+.1%})"
                cells.append(_value(row) + change if row else "-")
            body.append([model, *cells])
        shown.append(f"**{task}**: reported mean {metric} by training length, and its change:")
        shown.append(table(["model", *map(str, lengths)], body))
    note = (
        "A change of a score says nothing by itself: what it goes along with stands under Length."
    )
    return blocks(*shown, note) if shown else ""


def _run(row: dict) -> tuple:
    return tuple(row[name] or "" for name in RUN)


def _value(row: dict | None) -> str:
    if row is None:
        return ""
    shown = number(row["value"])
    if row["value"] is not None and float(shown) != row["value"]:
        shown = f"{row['value']:.6g}"  # as many digits as the study gave
    return shown + (CHECKPOINT if row["origin"] == "validation" else "")


def _shown(value: float | None, show: Callable[[float | None], str]) -> str:
    return "" if value is None else show(value)


def _day(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else ""


def _age(content: Content, moment: datetime | None) -> str:
    """Days from that of a moment to that of the study's report."""
    said = (content.about.get("origin") or {}).get("date")
    if not said or moment is None:
        return ""
    return str((datetime.fromisoformat(said).date() - moment.date()).days)


def advice(content: Content) -> str:
    """What to do next, without commands: none of ours goes on with a study run elsewhere."""
    found = {verdict["verdict"] for verdict in content.verdicts}
    left = {_run(row) for row in content.advice if (row["scope"], row["action"]) == ("cell", LEAVE)}
    ends = Counter(
        _run(cell) in left
        for cell in content.cells
        if cell["outcome"] not in ("finished", "skipped")
    )
    drop = f"; {ends[True]} more are not worth it by the table below" if ends[True] else ""
    broken = sum(row["result_valid"] is False for row in content.inventory)
    steps = {
        f"finish or drop {_runs_are(ends[False])} not finished{drop}": ends[False],
        f"write the result of {plural(broken, 'run')} again, from their weights or logs": (broken),
        "run more seeds before anything general is said": "TOO FEW SEEDS" in found,
        "try other learning rates before a failure is put down to a model": bool(
            {"SINGLE LR", "LR UNKNOWN"} & set(found)
        ),
        "score the task otherwise, where its ceiling is chance": "UNLEARNABLE AS SCORED" in found,
    }
    lines = [item(f"{words}.") for words, applies in steps.items() if applies]
    note = text(
        "seqgrid cannot go on with runs that it did not start. A study with the same settings is a",
        "file in `config/studies/`. Where this one was run, the tables ask to:",
    )
    return blocks(
        *([note, "\n".join(lines)] if lines else ["Nothing is open."]),
        on_cells(content.advice, Rates(content.cells).unit),
    )


def _runs_are(count: int) -> str:
    return "the run that has" if count == 1 else f"the {count} runs that have"


def provenance(content: Content) -> str:
    """Where an imported study comes from, and what nobody knows of it."""
    origin = content.about.get("origin") or {}
    lines = [
        item("imported: seqgrid did not run this study and cannot vouch for its numbers"),
        item(free(f"run by {origin.get('who')}: {origin.get('where')}")),
        item(
            f"commit: {origin.get('commit') or 'not known'}; report of {origin.get('date') or '?'}"
        ),
    ]
    if origin.get("note"):
        lines.append(item(free(origin["note"])))
    body = [
        [file["file"], file["of"], count(file["rows"]), file["sha256"][:16],
         listing(file["unread"]) or "-"]
        for file in content.about.get("files") or []
    ]  # fmt: skip
    files = table(["file", "read as", "rows", "sha256", "columns left unread"], body, left=2)
    return blocks("\n".join(lines), files, f"Not known: {listing(_unknown(content))}.")


def _unknown(content: Content) -> list[str]:
    """What a study run here would have, and this one has not."""
    found = ["which sources trained and evaluated", "package versions"]
    ran = [cell for cell in content.cells if cell["outcome"] not in ("missing", "skipped")]
    for words, column in (
        ("times", "training_seconds"),
        ("devices", "device"),
        ("precision", "dtype"),
        ("parameters", "parameters"),
    ):
        if not any(cell[column] is not None for cell in ran):
            found.append(words)
    if content.history.num_rows == 0:
        found.append("histories, so nothing is said of convergence")
    if any(row["interval"] is None for row in content.evaluations):
        found.append("the test examples behind some values, which have no interval")
    return found
