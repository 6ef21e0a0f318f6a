"""What the rules on levels say of values that a study run elsewhere reports without its seeds.

Such a value stands for all runs behind it, so the rules on seeds, success and training say nothing.
Its interval is that of its standard error over test examples: value +- 1.96 of them at 95 %.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

from seqgrid.analysis.coverage_rules import control_failed
from seqgrid.analysis.groups import Cell, Group
from seqgrid.analysis.level_rules import (
    above_ceiling,
    at_ceiling,
    at_chance,
    unlearnable,
)
from seqgrid.analysis.levels import Levels, ModelCeiling
from seqgrid.analysis.model_ceiling_rules import above_model_ceiling, at_model_ceiling
from seqgrid.analysis.rules import Verdict
from seqgrid.analysis.seed_rules import no_interval
from seqgrid.analysis.shortcut_rules import above, at_shortcut, shortcut_not_excluded

RULES = (
    control_failed,
    unlearnable,
    above_ceiling,
    at_ceiling,
    above_model_ceiling,
    at_model_ceiling,
    at_shortcut,
    shortcut_not_excluded,
    at_chance,
    above,
    no_interval,
)
PLACE = ("model", "task", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set")
NORMAL = 1.96  # standard errors on either side that hold 95 % of a normal distribution
# All that the best of several looks can show.
PEAK = (control_failed, unlearnable, at_chance, no_interval)


def judge(row: dict, levels: Levels, failed: tuple[dict, ...] = ()) -> list[Verdict]:
    """What can be said of a row of `reported`, held against the levels of its place and metric.

    A peak is the best of several looks: all it can show is that it does not leave chance.

    failed: gates and controls of the task that failed.
    """
    if row["value"] is None:
        return []
    group = _group(row, levels, failed)
    found = [rule(group) for rule in (PEAK if row["statistic"] == "peak" else RULES)]
    note = (
        f"Of a reported {row['statistic']}, which stands for all runs behind it, the interval is "
        "that of its standard error over test examples; seeds may differ by more."
    )
    about = {key: row[key] for key in ("metric", "statistic", "origin", "seeds", "source")}
    return [
        replace(verdict, rule=f"{verdict.rule} {note}", evidence=verdict.evidence | about)
        for verdict in found
        if verdict is not None
    ]


def observed(entry: dict, values: Iterable[dict], verdicts: Iterable[dict]) -> list[str]:
    """What was judged of the reported values at the place of a claim, in words; one a value.

    entry: the place, as a study declares it. values, verdicts: rows of `reported`, `verdicts`.
    """
    said = [v for v in verdicts if v["scope"] == "reported"]
    found = []
    for row in values:
        asked = (entry["model"], entry["task"], entry["seqlen"] or row["seqlen_tokens"])
        at = (*asked, entry["evaluated"] or asked[2], entry["test_set"])
        if tuple(row[name] or "" for name in PLACE) == at:
            same = [v for v in said if all((v[c] or "") == (row[c] or "") for c in PLACE)]
            of = [v for v in same if json.loads(v["evidence"]).get("source") == row["source"]]
            labels = "; ".join(dict.fromkeys(v["label"] for v in of)) or "no verdict"
            found.append(f"{labels}, of a reported {row['statistic'] or 'value'}")
    return found


def _group(row: dict, levels: Levels, failed: tuple[dict, ...]) -> Group:
    """The value as the only final one of a group."""
    error = row["standard_error"]
    low, high = (None, None) if error is None else (
        row["value"] - NORMAL * error, row["value"] + NORMAL * error
    )  # fmt: skip
    # A validation value is judged as what it is: the words below say where it comes from.
    cell = Cell(
        0, "finished", evaluated=True, value=row["value"], low=low, high=high, origin="test"
    )
    ceiling = None
    if row["model_ceiling"] is not None:
        words = row["model_ceiling_name"] or "", row["model_ceiling_derivation"] or ""
        ceiling = ModelCeiling(words[0], row["model_ceiling"], words[1])
    runs = f" of {row['seeds']} runs" if row["seeds"] else ""
    taken = {"validation": " (from checkpoints)", "mixed": " (partly from checkpoints)"}
    return Group(
        model=row["model"],
        task=row["task"],
        variant=row["variant"] or "",
        seqlen=row["seqlen_tokens"],
        evaluated_seqlen=row["evaluated_seqlen_tokens"],
        test_set=row["test_set"] or "",
        slice="",
        metric=row["metric"],
        levels=levels,
        cells=(cell,),
        failed_controls=failed,
        model_ceiling=ceiling,
        value_of=f"the reported {row['statistic']}{runs}{taken.get(row['origin'], '')}",
    )
