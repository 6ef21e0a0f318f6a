"""The marks that values carry wherever they enter a report, and what each says."""

from seqgrid.analysis.final_values import to_come
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
CHANGED = ("stale", "evaluation_stale", "mixed_sources")  # columns of `cells`


def of(final: bool, stale: bool = False, origin: str | None = None, reused: bool = False) -> str:
    """The marks of one value."""
    shown = {DAGGER: not final, STALE: stale, CHECKPOINT: unsure(origin), REUSED: reused}
    return "".join(mark for mark, applies in shown.items() if applies)


def unsure(origin: str | None) -> bool:
    """Whether a value is of no test."""
    return origin not in (None, ORIGIN_TEST)


def of_seeds(row: dict) -> list[str]:
    """The marks of each seed's value in a row of `summary`."""
    columns = (row[name] for name in ("finals", "stales", "origins", "reuses"))
    return [of(*flags) for flags in zip(*columns, strict=True)]


def median(row: dict) -> str:
    """The median of a row of `summary`, with the marks of the values behind it."""
    return "-" if row["median"] is None else number(row["median"]) + behind([row])


def behind(rows: list[dict]) -> str:
    """The marks of a number made of the final values of rows of `summary`."""
    flags = [
        (stale, reused)
        for row in rows
        for final, stale, reused in zip(row["finals"], row["stales"], row["reuses"], strict=True)
        if final
    ]
    stale, reused = (any(flag[i] for flag in flags) for i in (0, 1))
    return of(all(map(complete, rows)), stale, None, reused)


def of_cells(cells: list[dict]) -> str:
    """The marks of a number made of the training of cells; of those to come it is not final."""
    begun = [cell for cell in cells if cell["outcome"] not in ("missing", "skipped")]
    stale = any(cell[name] for cell in begun for name in CHANGED)
    reused = any(cell["reused"] for cell in begun)
    return of(not any(map(to_come, cells)), stale, None, reused)


def added(shown: str, mark: str) -> str:
    """A number with its marks; where there is none, none."""
    return shown if shown in ("", "-") else shown + mark


def legend(section: str) -> str:
    """What the marks in a section's text say; empty where there are none."""
    found = [f"{mark} {words}" for mark, words in MEANINGS.items() if mark in section]
    return text(f"Marks: {'; '.join(found)}.") if found else ""
