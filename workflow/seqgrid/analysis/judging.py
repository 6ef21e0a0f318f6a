"""The rows of `verdicts`: what the rules say of groups of cells, and of values without seeds."""

import json
from math import isfinite

from seqgrid.analysis import reported
from seqgrid.analysis.groups import Group
from seqgrid.analysis.levels import Levels
from seqgrid.analysis.rules import Verdict
from seqgrid.analysis.verdicts import RULES
from seqgrid.thresholds import Thresholds


def judge(primary: str, selected: bool, groups: list[tuple[str, Group]]) -> list[dict]:
    """The rows of `verdicts`: what the rules say of the primary metric with best weights."""
    judged = [
        g for weights, g in groups if weights == "best" and g.metric == primary and not g.slice
    ]
    trained = judged[0]  # at the training length, drawn as training is
    rows = []
    for rule in RULES:
        if rule.scope == "level":
            found = [(g, None, rule(g)) for g in judged]
        elif rule.scope == "group":
            found = [(trained, None, rule(trained))]
        else:
            found = [(trained, c.seed, rule(c, trained.levels)) for c in trained.cells]
        rows += [
            about(g, selected) | {"seed": seed, "scope": rule.scope} | _stated(v)
            for g, seed, v in found
            if v is not None
        ]
    return rows


def judge_reported(
    rows: list[dict],
    levels: dict[tuple, Levels],
    failed: dict[str, list[dict]],
    thresholds: Thresholds,
) -> list[dict]:
    """The rows of `verdicts` about values that are known without their seeds.

    failed: label of a task -> its failed gates.
    """
    named = ("model", "task", "seqlen_tokens", "evaluated_seqlen_tokens")
    found = []
    for row in rows:
        place = row["evaluated_seqlen_tokens"], row["test_set"] or "", ""
        here = levels.get((row["task"], *place, row["metric"]), Levels(thresholds=thresholds))
        group = {name: row[name] for name in named}
        group |= {"variant": row["variant"] or "", "test_set": place[1], "slice": ""}
        group |= {"selected": True, "seed": None, "scope": "reported"}
        said = reported.judge(row, here, tuple(failed.get(row["task"], ())))
        found += [group | _stated(verdict) for verdict in said]
    return found


def about(group: Group, selected: bool) -> dict:
    """Whom a row of `summary` or `verdicts` is about."""
    return {
        "model": group.model,
        "task": group.task,
        "variant": group.variant,
        "selected": selected,
        "seqlen_tokens": group.seqlen,
        "evaluated_seqlen_tokens": group.evaluated_seqlen,
        "test_set": group.test_set,
        "slice": group.slice,
    }


def _stated(verdict: Verdict) -> dict:
    return {
        "verdict": verdict.name,
        "label": verdict.label,
        "statement": verdict.statement,
        "rule": verdict.rule,
        "evidence": json.dumps(_finite(verdict.evidence), sort_keys=True),
    }


def _finite(value: object) -> object:
    """JSON has no NaN: such a number becomes null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
