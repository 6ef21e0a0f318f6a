"""What advice looks at: groups with their levels and verdicts, rates, and the study's file."""

from collections import defaultdict
from functools import cached_property
from typing import Any

import pyarrow as pa

from seqgrid import thresholds
from seqgrid.analysis import edits
from seqgrid.analysis.groups import Group
from seqgrid.analysis.rates import Rates
from seqgrid.analysis.summary import Key, Study, meta


class View:
    """The tables of a study as its rules of advice need them."""

    def __init__(self, read: dict[str, pa.Table], built: dict[str, pa.Table]) -> None:
        self.about = meta(read["cells"])
        config = self.about.get("config") or {}
        # What names neither models nor tasks is no study's file that could be edited.
        self.config: dict = config if {"models", "tasks"} <= config.keys() else {}
        self.name = str(self.about.get("name") or "")
        self.thresholds = thresholds.of(self.about)
        self.study = Study(read)
        self.cells: dict[Key, list[dict]] = dict(self.study.cells)
        self.everything = [cell for cells in self.cells.values() for cell in cells]
        self.rates = Rates(self.everything)
        self.controls = read["controls"].to_pylist()
        self.comparisons = built["comparisons"].to_pylist()
        # A study run elsewhere has no file here, and no cell that a command could name.
        self.foreign = bool(self.about.get("imported")) or read["reported"].num_rows > 0
        self.verdicts: dict[Key, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
        for row in built["verdicts"].to_pylist():
            key = row["model"], row["task"], row["variant"], row["seqlen_tokens"]
            away = row["evaluated_seqlen_tokens"] != row["seqlen_tokens"] or row["test_set"]
            # A reported value has no run behind it that anything could be advised for.
            if not away and row["scope"] != "reported":
                self.verdicts[key][row["verdict"]].append(row)

    @cached_property
    def groups(self) -> dict[Key, Group]:
        """Each group at its training length, by the metric its task is judged by."""
        return {key: self.study.groups(key)[0][1] for key in self.cells}

    def command(self, cell: str | None = None, rerun: str | None = None) -> str | None:
        """The command for cells of this study; None for one that was run elsewhere."""
        return None if self.foreign or not self.name else edits.run(self.name, cell, rerun)


def about(key: Key, seed: int | None = None) -> dict:
    """The columns that say whom a row is about."""
    model, task, variant, seqlen = key
    place = {"model": model, "task": task, "variant": variant, "seqlen_tokens": seqlen}
    return place | {"scope": "group" if seed is None else "cell", "seed": seed}


def sides(config: dict, name: str) -> set[str]:
    """Models of both sides of a comparison."""
    entry: dict[str, Any] = (config.get("compare") or {}).get(name) or {}
    found = set()
    for side in ("a", "b"):
        given = entry.get(side) or {}
        members = (config.get("groups") or {}).get(given.get("group"), [])
        found |= {given.get("model"), *members} - {None}
    return found
