"""The section of a report on length: scores with the levels that move along, and their courses."""

from collections import defaultdict
from collections.abc import Callable

from seqgrid import thresholds
from seqgrid.analysis.courses import relative
from seqgrid.report.content import Content
from seqgrid.report.markdown import DAGGER, blocks, item, number, percent, table, text
from seqgrid.report.sections import MOST_COLUMNS, MOST_ROWS, figure, marked, more

REPORTED = "reported means"
UNTOLD = "CANNOT BE TOLD"
MOST_SAID = 6  # courses put into words; more is no reading, and scaling.parquet has them
SAID_FIRST = ("CEILING MOVES", "RISES", "FALLS", "AT CEILING", "FLAT")


def length(content: Content) -> str:
    """Scores against training length, and beyond it, with the levels that move along."""
    note = text(
        "Medians over final seeds, with the levels at the same lengths: where a value goes "
        "along with a level, it is the level that moves, and no change of the model follows."
    )
    found = [note]
    if content.scaling:
        found.append(_rules(content))
    known = sorted((r for r in content.scaling if r["lengths"]), key=_rank)
    said = known[:MOST_SAID]
    for task in content.tasks:
        found.append(_by_length(content, task))
        found.append(_beyond(content, task))
        found += [_scaling(content, task, origin, said) for origin in ("seeds", REPORTED)]
    hidden = len(known[MOST_SAID:])
    if hidden:
        found.append(text(f"What {hidden} more courses say stands in `scaling.parquet`."))
    shown = blocks(*found, figure(content, "length"), figure(content, "beyond"))
    return shown if shown != note else "No task has values at more than one length."


def _rank(row: dict) -> int:
    """What a reader must not miss comes first."""
    outcome = row["outcome"]
    return SAID_FIRST.index(outcome) if outcome in SAID_FIRST else len(SAID_FIRST)


def _rules(content: Content) -> str:
    """How a course over lengths is judged."""
    words = thresholds.of(content.about).words()
    lines = [
        "Share: of the way from chance to the best score this model can have, its own ceiling "
        "where it is known, else the task's. A course is judged by the slope of the share a "
        "doubling of the training length, fitted to the values of all final seeds: RISES and FALLS "
        f"where its {words['confidence']} interval excludes zero and the change over all lengths "
        f"is above {words['level_share']} of the way, no two lengths are shown to go the other "
        "way, and the change does not hang on seeds that were still improving; FLAT where the "
        f"whole interval means a change below {words['flat_share']} over all lengths, and so do "
        "those of the differences between any two; CEILING MOVES "
        "where they do and the metric changes along with its ceiling, or where every length stands "
        "at a ceiling that changes; AT CEILING where that does not change; else CANNOT BE TOLD: "
        "also where every length stands at a shortcut, where budgets differ, of reported means "
        "without standard errors, and of peaks. Where no "
        "ceiling is known, RISES and FALLS are about the metric itself.",
        f"There are {len(content.scaling)} courses, and intervals are widened for their number "
        f"after Holm, so that at most 1 - {words['confidence']} of studies say a change that there "
        "is none of.",
    ]
    return text(*lines)


def _scaling(content: Content, task: str, origin: str, spoken: list[dict]) -> str:
    """The courses of a task side by side, and what each says."""
    rows = [r for r in content.scaling if r["task"] == task and r["origin"] == origin]
    if not rows:
        return ""
    kind = "reported elsewhere, " if origin == REPORTED else ""
    found = [f"**{task}**, {kind}how scores go with the training length:"]
    metrics = {r["metric"] for r in rows}
    known, body = [r for r in rows if r["lengths"]], []
    for row in known[:MOST_ROWS]:
        mark = "" if row["complete"] else DAGGER
        body.append(
            [
                _label(row, metrics),
                _ends(row["lengths"], str),
                f"{_ends(row['medians'], number)}{mark}",
                percent(row["change"]),
                _slope(row),
                _ends(row["ceilings"], number),
                percent(row["ceiling_change"]),
                _ends(row["shares"], lambda s: percent(s, sign="")),
                _share_slope(row),
                row["outcome"],
            ]
        )
    header = ["model", "lengths", "first to last", "change", "a doubling", "ceiling", "its change"]
    if body:
        found.append(table([*header, "share", "share, a doubling", "outcome"], body, words=1))
    found.append(_course_by_length(known, [r for r in known if r in spoken], metrics))
    said = [item(f"**{_label(r, metrics)}**.", r["statement"]) for r in known if r in spoken]
    without = ", ".join(_label(r, metrics) for r in rows if not r["lengths"])
    if without:
        said.append(item(f"**{without}**. {UNTOLD}: no length has a final value."))
    return blocks(*found, "\n".join(said), _left_out(known))


def _course_by_length(rows: list[dict], shown: list[dict], metrics: set[str]) -> str:
    """Each course's values, their change, ceiling and share, length by length."""
    lengths = sorted({at for r in rows for at in r["lengths"]})[:MOST_COLUMNS]
    body = []
    for row in shown:
        first = row["lengths"][0] if row["lengths"] else 0
        known = {
            "": [number(v) for v in row["medians"]],
            f"change from {first}": [
                percent(relative([row["medians"][0], v])) for v in row["medians"]
            ],
        }
        if None not in row["ceilings"]:
            known["ceiling"] = [number(v) for v in row["ceilings"]]
            known[f"ceiling, change from {first}"] = _changes(row["ceilings"])
        if None not in row["shares"]:
            known["share of the way"] = [percent(s, sign="") for s in row["shares"]]
        for name, values in known.items():
            at = dict(zip(row["lengths"], values, strict=True))
            label = ", ".join(filter(None, [_label(row, metrics), name]))
            body.append([label, *(at.get(length, "") for length in lengths)])
    return table(["", *map(str, lengths)], body) if body else ""


def _changes(values: list[float]) -> list[str]:
    """Each value against the first."""
    return [percent(relative([values[0], value]), 1) for value in values]


def _label(row: dict, metrics: set[str]) -> str:
    """The model, with what tells its rows apart."""
    words = [row["model"], row["variant"] if ";" not in row["variant"] else "(variants differ)"]
    return " ".join(filter(None, [*words, row["metric"] if len(metrics) > 1 else ""]))


def _share_slope(row: dict) -> str:
    if row["share_slope"] is None:
        return "-"
    ends = ", ".join(percent(row[end], 1) for end in ("share_low", "share_high"))
    return f"{percent(row['share_slope'], 1)} [{ends}]"


def _slope(row: dict) -> str:
    if row["slope"] is None:
        return "-"
    return f"{number(row['slope'])} [{number(row['low'])}, {number(row['high'])}]"


def _ends(values: list, show: Callable[..., str]) -> str:
    """`first to last` of a list."""
    if not values or None in values:
        return "-"
    ends = [show(values[0]), show(values[-1])]
    return ends[0] if len(values) == 1 else " to ".join(ends)


def _left_out(rows: list[dict]) -> str:
    hidden = len(rows[MOST_ROWS:])
    return f"{hidden} more courses stand in `scaling.parquet`." if hidden else ""


def _by_length(content: Content, task: str) -> str:
    rows = [r for r in content.rows(task) if r["selected"]]
    lengths = content.lengths(task)[:MOST_COLUMNS]
    if len(lengths) < 2 or not rows:
        return ""
    medians = {(r["model"], r["seqlen_tokens"]): marked(r) for r in rows}
    body = _level_rows(content, rows, lengths)
    known = [m for m in content.models if any(medians.get((m, at), "-") != "-" for at in lengths)]
    if not known:
        return ""
    body += [[m, *(medians.get((m, at), "") for at in lengths)] for m in known]
    title = f"**{task}**: {rows[0]['metric']} by training length (tokens), evaluated there"
    return blocks(title, table(["", *map(str, lengths)], body))


def _beyond(content: Content, task: str) -> str:
    elsewhere = [r for r in content.rows(task, beyond=True) if r["selected"]]
    if not elsewhere:
        return ""
    rows = [r for r in content.rows(task) if r["selected"]] + elsewhere
    lengths = sorted({r["evaluated_seqlen_tokens"] for r in rows})[:MOST_COLUMNS]
    medians = defaultdict(dict)
    for row in rows:
        medians[row["model"], row["seqlen_tokens"]][row["evaluated_seqlen_tokens"]] = marked(row)
    body = _level_rows(content, rows, lengths)
    body += [
        [f"{model}, trained at {seqlen}", *(values.get(at, "") for at in lengths)]
        for (model, seqlen), values in medians.items()
        if len(values) > 1
    ]
    title = f"**{task}**: {rows[0]['metric']} by evaluated length (tokens)"
    return blocks(title, table(["", *map(str, lengths)], body[:MOST_ROWS]), more(body))


def _level_rows(content: Content, rows: list[dict], lengths: list[int]) -> list[list[str]]:
    named: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        for level in content.levels_at(row):
            at = row["evaluated_seqlen_tokens"]
            named[f"({level['level']})"][at] = number(level["value"])
    return [[name, *(values.get(at, "") for at in lengths)] for name, values in named.items()]
