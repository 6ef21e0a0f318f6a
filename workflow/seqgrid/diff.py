"""`seqgrid diff A B`: what changed between two collected studies.

    seqgrid diff quickstart before/quickstart

Each is a folder with a study's Parquet tables, or the name of one below results/studies. Markdown
goes to the console, and to a file with --out. Exits 0 where nothing differs, 1 where something
does, 2 with one line where a study cannot be read. Not compared: times of day, hosts, job ids, and
learning curves.
"""

import argparse
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seqgrid import tables
from seqgrid.conclusions import CONCLUSIONS
from seqgrid.job import WRONG_CALL, say
from seqgrid.report.markdown import blocks, text
from seqgrid.report.reading import Unreadable, read
from seqgrid.study_file import unknown

STUDIES = Path("results/studies")
MOST = 20  # rows of a table, without --all


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="seqgrid diff", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("a", help="a study's folder, or its name below results/studies")
    parser.add_argument("b", help="another")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there too")
    parser.add_argument("--all", action="store_true", help=f"tables longer than {MOST} rows too")
    options = parser.parse_args(arguments)
    try:
        page, differs = compare(folder_of(options.a), folder_of(options.b), options.all)
    except Unreadable as problem:
        say(str(problem))
        return WRONG_CALL
    if options.out:
        try:
            options.out.write_text(page, encoding="utf-8")
        except OSError as error:
            say(f"--out: {options.out}: {error.strerror}")
            return WRONG_CALL
    sys.stdout.write(page)
    return 1 if differs else 0


def compare(a: Path, b: Path, everything: bool = False) -> tuple[str, bool]:
    """What changed from study `a` to study `b`, as Markdown, and whether anything did.

    Raises:
        Unreadable: a table of `collect` is missing or is not one of ours.
    """
    from seqgrid import differences

    first, second = read(a), read(b)
    built, left_out = _conclusions(a, b)
    for name, (mine, theirs) in built.items():
        first[name], second[name] = mine, theirs
    found = [part for part in differences.of(first, second) if part.rows]
    title = f"# {a.name or a} against {b.name or b}"
    note = f"Not compared, since they are not there in both: {left_out}." if left_out else ""
    if not found:
        cells, values = first["cells"].num_rows, first["evaluations"].num_rows
        said = f"Nothing differs: {cells} cells, {values} test values."
        return blocks(title, text(said), text(note)) + "\n", False
    apart = f"{a.name or a} and {b.name or b} have no cell in common." * _apart(first, second)
    counts = "\n".join(f"- {part.title}: {part.count}" for part in found)
    shown = (part.page(None if everything else MOST) for part in found)
    legend = f"A is {a}, B is {b}."
    return blocks(title, text(legend), text(apart), counts, text(note), *shown) + "\n", True


def _apart(first: dict[str, pa.Table], second: dict[str, pa.Table]) -> bool:
    """Whether both studies have cells, and none of one is in the other."""
    from seqgrid.changed_runs import CELL
    from seqgrid.keyed import by

    mine, theirs = (by(found["cells"].to_pylist(), CELL) for found in (first, second))
    return bool(mine and theirs) and not mine.keys() & theirs.keys()


def folder_of(given: str) -> Path:
    """The folder of a study's tables, by path or by name.

    Raises:
        Unreadable: there is none.
    """
    for path in (Path(given), STUDIES / given):
        if os.path.isdir(path):  # noqa: PTH112, a path's own raises where a name is too long
            return path
    there = sorted(path.parent.name for path in STUDIES.glob("*/cells.parquet"))
    raise Unreadable(unknown(given, there, f"a folder, or a study in {STUDIES}"))


def _conclusions(a: Path, b: Path) -> tuple[dict, str]:
    """Tables of the report that both have, and the names of those that one of them lacks."""
    found, left_out = {}, []
    for name in CONCLUSIONS:
        pair = [folder / f"{name}.parquet" for folder in (a, b)]
        read_both = [_table(path, name) for path in pair if path.is_file()]
        if len(read_both) == 2:
            found[name] = read_both
        else:
            left_out.append(name)
    return found, ", ".join(left_out)


def _table(path: Path, name: str) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except Exception as error:  # whatever pyarrow says of a file that is none
        raise Unreadable(f"{path} is no Parquet file: write the report again") from error
    version = (table.schema.metadata or {}).get(b"seqgrid.schema_version", b"none").decode()
    if version != tables.SCHEMA_VERSION or table.schema.names != tables.schema(name).names:
        raise Unreadable(
            f"{path} has schema version {version} or other columns than this seqgrid's "
            f"{tables.SCHEMA_VERSION}: write the report again"
        )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
