"""Deaths of the processes that worked on a part: their kinds, and how many of them are enough.

An attempt here is a record that `store.Part.attempts` gives: who worked on the part, how the
supervisor saw it end ('ended', None for no word), and under 'why' what was found out later.
"""

from dataclasses import dataclass

from seqgrid.job import TRY_AGAIN, WRONG_CALL
from seqgrid.outcome import Death

HOST_OOM = "OUT_OF_MEMORY"
UNKNOWN = "UNKNOWN"
SPOKEN = ("exit 0", f"exit {TRY_AGAIN}", f"exit {WRONG_CALL}", "stopped")  # ends that are no deaths


@dataclass(frozen=True)
class Kind:
    """Deaths of one kind, and how many of them in a row without progress are enough."""

    name: str
    limit: int
    states: tuple[str, ...]  # as SLURM names them, or as the supervisor saw them
    advice: str  # said where the limit is reached


TOO_SHORT = ("TIMEOUT", "DEADLINE")
POLICY = (
    Kind(
        name="the training's own",
        limit=3,
        states=(HOST_OOM, "FAILED", "signal", "exit"),
        advice="it would die in the same way again",
    ),
    Kind(
        name="the allocation is too short",
        limit=3,
        states=TOO_SHORT,
        advice="the time limit is shorter than the start and one interval between checkpoints",
    ),
    Kind(
        name="not the training's fault",
        limit=10,
        states=("NODE_FAIL", "PREEMPTED", "CANCELLED", "BOOT_FAIL", "REQUEUED", UNKNOWN),
        advice="look at the nodes, and at who ends the jobs",
    ),
)
"""How often a part may die in a row without a step of progress before its outcome is `killed`.

Deaths are counted kind by kind, and the first kind that reaches its limit decides. A state of the
scheduler's that stands nowhere here counts as UNKNOWN.
"""


def died(attempt: dict) -> bool:
    """Whether an attempt ended without a word of its own."""
    return attempt["ended"] not in SPOKEN


def in_vain(attempt: dict) -> bool:
    """Whether an attempt died, or stopped in good order at a time limit and had not begun."""
    return died(attempt) or _why(attempt).get("state") in TOO_SHORT


def kind_of(attempt: dict) -> Kind:
    """The kind of a death: by what was found out, else by what the supervisor saw."""
    seen = (attempt["ended"] or UNKNOWN).split(" ")[0]
    for state in (_why(attempt).get("state"), seen):
        for kind in POLICY:
            if state in kind.states and state != UNKNOWN:
                return kind
    return POLICY[-1]


def where(attempt: dict) -> str:
    """Which process died, such as 'job 123 on n2'."""
    host = _why(attempt).get("node") or attempt.get("host", "?")
    return f"job {attempt['job']} on {host}" if attempt.get("job") else (
        f"process {attempt.get('pid', '?')} on {host}"
    )  # fmt: skip


def how(attempt: dict) -> str:
    """How it died, such as 'CANCELLED by root' or 'signal 9 (SIGKILL)'."""
    why = _why(attempt)
    known = [s for s in (why.get("state"), attempt["ended"]) if s not in (None, UNKNOWN)]
    by = f" by {why['by']}" if why.get("by") else ""
    more = f" ({why['reason']})" if why.get("reason") else ""
    return (", ".join(dict.fromkeys(known)) or "without a trace") + by + more


def enough(deaths: list[dict], step: int) -> str | None:
    """The reason not to try again after these deaths in a row at one step, the newest first."""
    kinds = [kind_of(death) for death in deaths]
    for kind in POLICY:
        if (count := kinds.count(kind)) >= kind.limit:
            return (
                f"died {len(deaths)} times at step {step} without progress ({kind.name}: {count}); "
                f"last: {where(deaths[0])} ended {how(deaths[0])}; {kind.advice}"
            )
    return None


def last(attempts: list[dict]) -> Death | None:
    """The newest death among attempts, as an outcome keeps it; None where nobody died."""
    found = next((a for a in reversed(attempts) if died(a)), None)
    if found is None:
        return None
    return Death(
        state=_why(found).get("state") or found["ended"] or UNKNOWN,
        words=f"{where(found)} ended {how(found)}",
        host=_why(found).get("node") or found.get("host"),
        job_id=found.get("job"),
        step=found.get("reached"),
        kept_step=found.get("kept"),
    )


def _why(attempt: dict) -> dict:
    return attempt.get("why") or {}
