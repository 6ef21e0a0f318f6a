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
    answer,
    checks,
    claims,
    comparisons,
    convergence,
    cost,
    coverage,
    fairness,
    figures,
    length,
    marks,
    peaks,
    provenance,
    published,
    results,
    seeds,
    sensitivity,
)
from seqgrid.report.content import Content, Unreadable, read
from seqgrid.report.markdown import blocks, links, text

SECTIONS = (
    ("Coverage", coverage.coverage),
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


def page(content: Content, contents: bool = True) -> str:
    """The report as Markdown; `contents`: with a table of contents."""
    titled = [(f"{i} {title}", section) for i, (title, section) in enumerate(SECTIONS, 1)]
    if content.expectations:
        titled = [("Expected against observed", checks.expected), *titled]
    question = text(str(content.about.get("question") or ""))
    parts = [f"# {content.name}", question, "## Answer", answer.answer(content)]
    if contents:
        parts.append(links([title for title, _ in titled]))
    for title, section in titled:
        body = section(content)
        parts += [f"## {title}", body, marks.legend(body)]
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
