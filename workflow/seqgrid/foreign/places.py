"""Whether a foreign study's tables have what its statements are about."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from seqgrid import statement_problems, task_metrics
from seqgrid.foreign.gathered import Key
from seqgrid.foreign.levels import Known
from seqgrid.foreign.mapping import Mapping
from seqgrid.statement_places import Scores, Spot, misplaced
from seqgrid.statement_variants import respell

Rows = list[dict[str, Any]]


def problems(
    mapping: Mapping, known: Known, found: dict, runs: Iterable[Key], levels: Rows
) -> list[str]:
    """A line for each place, test set, metric and level of a statement that there is not.

    found: rows of their tables by kind; runs: those that were asked for, too; levels: rows of the
    table `levels`.
    """
    rows = [*found["evaluations"], *found["reported"]]
    evaluated: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        evaluated[row["task"]].add(row["evaluated_seqlen_tokens"])
    places = {(m, t, v or "", n) for m, t, n, v, _ in runs}
    places |= {
        (row["model"], row["task"], row.get("variant") or "", row["seqlen_tokens"])
        for row in found["reported"]
    }
    spots = [
        Spot(*place, tuple(sorted({place[3], *evaluated[place[1]]}))) for place in sorted(places)
    ]
    scores = {task: _scores(mapping, known, task, rows, levels) for task in mapping.tasks}
    # Sides may turn out to be the same.
    doubled = statement_problems.problems(mapping) if respell(mapping, spots) else ()
    return [*doubled, *misplaced(mapping, spots, scores)]


def _scores(mapping: Mapping, known: Known, task: str, rows: Rows, levels: Rows) -> Scores:
    entry, mine = mapping.tasks[task], [row for row in rows if row["task"] == task]
    metrics = {row["metric"]: None for row in mine}
    if not metrics and entry.task is not None:
        metrics = dict.fromkeys(task_metrics.metrics(entry.task))
    sets = {row.get("test_set") or "" for row in mine} | {e.test_set for e in entry.levels}
    return Scores(
        tuple(dict.fromkeys([known.metric(task), *metrics])),
        tuple(sorted(sets - {""})),
        frozenset(level["level"] for level in levels if level["task"] == task),
        closed=True,
    )
