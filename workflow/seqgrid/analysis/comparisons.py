"""The table `comparisons`: what the study's comparisons came to.

A comparison is declared before its result is known, and judged at each place and over all places.
A difference is claimed only of pairs of ended runs, with a corrected p-value up to 1 - confidence,
an interval that excludes zero, equal budgets, the same metric and test set, no failed control, and
no larger losses in other seeds that outweigh it.

The unit is the seed. Data and initial weights derive from the seed alone (`Cell.seed_of`), so that
the runs of one seed at two lengths or tasks are no two independent ones: over all places a seed has
one difference, the mean of those of its places.
"""

import json
from math import sqrt

import numpy as np
import pyarrow as pa

from seqgrid import tables, thresholds
from seqgrid.analysis import (
    comparison_words,
    cross_fitting,
    paired,
    pooling,
    restraints,
    solving,
    spread,
    successes,
)
from seqgrid.analysis.comparison_rows import Place, finished
from seqgrid.analysis.groups import Group
from seqgrid.analysis.obstacles import Judge, Obstacles
from seqgrid.analysis.pairs import Pairs, pairs
from seqgrid.analysis.restraints import Shared
from seqgrid.analysis.sides import FINAL, NEVER, Side, Sides, words
from seqgrid.analysis.single_runs import SingleRuns
from seqgrid.analysis.spread import Spread
from seqgrid.analysis.summary import meta
from seqgrid.metric_names import SOLVED, SOLVING, STEPS, UNIT
from seqgrid.seeds import derive
from seqgrid.statements import Comparison


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `comparisons` of a study from summary, verdicts, cells, levels and evaluations."""
    about = meta(read["cells"])
    config = about.get("config") or {}
    confidence = thresholds.of(about).confidence
    made = _Comparisons(read, built, about)
    found = [
        place
        for name, entry in (config.get("compare") or {}).items()
        for place in made.places(name, Comparison.model_validate(entry).model_dump(mode="json"))
    ]
    tested = [place for place in found if place.paired is not None]
    judged = iter(paired.judge([p.paired for p in tested if p.paired], confidence))
    rows = [
        finished(place, None if place.paired is None else next(judged), confidence)
        for place in found
    ]
    return tables.from_rows("comparisons", rows, {"seqgrid.study": json.dumps(about)})


class _Comparisons:
    def __init__(self, read: dict, built: dict, about: dict):
        limits = thresholds.of(about)
        self.confidence, self.margin_share = limits.confidence, limits.margin_share
        self.imported = bool(about.get("imported"))
        groups = (about.get("config") or {}).get("groups") or {}
        self.sides = Sides(read["cells"].to_pylist(), built["summary"].to_pylist(), groups)
        self.judge = Judge(read["levels"].to_pylist(), built["verdicts"].to_pylist())
        self.groups = successes.Groups(read)
        self.reported = {row["model"] for row in read["reported"].to_pylist()}
        self.single = SingleRuns(read["evaluations"].to_pylist(), limits.confidence)

    # -- places --------------------------------------------------------------------------------

    def places(self, name: str, entry: dict) -> list[Place]:
        """A place for each row of a comparison: its places, then all of them together."""
        sides = {"a": words(entry["a"]), "b": words(entry["b"])}
        shared = {"margin": entry["margin"], "confidence": self.confidence}
        head = {"comparison": name, **sides, **shared}
        found, pooled = [], []
        for a, b in self.sides.places(entry):
            place, paired_ = self._place(head, entry, a, b)
            found.append(place)
            if paired_ is not None:
                pooled.append((place, paired_))
        if not found:
            blockers = Obstacles(settings=[self._apart(entry)])
            row = {"metric": entry["metric"] or "", "better": None, "test_set": ""}
            return [Place(head | row, blockers)]
        apart = [p for p in found if p.obstacles.settings]
        for metric in dict.fromkeys(place.row["metric"] for place, _ in pooled):
            same = [(place, each) for place, each in pooled if place.row["metric"] == metric]
            if len(same) > 1:
                found.append(self._pooled(head, same, apart))
        return found

    def _apart(self, entry: dict) -> str:
        """Why there is no place where both sides have run."""
        ran = {model for model, *_ in self.sides.cells}
        named = [set(self.sides.models(entry[side])) for side in "ab"]
        if any(models & self.reported and not models & ran for models in named):
            return "reported values have no pairs: runs are compared seed by seed"
        return "the sides have not run at the same place"

    def _place(self, head: dict, entry: dict, a: Side, b: Side) -> tuple[Place, Pairs | None]:
        on = entry["on"]
        at = [on["evaluated"] or side.seqlen for side in (a, b)]
        named = (bool(entry["a"]["variant"]), bool(entry["b"]["variant"]))
        where = (at[0], at[1], on["test_set"])
        obstacles = self.judge.obstacles(a, b, where, all(named))
        members = [m for side in (a, b) for m in side.members]
        metric = next((m.row["metric"] for m in members if m.row and m.row["metric"]), "")
        better = next((m.row["better"] for m in members if m.row), "higher")
        row = head | {
            "task": a.task,
            "seqlen_tokens": a.seqlen,
            "evaluated_seqlen_tokens": at[0],
            "test_set": on["test_set"],
            "metric": entry["metric"] or metric,
            "better": {STEPS: "lower", SOLVED: "higher"}.get(entry["metric"], better),
            "missing": [*a.waiting(), *b.waiting()],
        }
        place = Place(row, obstacles)
        place.preliminary = any(m.row["preliminary"] for m in members if m.row)
        place.untuned = all(
            chosen or m.variants == 1
            for chosen, side in zip(named, (a, b), strict=True)
            for m in side.members
        )
        place.notes = comparison_words.notes(a, b, named)
        if obstacles.settings:
            return place, None
        scored = entry["metric"] or metric
        values = metric if scored in SOLVING else scored
        obstacles.different += self.single.unequal((a, b), where, values)
        if wide := restraints.too_wide(entry["margin"], (a, b), scored, self.margin_share):
            place.notes += (wide,)
        if start := restraints.one_start((a, b)):
            obstacles.unknown.append(start)
        if shared := restraints.sharing((a, b), self.imported):
            known = scored not in SOLVING and self.single.known((a, b), where, scored)
            noise = self.single.noise((a, b), where, scored) if known else None
            place.shared = Shared(shared, noise)
        # Equivalence for those examples alone is nothing to claim.
        place.margin = None if wide or place.shared else entry["margin"]
        if entry["metric"] in SOLVING:
            # Two sides that solve the task may do so at different times, or in equal shares.
            obstacles.level = [line for line in obstacles.level if "AT CEILING" not in line]
            times = entry["metric"] == STEPS  # which only training has
            groups = self.groups.of((a, b), (a.seqlen, b.seqlen, "") if times else where)
            if self._solvable(place, a, b, groups):
                (self._times if times else self._rates)(place, a, b, groups)
            return place, None
        found = pairs(a, b, better)
        seeds = sorted(found.values)
        row |= {"seeds": seeds, "unpaired": found.unpaired}
        if found.diverged:
            place.notes += (f"worse than every number: {comparison_words.listed(found.diverged)}",)
        if found.never:
            place.notes += (f"without a partner: {comparison_words.listed(found.never)}",)
        place.noise = self.single.noise((a, b), where, scored)
        place.values = tuple(found.values[s] for s in seeds)
        place.paired = paired.compare(
            [found.differences[s] for s in seeds],
            better,
            place.margin,
            len(found.waiting),
            len(found.without),
        )
        self._spread(place, (a, b), where, scored, found)
        place.crossed_pairs = cross_fitting.pairs(a, b, better)
        if crossed := place.crossed_pairs:
            differences = list(crossed.differences.values())
            place.crossed = paired.compare(differences, better, None, len(crossed.waiting))
        place.members = tuple(restraints.members(a, b, better, place.margin))
        if place.paired.asked == 1 and len(seeds) == 1 and len(members) == 2:
            one, two = members
            place.single = self.single.told((one, two), seeds[0], where, scored)
            row |= place.single.columns if place.single else {}
            place.shared = None  # one run each speaks of its examples anyway
        return place, found

    def _spread(
        self, place: Place, sides: tuple[Side, Side], where: tuple, scored: str, found: Pairs
    ) -> None:
        """What a median of the pairs hides."""
        unlike: tuple[str, ...] = ()
        if place.margin is not None and scored in UNIT:
            unlike = spread.coarse(self.single.outputs(sides, where, scored), place.margin)
        if place.margin is not None and all(len(side.members) == 1 for side in sides):
            groups = [g for g in self.groups.of(sides, where) if g.metric == scored]
            unlike += spread.solving(found, groups, 1 - self.confidence) if len(groups) > 1 else ()
        each = tuple(found.from_chance[s] for s in sorted(found.values))
        place.spread = Spread(each, self.judge.unstable(*sides, where), unlike)

    def _solvable(self, place: Place, a: Side, b: Side, groups: list[Group]) -> bool:
        """Whether runs can be told there to solve the task; says why not."""
        if len(a.members) > 1 or len(b.members) > 1:
            words = f"{place.row['metric']} is compared model by model"
        elif any(group.levels.bar is None for group in groups):
            words = "no score shows success there: no solved level, or a shortcut reaches it"
        else:
            return True
        place.obstacles.settings.append(words)
        return False

    def _rates(self, place: Place, a: Side, b: Side, groups: list[Group]) -> None:
        """Shares of runs that solve the task at one place, compared by McNemar's test."""
        found = successes.pairs(pairs(a, b, "higher"), groups)
        seeds = sorted(found.values)
        place.row |= {"seeds": seeds, "unpaired": found.unpaired}
        place.values = tuple(found.values[s] for s in seeds)
        if place.values:
            place.notes += (successes.listed(place.values, self.confidence),)
        if found.diverged:
            place.notes += (f"has not solved it: {comparison_words.listed(found.diverged)}",)
        if found.never:
            place.notes += (f"without a partner: {comparison_words.listed(found.never)}",)
        differences = [found.differences[s] for s in seeds]
        place.paired = successes.compare(differences, place.margin, len(found.waiting))

    def _times(self, place: Place, a: Side, b: Side, groups: list[Group]) -> None:
        """Steps to solve at one place, compared by log-rank."""
        if why := solving.unknown(groups):
            place.obstacles.settings += why
            return
        one, two = map(solving.times, groups)
        seeds, waiting = [], 0
        for seed in sorted(set(one) & set(two)):
            kinds = {one[seed][0], two[seed][0]}
            if kinds == {FINAL}:
                seeds.append(seed)
            elif NEVER not in kinds:
                waiting += 1
        runs = [[found[s][1] or (0, False) for s in seeds] for found in (one, two)]
        generator = np.random.default_rng(derive(place.row["comparison"], a.task, a.seqlen))
        place.paired = solving.compare(runs[0], runs[1], generator, waiting)
        place.row |= {"seeds": seeds, "unpaired": len(one) + len(two) - 2 * len(seeds)}
        shown = [solving.listed(side) for side in runs]
        place.notes += (f"steps of a {shown[0]}; of b {shown[1]}",)

    def _pooled(self, head: dict, all_: list[tuple[Place, Pairs]], apart: list[Place]) -> Place:
        """All places of a comparison that can tell the sides apart: one difference a seed.

        apart: places where there was nothing to pair, which stand against a claim about all.
        """
        first = all_[0][0].row
        level = [(place, p) for place, p in all_ if place.obstacles.level and not p.waiting]
        found = [one for one in all_ if one not in level] or all_
        row = head | {key: first[key] for key in ("metric", "better", "test_set")}
        obstacles = Obstacles()
        for place in [*(place for place, _ in all_), *apart]:
            for kind in ("different", "unknown", "unequal"):
                lines = getattr(obstacles, kind)
                lines += [f"{place.where}: {line}" for line in getattr(place.obstacles, kind)]
            lines = place.obstacles.settings
            obstacles.unknown += [f"{place.where} is not comparable: {line}" for line in lines]
        if all(place.obstacles.level for place, _ in found):
            obstacles.level.append("both sides are at chance or at the ceiling everywhere")
        whole, to_come, mean, without = pooling.means([p for _, p in found])
        row |= {
            "seeds": whole,
            "places": len(found),
            "places_asked": len(all_) + len(apart),
            "unpaired": sum(p.unpaired for _, p in found),
            "missing": [path for place, _ in found for path in place.row["missing"]],
        }
        made = Place(row, obstacles, parts=tuple(place for place, _ in all_))
        # What is no margin at one place is none of the mean.
        made.margin = None if any(p.margin is None for p, _ in found) else head["margin"]
        made.paired = paired.compare(mean, first["better"], made.margin, len(to_come), without)
        made.spread = spread.pooled(mean, [(p.where, p.spread) for p, _ in found if p.spread])
        made.members = tuple((f"{p.where}, {w}", m) for p, _ in found for w, m in p.members)
        if any(p.crossed_pairs for p, _ in found):
            _, waits, crossed, _ = pooling.means([p.crossed_pairs or each for p, each in found])
            made.crossed = paired.compare(crossed, first["better"], None, len(waits))
        if shared := [p.shared for p, _ in found if p.shared]:
            noise = [p.shared.noise if p.shared else p.noise for p, _ in found]
            known = [one for one in noise if one is not None]
            mean_noise = sum(known) / len(known) if len(known) == len(noise) else None
            made.shared = Shared(shared[0].words, mean_noise)  # places may share examples, too
        made.noise = sqrt(sum(place.noise**2 for place, _ in found)) / len(found)
        made.untuned = any(place.untuned for place, _ in found)
        made.preliminary = any(place.preliminary for place, _ in found)
        lengths: dict[str, list[int]] = {}
        for place, _ in found:
            lengths.setdefault(place.row["task"], []).append(place.row["seqlen_tokens"])
        where = "; ".join(f"{task} at {', '.join(map(str, at))}" for task, at in lengths.items())
        made.notes = (f"mean over {where} tokens of each seed, which is the unit",)
        if len(found) < len(all_):
            left = "; ".join(place.where for place, _ in level)
            made.notes += (f"not in it, as both sides are at one end of the task: {left}",)
        if any(p.from_chance != p.differences for _, p in found):
            made.notes += ("worse than chance counts as chance in the mean",)
        return made
