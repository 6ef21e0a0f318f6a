"""What differs between the numbers of two studies, and what follows from them."""

import math
from collections import Counter

from seqgrid.changed_runs import CELL, Part
from seqgrid.keyed import both, by, same, words
from seqgrid.report.markdown import number

PLACE = ("evaluated_seqlen_tokens", "test_set", "slice")
VALUE = (*CELL, "weights", *PLACE, "metric")
GROUP = ("model", "task", "variant", "seqlen_tokens", *PLACE)
LEVEL = ("task", *PLACE, "metric", "level")
INTERVALS = (
    "Half widths are those of A's interval over test examples: one model scored on two samples of "
    "examples differs by up to 1.4 of them, 19 times in 20. Seeds differ by more."
)


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
