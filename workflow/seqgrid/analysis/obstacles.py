"""Why a difference between two sides cannot be claimed, and what else they do not share."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from seqgrid.analysis import fairness
from seqgrid.analysis.groups import short
from seqgrid.analysis.selection import NO_SELECTION, UNSELECTED
from seqgrid.analysis.sides import Member, Side

# Facts of `fairness` that make a budget; what else differs is said and does not stand against it.
BUDGET = ("budget_steps", "batch_size")
APART = ("learning_rate", "optimiser", "backend")  # worded by what differs inside
# Verdicts under which no score says what it seems to.
UNSOUND = ("CONTROL FAILED", "GATE FAILED", "UNLEARNABLE AS SCORED", "ABOVE CEILING")
# Verdicts under which two sides cannot be told apart by this task.
AT_LEVEL = ("AT CHANCE", "AT CEILING")
KINDS = ("chance", "shortcut", "ceiling", "solved")


@dataclass
class Obstacles:
    """What stands between two sides and a claim, in words.

    settings: what is scored is not the same: there is nothing to pair.
    different: budgets differ, or what is scored cannot be trusted.
    level: both are at one end of what the task can show.
    unknown: what a claim needs and is not recorded.
    unequal: what else the sides do not share.
    """

    settings: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    level: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)

    @property
    def blockers(self) -> list[str]:
        """All that stands against a claim."""
        return [*self.settings, *self.different, *self.level, *self.unknown]


class Judge:
    """Finds obstacles in the tables `levels` and `verdicts`."""

    def __init__(self, levels: list[dict], verdicts: list[dict]):
        self.levels, self.verdicts = levels, verdicts

    def obstacles(self, a: Side, b: Side, place: tuple[int, int, str], explicit: bool) -> Obstacles:
        """What stands against a claim about two sides.

        place: evaluated length of a and of b, test set.
        explicit: whether both sides name their variant, so that none was selected.
        """
        found = Obstacles()
        found.settings += self._scores(a, b, place)
        self._budgets(found, a, b, explicit)
        self._said(found, a, b, place)
        return found

    # -- what is scored ------------------------------------------------------------------------

    def _scores(self, a: Side, b: Side, place: tuple[int, int, str]) -> Iterator[str]:
        for name, side in (("a", a), ("b", b)):
            if models := [m.model for m in side.members if m.unselected]:
                which = f"{name} ({', '.join(models)})" if len(side.members) > 1 else name
                yield f"{which}: {NO_SELECTION}, {UNSELECTED}"
            evaluated = any(c["evaluated"] for m in side.members for c in m.cells)
            if evaluated and not any(m.row for m in side.members):
                yield f"no test result of {name} in this metric, at this place"
        metrics = [{m.row["metric"] for m in s.members if m.row} - {""} for s in (a, b)]
        if all(metrics) and metrics[0] != metrics[1]:
            yield f"metric: {_and(metrics[0])} of a, {_and(metrics[1])} of b"
        if (a.task, a.seqlen) == (b.task, b.seqlen):
            return
        tasks = [_settings(s.members[0].cells, "task_settings") for s in (a, b)]
        files = [s.members[0].cells[0]["task_file"] for s in (a, b)]
        if files[0] != files[1]:
            yield f"task: {files[0]} of a, {files[1]} of b"
        for key in sorted(set(tasks[0]) | set(tasks[1])):
            one, two = (t.get(key, "not recorded") for t in tasks)
            if one != two:
                yield f"task setting {key}: {one} of a, {two} of b"
        if a.task != b.task and files[0] == files[1] and tasks[0] == tasks[1]:
            yield f"task: {a.task} of a, {b.task} of b"
        if place[0] != place[1]:
            yield f"evaluated length: {place[0]} of a, {place[1]} of b"
        one, two = (self._levels(s, at, place[2]) for s, at in ((a, place[0]), (b, place[1])))
        for name in [n for n in one if n in two]:
            if one[name] != two[name]:
                yield f"{name}: {short(one[name])} of a, {short(two[name])} of b"

    def _levels(self, side: Side, evaluated: int, test_set: str) -> dict[str, float]:
        metric = next((m.row["metric"] for m in side.members if m.row), None)
        at = (side.task, evaluated, test_set, "", metric)
        columns = ("task", "evaluated_seqlen_tokens", "test_set", "slice", "metric")
        rows = [r for r in self.levels if tuple(r[c] for c in columns) == at]
        rows.sort(key=lambda r: KINDS.index(r["kind"]) if r["kind"] in KINDS else len(KINDS))
        return {r["level"]: r["value"] for r in rows if r["value"] is not None}

    # -- what was spent ------------------------------------------------------------------------

    def _budgets(self, found: Obstacles, a: Side, b: Side, explicit: bool) -> None:
        cells = [
            # One place: the sides are compared even where the places differ.
            cell | {"model": name, "task": "", "seqlen_tokens": 0}
            for name, side in (("a", a), ("b", b))
            for member in side.members
            for cell in member.cells
        ]
        for fact in fairness.facts(cells):
            if fact.equal:
                continue
            line = f"{fact.name}: {_sides(fact)}"
            if fact.column not in BUDGET:
                found.unequal.append(line)
            elif fact.unknown:
                found.unknown.append(line)
            else:
                found.different.append(line)
        if not any(cell["budget_steps"] for cell in cells):
            found.unknown.append("steps asked for: not recorded")
        offered = [{t for m in s.members for c in m.cells if (t := _offered(c))} for s in (a, b)]
        if all(offered) and offered[0] != offered[1]:
            words = [" and ".join(f"{n:,}" for n in sorted(o)) for o in offered]
            found.different.append(
                f"tokens in the steps asked for: {words[0]} of a, {words[1]} of b"
            )
        if explicit:
            return
        for what, count in (("variants", _variants), ("learning rates", _rates)):
            tried = [{count(m) for m in s.members} for s in (a, b)]
            if tried[0] != tried[1] or len(tried[0]) > 1:
                found.different.append(
                    f"{what} tried: {_and(tried[0])} of a, {_and(tried[1])} of b"
                )

    # -- what the rules say --------------------------------------------------------------------

    def _said(self, found: Obstacles, a: Side, b: Side, place: tuple[int, int, str]) -> None:
        said = [
            [self._verdicts(m, at, place[2]) for m in s.members]
            for s, at in ((a, place[0]), (b, place[1]))
        ]
        for name in UNSOUND:
            task_wide = name == "CONTROL FAILED"
            here = [
                f"{'' if task_wide else f'{member.model}: '}{verdicts[name]['statement']}"
                for side, each in zip((a, b), said, strict=True)
                for member, verdicts in zip(side.members, each, strict=True)
                if name in verdicts
            ]
            if here:
                found.different.append(f"{name}: {'; '.join(dict.fromkeys(here))}")
        for name in AT_LEVEL:
            if all(_at(name, verdicts) for each in said for verdicts in each):
                found.level.append(f"both sides are {name}: this place cannot tell them apart")

    def unstable(self, a: Side, b: Side, place: tuple[int, int, str]) -> tuple[str, ...]:
        """The models of either side that are UNSTABLE ACROSS SEEDS at the place, in words."""
        return tuple(
            f"{name} ({member.model})" if len(side.members) > 1 else name
            for name, side, at in (("a", a, place[0]), ("b", b, place[1]))
            for member in side.members
            if "UNSTABLE ACROSS SEEDS" in self._verdicts(member, at, place[2])
        )

    def _verdicts(self, member: Member, evaluated: int, test_set: str) -> dict[str, dict]:
        return {
            v["verdict"]: v
            for v in self.verdicts
            if (v["model"], v["task"], v["seqlen_tokens"], v["variant"] or "")
            == (member.model, member.task, member.seqlen, member.variant)
            and v["scope"] in ("level", "group")
            and (
                v["scope"] == "group"
                or (v["evaluated_seqlen_tokens"], v["test_set"]) == (evaluated, test_set)
            )
        }


def _at(name: str, verdicts: dict[str, dict]) -> bool:
    """Whether scores are at a level, or at the ceiling if not at a shortcut beside it."""
    either = verdicts.get("SHORTCUT NOT EXCLUDED") if name == "AT CEILING" else None
    return name in verdicts or bool(either and json.loads(either["evidence"])["ceiling"])


def _settings(cells: list[dict], key: str) -> dict:
    for cell in cells:
        try:
            return json.loads(cell["settings"] or "{}").get(key) or {}
        except ValueError:
            continue
    return {}


def _offered(cell: dict) -> int | None:
    """Tokens of all steps asked for; a run may stop before, which is its own doing."""
    if not cell["seen_tokens"] or not cell["step_steps"] or not cell["budget_steps"]:
        return None
    return round(cell["seen_tokens"] / cell["step_steps"] * cell["budget_steps"])


def _variants(member: Member) -> int:
    return member.variants


def _rates(member: Member) -> int:
    found = (_settings([cell], "training").get("learning_rate") for cell in member.rivals)
    return len({rate for rate in found if rate is not None})


def _sides(fact: fairness.Fact) -> str:
    """What each side has of a fact."""
    if fact.column in APART[1:]:
        words = _inside(fact.values)
        if words:
            return words
    unit = " bytes" if fact.column == "state_bytes" else ""
    return ", ".join(
        f"{_values(fact.values[side]) + unit if side in fact.values else 'not recorded'} of {side}"
        for side in "ab"
    )


def _inside(values: dict[str, list]) -> str:
    """Of JSON objects, the keys whose values differ."""
    try:
        read = {side: [json.loads(v) for v in found] for side, found in values.items()}
    except (TypeError, ValueError):
        return ""
    if set(read) != {"a", "b"} or not all(isinstance(o, dict) for o in [*read["a"], *read["b"]]):
        return ""
    keys = dict.fromkeys(key for found in read.values() for one in found for key in one)
    parts = []
    for key in keys:
        sides = [_and({str(one.get(key, "none")) for one in read[side]}) for side in "ab"]
        if sides[0] != sides[1]:
            parts.append(f"{key} {sides[0]} of a and {sides[1]} of b")
    return ", ".join(parts)


def _values(values: list) -> str:
    if len(values) > 3 and not isinstance(values[0], str):
        return f"{_value(values[0])} to {_value(values[-1])}"
    if not any(isinstance(value, str) for value in values):
        values = sorted(values)
    return " and ".join(dict.fromkeys(map(_value, values))) or "none"


def _value(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return str(value)


def _and(values: set) -> str:
    return " and ".join(sorted(map(str, values))) or "none"
