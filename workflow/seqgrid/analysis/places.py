"""Levels and ceilings as the tables hold them, by the place they are for."""

from collections import defaultdict
from collections.abc import Iterable
from math import isnan

from seqgrid.analysis.levels import Levels, ModelCeiling
from seqgrid.metric_names import BETTER
from seqgrid.thresholds import DEFAULTS, Thresholds

Place = tuple[int, str, str]  # evaluated length, test set, slice


def place_of(row: dict) -> Place:
    """Where a row of a table was measured."""
    return row["evaluated_seqlen_tokens"], row["test_set"] or "", row["slice"] or ""


def levels_by_place(rows: list[dict], thresholds: Thresholds = DEFAULTS) -> dict[tuple, Levels]:
    """Levels by task, place and metric; the best of several chance levels counts."""
    places: dict[tuple, list[dict]] = defaultdict(list)
    for row in rows:
        if row["value"] is not None and not isnan(row["value"]):
            places[row["task"], *place_of(row), row["metric"]].append(row)
    found = {}
    for place, here in places.items():
        better = here[0]["better"] or BETTER.get(here[0]["metric"], "higher")
        best = max if better == "higher" else min
        kinds = {
            kind: best((r["value"] for r in here if r["kind"] == kind), default=None)
            for kind in ("chance", "ceiling", "solved")
        }
        shortcuts = tuple((r["level"], r["value"]) for r in here if r["kind"] == "shortcut")
        found[place] = Levels(better=better, shortcuts=shortcuts, thresholds=thresholds, **kinds)
    return found


def primary(about: dict, evaluations: list[dict], levels: dict[tuple, Levels]) -> dict[str, str]:
    """What each task is judged by: by its evaluations, its file, else one with a solved level."""
    # What a study from elsewhere is judged by may have no value here but those reported.
    judged_by = {} if about.get("imported") else about.get("judged_by") or {}
    found = judged_by | {r["task"]: r["metric"] for r in evaluations if r["primary"]}
    for (task, *_, metric), level in levels.items():
        if task not in found and level.solved is not None:
            found[task] = metric
    return found


def model_ceiling(rows: Iterable[dict]) -> ModelCeiling | None:
    """The ceiling of the model at one place, the same for every seed."""
    for row in rows:
        if row["model_ceiling"] is not None:
            words = row["model_ceiling_name"], row["model_ceiling_derivation"]
            return ModelCeiling(words[0], row["model_ceiling"], words[1])
    return None


def ceiling_columns(ceiling: ModelCeiling | None) -> dict:
    """The columns of `summary` about a model's ceiling."""
    if ceiling is None:
        return {}
    return {
        "model_ceiling": ceiling.value,
        "model_ceiling_name": ceiling.name,
        "model_ceiling_derivation": ceiling.derivation,
    }
