"""The table `published`: numbers from elsewhere, held against ours.

A number can be held against ours where every cell that can exist has a final value, there are as
many as `enough_seeds`, no control of the task failed, and no setting is known to differ. Then:
AGREES where it, or its interval, meets the range that a mean of as many further runs of ours would
fall into. DIFFERS where it lies beyond that range, made for all entries at once (Bonferroni), even
if as many of the published runs as can be (`stats.unlike`) were of a kind that none of ours was:
where one run in five fails, three often show none that did. Between the two neither is said.

The range is the prediction interval of normal values, mean
+- t s sqrt(1/n + 1/k) with n of our values, of standard deviation s, and k published runs, one
where none is said, Hahn & Meeker, Statistical Intervals, section 4.8; widened to hold every seed's
interval over test examples. A published value is one draw, so the interval of our median, which
shrinks with every seed, would be missed by results that are the same.
"""

import json
from collections.abc import Sequence
from math import inf, isnan, nan
from typing import Any

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis import published_settings, stats
from seqgrid.analysis.final_values import intervals, stale, to_come
from seqgrid.analysis.groups import counted, short
from seqgrid.analysis.selection import PRELIMINARY, UNSELECTED
from seqgrid.analysis.summary import meta
from seqgrid.metric_names import BOUNDS
from seqgrid.statements import dotted
from seqgrid.thresholds import Thresholds, of

RULE = (
    "AGREES where the published number or its interval meets the range that the mean of as many "
    "further runs of ours would fall into, seeds and test noise together. DIFFERS where it lies "
    "beyond it, made for all these numbers at once, even if as many of the published runs as can "
    "be were of a kind that none of ours was; one run is held against seven or more. With a "
    "setting that is known to differ neither is said: DIFFERENT SETTINGS. NOT TESTABLE YET while "
    "cells are missing, seeds are too few or unstable, a control failed, a score lies beyond a "
    "ceiling, another variant may be selected, the number lies between the two, or the range or "
    "the published interval is so wide that nearly any number would do: half of it is more than "
    "`unstable_share` of the span."
)
TASK = ("task",)
PLACE = ("model", "task", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set")
# Verdicts after which no score is held against another, what they must share, and why.
VOID = (
    ("CONTROL FAILED", TASK, "a control of the task failed"),
    ("GATE FAILED", TASK, "a known model missed its band on the task"),
    ("UNLEARNABLE AS SCORED", PLACE, "the ceiling is chance, so no score shows anything"),
    ("ABOVE CEILING", PLACE, "a score lies beyond the best there can be"),
    ("ABOVE MODEL CEILING", PLACE, "a score lies beyond the best said to be possible for it"),
    ("NO SELECTION", PLACE[:3], UNSELECTED),
    ("UNSTABLE ACROSS SEEDS", PLACE, "the seeds are unstable, so no range stands for them"),
)
ENDS = ("low", "high")


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `published` of a study from summary, verdicts, evaluations and cells."""
    about = meta(read["cells"])
    entries = (about.get("config") or {}).get("published") or []
    book = _Book(read, built, of(about), len(entries)) if entries else None
    rows = [book.row(entry) for entry in entries] if book else []
    return tables.from_rows("published", rows, {"seqgrid.study": json.dumps(about)})


class _Book:
    """The tables that entries are looked up in."""

    def __init__(
        self,
        read: dict[str, pa.Table],
        built: dict[str, pa.Table],
        thresholds: Thresholds,
        entries: int,
    ):
        self.entries = entries
        self.cells = read["cells"].to_pylist()
        self.evaluations = read["evaluations"].to_pylist()
        self.summary = [
            row
            for row in built["summary"].to_pylist()
            if row["selected"] and row["weights"] == "best" and not row["slice"]
        ]
        self.verdicts = built["verdicts"].to_pylist()
        self.thresholds = thresholds

    def row(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A row of the table."""
        place = {
            "model": entry["model"],
            "task": entry["task"],
            "seqlen_tokens": entry["seqlen"],
            "evaluated_seqlen_tokens": entry.get("evaluated") or entry["seqlen"],
            "test_set": entry.get("test_set") or "",
        }
        metric = entry.get("metric")
        ours = next(
            (
                row
                for row in self.summary
                if all(row[key] == value for key, value in place.items())
                and (row["metric"] == metric if metric else row["primary"])
            ),
            None,
        )
        cells = self._cells(place, ours)
        same, different, unknown = published_settings.held(
            dotted(entry.get("settings") or {}), cells
        )
        low, high = self._range(entry, ours, self.thresholds.confidence)
        outcome, statement = self._outcome(entry, place, ours, cells, different, (low, high))
        return {
            **place,
            "metric": metric or (ours or {}).get("metric"),
            "published": entry["value"],
            "published_low": entry.get("low"),
            "published_high": entry.get("high"),
            "published_seeds": entry.get("seeds"),
            "source": entry["source"],
            "ours": (ours or {}).get("median"),
            "low": None if isnan(low) else low,
            "high": None if isnan(high) else high,
            "stale": stale(ours),
            "final": (ours or {}).get("final", 0),
            "asked": len(cells),
            "same": same,
            "different": different,
            "unknown": unknown,
            "outcome": outcome,
            "statement": statement + ("; sources of ours have changed since" * stale(ours)),
        }

    def _cells(self, place: dict[str, Any], ours: dict | None) -> list[dict]:
        """The cells that can exist, of the selected variant."""
        variant = (ours or {}).get("variant")
        return [
            cell
            for cell in self.cells
            if all(cell[key] == place[key] for key in ("model", "task", "seqlen_tokens"))
            and cell["outcome"] != "skipped"
            and variant in (None, cell["variant"])
        ]

    def _range(self, entry: dict, ours: dict | None, confidence: float) -> tuple[float, float]:
        """Where further runs of ours would fall; NaN where nobody can say."""
        values = _finals(ours)
        if len(values) < 2 or ours is None:
            return nan, nan
        low, high = stats.prediction(values, entry.get("seeds") or 1, confidence)
        ends = [
            stats.widened(*own, len(values), confidence)
            for own in intervals(ours, self.evaluations)
        ]
        least, most = BOUNDS.get(ours["metric"], (-inf, inf))
        return max(min([low, *(e[0] for e in ends)]), least), min(
            max([high, *(e[1] for e in ends)]), most
        )

    def _beyond(self, entry: dict, ours: dict | None, published: list[float]) -> bool:
        """Whether no run like ours, nor a few that are not, would give the published number."""
        confidence = 1 - (1 - self.thresholds.confidence) / self.entries
        low, high = self._range(entry, ours, confidence)
        runs, n = entry.get("seeds") or 1, len(_finals(ours))
        if other := stats.unlike(n, runs, confidence):
            least, most = BOUNDS.get((ours or {}).get("metric", ""), (-inf, inf))
            like = runs - other
            low = (like * low + other * least) / runs if like else least
            high = (like * high + other * most) / runs if like else most
        return published[0] > high or published[1] < low

    def _outcome(
        self,
        entry: dict[str, Any],
        place: dict,
        ours: dict | None,
        cells: list[dict],
        different: list[str],
        ends: tuple[float, float],
    ) -> tuple[str, str]:
        if different:
            return (
                "DIFFERENT SETTINGS",
                f"{'; '.join(different)}: two experiments, so neither agreement nor change is said",
            )
        if why := self._untestable(place, ours, cells, ends):
            return "NOT TESTABLE YET", why
        low, high = ends
        runs = entry.get("seeds") or 1
        where = f"{short(low)} to {short(high)}, where "
        where += "one more run" if runs == 1 else f"the mean of {runs} more runs"
        where += " of ours would fall"
        published = [entry["value"] if entry.get(k) is None else entry[k] for k in ENDS]
        whole = any(entry.get(k) is not None for k in ENDS)
        between = " to ".join(map(short, published))
        what = f"its interval {between}" if whole else short(entry["value"])
        if published[0] <= high and published[1] >= low:
            if self._wide(ours, ends):
                return "NOT TESTABLE YET", f"the range is too wide to tell: {where}"
            if self._wide(ours, published):
                return "NOT TESTABLE YET", f"{what} is too wide to tell"
            return "AGREES", f"{what} {'meets' if whole else 'lies inside'} {where}"
        words = f"{what} lies outside {where}"
        if self._beyond(entry, ours, published):
            return "DIFFERS", words
        n = len(_finals(ours))
        return "NOT TESTABLE YET", f"{words}; but {n} of ours do not exclude that it did by chance"

    def _wide(self, ours: dict | None, ends: Sequence[float]) -> bool:
        """Whether nearly any number would agree."""
        if ours is None or None in (ours["chance"], ours["ceiling"]):
            return False
        span = abs(ours["ceiling"] - ours["chance"])
        return (ends[1] - ends[0]) / 2 > self.thresholds.unstable_share * span

    def _untestable(
        self, place: dict, ours: dict | None, cells: list[dict], ends: tuple
    ) -> str | None:
        """Why nothing can be said; None where something can."""
        if not cells:
            return "the study has no such cell"
        waiting = [words for cell in cells if (words := to_come(cell))]
        if waiting:
            return f"{len(waiting)} of {len(cells)} cells to come: {counted(waiting)}"
        for verdict, about, why in VOID:
            if any(v["verdict"] == verdict and _at(v, place, about, ours) for v in self.verdicts):
                return why
        if ours is not None and ours["preliminary"]:
            return PRELIMINARY
        n = len(_finals(ours))
        if n < len(cells):
            return f"{len(cells) - n} of {len(cells)} cells gave no number there"
        if n < self.thresholds.enough_seeds or isnan(ends[0]):
            return f"{n} final values, {max(2, self.thresholds.enough_seeds)} needed"
        return None


def _at(verdict: dict, place: dict, about: tuple[str, ...], ours: dict | None) -> bool:
    """Whether a verdict is about the place, and there about the variant that is judged."""
    same = all((verdict[key] or "") == (place[key] or "") for key in about)
    return same and (about == TASK or not ours or verdict["variant"] == ours["variant"])


def _finals(row: dict | None) -> list[float]:
    pairs = zip(row["values"], row["finals"], strict=True) if row else ()
    return [value for value, final in pairs if final and value is not None and not isnan(value)]
