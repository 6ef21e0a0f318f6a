"""What the attempts at a part add up to: how many there were, in which jobs, and for how long.

An attempt is a record that `store.Part.attempts` gives.
"""

import math
from collections.abc import Sequence
from typing import Any

from seqgrid import deaths, provenance


def work(attempts: list[dict], until: str | None, ended: Sequence[dict]) -> dict[str, Any]:
    """Fields of an `outcome.Outcome` about who worked on the part.

    until: when the last attempt gave its last sign; None: it never gave one.
    ended: the attempts that have come to their end, of which some may have died.
    """
    jobs = {(a.get("host"), a.get("pid"), a.get("job")): a.get("asked") for a in attempts}
    asked = [pair for pair in jobs.values() if pair]
    return {
        "attempts": max(1, len(attempts)),
        "silent_deaths": sum(map(deaths.died, ended)),
        "last_death": deaths.last(list(ended)),
        "jobs": max(1, len(jobs)),
        "wall_seconds": _wall_seconds(attempts, until),
        "asked_minutes": sum(minutes for minutes, _ in asked) if asked else None,
        "asked_mb": asked[-1][1] if asked else None,
    }


def _wall_seconds(attempts: list[dict], until: str | None) -> float | None:
    """Seconds of all attempts; of one that died without a word, up to its last heartbeat."""
    if not attempts:
        return None
    signs = [*(following.get("seen") for following in attempts[1:]), until]
    ends = [a.get("ended_at") or sign for a, sign in zip(attempts, signs, strict=True)]
    spans = (
        provenance.seconds_since(a["started_at"]) - provenance.seconds_since(end)
        for a, end in zip(attempts, ends, strict=True)
        if end
    )
    return sum(span for span in spans if 0 < span < math.inf)
