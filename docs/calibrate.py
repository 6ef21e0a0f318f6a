"""How often verdicts are right: `python docs/calibrate.py` simulates grids and writes the table.

Each row simulates studies whose truth is known (docs/simulated.py), has the report's own tables
made of them, and counts how often a statement is made. A false statement may come at most at the
level that is stated; a true one should come at the rate that the row names. `--studies N` takes
fewer.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from calibrated import PARTS, Row

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


def page(studies: int) -> tuple[list[str], bool]:
    """The lines of the table, and whether every row holds."""
    lines, sound = ["", f"{studies} simulated studies a row.", ""], True
    for title, (made, needs) in PARTS.items():
        lines += [f"## {title}", "", "| truth | statement | rate | 95 % interval | wanted | |"]
        lines.append("|---|---|---:|---|---|---|")
        for row in made():
            count = measured(row, needs, studies)
            ends, holds = wilson(count, studies), row.holds(count, studies)
            sound &= holds
            wanted = (
                f"at most {row.most:.0%}" if row.most is not None else f"at least {row.least:.0%}"
            )
            lines.append(
                f"| {row.about} | {row.statement} | {count / studies:.1%} | "
                f"{ends.low:.1%} to {ends.high:.1%} | {wanted} | {'' if holds else '**NOT MET**'} |"
            )
        lines.append("")
    return lines, sound


def main() -> int:
    """Entry point; 1 where a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    lines, sound = page(parser.parse_args().studies)
    head, marker, _ = PAGE.read_text(encoding="utf-8").partition(MARKER)
    PAGE.write_text(head + marker + "\n".join(lines), encoding="utf-8")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
