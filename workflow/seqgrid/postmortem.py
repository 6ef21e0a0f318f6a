"""Finding out why a part's last attempt died: asked by the next attempt, and by the driver.

What was found stands in the part's attempts.jsonl, in a line of its own that names its attempt.
"""

import time
from dataclasses import replace

from seqgrid import deaths, provenance, scheduler
from seqgrid.job import say
from seqgrid.store import Part

MOST_MEMORY = 8  # times the first request
# What a driver may spend on questions; an attempt that starts with too little notes its own death.
PLANNING_SECONDS = 30.0


def explain(part: Part) -> None:
    """Note why the last attempt died, where nobody has yet, and say so; for who holds the lease.

    Of one that stopped in good order without a step of progress it is noted where the job's time
    limit was the reason: an allocation too short to begin in is no better the next time.

    Raises:
        OSError: it could not be written.
    """
    attempt = next(reversed(part.attempts()), None)
    if attempt is None or "why" in attempt:
        return
    if deaths.died(attempt):
        nothing = {"state": deaths.UNKNOWN} if attempt["ended"] is None else {}
        note(part, attempt, _ask(attempt) or nothing)
    elif attempt["ended"] != "exit 0" and attempt.get("step") == part.step():
        why = _ask(attempt)
        if why.get("state") in deaths.TOO_SHORT:
            note(part, attempt, why)


def note(part: Part, attempt: dict, why: dict) -> None:
    """Note why an attempt died and how far it was, and say so.

    Args:
        part: the part it worked on.
        attempt: one of its attempts.
        why: state, and where known reason, by, node and exit, as in `scheduler.Ended`.

    Raises:
        OSError: it could not be written.
    """
    kept, reached = part.step(), step_of(part, attempt)
    part.note_death(attempt, why=why, reached=reached, kept=kept)
    attempt = attempt | {"why": why}
    goes_on = f"goes on from step {kept}" if kept else "goes on from where the part began"
    say(f"{part}: {deaths.where(attempt)} ended {deaths.how(attempt)} at step {reached}; {goes_on}")


def step_of(part: Part, attempt: dict) -> int:
    """The step that the last attempt has reached, by its heartbeat and the newest checkpoint."""
    beat = part.beat() or {}
    # The heartbeat may still be that of an attempt before.
    beaten = beat.get("step") if str(beat.get("time", "")) >= attempt["started_at"] else None
    return max(part.step(), beaten if isinstance(beaten, int) else 0)


_spent = 0.0
_answers: dict[tuple, dict] = {}


def memory_factor(part: Part) -> int:
    """How many times the usual memory the next attempt should ask for: 1, 2, 4, at most 8.

    It doubles with each death of the run for want of host memory. Of a death that nobody has
    explained yet the scheduler is asked, within a bound on the time of this process; nothing is
    written.
    """
    parts = [replace(part, number=number) for number in range(1, part.number + 1)]
    died = [a for p in parts for a in p.attempts() if deaths.died(a)]
    states = [(a.get("why") or {}).get("state") for a in died]
    attempt = next(reversed(part.attempts()), None)
    if attempt and deaths.died(attempt) and "why" not in attempt:
        states.append(_ask_once(attempt).get("state"))
    return min(2 ** states.count(deaths.HOST_OOM), MOST_MEMORY)


def _ask_once(attempt: dict) -> dict:
    """As `_ask`, but each death once, and not beyond what planning may cost."""
    global _spent
    key = (attempt.get("host"), attempt.get("pid"), attempt["started_at"])
    if key not in _answers and _spent < PLANNING_SECONDS:
        begun = time.monotonic()
        if found := _ask(attempt):
            _answers[key] = found
        _spent += time.monotonic() - begun
    return _answers.get(key, {})


def _ask(attempt: dict) -> dict:
    """What the scheduler says of an attempt's death; nothing where it does not know."""
    job, started = attempt.get("job"), attempt.get("job_started")
    # The incarnation of the job that this process runs in has no end yet.
    if not job or (job, started) == (provenance.job_id(), scheduler.job_started()):
        return {}
    found = scheduler.why(job, attempt["started_at"], started)
    # A job that went well says nothing of a process that died in it.
    if found is None or found.state == "COMPLETED":
        return {}
    facts = {name: getattr(found, name) for name in ("state", "reason", "by", "node", "exit")}
    return {name: value for name, value in facts.items() if value}
