"""The rules about how the cells of a group ended: what there is to judge, and what there is not."""

from seqgrid.analysis.groups import SKIPPED, Group, counted, reasons
from seqgrid.analysis.rules import Finding, rule

BROKEN = ("failed", "out_of_memory", "killed", "corrupt")


@rule(
    "CONTROL FAILED",
    "group",
    "A control of the task's file, a model whose verdict on the task is known beforehand, did not "
    "get that verdict, or a gate of the study lies outside its band: before the control is "
    "understood, no score on the task can be trusted.",
)
def control_failed(group: Group) -> Finding | None:
    """The task does not do what it is known to do."""
    failed = group.failed_controls
    if not failed:
        return None
    said = [f"{c['control']}: {c['expected']} expected, {c['observed']} observed" for c in failed]
    return "CONTROL FAILED", "; ".join(said), {"controls": list(failed)}


@rule(
    "DIVERGED",
    "group",
    "Training of at least one seed ended with the outcome diverged; such a seed counts as not "
    "having solved the task.",
)
def diverged(group: Group) -> Finding | None:
    """Seeds whose training diverged."""
    cells = [c for c in group.cells if c.outcome == "diverged"]
    if not cells:
        return None
    return (
        f"DIVERGED {len(cells)}/{len(group.cells)}",
        reasons(cells),
        {"seeds": [c.seed for c in cells]},
    )


@rule(
    "FAILED",
    "group",
    "At least one cell ended as failed, out_of_memory, killed or corrupt; it says nothing about "
    "what the model can learn.",
)
def failed(group: Group) -> Finding | None:
    """Seeds that broke."""
    cells = [c for c in group.cells if c.outcome in BROKEN]
    if not cells:
        return None
    return (
        f"FAILED {len(cells)}/{len(group.cells)}",
        reasons(cells),
        {"seeds": [c.seed for c in cells]},
    )


@rule(
    "SKIPPED",
    "group",
    "The model or the task said beforehand that the cell cannot exist, and why.",
)
def skipped(group: Group) -> Finding | None:
    """Seeds that were never going to run."""
    cells = [c for c in group.cells if c.outcome == SKIPPED]
    if not cells:
        return None
    return "SKIPPED", reasons(cells), {"seeds": [c.seed for c in cells]}


@rule(
    "PARTIAL",
    "group",
    "At least one cell that can exist has not finished or is not evaluated; its values carry a "
    "dagger and enter no median, interval, success or verdict.",
)
def partial(group: Group) -> Finding | None:
    """Not all cells have a final value."""
    words = [
        "finished, not evaluated" if c.outcome == "finished" else c.outcome
        for c in group.asked
        if not (c.outcome == "finished" and c.evaluated)
    ]
    if not words:
        return None
    k, n = len(group.asked) - len(words), len(group.asked)
    return (
        f"PARTIAL {k}/{n}",
        f"{k} of {n} cells have finished and are evaluated; the others: {counted(words)}",
        {"final": k, "asked": n, "others": words},
    )


@rule(
    "TOO FEW SEEDS",
    "group",
    "Fewer than {enough_seeds} seeds have a final value: nothing general can be said.",
)
def too_few_seeds(group: Group) -> Finding | None:
    """Too few final values for any general statement."""
    n, needed = len(group.final), group.thresholds.enough_seeds
    if not group.asked or n >= needed:
        return None
    return f"TOO FEW SEEDS ({n})", f"{n} final values, {needed} needed", {"final": n}


@rule(
    "SINGLE LR",
    "group",
    "The model was trained at one learning rate, so a failure may be one of the learning rate and "
    "not of the model, and a comparison one of learning rates.",
)
def single_learning_rate(group: Group) -> Finding | None:
    """Only one learning rate was tried."""
    if not _one_rate(group) or not any(cell.rate_known for cell in group.asked):
        return None
    return "SINGLE LR", "one learning rate was tried", {"swept": list(group.swept)}


@rule(
    "LR UNKNOWN",
    "group",
    "No table of an imported study names a learning rate, so how many were tried is not known: a "
    "failure may be one of the learning rate and not of the model, and a comparison one of "
    "learning rates.",
)
def unknown_learning_rate(group: Group) -> Finding | None:
    """Which learning rates were tried stands nowhere."""
    if not _one_rate(group) or any(cell.rate_known for cell in group.asked):
        return None
    return "LR UNKNOWN", "no table names a learning rate", {"swept": list(group.swept)}


def _one_rate(group: Group) -> bool:
    """Whether no second learning rate is known of a group that can exist."""
    return bool(group.asked) and not {"learning_rate", "lr"} & {
        name.split(".")[-1] for name in group.swept
    }


@rule(
    "STALE",
    "group",
    "The sources that trained or evaluated at least one cell have changed since, or its parts were "
    "trained by different sources; its values carry a double dagger.",
)
def stale(group: Group) -> Finding | None:
    """Results of sources that have changed."""
    cells = [c for c in group.cells if c.stale and c.outcome != "skipped"]
    if not cells:
        return None
    return (
        f"STALE {len(cells)}/{len(group.cells)}",
        f"sources differ for seed {', '.join(str(c.seed) for c in cells)}",
        {"seeds": [c.seed for c in cells]},
    )
