"""The table `expectations`: what a study expected of its models, against what was observed.

Met: `SOLVED` where every seed that can exist solved the task, and there is one; `NOT SOLVED` where
none did; any other verdict where its rule fired at that place, and where a level is named, that is
among those the rule cannot tell from the scores (AT SHORTCUT) or that all seeds have passed
(ABOVE). Not met where a score excludes it: a rule that did not fire is no evidence against its
verdict. Not testable while a cell is missing, cut, broken or not evaluated, or another variant may
yet be selected; a diverged cell is an end, and has not solved the task.
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.excluding import excludes
from seqgrid.analysis.final_values import to_come
from seqgrid.analysis.groups import Group, counted
from seqgrid.analysis.selection import NO_SELECTION, PRELIMINARY, UNSELECTED
from seqgrid.analysis.summary import Study, meta
from seqgrid.expectation import parse

RULE = (
    "SOLVED is met where every seed solved the task, NOT SOLVED where none did, any other verdict "
    "where its rule fired at that place. Not met is what a seed contradicts: one that did or did "
    "not solve the task, or an interval that excludes the verdict. Nothing is said while a cell is "
    "missing, cut, broken or not evaluated, or another variant may yet be selected, nor of a value "
    "without an interval."
)
NAMES = ("held", "passed")  # in the evidence of a rule that names a level: all it may name
# Said of every study as such, and no observation.
LEFT_OUT = ("SINGLE LR", "LR UNKNOWN", "TOO FEW SEEDS")


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `expectations` of a study from its tables; empty where it expects nothing."""
    about = meta(read["cells"])
    expect = (about.get("config") or {}).get("expect") or []
    rows = known(read, built) if expect else {}
    found = [row for entry in expect for row in Places(rows, entry).rows()]
    return tables.from_rows("expectations", found, {"seqgrid.study": json.dumps(about)})


def known(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> dict[str, Any]:
    """The rows that say what was observed, by table; and the scores themselves, as `groups`."""
    return {
        "cells": read["cells"].to_pylist(),
        "summary": [
            row
            for row in built["summary"].to_pylist()
            if row["selected"] and row["primary"] and row["weights"] == "best" and not row["slice"]
        ],
        "levels": read["levels"].to_pylist(),
        "groups": _groups(read),
        "verdicts": [v for v in built["verdicts"].to_pylist() if v["verdict"] not in LEFT_OUT],
    }


def _groups(read: dict[str, pa.Table]) -> dict[tuple, Group]:
    """The scores of each cell's group at each place, in the metric its task is judged by."""
    study = Study(read)
    return {
        (*key, group.evaluated_seqlen, group.test_set): group
        for key in study.keys
        for weights, group in study.groups(key)
        if weights == "best" and not group.slice and group.metric == study.primary.get(key[1], "")
    }


def where(row: dict) -> str:
    """Model and lengths of an expectation."""
    at = row["evaluated_seqlen_tokens"]
    beyond = f", tested at {at}" if at != row["seqlen_tokens"] else ""
    other = f", {row['test_set']}" if row["test_set"] else ""
    return f"{row['model']}, trained at {row['seqlen_tokens']} tokens{beyond}{other}"


class Places:
    """Where a verdict is looked for: one training length, or several."""

    def __init__(self, rows: dict[str, Any], entry: dict):
        self.entry = entry
        self.groups: dict[tuple, Group] = rows["groups"]
        self.levels = [v for v in rows["levels"] if v["task"] == entry["task"]]
        self.cells, self.summary, self.verdicts = (
            [row for row in rows[name] if self._mine(row)]
            for name in ("cells", "summary", "verdicts")
        )

    def _mine(self, row: dict) -> bool:
        return (
            row["model"] == self.entry["model"]
            and row["task"] == self.entry["task"]
            and self.entry["seqlen"] in (None, row["seqlen_tokens"])
        )

    def rows(self) -> Iterator[dict]:
        """A row for each training length."""
        for seqlen in sorted({c["seqlen_tokens"] for c in self.cells}):
            place = (self.entry["evaluated"] or seqlen, self.entry["test_set"])
            yield self._row(seqlen, place)

    def _row(self, seqlen: int, place: tuple[int, str]) -> dict:
        here = [r for r in self.summary if r["seqlen_tokens"] == seqlen]
        trained = next((r for r in here if _place(r) == (seqlen, "")), None)
        row = next((r for r in here if _place(r) == place), None)
        variant = (row or trained or {}).get("variant", "")
        # Without a row nothing selects among variants, and each has cells there.
        cells = [
            c
            for c in self.cells
            if c["seqlen_tokens"] == seqlen and (not here or c["variant"] == variant)
        ]
        said = [
            v
            for v in self.verdicts
            if v["seqlen_tokens"] == seqlen
            and (v["variant"] == variant if here else v["verdict"] == NO_SELECTION)
            and v["scope"] in ("level", "group")
            and (_place(v) == place or v["scope"] == "group")
        ]
        who = (self.entry["model"], self.entry["task"], variant or "", seqlen)
        group = self.groups.get((*who, *place))
        met, reason = self._met(row, cells, said, group) if here else (None, UNSELECTED)
        if met is not None and any(r["preliminary"] for r in here):
            met, reason = None, f"{reason}, but {PRELIMINARY}"
        return {
            "task": self.entry["task"],
            "task_file": cells[0]["task_file"],
            "model": self.entry["model"],
            "model_file": cells[0]["model_file"],
            "seqlen_tokens": seqlen,
            "evaluated_seqlen_tokens": place[0],
            "test_set": place[1],
            "expected": self.entry["verdict"],
            "observed": "; ".join(dict.fromkeys(v["label"] for v in said)),
            "metric": (row or {}).get("metric") or None,
            "median": (row or {}).get("median"),
            "solved": (row or {}).get("successes"),
            "final": (row or {}).get("final", 0),
            "asked": sum(c["outcome"] != "skipped" for c in cells),
            "begun": sum(c["outcome"] != "missing" for c in cells),
            "met": met,
            "reason": reason,
            "why": self.entry["why"],
            "paths": [c["path"] for c in cells],
        }

    def _met(
        self, row: dict | None, cells: list[dict], said: list[dict], group: Group | None
    ) -> tuple[bool | None, str]:
        """Whether the expectation was met, None where nobody can tell yet; and why."""
        waiting = [words for cell in cells if (words := to_come(cell))]
        if waiting:
            return None, f"{len(waiting)} of {len(cells)} cells to come: {counted(waiting)}"
        expected = self.entry["verdict"]
        rule, level = parse(expected)
        if row is not None and level and level not in (names := self._names(row)):
            return None, f"there is no level {level} there; there are {', '.join(names)}"
        if rule in ("SOLVED", "NOT SOLVED") and row is not None:
            if row["successes"] is None:
                words = "no score shows success there: no solved level, or a shortcut reaches it"
                return (False if rule == "SOLVED" else None), words
            return _solved(rule, row, group, self.entry.get("beyond_noise", False))
        for verdict in said:
            if verdict["verdict"] == rule and (not level or level in _named(verdict)):
                return True, verdict["statement"]
        if row is None:
            refused = next((c["refused"] for c in cells if c["refused"]), None)
            return None, f"no test result there{f' ({refused})' if refused else ''}{self._others()}"
        close = [v for v in said if level in json.loads(v["evidence"] or "{}").get("close", ())]
        if rule == "ABOVE" and close:
            return None, f"{close[0]['statement']}, so {expected} is neither shown nor excluded"
        if rule in ("DIVERGED", "SKIPPED"):
            return False, f"{expected} does not hold"
        if group is not None and excludes(group, rule, level):
            return False, f"{expected} does not hold: the scores exclude it"
        return None, f"{expected} is not said, and no score excludes it"

    def _names(self, row: dict) -> list[str]:
        """The levels that a score of a row of `summary` can be at or above."""
        return [
            v["level"]
            for v in self.levels
            if (v["metric"], v["slice"], *_place(v)) == (row["metric"], "", *_place(row))
            and v["kind"] in ("chance", "shortcut")
        ]

    def _others(self) -> str:
        found = sorted({_place(row) for row in self.summary if row["final"]})
        words = [f"{at} tokens{f' {name}' if name else ''}" for at, name in found]
        return f"; there are results at {', '.join(words)}" if words else ""


def _solved(
    rule: str, row: dict, group: Group | None, beyond_noise: bool
) -> tuple[bool | None, str]:
    """Whether all seeds of a place solved its task, or none.

    A seed of whose value no interval is known may have or not; beyond_noise: one whose interval
    holds the solved level, too.
    """
    asked, solved = row["asked"] - row["skipped"], row["successes"]
    left = () if group is None else (*group.undecided, *group.boundless)
    close = () if group is None else group.beside_bar
    words = f"{solved} of {asked} seeds solved it"
    if beyond_noise and group is not None:
        left, solved = (*left, *close), sum(cell not in close for cell in group.solved)
    open_ = len({cell.seed for cell in left})
    words += f", of {open_} it cannot be told" if open_ else ""
    words += f"; the intervals of {len(close)} hold the solved level" if close else ""
    met, unmet = solved == asked > 0, solved + open_ < asked or not asked
    if rule == "NOT SOLVED":
        met, unmet = solved + open_ == 0 < asked, solved > 0 or not asked
    return (met if met or unmet else None), words


def _place(row: dict) -> tuple[int, str]:
    return row["evaluated_seqlen_tokens"], row["test_set"]


def _named(verdict: dict) -> set[str]:
    evidence = json.loads(verdict["evidence"])
    return {name for key in NAMES for name in evidence.get(key, ())}
