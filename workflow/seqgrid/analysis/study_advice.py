"""Advice about a study as a whole: what is open, broken, stale, and which numbers are too few."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from seqgrid.analysis import edits, ledger
from seqgrid.analysis.advice_view import View, sides
from seqgrid.analysis.groups import short
from seqgrid.analysis.rates import seeds_for_median, total

# What a plain run goes on with; an end that is final asks for `rerun`.
GOING_ON = ("missing", "timed_out", "interrupted", "corrupt", "finished, not evaluated")
MEND = {
    "failed": "its traceback stands under Coverage: mend the cause first",
    "killed": "its processes died: mend what the reason under Coverage names first",
    "out_of_memory": "give the job more memory, or set `out_of_memory_pieces` in the study",
    "diverged": "lower or sweep the learning rate first: the same settings may diverge again",
}
ANEW = ("diverged",)  # rerun begins again at step 0; after the others it goes on
UNDECIDED = ("TOO FEW PAIRS", "NO DIFFERENCE SHOWN")  # of a comparison: more pairs may show it
MOST_PAIRS = 50  # more are no advice: such a difference is too small for seeds to show


def goes_on(cell: dict) -> bool:
    """Whether a plain run has work for a cell: training, or the evaluation of a checkpoint."""
    broken = cell["outcome"] in MEND and not cell["evaluated"] and bool(cell["step_steps"])
    return broken or ledger.standing(cell) in GOING_ON


def _awaits(cell: dict) -> str:
    standing = ledger.standing(cell)
    return f"{standing} and not evaluated" if standing in MEND else standing


def _to_the_end(view: View, cell: dict) -> float | None:
    """Device-hours of what a plain run does to a cell."""
    trains = ledger.standing(cell) in GOING_ON[:-1]
    return view.rates.remaining(cell) if trains else view.rates.hours(cell, 0)


def rows(view: View) -> Iterator[dict]:
    """The rows about the study, what is open first."""
    for rule in (_finish, _mend, _stale, _mixed, _controls, _doubted, _scored, _interval, _pairs):
        for row in rule(view):
            yield {"scope": "study", "variant": ""} | row


def _finish(view: View) -> Iterator[dict]:
    cells = [c for c in view.everything if goes_on(c)]
    if not cells:
        return
    hours = [_to_the_end(view, c) for c in cells]
    unknown = sum(h is None for h in hours)
    kinds = Counter(_awaits(c) for c in cells)
    words = ", ".join(f"{n} {what}" for what, n in kinds.most_common())
    lacking = f", {unknown} of a model that has not run and not counted" if unknown else ""
    goes = "a plain run goes on with all of them" + lacking
    yield {
        "action": "finish",
        "verdict": "OPEN",
        "reason": f"{words}; {'run elsewhere, not by this workflow' if view.foreign else goes}",
        "hours": sum(h for h in hours if h is not None) if unknown < len(cells) else None,
        "cells": len(cells),
        "command": view.command(),
    }


def _mend(view: View) -> Iterator[dict]:
    for outcome, advice in MEND.items():
        cells = [c for c in view.everything if c["outcome"] == outcome]
        cells = [c for c in cells if not ledger.trained_again(c)]
        if cells:
            cost = view.rates.another if outcome in ANEW else view.rates.remaining
            yield {
                "action": "mend and rerun",
                "verdict": outcome.upper().replace("_", " "),
                "reason": advice,
                "hours": total([cost(c) for c in cells]),
                "cells": len(cells),
                "command": view.command(rerun=outcome),
            }
    broken = [c for c in view.everything if c["evaluated"] is not True and c["error"]]
    broken = [c for c in broken if ledger.standing(c) == "finished, not evaluated"]
    if broken:
        yield {
            "action": "mend and rerun",
            "verdict": "EVALUATION FAILED",
            "reason": "trained, and the evaluation failed: mend its cause first",
            "cells": len(broken),
            "command": view.command(rerun="failed"),
        }


def _stale(view: View) -> Iterator[dict]:
    waiting = [c for c in view.everything if not ledger.trained_again(c)]
    stale = [c for c in waiting if c["stale"]]
    cells = [c for c in stale if c["outcome"] != "skipped"]
    scores = [c for c in waiting if c["evaluation_stale"] and not c["stale"]]
    if cells or scores:
        kinds = {"training": len(cells), "other evaluation": len(scores)}
        words = " and of ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in kinds.items() if n)
        refused = len(stale) - len(cells)
        more = f"; it also asks skipped cells again ({refused}), which costs nothing"
        yield {
            "action": "train again",
            "verdict": "STALE",
            "reason": f"the sources of {words} have changed since: worth it if the change "
            f"matters{more if refused else ''}",
            "hours": total([view.rates.another(c) for c in cells]),
            "cells": len(cells) + len(scores),
            "command": view.command(rerun="stale"),
        }


def _mixed(view: View) -> Iterator[dict]:
    """Cells of several sources, devices or versions that no change of sources explains."""
    for cell in view.everything:
        if ledger.trained_again(cell) or cell["stale"]:
            continue
        if cell["mixed_sources"] and cell["outcome"] == "finished":
            names = ("model", "task", "variant", "seqlen_tokens", "seed")
            yield {name: cell[name] for name in names} | {
                "scope": "cell",
                "action": "train again",
                "verdict": "STALE",
                "reason": "its parts ran on different devices, versions or sources",
                "hours": view.rates.another(cell),
                "cells": 1,
                "command": view.command(cell["path"], "finished"),
            }


def _controls(view: View) -> Iterator[dict]:
    waiting = defaultdict(list)
    for row in view.controls:
        if row["state"] in ("not run", "partial") and row["study"]:
            waiting[row["study"], row["task_file"]].append(row)
    for (study, task), found in waiting.items():
        if study != "controls" and not view.rates.on_gpu:
            continue  # it needs a GPU
        yield {
            "action": "run the controls",
            "verdict": "CONTROL " + found[0]["state"].upper(),
            "reason": f"of {task}, {len(found)} without a verdict yet: "
            "whether the task does what it is for is not known",
            "cells": None,
            "command": None if view.foreign else edits.run(study, f"*/{task}/*"),
        }


def _doubted(view: View) -> Iterator[dict]:
    """Tasks whose control failed: nothing else is worth an hour there."""
    tasks = {
        key[1]: found["CONTROL FAILED"][0]["statement"]
        for key, found in view.verdicts.items()
        if "CONTROL FAILED" in found
    }
    for task, statement in tasks.items():
        yield {
            "task": task,
            "action": "understand the control",
            "verdict": "CONTROL FAILED",
            "reason": f"{statement}: until it is known why, more seeds, steps or rates on {task} "
            "show nothing",
            "cells": len([c for c in view.everything if c["task"] == task]),
        }


def _scored(view: View) -> Iterator[dict]:
    tasks: dict[str, list[int]] = defaultdict(list)
    for key, found in view.verdicts.items():
        if "UNLEARNABLE AS SCORED" in found:
            tasks[key[1]].append(key[3])
    for task, lengths in tasks.items():
        levels = next(g.levels for k, g in view.groups.items() if k[1] == task)
        at = ", ".join(map(str, sorted(set(lengths))))
        yield {
            "task": task,
            "action": "score differently",
            "verdict": "UNLEARNABLE AS SCORED",
            "reason": f"at {at} tokens the ceiling {short(levels.ceiling or 0.0)} is chance: "
            "change metric, mask or targets in the task's file; more training, seeds or tuning "
            "show nothing",
            "cells": len([c for c in view.everything if c["task"] == task]),
        }


def _interval(view: View) -> Iterator[dict]:
    """Seeds with which the interval of a median reaches the coverage that is asked for."""
    enough = seeds_for_median(view.thresholds.confidence)
    asked = view.config.get("seeds") or []
    if not asked or len(asked) >= enough or view.foreign:
        return
    new = edits.new_seeds(asked, enough - len(asked))
    own = {t for t, entry in view.config.get("tasks", {}).items() if entry.get("seeds")}
    groups = [cells for key, cells in view.cells.items() if key[1] not in own]
    hours = [view.rates.another(cells[0]) for cells in groups]
    whole = total(hours)
    yield {
        "action": "more seeds everywhere",
        "verdict": "WIDE INTERVAL",
        "reason": f"{len(asked)} seed{'s' * (len(asked) > 1)}: the range of fewer than {enough} "
        f"holds the median with less than {100 * view.thresholds.confidence:.4g} % coverage",
        "hours": None if whole is None else whole * len(new),
        "cells": len(groups) * len(new),
        "command": view.command(),
        "edit": edits.text({"seeds": sorted([*asked, *new])}),
    }


def _pairs(view: View) -> Iterator[dict]:
    """Seeds with which a declared comparison could claim the difference that was seen."""
    for row in view.comparisons:
        needed, pairs = row["pairs_needed"], row["pairs"] or 0
        undecided = row["outcome"] in UNDECIDED
        if not undecided or not needed or needed <= pairs or row["seqlen_tokens"] is None:
            continue
        if not pairs or row["unpaired"]:
            continue  # what it waits for are cells that were asked for
        if row["blockers"]:
            continue  # more seeds cannot lift these
        place = {"task": row["task"], "seqlen_tokens": row["seqlen_tokens"]}
        have = f"{pairs} pair{'s' * (pairs > 1)}"
        words = f"{row['comparison']}: {have}, {needed} needed to claim such a difference"
        common = place | {"action": "more seeds", "verdict": row["outcome"], "reason": words}
        models = sides(view.config, row["comparison"])
        keys = [k for k in view.cells if k[0] in models and k[1] == row["task"]]
        keys = [k for k in keys if k[3] == row["seqlen_tokens"]]
        if needed > MOST_PAIRS or not keys or view.foreign:
            yield common | {"cells": 0}
            continue
        new = edits.new_seeds(_used(view, keys), needed - pairs)
        changes = [edits.including(view.config, k[0], k[1], k[3], new) for k in keys]
        yield common | {
            "hours": total([_times(view.rates.another(view.cells[k][0]), len(new)) for k in keys]),
            "cells": len(keys) * len(new),
            "command": view.command(),
            "edit": edits.text(edits.merged(*changes)),
        }


def _used(view: View, keys: list) -> set[int]:
    return {cell["seed"] for key in keys for cell in view.cells[key]}


def _times(hours: float | None, number: int) -> float | None:
    return None if hours is None else hours * number
