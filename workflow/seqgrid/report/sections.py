"""What the sections of a report share."""

import re
from collections.abc import Sequence

from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, table, text

MOST_ROWS = 40  # of a table; more is no reading, and summary.parquet has them
MOST_COLUMNS = 8  # beside the labels: wider tables wrap in a terminal

marked = marks.median


def matrix(content: Content, values: dict[tuple[str, str, int], str], title: str) -> str:
    """Models by task and length, in tables of at most MOST_COLUMNS columns."""
    # A report from elsewhere has models and tasks of which no cell is known.
    have = {key[1:] for key in values}
    places = [(t, at) for t in content.tasks for at in content.lengths(t) if (t, at) in have]
    models = [m for m in content.models if any((m, *place) in values for place in places)]
    found = [f"{title}, by model, task and training length:"]
    for start in range(0, len(places), MOST_COLUMNS):
        here = places[start : start + MOST_COLUMNS]
        rows = [
            [m, *grouped(content, m), *(values.get((m, *place), "") for place in here)]
            for m in models
        ]
        header = ["model", *group_header(content), *(f"{t} {length}" for t, length in here)]
        found.append(table(header, rows, left=labels(content)))
    return blocks(*found)


def grouped(content: Content, model: str) -> list[str]:
    """The cell of a table that names a model's group; none where the study declares no groups."""
    return [content.group_of.get(model, "-")] if content.groups else []


def group_header(content: Content) -> list[str]:
    """The header over those cells."""
    return ["group"] if content.groups else []


def labels(content: Content, others: int = 0) -> int:
    """Number of columns of words in front: model, its group where there is one, and others."""
    return 1 + bool(content.groups) + others


def more(rows: Sequence[object], file: str = "summary.parquet") -> str:
    """Says how many rows a table leaves out."""
    hidden = len(rows[MOST_ROWS:])
    return f"{hidden} more rows stand in `{file}`." if hidden else ""


def figure(content: Content, name: str) -> str:
    """A figure with its caption, where it was drawn; the caption's first words stand for it."""
    if name not in content.figures:
        return ""
    caption = content.figures[name]
    image = f"![{re.split('[.:;] ', caption)[0]}](figures/{name}.png)"
    return blocks(image, text(f"*{caption}* [SVG](figures/{name}.svg)"))
