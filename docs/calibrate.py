"""How often verdicts are right: `python docs/calibrate.py` simulates grids and writes the table.

Each row simulates studies whose truth is known (docs/simulated.py), has the report's own tables
made of them, and counts how often a statement is made. A false statement may come at most at the
level that is stated; a true one should come at the rate that the row names. `--studies N` takes
more or fewer, `--part TITLE` makes one part anew.
"""

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from calibrated import PARTS
from calibration_row import Row

from seqgrid.analysis import summary
from seqgrid.analysis.build import BUILT
from seqgrid.analysis.stats import wilson

PAGE = Path(__file__).parent / "calibration.md"
MARKER = "<!-- from here on: python docs/calibrate.py -->\n"


def measured(row: Row, needs: tuple[str, ...], studies: int) -> int:
    """In how many of the studies the statement was made; the same for the same row."""
    return counted([row], needs, studies)[0]


def counted(rows: list[Row], needs: tuple[str, ...], studies: int) -> list[int]:
    """The same of several statements about the same studies."""
    generator = np.random.default_rng([studies, *rows[0].about.encode()])
    counts = [0] * len(rows)
    for _ in range(studies):
        read = rows[0].made(generator).read()
        built = summary.build(read)
        for name in needs:
            built[name] = BUILT[name](read, built)
        found = {name: table.to_pylist() for name, table in built.items()}
        for i, row in enumerate(rows):
            counts[i] += row.said(found)
    return counts


def together(title: str) -> list[list[Row]]:
    """The rows of a part, those about the same studies together."""
    rows: dict[str, list[Row]] = {}
    for row in PARTS[title][0]():
        rows.setdefault(row.about, []).append(row)
    return list(rows.values())


def _counts(job: tuple[str, int, int]) -> tuple[tuple[str, int], list[int]]:
    """What a process of its own is given: a part, which rows of it, and how many studies."""
    title, number, studies = job
    return (title, number), counted(together(title)[number], PARTS[title][1], studies)


def parted(titles: Iterable[str], studies: int, processes: int) -> tuple[dict[str, list[str]], int]:
    """The lines of parts of the table, and how many of their rows fail."""
    jobs = [(t, i, studies) for t in titles for i in range(len(together(t)))]
    found: dict[tuple[str, int], list[int]] = {}
    with ProcessPoolExecutor(processes) as pool:
        for done, (key, counts) in enumerate(pool.map(_counts, jobs), 1):
            found[key] = counts
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{done} of {len(jobs)}")
    parts: dict[str, list[str]] = {}
    failing = 0
    for title in titles:
        lines = [f"## {title}", "", "| truth | statement | rate | 95 % interval | wanted | |"]
        lines.append("|---|---|---:|---|---|---|")
        for number, rows in enumerate(together(title)):
            for row, count in zip(rows, found[title, number], strict=True):
                ends, mark = wilson(count, studies), row.mark(count, studies)
                failing += mark == "fails" and not row.known
                shown = ": ".join(filter(None, [f"**{mark}**" if mark else "", mark and row.known]))
                lines.append(
                    f"| {row.about} | {row.statement} | {count / studies:.1%} | "
                    f"{ends.low:.1%} to {ends.high:.1%} | {row.wanted} | {shown} |"
                )
        parts[title] = [*lines, ""]
    return parts, failing


def printed() -> tuple[str, int, dict[str, list[str]]]:
    """Of the page: what stands above the table, its studies a row, and the lines of each part."""
    head, _, table = PAGE.read_text(encoding="utf-8").partition(MARKER)
    parts: dict[str, list[str]] = {}
    for text in table.split("\n## ")[1:]:
        title, *lines = text.rstrip("\n").split("\n")
        parts[title] = [f"## {title}", *lines, ""]
    return head, int(table.split()[0]), parts


def main() -> int:
    """Entry point; 1 where a row fails that is not known to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300, help="simulated studies a row")
    parser.add_argument("--part", choices=PARTS, help="only this, of as many studies as the others")
    parser.add_argument("--processes", type=int, default=2, help="that share the rows")
    parser.add_argument("--page", type=Path, default=PAGE, help="written here")
    given = parser.parse_args()
    head, studies, parts = printed()
    studies = studies if given.part else given.studies
    made, failing = parted([given.part] if given.part else PARTS, studies, given.processes)
    parts |= made
    lines = ["", f"{studies} simulated studies a row.", ""]
    lines += [line for title in PARTS for line in parts.get(title, ())]
    given.page.write_text(head + MARKER + "\n".join(lines), encoding="utf-8")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
