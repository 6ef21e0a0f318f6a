"""Write the report of a study: `python -m seqgrid.report STUDY_FOLDER`.

Reads the Parquet tables of `collect` in the folder; writes summary.parquet, verdicts.parquet,
expectations.parquet, figures/ and report.md beside them, and prints the report's path. Exits 2 with
one line where a table is missing or is not one of ours.
"""

import sys
from pathlib import Path

from seqgrid import tables
from seqgrid.analysis import expectations, summary
from seqgrid.report import account, checks, fairness, figures, results, sections, training
from seqgrid.report.content import Content, Unreadable, read
from seqgrid.report.markdown import blocks, text

SECTIONS = (
    ("1 Coverage", sections.coverage),
    ("2 Results", results.results),
    ("3 Length", training.length),
    ("4 Learning curves", training.curves),
    ("5 Peak against final", training.peaks),
    ("6 Cost", account.cost),
    ("7 Fairness", fairness.fairness),
    ("8 What to do next", account.next_steps),
    ("9 Verdict rules", account.rules),
    ("10 Provenance", account.provenance),
    ("11 Controls", checks.controls),
)


def write(folder: Path) -> Path:
    """Write everything a report consists of; the path of report.md.

    Raises:
        Unreadable: a table is missing or is not one of ours.
    """
    found = read(folder)
    built = summary.build(found)
    built["expectations"] = expectations.build(found, built)
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
    for title, section in SECTIONS:
        parts += [f"## {title}", section(content)]
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
