"""Write the report of a study: `python -m seqgrid.report STUDY_FOLDER`.

Reads the Parquet tables of `collect` in the folder; writes those of `seqgrid.conclusions`, figures/
and report.md beside them, and prints the report's path. Exits 2 with one line where a table is
missing or is not one of ours.
"""

import sys
from pathlib import Path

from seqgrid import tables
from seqgrid.analysis.build import build
from seqgrid.report import (
    advice,
    checks,
    claims,
    comparisons,
    convergence,
    cost,
    fairness,
    figures,
    length,
    peaks,
    provenance,
    published,
    results,
    sections,
    seeds,
    sensitivity,
)
from seqgrid.report.content import Content, Unreadable, read
from seqgrid.report.markdown import blocks, text

SECTIONS = (
    ("Coverage", sections.coverage),
    ("Results", results.results),
    ("Length", length.length),
    ("Seeds", seeds.seeds),
    ("Convergence", convergence.convergence),
    ("Peak against final", peaks.peaks),
    ("Fairness", fairness.fairness),
    ("Swept settings", sensitivity.sensitivity),
    ("Comparisons", comparisons.comparisons),
    ("Cost", cost.cost),
    ("What to do next", advice.advice),
    ("Claims", claims.claims),
    ("Published numbers", published.published),
    ("Controls", checks.controls),
    ("Verdict rules", provenance.rules),
    ("Files", provenance.files),
    ("Provenance", provenance.provenance),
)


def write(folder: Path) -> Path:
    """Write everything a report consists of; the path of report.md.

    Raises:
        Unreadable: a table is missing or is not one of ours.
    """
    found = read(folder)
    built = build(found)
    for name, table in built.items():
        tables.write(table, folder / f"{name}.parquet")
    content = Content.of(folder, found, built)
    content.figures = figures.draw(content, folder / "figures")
    path = folder / "report.md"
    # Renamed into place: a reader never sees half a report.
    temporary = path.with_name(".report.md")
    temporary.write_text(page(content), encoding="utf-8")
    temporary.replace(path)
    return path


def page(content: Content) -> str:
    """The report as Markdown."""
    question = text(str(content.about.get("question") or ""))
    parts = [f"# {content.name}", question, "## Answer", sections.answer(content)]
    if content.expectations:
        parts += ["## Expected against observed", checks.expected(content)]
    for number, (title, section) in enumerate(SECTIONS, 1):
        parts += [f"## {number} {title}", section(content)]
    return blocks(*parts) + "\n"


def main(arguments: list[str]) -> int:
    """The exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m seqgrid.report STUDY_FOLDER\n")
        return 2
    try:
        path = write(Path(arguments[0]))
    except Unreadable as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
