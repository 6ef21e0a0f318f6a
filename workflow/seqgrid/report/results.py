"""The section of a report on results: every number with its seeds, interval and levels."""

from collections import defaultdict

from seqgrid.report import across, groups, marks, reported
from seqgrid.report.content import Content
from seqgrid.report.judged import better_of, metric_of
from seqgrid.report.markdown import blocks, interval, number, table, text
from seqgrid.report.sections import (
    MOST_COLUMNS,
    MOST_ROWS,
    figure,
    group_header,
    grouped,
    labels,
    marked,
    more,
)

MOST_TABLES = 60

LEGEND = text(
    "Median, interval, min and max are over the final seeds; values that are not final stand in a "
    "column of their own. The coverage of an interval is how often such an interval holds the "
    "median over all seeds; with few seeds, fewer than six for 95 %, it is the whole range and "
    "stays below what is asked for. Intervals over test examples, on which verdicts on levels "
    "rest, stand under Seeds. Success: seeds at the solved level of seeds asked for, with the "
    "Wilson interval; unknown cells count as failures in its lower end and as successes in its "
    "upper end."
)


def results(content: Content) -> str:
    """Per task and length: every model's number with all that belongs to it."""
    found, shown = [LEGEND], 0
    for task in content.tasks:
        here = []
        for seqlen in content.lengths(task):
            shown += 1
            if shown <= MOST_TABLES:
                here.append(_results_table(content, content.rows(task, seqlen)))
        if shown <= MOST_TABLES:
            here += _test_sets(content, task)
        if any(here):
            found += [f"### {task}", *here]
    if shown > MOST_TABLES:
        found.append(text(f"{MOST_TABLES} of {shown} tables are shown; `summary.parquet` has all."))
    figures = [figure(content, name) for name in ("heatmap", "results")]
    last = (groups.medians(content), across.across(content), reported.means(content))
    return blocks(*found, *last, *figures)


def _test_sets(content: Content, task: str) -> list[str]:
    """The task's other test sets, and the slices of all of them."""
    found = []
    for name in content.test_sets(task):
        for beyond in (False, True):
            places = defaultdict(list)
            for row in content.rows(task, beyond=beyond, test_set=name):
                places[row["seqlen_tokens"], row["evaluated_seqlen_tokens"]].append(row)
            found += [_results_table(content, rows) for _, rows in sorted(places.items())]
    return found + [_slices_table(content, task, name) for name in ("", *content.test_sets(task))]


def _slices_table(content: Content, task: str, test_set: str) -> str:
    """Medians slice by slice, with the levels that hold there."""
    parts = content.slices(task, test_set)
    body, metric = [], ""
    for beyond in (False, True):
        for whole in content.rows(task, beyond=beyond, test_set=test_set):
            own = {p: _like(content.rows(task, whole["seqlen_tokens"], beyond, test_set, p), whole)
                   for p in parts}  # fmt: skip
            values = [marked(row) if row else "" for row in own.values()]
            if any(values):
                metric = whole["metric"]
                label = f"{whole['model']} {whole['variant']}".strip()
                lengths = [str(whole["seqlen_tokens"]), str(whole["evaluated_seqlen_tokens"])]
                body.append([label, *lengths, *values])
    if not body:
        return ""
    levels: dict[tuple[int, str], list[str]] = {}
    for i, part in enumerate(parts):
        for beyond in (False, True):
            for row in content.rows(task, beyond=beyond, test_set=test_set, part=part):
                for level in content.levels_at(row):
                    key = (row["evaluated_seqlen_tokens"], level["level"])
                    cells = levels.setdefault(key, [""] * len(parts))
                    cells[i] = number(level["value"])
    named = [[f"({name})", "", str(at), *cells] for (at, name), cells in sorted(levels.items())]
    body = named + body
    found = [f"**{task}{_named(test_set)}, slice by slice**: median {metric} over final seeds"]
    for start in range(0, len(parts), MOST_COLUMNS):
        columns = slice(3 + start, 3 + start + MOST_COLUMNS)
        header = ["model", "length", "evaluated at", *parts[start : start + MOST_COLUMNS]]
        found.append(table(header, [[*row[:3], *row[columns]] for row in body[:MOST_ROWS]]))
    return blocks(*found, more(body))


def _like(rows: list[dict], other: dict) -> dict | None:
    """The row of the same group and evaluated length."""
    names = ("model", "variant", "seqlen_tokens", "evaluated_seqlen_tokens")
    return next((r for r in rows if all(r[n] == other[n] for n in names)), None)


def _named(test_set: str) -> str:
    return f", test set {test_set}" if test_set else ""


def _results_table(content: Content, rows: list[dict]) -> str:
    if not rows:
        return ""
    first, swept = rows[0], any(r["variant"] for r in rows)
    methods = {_method(r) for r in rows if r["coverage"]}
    header = ["model", *group_header(content), *(["variant"] if swept else [])]
    open_ = any(v is not None and not f for r in rows for v, f in _values(r))
    body = []
    for row in rows[:MOST_ROWS]:
        label = [f"{row['variant']}{_chosen(row)}".strip()] if swept else []
        body.append(
            [
                row["model"],
                *grouped(content, row["model"]),
                *label,
                f"{row['final']}/{row['asked'] - row['skipped']}",
                marked(row),
                _interval(row, with_method=len(methods) > 1),
                _success(row),
                *([_not_final(row)] if open_ else []),
                "; ".join(content.labels(row)),
            ]
        )
    trained, evaluated = first["seqlen_tokens"], first["evaluated_seqlen_tokens"]
    if trained == evaluated:
        words = f"trained and evaluated at {trained} tokens"
    else:
        words = f"trained at {trained} and evaluated at {evaluated} tokens"
    title = f"**{first['task']}{_named(first['test_set'])}, {words}**"
    about = [level_line(content, first), *_model_ceilings(rows)]
    if len(methods) == 1:
        about.append(f"Intervals of the median over seeds: {methods.pop()}.")
    if swept:
        about.append(
            "The selected variant has the best median validation over seeds; the test split has no "
            "say, so that none is selected where finished ones have no validation."
        )
    header += ["n", "median", "interval", "success", *(["not final"] if open_ else []), "verdict"]
    left = labels(content, int(swept))
    return blocks(title, text(*about), table(header, body, left=left, words=1), more(rows))


def _values(row: dict) -> list[tuple[float | None, bool]]:
    return list(zip(row["values"], row["finals"], strict=True))


def _not_final(row: dict) -> str:
    """The values that enter no statistic, each with its marks."""
    pairs = zip(_values(row), marks.of_seeds(row), strict=True)
    return " ".join(f"{number(v)}{m}" for (v, final), m in pairs if v is not None and not final)


def _chosen(row: dict) -> str:
    if not row["selected"]:
        return ""
    return " (selected, preliminary)" if row["preliminary"] else " (selected)"


def level_line(content: Content, row: dict) -> str:
    """What the metric's values mean at a row's evaluated length."""
    name = row["metric"] or metric_of(content, row["task"])
    if not name:
        return "Metric: not known yet."
    better = row["better"] if row["metric"] else better_of(content, row["task"], name)
    metric = f"{name}, {better} is better" if better else name
    levels = content.levels_at(row | {"metric": name})
    if not levels:
        return f"Metric: {metric}. No levels are recorded, so no verdict on quality applies."
    named = [
        f"{'shortcut ' if v['kind'] == 'shortcut' else ''}{v['level']} {number(v['value'])}"
        for v in levels
    ]
    return f"Metric: {metric}. Levels: {', '.join(named)}."


def _model_ceilings(rows: list[dict]) -> list[str]:
    """What each model that does not see all of the order can score at best."""
    found: dict[tuple[str, float, str], list[str]] = defaultdict(list)
    for row in rows:
        if row["model_ceiling"] is not None:
            key = (row["model_ceiling_name"], row["model_ceiling"], row["model_ceiling_derivation"])
            found[key].append(f"{row['model']} {row['variant']}".strip())
    named = [
        f"{', '.join(dict.fromkeys(models))} {number(value)} ({words})"
        for (_, value, words), models in sorted(found.items(), key=lambda pair: pair[0][1])
    ]
    return [f"The best that a model can score here: {'; '.join(named)}."] if named else []


def _method(row: dict) -> str:
    return f"{row['interval']}, {row['coverage']:.1%} coverage"


def _interval(row: dict, with_method: bool) -> str:
    if not row["coverage"]:
        return row["interval"]
    ends = interval(row["low"], row["high"])
    return f"{ends} {_method(row)}" if with_method else ends


def _success(row: dict) -> str:
    if row["successes"] is None:
        return "-"
    open_ = f", {row['unknown']} unknown" if row["unknown"] else ""
    possible = row["asked"] - row["skipped"]
    if not possible:
        return "-"
    ends = f"[{row['success_low']:.2f}, {row['success_high']:.2f}]"
    return f"{row['successes']}/{possible}{open_} {ends}"
