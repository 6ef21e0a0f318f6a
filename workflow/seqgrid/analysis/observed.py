"""What a claim rests on has come to: a status, numbers, and what stands against them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "not testable yet"


@dataclass(frozen=True)
class Number:
    """A value with its interval and its coverage; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    coverage: float | None


@dataclass
class Observed:
    """What a claim rests on has come to.

    status, reason: of the verdict that the claim names; None where it names none.
    numbers: what an expected number is held against, one a place.
    barred: why no number there can be believed or is final; '' where nothing stands against it.
    stale: whether the sources of a value behind it have changed since.
    """

    words: str
    status: str | None = None
    reason: str = ""
    numbers: list[Number] = field(default_factory=list)
    barred: str = ""
    missing: list[str] = field(default_factory=list)
    stale: bool = False


def together(statuses: Iterable[str | None]) -> str:
    """One that is refuted refutes all; all must be supported to support."""
    found = set(statuses)
    if REFUTED in found:
        return REFUTED
    return SUPPORTED if found == {SUPPORTED} else OPEN


def labelled(rows: list[dict], key: str) -> list[str]:
    """What rows say, with the length where they do not say the same."""
    said = [row[key] or "nothing" for row in rows]
    if len(set(said)) == 1:
        return said[:1]
    at = [r["metric"] if r["seqlen_tokens"] is None else r["seqlen_tokens"] for r in rows]
    return [f"{place}: {words}" for place, words in zip(at, said, strict=True)]
