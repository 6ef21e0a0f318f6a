"""What a report is made of: the study's tables as rows, and look-ups over them."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from seqgrid.analysis import summary
from seqgrid.analysis.build import BUILT

SPLIT = re.compile(r"(\d+)")

# What is said first of a group, where several verdicts apply.
HEADLINES = (
    "ABOVE CEILING",
    "UNLEARNABLE AS SCORED",
    "SOLVED",
    "NOT A NUMBER",
    "NO INTERVAL",
    "AT CEILING",
    "ABOVE MODEL CEILING",
    "AT MODEL CEILING",
    "AT SHORTCUT",
    "SHORTCUT NOT EXCLUDED",
    "AT CHANCE",
    "ABOVE",
    "UNSTABLE ACROSS SEEDS",
    "DIVERGED",
    "FAILED",
    "SKIPPED",
    "PARTIAL",
)
# Said in brackets behind the headline: what keeps it from being the whole story.
CAVEATS = (
    "CONTROL FAILED",
    "ABOVE MODEL CEILING",
    "SHORTCUT SUFFICES",
    "SHORTCUT NOT EXCLUDED",
    "SEEN IN TRAINING",
    "NO INTERVAL",
    "UNSTABLE ACROSS SEEDS",
    "DIVERGED",
    "FAILED",
    "PARTIAL",
    "TOO FEW SEEDS",
    "PRELIMINARY SELECTION",
    "NO SELECTION",
    "STALE",
)
# Left out of the results tables: study-wide, or a matter of learning curves.
ELSEWHERE = ("SINGLE LR", "LR UNKNOWN", "AT GRID EDGE", "PLATEAU", "NO CLEAR PLATEAU")
# They say more than the highest level passed.
STRONGER = ("SOLVED", "AT CEILING", "AT MODEL CEILING", "AT SHORTCUT", "SHORTCUT NOT EXCLUDED")


@dataclass
class Content:
    """All rows a report prints."""

    name: str
    about: dict
    cells: list[dict]
    parts: list[dict]
    history: pa.Table
    levels: list[dict]
    summary: list[dict]
    verdicts: list[dict]
    controls: list[dict]
    gates: list[dict]
    evaluations: list[dict]
    reported: list[dict]
    inventory: list[dict]
    expectations: list[dict]
    across: list[dict]
    comparisons: list[dict]
    scaling: list[dict]
    survival: list[dict]
    convergence: list[dict]
    claims: list[dict]
    published: list[dict]
    advice: list[dict]
    files: dict[str, int]  # Parquet file -> rows
    figures: dict[str, str] = field(default_factory=dict)  # name -> caption

    @classmethod
    def of(cls, folder: Path, read: dict[str, pa.Table], built: dict[str, pa.Table]) -> "Content":
        """The content of the study whose tables stand in `folder`."""
        about = summary.meta(read["cells"])
        return cls(
            name=str(about.get("name") or folder.resolve().name),
            about=about,
            cells=read["cells"].to_pylist(),
            parts=read["parts"].to_pylist(),
            history=read["history"],
            levels=read["levels"].to_pylist(),
            summary=built["summary"].to_pylist(),
            verdicts=built["verdicts"].to_pylist(),
            controls=read["controls"].to_pylist(),
            gates=built["gates"].to_pylist(),
            evaluations=read["evaluations"].to_pylist(),
            reported=read["reported"].to_pylist(),
            inventory=read["inventory"].to_pylist() if "inventory" in read else [],
            **{name: built[name].to_pylist() for name in BUILT},
            files={f"{n}.parquet": t.num_rows for n, t in (read | built).items()},
        )

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups of models that the study declares; empty where it declares none."""
        return (self.about.get("config") or {}).get("groups") or {}

    @cached_property
    def group_of(self) -> dict[str, str]:
        """The groups of each model that is in one, with commas."""
        found: dict[str, list[str]] = defaultdict(list)
        for group, members in self.groups.items():
            for model in members:
                found[model].append(group)
        return {model: ", ".join(groups) for model, groups in found.items()}

    @cached_property
    def models(self) -> list[str]:
        """Labels of the models, by groups where there are any, then in the study's order."""
        labels = [row["model"] for row in (*self.cells, *self.reported)]
        found = summary.in_order(labels, self.about.get("models"))
        members = list(self.groups.values())
        rank = {m: next(i for i, g in enumerate(members) if m in g) for m in self.group_of}
        return sorted(found, key=lambda model: rank.get(model, len(members)))

    @cached_property
    def tasks(self) -> list[str]:
        """Labels of the tasks, in the study's order."""
        labels = [row["task"] for row in (*self.cells, *self.reported)]
        return summary.in_order(labels, self.about.get("tasks"))

    def lengths(self, task: str) -> list[int]:
        """Training lengths of a task, of cells and of values reported without seeds."""
        rows = [row for row in (*self.cells, *self.reported) if row["task"] == task]
        return sorted({row["seqlen_tokens"] for row in rows})

    @cached_property
    def _by_task(self) -> dict[tuple[str, str, str], list[dict]]:
        """Rows of `summary` a study is judged by: the task's metric, best weights."""
        found = defaultdict(list)
        for row in self.summary:
            if row["primary"] and row["weights"] == "best":
                found[row["task"], row["test_set"], row["slice"]].append(row)
        rank = {model: i for i, model in enumerate(self.models)}
        for rows in found.values():
            rows.sort(key=lambda r: (r["seqlen_tokens"], rank[r["model"]]))  # stable
        return found

    def rows(
        self, task: str, seqlen: int | None = None, beyond: bool = False, test_set: str = "",
        part: str = "",
    ) -> list[dict]:  # fmt: skip
        """Primary rows of a task in the models' order.

        seqlen: training length; None: all.
        beyond: those evaluated at other lengths than that, in place of those evaluated there.
        test_set, part: a test set, '' the one drawn as training is; and a slice of it.
        """
        return [
            r
            for r in self._by_task.get((task, test_set, part), [])
            if seqlen in (None, r["seqlen_tokens"])
            and (r["evaluated_seqlen_tokens"] != r["seqlen_tokens"]) == beyond
        ]

    def row_at(self, place: dict) -> dict | None:
        """The selected primary row at the place that another table's row is about."""
        names = ("model", "seqlen_tokens", "evaluated_seqlen_tokens")
        rows = self._by_task.get((place["task"], place["test_set"] or "", ""), [])
        mine = (r for r in rows if r["selected"] and all(r[n] == place[n] for n in names))
        return next(mine, None)

    def test_sets(self, task: str) -> list[str]:
        """Test sets of a task besides the one drawn as training is."""
        return sorted({name for t, name, part in self._by_task if t == task and name and not part})

    def slices(self, task: str, test_set: str) -> list[str]:
        """Slices of a test set, in the order of the numbers in their names."""
        found = {part for t, name, part in self._by_task if (t, name) == (task, test_set) and part}
        return sorted(found, key=lambda p: [int(x) if x.isdigit() else x for x in SPLIT.split(p)])

    @cached_property
    def _curves(self) -> dict[tuple, dict[tuple, list[tuple[int, float]]]]:
        columns = [*("model", "task", "variant", "seqlen_tokens", "seed"), "step_steps"]
        found: dict[tuple, dict[tuple, list[tuple[int, float]]]]
        found = defaultdict(lambda: defaultdict(list))
        for row in self.history.select([*columns, "validation_metric"]).to_pylist():
            if row["validation_metric"] is not None and row["step_steps"] is not None:
                cell = row["model"], row["variant"] or "", row["seed"]
                point = row["step_steps"], row["validation_metric"]
                found[row["task"], row["seqlen_tokens"]][cell].append(point)
        return found

    def curves(self, task: str, seqlen: int) -> dict[tuple, list[tuple[int, float]]]:
        """(steps, validation metric) of each (model, variant, seed), by steps."""
        return {cell: sorted(points) for cell, points in self._curves[task, seqlen].items()}

    @cached_property
    def _levels(self) -> dict[tuple, list[dict]]:
        found = defaultdict(list)
        for level in self.levels:
            found[_level_place(level)].append(level)
        return found

    def levels_at(self, row: dict) -> list[dict]:
        """The levels a row of `summary` is judged by."""
        return self._levels.get(_level_place(row), [])

    @cached_property
    def _verdicts(self) -> dict[tuple, list[tuple[int, dict]]]:
        """Verdicts in their order; one about a whole group under what is left without a place."""
        found = defaultdict(list)
        for number, verdict in enumerate(self.verdicts):
            if verdict["scope"] == "reported":
                continue
            place = _place(verdict)
            found[place[:4] if verdict["scope"] == "group" else place].append((number, verdict))
        return found

    def verdicts_of(self, row: dict) -> list[dict]:
        """The verdicts about the group of a row of `summary`, and about its place alone."""
        place = _place(row)
        found = self._verdicts.get(place, []) + self._verdicts.get(place[:4], [])
        return [verdict for _, verdict in sorted(found, key=lambda pair: pair[0])]

    def headline(self, row: dict) -> tuple[str, list[str]]:
        """The label said first of a row, and the labels that qualify it."""
        found = {v["verdict"]: v["label"] for v in self.verdicts_of(row)}
        name = next((n for n in HEADLINES if n in found), None)
        caveats = [found[n] for n in CAVEATS if n in found and n != name]
        return (found[name] if name else "NO STATEMENT"), caveats

    def labels(self, row: dict) -> list[str]:
        """The verdicts as a results table shows them; those about cells name the seeds."""
        verdicts = self.verdicts_of(row)
        names = {v["verdict"] for v in verdicts}
        shown: dict[str, list[str]] = {}  # label -> seeds; none where it is about all
        for verdict in verdicts:
            name, label, seed = verdict["verdict"], verdict["label"], verdict["seed"]
            if name in ELSEWHERE or (name == "ABOVE" and names & set(STRONGER)):
                continue
            shown.setdefault(label, []).extend([] if seed is None else [str(seed)])
        return [f"{k} (seed {', '.join(seeds)})" if seeds else k for k, seeds in shown.items()]


def complete(row: dict) -> bool:
    """Whether every cell of a row of `summary` that can exist has a final value."""
    return row["final"] == row["asked"] - row["skipped"]


def _place(row: dict) -> tuple:
    return (
        row["model"],
        row["task"],
        row["variant"],
        row["seqlen_tokens"],
        row["evaluated_seqlen_tokens"],
        row["test_set"],
        row["slice"],
    )


def _level_place(row: dict) -> tuple:
    names = ("task", "evaluated_seqlen_tokens", "test_set", "slice", "metric")
    return tuple(row.get(name) or "" for name in names)
