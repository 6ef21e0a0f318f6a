"""What differs between the tables of two studies, as rows to print."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from seqgrid.analysis.summary import meta
from seqgrid.keyed import both, by, flat, same, unpacked, word, words
from seqgrid.report.markdown import blocks, number, seconds, size, table, text

CELL = ("model", "task", "seqlen_tokens", "variant", "seed")
PLACE = ("evaluated_seqlen_tokens", "test_set", "slice")
VALUE = (*CELL, "weights", *PLACE, "metric")
GROUP = ("model", "task", "variant", "seqlen_tokens", *PLACE)
LEVEL = ("task", *PLACE, "metric", "level")
# Columns of `cells` that say where a result comes from.
SOURCES = ("source_digest", "git_commit", "git_dirty", "versions", "device", "dtype", "backend")
# Tables of outcomes -> what a row is about, and what is held against each other.
OUTCOMES = {
    "comparisons": (
        ("comparison", "task", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set", "metric"),
        ("outcome", "difference"),
    ),
    "scaling": (("model", "task", "variant", "metric", "origin"), ("outcome", "slope")),
    "claims": (("statement", "about", "needed"), ("status", "value")),
    "published": (("model", "task", "seqlen_tokens", *PLACE[:2], "metric"), ("outcome", "ours")),
    "expectations": (("task", "model", "seqlen_tokens", *PLACE[:2], "expected"), ("met",)),
    "controls": (("task_file", "control", "expected"), ("state", "observed")),
    "gates": (("task", "control", "expected"), ("state", "observed")),
}
INTERVALS = (
    "Half widths are those of A's interval over test examples: one model scored on two samples of "
    "examples differs by up to 1.4 of them, 19 times in 20. Seeds differ by more."
)


@dataclass
class Part:
    """One kind of difference: a sentence with counts, and a row for each."""

    title: str
    count: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def page(self, most: int | None) -> str:
        """As Markdown; of more than `most` rows those after it are counted."""
        shown = self.rows if most is None else self.rows[:most]
        more = len(self.rows) - len(shown)
        rest = f"{more} more with --all." if more else ""
        left = max(1, len(self.header) - 4)
        body = table(self.header, shown, left=left)
        return blocks(f"## {self.title}", body, text(self.note, rest))


def of(a: dict[str, pa.Table], b: dict[str, pa.Table]) -> Iterator[Part]:
    """Every kind of difference; those without rows are the same in both."""
    rows = {name: (_rows(a[name]), _rows(b[name])) for name in a if name not in ("history",)}
    yield settings(meta(a["cells"]), meta(b["cells"]))
    yield cells(*rows["cells"])
    yield cell_settings(*rows["cells"])
    yield values(*rows["evaluations"])
    if "summary" in rows:
        yield medians(*rows["summary"])
    if "verdicts" in rows:
        yield verdicts(*rows["verdicts"])
    yield levels(*rows["levels"])
    for name, (keys, columns) in OUTCOMES.items():
        if name in rows:
            yield outcomes(name, keys, columns, *rows[name])
    yield reported(*rows["reported"])
    yield sources(*rows["cells"])
    yield cost(rows["cells"], rows["parts"])


def settings(a: dict, b: dict) -> Part:
    """Keys of the study that have other values."""
    mine, theirs = (
        flat(_listed({k: v for k, v in about.items() if k != "name"})) for about in (a, b)
    )
    # What stands in `config` also stands beside it.
    short = {"question", "models", "tasks", "lengths", "seeds", "sweep"}
    rows = [
        [key.removeprefix("config."), word(mine.get(key)), word(theirs.get(key))]
        for key in both(mine, theirs)
        if mine.get(key) != theirs.get(key)
        and not (key.partition(".")[0] in short and a.get("config") and b.get("config"))
    ]
    return Part("Settings of the study", f"{len(rows)} changed", ["key", "A", "B"], rows)


def _listed(value: Any) -> Any:
    """Lists of mappings, such as claims, as mappings: of statements, else of places from 1."""
    if isinstance(value, dict):
        return {key: _listed(entry) for key, entry in value.items()}
    if not (isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value)):
        return value
    names = [str(entry.get("statement", number)) for number, entry in enumerate(value, 1)]
    names = names if len(set(names)) == len(names) else [str(n) for n in range(1, len(names) + 1)]
    return dict(zip(names, value, strict=True))


def cells(a: list[dict], b: list[dict]) -> Part:
    """Cells that only one of them has, and cells that ended otherwise."""
    mine, theirs = by(a, CELL), by(b, CELL)
    rows, counts = [], Counter()
    for key in both(mine, theirs):
        ends = [found[key]["outcome"] if key in found else "-" for found in (mine, theirs)]
        stale = [found[key]["stale"] if key in found else None for found in (mine, theirs)]
        kind = "added" if key not in mine else "removed" if key not in theirs else "changed"
        if ends[0] != ends[1] or (kind == "changed" and stale[0] != stale[1]):
            counts[kind] += 1
            said = [f"{end}, stale" if old else end for end, old in zip(ends, stale, strict=True)]
            rows.append([*words(key), *said])
    said = f"{counts['added']} added, {counts['removed']} removed, {counts['changed']} otherwise"
    return Part("Cells", said, ["model", "task", "length", "variant", "seed", "A", "B"], rows)


def cell_settings(a: list[dict], b: list[dict]) -> Part:
    """Resolved settings of cells that both have."""
    mine, theirs = by(a, CELL), by(b, CELL)
    found: Counter = Counter()
    touched = set()
    for key in mine.keys() & theirs.keys():
        before, after = (flat(unpacked(rows[key]["settings"])) for rows in (mine, theirs))
        for name in both(before, after):
            if before.get(name) != after.get(name):
                found[name, word(before.get(name)), word(after.get(name))] += 1
                touched.add(key)
    rows = [[*entry, str(times)] for entry, times in sorted(found.items())]
    head = ["setting", "A", "B", "cells"]
    return Part("Settings of cells", f"{len(touched)} cells with other settings", head, rows)


def values(a: list[dict], b: list[dict]) -> Part:
    """Test values of each seed, the largest difference in units of its interval first."""
    mine, theirs = by(a, VALUE), by(b, VALUE)
    found, counts, others = [], Counter(), 0
    for key in both(mine, theirs):
        x, y = mine.get(key), theirs.get(key)
        known = x or y or {}
        if x and y and same(x["value"], y["value"]) and x["origin"] == y["origin"]:
            continue
        if not known["primary"] or known["weights"] != "best":
            others += 1
            continue
        counts["added" if not x else "removed" if not y else "changed"] += 1
        gap, ratio = _gap(x, y) if x and y else (None, math.inf)
        line = [*words(key[:5]), _where(known), *(number(v["value"]) if v else "-" for v in (x, y))]
        line += ["-" if gap is None else _signed(gap), f"{ratio:.2f}" if ratio < math.inf else "-"]
        # Those that only one of them has come last.
        found.append((gap is None, -ratio, line))
    rows = [row for *_, row in sorted(found)]
    said = f"{counts['changed']} changed, {counts['added']} added, {counts['removed']} removed; "
    said += f"{others} differ of other metrics and last weights"
    if not rows and others:
        rows = [["(none of the main metric)", *[""] * 9]]
    head = ["model", "task", "length", "variant", "seed", "at", "A", "B", "B - A", "half widths"]
    return Part("Test values", said, head, rows, INTERVALS)


def medians(a: list[dict], b: list[dict]) -> Part:
    """Medians over seeds of the metric a task is judged by."""
    kept = [
        by((r for r in rows if r["primary"] and r["weights"] == "best"), GROUP) for rows in (a, b)
    ]
    rows = []
    for key in both(*kept):
        x, y = (found.get(key) for found in kept)
        names = ("median", "low", "high", "final")
        if not x or not y or not all(same(x[name], y[name]) for name in names):
            known = x or y or {}
            rows.append(
                [known["model"], known["task"], str(known["seqlen_tokens"]), known["variant"],
                 _where(known), _median(x), _median(y)]
            )  # fmt: skip
    head = ["model", "task", "length", "variant", "at", "A", "B"]
    note = "Median, interval over seeds, and final values behind it."
    return Part("Medians", f"{len(rows)} changed", head, rows, note)


def verdicts(a: list[dict], b: list[dict]) -> Part:
    """Verdicts that only one of them has; one with other numbers in its label counts as changed."""
    names = (*GROUP, "seed", "scope", "verdict")
    mine, theirs = by(a, names), by(b, names)
    rows, counts = [], Counter()
    for key in both(mine, theirs):
        x, y = mine.get(key), theirs.get(key)
        if x and y and x["label"] == y["label"]:
            continue
        kind = "gained" if y and not x else "lost" if x and not y else "changed"
        counts[kind] += 1
        known = x or y or {}
        seed = "" if known["seed"] is None else str(known["seed"])
        where = _where(known) if known["evaluated_seqlen_tokens"] is not None else ""
        about = [known["model"], known["task"], str(known["seqlen_tokens"]), known["variant"], seed]
        rows.append([*about, where, kind, x["label"] if x else "-", y["label"] if y else "-"])
    head = ["model", "task", "length", "variant", "seed", "at", "kind", "A", "B"]
    said = ", ".join(f"{counts[kind]} {kind}" for kind in ("gained", "lost", "changed"))
    return Part("Verdicts", said, head, rows)


def levels(a: list[dict], b: list[dict]) -> Part:
    """Chance, shortcuts, ceilings and solved levels."""
    mine, theirs = by(a, LEVEL), by(b, LEVEL)
    rows = []
    for key in both(mine, theirs):
        x, y = ((found[key]["value"] if key in found else None) for found in (mine, theirs))
        if key not in mine or key not in theirs or not same(x, y):
            known = mine.get(key) or theirs[key]
            about = [known["task"], known["metric"], known["level"], _where(known)]
            rows.append([*about, number(x), number(y)])
    head = ["task", "metric", "level", "at", "A", "B"]
    return Part("Levels", f"{len(rows)} changed, added or removed", head, rows)


def outcomes(
    name: str, keys: tuple[str, ...], columns: tuple[str, ...], a: list[dict], b: list[dict]
) -> Part:
    """Rows of a table of the report whose outcome, or the number behind it, is another."""
    mine, theirs = by(a, keys), by(b, keys)
    rows = []
    for key in both(mine, theirs):
        sides = [found.get(key) for found in (mine, theirs)]
        shown = [[row[c] if row else None for c in columns] for row in sides]
        if None in sides or not all(map(same, *shown)):
            about = ", ".join(str(value) for value in key if value not in (None, ""))
            said = (
                _shown(values) if row else "-" for row, values in zip(sides, shown, strict=True)
            )
            rows.append([about, *said])
    return Part(name.capitalize(), f"{len(rows)} changed", ["about", "A", "B"], rows)


def reported(a: list[dict], b: list[dict]) -> Part:
    """Numbers of a report from elsewhere."""
    keys = ("model", "task", "variant", "seqlen_tokens", *PLACE[:2], "metric", "statistic")
    return outcomes("reported", keys, ("value",), a, b)


def sources(a: list[dict], b: list[dict]) -> Part:
    """Sources, commits, versions and devices of cells that both have."""
    mine, theirs = by(a, CELL), by(b, CELL)
    found: Counter = Counter()
    touched = set()
    for key in mine.keys() & theirs.keys():
        for column in SOURCES:
            before, after = mine[key][column], theirs[key][column]
            if before == after:
                continue
            pairs = flat({column: unpacked(before)}), flat({column: unpacked(after)})
            for name in both(*pairs):
                x, y = (word(pair.get(name)) for pair in pairs)
                if x != y:
                    found[name, x, y] += 1
                    touched.add(key)
    rows = [[*entry, str(times)] for entry, times in sorted(found.items())]
    said = f"{len(touched)} cells from other sources, versions or devices"
    return Part("Provenance", said, ["what", "A", "B", "cells"], rows)


def cost(cells: tuple[list[dict], list[dict]], parts: tuple[list[dict], list[dict]]) -> Part:
    """Totals of time and memory."""
    rows = []
    for title, pair, column, show in (
        ("training", cells, "training_seconds", seconds),
        ("validation", cells, "validation_seconds", seconds),
        ("evaluation", cells, "evaluation_seconds", seconds),
        ("wall time of all parts", parts, "wall_seconds", seconds),
        ("largest peak memory", cells, "peak_memory_bytes", size),
    ):
        join = max if column == "peak_memory_bytes" else sum
        x, y = (join([row[column] or 0 for row in side] or [0]) for side in pair)
        if not math.isclose(x, y, rel_tol=1e-9):
            change = f"{100 * (y / x - 1):+.1f} %" if x else "-"
            rows.append([title, show(x), show(y), change])
    return Part("Cost", f"{len(rows)} totals changed", ["what", "A", "B", "change"], rows)


def _rows(found: pa.Table) -> list[dict]:
    return found.to_pylist()


def _where(row: dict) -> str:
    """Length of the test examples, with the test set and its slice if there are any."""
    names = (row["test_set"], row["slice"])
    return " ".join([str(row["evaluated_seqlen_tokens"]), *filter(None, names)])


def _median(row: dict | None) -> str:
    if row is None:
        return "-"
    ends = f" [{number(row['low'])}, {number(row['high'])}]" if row["low"] is not None else ""
    return f"{number(row['median'])}{ends}, n = {row['final']}"


def _gap(x: dict, y: dict) -> tuple[float, float]:
    """Difference of two test values, and its size in half widths of the first's interval."""
    if x["value"] is None or y["value"] is None:
        return math.nan, math.inf
    gap = y["value"] - x["value"]
    width = None if x["low"] is None or x["high"] is None else (x["high"] - x["low"]) / 2
    return gap, abs(gap) / width if width and not math.isnan(gap) else math.inf


def _shown(values: list) -> str:
    known = (value for value in values if value is not None)
    return ", ".join(number(v) if isinstance(v, float) else str(v) for v in known)


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else ("+" if value > 0 else "") + number(value)
