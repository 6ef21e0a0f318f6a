"""Write the report of a study: `seqgrid report STUDY`, its name or its folder.

Reads the Parquet tables of `collect` in the folder; writes those of `seqgrid.conclusions`, figures/
report.md and report.html beside them, and prints the path of report.md. Exits 2 with one line where
a table is missing or is not one of ours.

With --copy, the page, the SVG figures and the tables as CSV are written there as well, for the
HTML report of Snakemake, which shows files that no later run changes.
"""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from seqgrid import collect, tables
from seqgrid.analysis.build import build
from seqgrid.diff import folder_of
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
    files,
    html_page,
    inventory,
    length,
    marks,
    peaks,
    provenance,
    published,
    results,
    seeds,
    sensitivity,
)
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, free, links, text
from seqgrid.report.reading import Unreadable, read

WHAT = (__doc__ or "").partition("\n\nWith --copy")[0]
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
    ("Files", files.files),
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
    plain = page(content, contents=False)
    _replace(folder / "report.html", html_page.render(plain, folder, content.figures))
    path = folder / "report.md"
    _replace(path, page(content))
    return path


def _replace(path: Path, text: str) -> None:
    """Renamed into place: a reader never sees half a report."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def page(content: Content, contents: bool = True) -> str:
    """The report as Markdown; `contents`: with a table of contents."""
    titled = [(f"{i} {title}", section) for i, (title, section) in enumerate(SECTIONS, 1)]
    if content.about.get("imported"):
        titled = [(t, inventory.advice if s is advice.advice else s) for t, s in titled]
    if content.inventory:
        titled = [("Runs as their study reports them", inventory.runs), *titled]
    if content.expectations:
        titled = [("Expected against observed", checks.expected), *titled]
    question = text(free(str(content.about.get("question") or "")))
    parts = [f"# {content.name}", question, "## Answer", answer.answer(content)]
    if contents:
        parts.append(links([title for title, _ in titled]))
    for title, section in titled:
        body = section(content)
        parts += [f"## {title}", body, marks.legend(body)]
    return blocks(*parts) + "\n"


def copy(folder: Path, page: Path, figures: Path, sheets: Path) -> None:
    """The written report once more: its page, its figures as SVG, its tables as CSV.

    Columns that hold lists are written as JSON.
    """
    for target in (figures, sheets):
        target.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "report.html", page)
    for drawn in sorted((folder / "figures").glob("*.svg")):
        shutil.copy(drawn, figures)
    for name in tables.CONCLUSIONS:
        rows = pq.read_table(folder / f"{name}.parquet")
        columns = [c.to_pylist() for c in rows.columns]
        with (sheets / f"{name}.csv").open("w", newline="", encoding="utf-8") as sink:
            writer = csv.writer(sink, lineterminator="\n")
            writer.writerow(rows.column_names)
            writer.writerows([_plain(v) for v in row] for row in zip(*columns, strict=True))


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, list) else value


def _older(tables: Path, study: Path) -> bool:
    """Whether a study's file was written after its tables."""
    mine = Path("results/studies", study.stem).resolve() == tables.parent.resolve()
    return mine and study.exists() and study.stat().st_mtime > tables.stat().st_mtime


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="seqgrid report", description=WHAT)
    parser.add_argument("study", help="folder of a study's tables, or its name in results/studies")
    words = "make the tables first, of what there is by now; trains and evaluates nothing"
    parser.add_argument("--collect", action="store_true", help=words)
    # For the workflow alone.
    copies: Any = ("PAGE", "FIGURES", "TABLES")
    parser.add_argument("--copy", type=Path, nargs=3, metavar=copies, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    named = Path("config/studies", f"{Path(options.study).name}.yaml")
    folder = Path("results/studies", named.stem)
    try:
        if options.collect and (wrong := collect.main([named.stem])):
            return wrong
        folder = folder_of(options.study)
        path = write(folder)
        if options.copy:
            copy(folder, *options.copy)
    except OSError as error:
        where = error.filename2 or error.filename or folder
        sys.stderr.write(f"{where}: {error.strerror or error}; the report could not be written\n")
        return 2
    except Unreadable as problem:
        hint = f"; make them with: seqgrid report --collect {named.stem}" if named.exists() else ""
        sys.stderr.write(f"{problem}{hint}\n")
        return 2
    if not options.copy and _older(folder / "cells.parquet", named):
        sys.stderr.write(
            f"{named} was written after these tables: the report shows what it said before; "
            f"seqgrid report --collect {named.stem} makes them anew\n"
        )
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
