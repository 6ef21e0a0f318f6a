"""The marks that values carry wherever they enter a report, and what each says."""

from seqgrid.report.content import complete
from seqgrid.report.markdown import CHECKPOINT, DAGGER, REUSED, STALE, number, text

MEANINGS = {
    DAGGER: "not final: of a cell that has not finished or has no test result, which enters no "
    "median, interval, success or verdict; or a median over fewer seeds than were asked for",
    STALE: "the sources have changed since",
    CHECKPOINT: "of the validation split, taken from a checkpoint or reported so; never final",
    REUSED: "reused, trained by another study or for another run",
}
ORIGIN_TEST = "test"


def of(final: bool, stale: bool = False, origin: str | None = None, reused: bool = False) -> str:
    """The marks of one value."""
    checkpoint = origin not in (None, ORIGIN_TEST)
    shown = {DAGGER: not final, STALE: stale, CHECKPOINT: checkpoint, REUSED: reused}
    return "".join(mark for mark, applies in shown.items() if applies)


def of_seeds(row: dict) -> list[str]:
    """The marks of each seed's value in a row of `summary`."""
    columns = (row[name] for name in ("finals", "stales", "origins", "reuses"))
    return [of(*flags) for flags in zip(*columns, strict=True)]


def median(row: dict) -> str:
    """The median of a row of `summary`, with the marks of the values behind it."""
    if row["median"] is None:
        return "-"
    flags = list(zip(row["finals"], row["stales"], row["reuses"], strict=True))
    stale = any(s for final, s, _ in flags if final)
    reused = any(r for final, _, r in flags if final)
    return number(row["median"]) + of(complete(row), stale, None, reused)


def legend(section: str) -> str:
    """What the marks in a section's text say; empty where there are none."""
    found = [f"{mark} {words}" for mark, words in MEANINGS.items() if mark in section]
    return text(f"Marks: {'; '.join(found)}.") if found else ""
