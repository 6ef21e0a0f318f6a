"""What an inspection found, as rows that Markdown, CSV and JSON are written from."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

ALL = ""  # component that stands for all of them


@dataclass
class Inspection:
    """Rows by table; `changes` are sums by tensor between neighbouring files, for `drift`.

    weightless: parts that ended without weights and say so, by outcome; no file of the inventory.
    closed: folders that may not be read. absent: what is missing of weights in several files.
    """

    name: str
    inventory: list[dict[str, Any]] = field(default_factory=list)
    tensors: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    evolution: list[dict[str, Any]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    changes: list[tuple[dict, dict, dict]] = field(default_factory=list)
    weightless: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @cached_property
    def by_file(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of `tensors` of each file; asked for once all files are read."""
        found = defaultdict(list)
        for row in self.tensors:
            found[row["file"]].append(row)
        return found

    @property
    def read(self) -> list[dict[str, Any]]:
        """Files whose weights were examined."""
        return [row for row in self.inventory if row["status"] == "read"]

    @property
    def series(self) -> dict[str, list[dict[str, Any]]]:
        """Examined files by the training that their names say they belong to."""
        found = defaultdict(list)
        for row in self.read:
            found[row["series"]].append(row)
        return dict(found)
