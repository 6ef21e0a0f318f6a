"""`seqgrid inspect FOLDER`: what a folder of PyTorch checkpoints holds, and what it lacks.

    seqgrid inspect results/cells/gru/mqar/L64/seed0-0123456789
    seqgrid inspect downloads/checkpoints --format all --out inspected
    seqgrid inspect --from report/mapping.yaml

Any folder: ours, or from elsewhere (*.pt, *.pth, *.bin, *.ckpt, step_N, *.safetensors). Nothing in
a file is executed. Markdown goes to the console, or with --out to DIR/inspect.md; csv are
inventory.csv, components.csv, tensors.csv, evolution.csv and drift.csv; json is all of it. With
--from, the tables of a report on checkpoints that are not here: docs/inspect.md says what its
mapping file holds. Exits 2 with one line where there is nothing to inspect.
"""

import argparse
import os
import sys
from pathlib import Path

from seqgrid.job import WRONG_CALL, say

FORMATS = ("markdown", "csv", "json", "all")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="seqgrid inspect", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "folder", type=Path, nargs="?", help="looked through with all folders below it"
    )
    parser.add_argument("--format", choices=FORMATS, default="markdown")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write files into")
    parser.add_argument("--depth", type=int, default=1, help="parts of a name that are a component")
    parser.add_argument("--from", type=Path, dest="given", metavar="MAPPING", help="of a report")
    options = parser.parse_args(arguments)
    if options.given and not options.folder:
        return _reported(options)
    if problem := _problem(options):
        say(problem)
        return WRONG_CALL
    # Now, since torch takes a second to import.
    from seqgrid.inspection import output
    from seqgrid.inspection.examine import examine

    found = examine(options.folder, options.depth)
    if options.out is None:
        write = output.json_text if options.format == "json" else output.markdown
        sys.stdout.write(write(found))
        return 0
    try:
        for path in output.write(found, options.out, options.format):
            sys.stdout.write(f"{path}\n")
    except OSError as error:
        say(f"--out: {options.out}: {error.strerror}")
        return WRONG_CALL
    return 0


def _reported(options: argparse.Namespace) -> int:
    from seqgrid.inspection import given, given_page
    from seqgrid.study_file import StudyError

    if options.format != "markdown":
        say(f"--format {options.format}: --from writes markdown alone")
        return WRONG_CALL
    try:
        page = given_page.page(given.read(options.given))
        if options.out is None:
            sys.stdout.write(page)
            return 0
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "inspect.md").write_text(page, encoding="utf-8")
    except StudyError as error:
        say(str(error))
        return WRONG_CALL
    except OSError as error:
        say(f"--out: {options.out}: {error.strerror}")
        return WRONG_CALL
    sys.stdout.write(f"{options.out / 'inspect.md'}\n")
    return 0


def _problem(options: argparse.Namespace) -> str | None:
    """What is wrong with the call, in a line."""
    from seqgrid.inspection import files

    folder = options.folder
    if folder is None or options.given:
        return "give either a folder or --from MAPPING"
    # Not a path's own `exists`, which raises where a name is too long.
    if not os.path.exists(folder):  # noqa: PTH110
        return f"{folder}: there is no such folder"
    if not folder.is_dir():
        return f"{folder} is not a folder; give the one that the checkpoints are in"
    if options.depth < 1:
        return f"--depth: at least 1 is needed, got {options.depth}"
    if options.out is None and options.format in ("csv", "all"):
        return f"--format {options.format} writes several files: say where with --out DIR"
    if "." in (closed := files.closed(folder)):
        return f"{folder}: no permission to look into it"
    if not files.find(folder) and (parts := files.weightless(folder)):
        ends = ", ".join(f"{number} {outcome}" for outcome, number in parts.items())
        return f"{folder}: no weights in it; its parts ended without any: {ends}"
    if not files.find(folder):
        said = f"; no permission to look into {', '.join(closed)}" if closed else ""
        looked = f"looked for {', '.join(files.SUFFIXES)} and step_N"
        return f"{folder}: no checkpoint in it; {looked}{said}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
