"""The rows of the fault table that a real SLURM asserts; see faults.py."""

from faults import INTERVAL, NOTHING, Fault

_PLAIN, _SUBMITIT = "profiles/slurm", "profiles/submitit"
_NEXT = "the next job goes on within the same part"
_REQUEUED = "SLURM requeues the job, which goes on when it has a node"


def _row(key: str, done: str, sees: str, lost: str, then: str, how: str = _PLAIN) -> Fault:
    return Fault(key, done, sees, lost, then, how, where="slurm")


ROWS = [
    _row("timeouts", "TIMEOUT three times in a row", "Trying to restart job …", NOTHING, _NEXT),
    _row("scancel", "`scancel` of a job", "Trying to restart job …", NOTHING, _NEXT),
    _row(
        "node down",
        "a node is set down",
        "goes on from …/live/step…pt",
        INTERVAL,
        f"{_REQUEUED}, elsewhere",
    ),
    _row(
        "slurmd killed",
        "a node's slurmd dies, its jobs' processes do not",
        "held by process …",
        NOTHING,
        "the trainer that SLURM lost sight of ends its training; the requeued job publishes it",
    ),
    _row(
        "preempted",
        "preemption with requeue",
        "goes on from …/live/step…pt",
        NOTHING,
        _REQUEUED,
    ),
    _row(
        "host memory",
        "a job needs more memory than it asked for (control group)",
        "ended OUT_OF_MEMORY, signal 9 (SIGKILL) at step …; goes on from",
        INTERVAL,
        "the next job asks for twice the memory",
    ),
    _row(
        "never enough memory",
        "the same, however much it asks for",
        "killed, died 3 times at step … without progress (the training's own: 3)…OUT_OF_MEMORY",
        INTERVAL,
        "the other cells go on; `rerun=killed` goes on from the last checkpoint",
    ),
    _row(
        "driver gone",
        "SIGKILL to the driver, which is started again while its job trains",
        "cells left out, as jobs of an earlier run still train them: 1 (jobs …)",
        NOTHING,
        "the job ends its training; the next run finds the result",
    ),
    _row(
        "limits in place",
        "the time limit, again and again",
        "goes on from …/live/step…pt",
        NOTHING,
        "the allocation requeues itself and starts its cells again; Snakemake sees no failure",
        _SUBMITIT,
    ),
    _row(
        "limits without driver",
        "SIGKILL to the driver, then time limits",
        "goes on from …/live/step…pt",
        NOTHING,
        "allocations go on until no cell is left; the next run finds the results",
        _SUBMITIT,
    ),
    _row(
        "preempted in place", "preemption", "goes on from …/live/step…pt", NOTHING, _REQUEUED,
        _SUBMITIT,
    ),
    _row(
        "node lost in place",
        "a node is set down",
        "goes on from …/live/step…pt",
        INTERVAL,
        f"{_REQUEUED}, elsewhere",
        _SUBMITIT,
    ),
    _row(
        "allocation cancelled",
        "`scancel` of an allocation",
        "its allocation … ended: CANCELLED",
        NOTHING,
        "its cells are put into another allocation and go on",
        _SUBMITIT,
    ),
]  # fmt: skip
FAULTS = {row.key: row for row in ROWS}
