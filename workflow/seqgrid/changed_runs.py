"""What differs between the runs of two studies: settings, ends, sources and cost."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from seqgrid.keyed import both, by, flat, unpacked, word, words
from seqgrid.report.markdown import blocks, seconds, size, table, text

CELL = ("model", "task", "seqlen_tokens", "variant", "seed")
# Columns of `cells` that say where a result comes from.
SOURCES = ("source_digest", "git_commit", "git_dirty", "versions", "device", "dtype", "backend")


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


def sources(a: list[dict], b: list[dict]) -> Part:
    """Sources, commits, versions and devices of cells that both have."""
    mine, theirs = by(a, CELL), by(b, CELL)
    found: Counter = Counter()
    touched = set()
    for key in mine.keys() & theirs.keys():
        if not all(any(side[key][column] for column in SOURCES) for side in (mine, theirs)):
            continue  # one of them has no run yet
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
