"""The sides of a declared comparison at its places: their cells, and a value of each seed."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isnan

from seqgrid.analysis.bounds import bounded
from seqgrid.metric_names import SOLVING

# How a cell stands in a comparison. One that diverged has come to an end, and is worse than any
# number; leaving it out would favour a side for its failures.
FINAL, WORST, WAITING, NEVER = "final", "worst", "waiting", "never"


@dataclass(frozen=True)
class Standing:
    """One cell of a side: how it stands, its value, and its folder."""

    kind: str
    value: float | None
    path: str
    why: str


@dataclass(frozen=True)
class Member:
    """One model of a side at one place.

    row: its row of `summary`; None where nothing was evaluated there.
    cells: its cells of the chosen variant; `rivals`: those of all variants.
    rows: of each variant, its row of `summary`; empty unless one was selected among several.
    selects: whether higher or lower validations select.
    unselected: whether it has several variants and nothing selects one, which `variant` is not.
    """

    model: str
    task: str
    seqlen: int
    variant: str
    row: dict | None
    cells: list[dict]
    rivals: list[dict]
    rows: dict[str, dict] = field(default_factory=dict)
    selects: str = "higher"
    unselected: bool = False

    @property
    def better(self) -> str:
        """Whether higher or lower values are better there."""
        return (self.row or {}).get("better") or "higher"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Its model, task, variant and training length."""
        return self.model, self.task, self.variant, self.seqlen

    @property
    def variants(self) -> int:
        """How many variants of the model have cells there."""
        return len({cell["variant"] or "" for cell in self.rivals})

    @property
    def chance(self) -> float | None:
        """The level of chance there; None where none is known."""
        return (self.row or {}).get("chance")

    def standings(self) -> dict[int, Standing]:
        """How each seed stands."""
        row = self.row or {"seeds": [], "values": [], "finals": []}
        values = {
            seed: value
            for seed, value, final in zip(row["seeds"], row["values"], row["finals"], strict=True)
            if final
        }
        return {cell["seed"]: self._standing(cell, values) for cell in self.cells}

    def _standing(self, cell: dict, values: dict[int, float]) -> Standing:
        outcome, path = cell["outcome"] or "missing", cell["path"]
        if cell["seed"] in values:
            value = values[cell["seed"]]
            if value is None or isnan(value):
                return Standing(WORST, None, path, "scored no number")
            return Standing(FINAL, value, path, "")
        if outcome == "diverged":
            return Standing(WORST, None, path, outcome)
        if outcome == "skipped":
            return Standing(NEVER, None, path, cell["reason"] or outcome)
        if outcome == "finished" and cell["evaluated"]:
            return Standing(NEVER, None, path, cell["refused"] or "no test result there")
        waits = "finished, not evaluated" if outcome == "finished" else outcome
        return Standing(WAITING, None, path, waits)


@dataclass(frozen=True)
class Side:
    """One side of a comparison at one place: a model, or all models of a group."""

    words: str
    members: tuple[Member, ...]

    @property
    def task(self) -> str:
        """Label of the task."""
        return self.members[0].task

    @property
    def seqlen(self) -> int:
        """Training sequence length, tokens."""
        return self.members[0].seqlen

    def seeds(self, grouped: bool) -> dict[int, Standing]:
        """How each seed stands: of a group, the mean of its models.

        In a mean what is worse than chance counts as chance, a run without a value too, so that
        one model cannot outweigh the others by how far it failed. Where chance is not known, a
        seed without a value makes its group's the worst.

        grouped: either side is a group; then a single model is held against chance likewise, or
            the same failure would count for less within a group than beside it.
        """
        each = [member.standings() for member in self.members]
        found = {}
        for seed in sorted(set().union(*each)):
            here = [one[seed] for one in each if seed in one]
            if len(here) < len(each):
                found[seed] = Standing(NEVER, None, "", "not every model of the group has it")
                continue
            if not grouped:
                found[seed] = here[0]
                continue
            values = [
                bounded(s.value, m.chance, m.better)
                for s, m in zip(here, self.members, strict=True)
            ]
            worst = [s for kind in (NEVER, WAITING) for s in here if s.kind == kind]
            without = [s for s in here if s.kind == WORST]
            if worst:
                found[seed] = worst[0]
            elif len(without) == len(here) or None in values:
                found[seed] = without[0]
            else:
                mean = sum(v for v in values if v is not None) / len(here)
                found[seed] = Standing(FINAL, mean, here[0].path, "")
        return found

    def waiting(self) -> list[str]:
        """Folders of the cells that are still to come."""
        return [
            standing.path
            for member in self.members
            for standing in member.standings().values()
            if standing.kind == WAITING
        ]


class Sides:
    """Finds the sides of comparisons in the tables `cells` and `summary`."""

    def __init__(self, cells: list[dict], summary: list[dict], groups: dict[str, list[str]]):
        self.groups = groups
        self.cells: dict[tuple, list[dict]] = defaultdict(list)
        for cell in cells:
            self.cells[cell["model"], cell["task"], cell["seqlen_tokens"]].append(cell)
        self.summary: dict[tuple, list[dict]] = defaultdict(list)
        for row in summary:
            if row["weights"] == "best" and not row["slice"]:
                self.summary[row["model"], row["task"], row["seqlen_tokens"]].append(row)

    def places(self, entry: dict) -> Iterator[tuple[Side, Side]]:
        """Both sides at each place where all of their models run, in the order of the study."""
        on, done = entry["on"], set()
        tasks = dict.fromkeys(task for _, task, _ in self.cells)
        for task in on["task"] or tasks:
            lengths = {at for _, t, at in self.cells if t == task}
            for seqlen in on["seqlen"] or sorted(lengths):
                at = [(entry[s]["task"] or task, entry[s]["seqlen"] or seqlen) for s in "ab"]
                if (key := tuple(at)) in done:
                    continue
                done.add(key)
                a, b = (self._side(entry, s, *p) for s, p in zip("ab", at, strict=True))
                if a and b:
                    yield a, b

    def models(self, side: dict) -> list[str]:
        """The models of a side."""
        return [side["model"]] if side["model"] else list(self.groups.get(side["group"], []))

    def _side(self, entry: dict, which: str, task: str, seqlen: int) -> Side | None:
        side, on = entry[which], entry["on"]
        members = []
        for model in self.models(side):
            member = self._member(model, task, seqlen, side["variant"], on, entry["metric"])
            if member is None:
                return None
            members.append(member)
        return Side(words(side), tuple(members)) if members else None

    def _member(
        self, model: str, task: str, seqlen: int, variant: str | None, on: dict, metric: str | None
    ) -> Member | None:
        rivals = self.cells.get((model, task, seqlen), [])
        rows = self.summary.get((model, task, seqlen), [])
        selected = variant is None
        if variant is None:
            first = rivals[0]["variant"] or "" if rivals else ""
            variant = next((r["variant"] for r in rows if r["selected"]), first)
        cells = [c for c in rivals if (c["variant"] or "") == variant]
        if not cells:
            return None
        at = (on["evaluated"] or seqlen, on["test_set"])
        placed: dict[str, dict] = {}
        for row in rows:
            if (row["evaluated_seqlen_tokens"], row["test_set"]) == at and (
                row["primary"] if metric in (None, *SOLVING) else row["metric"] == metric
            ):
                placed.setdefault(row["variant"], row)
        several = selected and len({cell["variant"] for cell in rivals}) > 1
        selects = next((r["better"] for r in rows if r["primary"]), "higher")
        about = (model, task, seqlen, variant, placed.get(variant), cells, rivals)
        nothing = several and not any(r["selected"] for r in rows)
        return Member(*about, placed if several else {}, selects, nothing)


def words(side: dict) -> str:
    """A side as a reader names it."""
    name = side["model"] or f"group {side['group']}"
    more = [
        side["task"] and f"on {side['task']}",
        side["seqlen"] and f"at {side['seqlen']} tokens",
        side["variant"] and f"with {side['variant']}",
    ]
    return " ".join([name, *filter(None, more)])
