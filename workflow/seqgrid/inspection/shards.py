"""Weights in several files: whether all of them are there, by their names and by their index."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from seqgrid.inspection import files
from seqgrid.inspection.contents import WRAPPED
from seqgrid.inspection.record import Inspection

INDEX = ".index.json"  # file that says which tensor is in which file
NAMED = re.compile(r"(.*?)(\d{5})-of-(\d{5})(\..+)")
MOST = 100_000  # more files than this are no weights of anything


def absent(folder: Path, found: Inspection) -> list[str]:
    """What is missing, a line each; `found` has been read already."""
    lines = dict.fromkeys([*_by_name(found), *_by_index(folder, found)])
    return list(lines)


def _by_name(found: Inspection) -> Iterator[str]:
    groups = defaultdict(set)
    for row in found.inventory:
        path = PurePosixPath(row["file"])
        if match := NAMED.fullmatch(path.name):
            groups[path.parent, match[1], int(match[3]), match[4]].add(int(match[2]))
    for (parent, before, total, after), there in groups.items():
        for number in range(1, min(total, MOST) + 1):
            if number not in there:
                yield _gone(parent / f"{before}{number:05}-of-{total:05}{after}")


def _gone(path: PurePosixPath) -> str:
    return f"{path} is not there"


def _by_index(folder: Path, found: Inspection) -> Iterator[str]:
    names = defaultdict(set)
    for row in found.tensors:
        names[row["file"]].add(row["tensor"])
    there = {row["file"] for row in found.inventory}
    for index in sorted(path for path in files.below(folder) if path.name.endswith(INDEX)):
        shown = PurePosixPath(files.printable(index.relative_to(folder).as_posix()))
        wanted = _index(index)
        if not wanted:
            yield f"{shown} says of no tensor which file it is in"
            continue
        for file, tensors in sorted(wanted.items()):
            path = shown.parent / PurePosixPath(file).name
            if str(path) not in there:
                yield _gone(path)
            elif str(path) in names and (lacking := sorted(tensors - names[str(path)])):
                more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
                yield f"{path} does not hold {lacking[0]}{more}, which {shown.name} says"


def _index(path: Path) -> dict[str, set[str]]:
    """File -> names of its tensors; empty where the index cannot be read as one."""
    try:
        where = json.loads(path.read_bytes())["weight_map"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    found = defaultdict(set)
    for tensor, file in where:
        found[str(file)].add(WRAPPED.sub("", str(tensor)))
    return found
