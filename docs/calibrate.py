"""How often verdicts are right: `python docs/calibrate.py` simulates grids and writes the table.

Each row simulates studies whose truth is known (docs/simulated.py), has the report's own tables
made of them, and counts how often a statement is made. A false statement may come at most at the
level that is stated; a true one should come at the rate that the row names. `--studies N` takes
fewer, and `--part TITLE` makes one part anew.
"""

import argparse
import sys
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
    generator = np.random.default_rng([studies, *row.about.encode(), *row.statement.encode()])
    count = 0
    for _ in range(studies):
        read = row.made(generator).read()
        built = summary.build(read)
        for name in needs:
            built[name] = BUILT[name](read, built)
        count += row.said({name: table.to_pylist() for name, table in built.items()})
    return count


def part(title: str, studies: int) -> tuple[list[str], bool]:
    """The lines of one part of the table, and whether every row of it holds."""
    made, needs = PARTS[title]
    lines = [f"## {title}", "", "| truth | statement | rate | 95 % interval | wanted | |"]
    lines.append("|---|---|---:|---|---|---|")
    sound = True
    for row in made():
        count = measured(row, needs, studies)
        ends, holds = wilson(count, studies), row.holds(count, studies)
        sound &= holds
        wanted = f"at most {row.most:.0%}" if row.most is not None else f"at least {row.least:.0%}"
        lines.append(
            f"| {row.about} | {row.statement} | {count / studies:.1%} | "
            f"{ends.low:.1%} to {ends.high:.1%} | {wanted} | {'' if holds else '**NOT MET**'} |"
        )
    return [*lines, ""], sound


def printed() -> tuple[str, int, dict[str, list[str]]]:
    """Of the page: what stands above the table, its studies a row, and the lines of each part."""
    head, _, table = PAGE.read_text(encoding="utf-8").partition(MARKER)
    parts: dict[str, list[str]] = {}
    for text in table.split("\n## ")[1:]:
        title, *lines = text.rstrip("\n").split("\n")
        parts[title] = [f"## {title}", *lines, ""]
    return head, int(table.split()[0]), parts


def main() -> int:
    """Entry point; 1 where a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies a row")
    parser.add_argument("--part", choices=PARTS, help="only this, of as many studies as the others")
    given = parser.parse_args()
    head, studies, parts = printed()
    studies, sound = studies if given.part else given.studies, True
    for title in [given.part] if given.part else PARTS:
        parts[title], holds = part(title, studies)
        sound &= holds
    lines = ["", f"{studies} simulated studies a row.", ""]
    lines += [line for title in PARTS for line in parts.get(title, ())]
    PAGE.write_text(head + MARKER + "\n".join(lines), encoding="utf-8")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
