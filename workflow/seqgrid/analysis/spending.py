"""What became of the device time of a study: sums over `cells` and `parts`, by device and model.

Hours of a CPU and of a GPU are never added. Time that another study spent on a cell is that
study's and stands apart, so that the ledgers of two studies can be added.
"""

from collections import defaultdict
from collections.abc import Iterable

from seqgrid.analysis.ledger import standing

# What training came to; its validation, checkpoints and evaluation stand in columns of their own.
FATES = ("done", "open", "broken")
WORK = ("validation", "checkpoint", "evaluation")
WASTE = ("superseded", "lost")
# `start` is neither: importing, compiling, restoring, and whatever else no clock is on.
KINDS = (*FATES, *WORK, *WASTE, "start")
RUN_ON = ("timed_out", "interrupted", "running")
ENDED = ("finished", "finished, not evaluated", "diverged", "skipped")

Key = tuple[str, str, str, int, int]  # model, task, variant, length, seed


def spending(cells: list[dict], parts: list[dict]) -> list[dict]:
    """Seconds by device and model, and under the model None of a device: one column a kind.

    done: training of cells that came to their end; open: of cells that can go on; broken: of
    those that failed. superseded: all work of runs that a later one has replaced; lost: steps
    after the last checkpoint of a process that died without a word, of the last such death of each
    part. `reused` is the time of other studies, in no other column; `seconds` the sum of them.
    """
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    by_cell = defaultdict(list)
    for part in parts:
        by_cell[_key(part)].append(part)
    for cell in cells:
        ran = cell["device"] or by_cell[_key(cell)] or cell["training_seconds"]
        if not ran or cell["outcome"] == "skipped":  # to find that out is no work on a device
            continue
        for device, kind, seconds in _of(cell, by_cell[_key(cell)]):
            found[device, cell["model"]][kind] += seconds
    rows = []
    for device in dict.fromkeys(device for device, _ in found):
        here = {model: sums for (at, model), sums in found.items() if at == device}
        whole: dict[str, float] = defaultdict(float)
        for sums in here.values():
            for kind, seconds in sums.items():
                whole[kind] += seconds
        rows += [_row(device, model, sums) for model, sums in here.items()]
        rows.append(_row(device, None, whole))
    return rows


def unit(device: str) -> str:
    """What time on a device is called."""
    return {"cpu": "CPU time", "unknown": "time"}.get(device, "GPU time")


def fate(cell: dict) -> str:
    """What the training of a cell came to: done, open or broken."""
    now = standing(cell)
    if now in ENDED:
        return "done"
    return "open" if now in RUN_ON else "broken"


def _of(cell: dict, parts: list[dict]) -> Iterable[tuple[str, str, float]]:
    """(device, kind, seconds) of a cell."""
    device = cell["device"] or next((p["device"] for p in parts if p["device"]), None) or "unknown"
    evaluation = cell["evaluation_seconds"] or 0.0
    if cell["reused"]:
        spent = sum(cell[f"{kind}_seconds"] or 0.0 for kind in ("training", *WORK[:2]))
        yield device, "reused", spent
        yield device, "evaluation", evaluation
        return
    yield device, "evaluation", evaluation
    if not parts:  # as in a study that was run elsewhere
        yield device, fate(cell), cell["training_seconds"] or 0.0
        for kind in WORK[:2]:
            yield device, kind, cell[f"{kind}_seconds"] or 0.0
        return
    last = max(_number(p) for p in parts)
    ended = [_number(p) for p in parts if p["outcome"] not in ("timed_out", "interrupted")]
    shown = max(ended, default=last)  # a new run under way does not yet replace the one before
    for part in parts:
        at = part["device"] or device
        work = {kind: part[f"{kind}_seconds"] or 0.0 for kind in ("training", *WORK[:2])}
        lost = _lost(part)
        if _number(part) < shown:
            yield at, "superseded", sum(work.values())
        else:
            yield at, "open" if _number(part) > shown else fate(cell), work.pop("training")
            yield from ((at, kind, seconds) for kind, seconds in work.items())
        yield at, "lost", lost
        if part["wall_seconds"] is not None:
            counted = sum(part[f"{kind}_seconds"] or 0.0 for kind in ("training", *WORK[:2]))
            yield at, "start", max(part["wall_seconds"] - counted - lost, 0.0)


def _lost(part: dict) -> float:
    """Seconds of the steps that the last silent death of a part lost, at the part's own rate."""
    steps = (part["last_step_steps"] or 0) - (part["first_step_steps"] or 0)
    if not part["last_death_lost_steps"] or steps <= 0:
        return 0.0
    return part["last_death_lost_steps"] * (part["training_seconds"] or 0.0) / steps


def _row(device: str, model: str | None, sums: dict[str, float]) -> dict:
    kinds = {kind: sums.get(kind, 0.0) for kind in KINDS}
    reused = {"reused": sums.get("reused", 0.0)}
    return {"device": device, "model": model, **kinds, **reused, "seconds": sum(kinds.values())}


def _number(part: dict) -> int:
    """'' < 'again1' < 'again10': the number decides, not the alphabet."""
    digits = "".join(ch for ch in part["run"] or "" if ch.isdigit())
    return int(digits) if digits else 0


def _key(row: dict) -> Key:
    return row["model"], row["task"], row["variant"] or "", row["seqlen_tokens"], row["seed"]
