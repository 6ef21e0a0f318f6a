"""Reading a page of Markdown: its sections and its tables."""

import re


def tables_of(section: str) -> list[list[dict[str, str]]]:
    """The Markdown tables of a text, as rows by column name."""
    found, lines = [], [*section.splitlines(), ""]
    block: list[str] = []
    for line in lines:
        if line.startswith("|"):
            block.append(line)
        elif block:
            split = [[c.strip() for c in row.strip("|").split(" | ")] for row in block]
            found.append([dict(zip(split[0], row, strict=True)) for row in split[2:]])
            block = []
    return found


def section(page: str, title: str) -> str:
    """What stands under a heading, whatever its number."""
    after = re.split(rf"^## (?:\d+ )?{re.escape(title)}\n", page, maxsplit=1, flags=re.M)[1]
    return re.split(r"^## ", after, flags=re.M)[0]
