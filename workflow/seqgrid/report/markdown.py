"""Markdown that reads well in a terminal and on a code forge: aligned tables, wrapped text."""

import re
import textwrap
from collections.abc import Callable, Collection
from math import isfinite, isnan

WIDTH = 100  # columns of wrapped text; tables may be wider

# Not final; sources have changed; of validation, as from a checkpoint; reused.
# Code, emphasis, links, tags, entities; then lists, headings, quotations, rules, fences.
SPECIAL = re.compile(r"[\\`*\[]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#?\w+;)")
BEGINS = re.compile(r"^(\d{0,9})([-+.)]$|#{1,6}$|>|={2,}$|-{2,}$|~{3})")
DAGGER, STALE, CHECKPOINT, REUSED = "†", "‡", "§", "¶"


def number(value: float | None) -> str:
    """A number as tables print it: four decimals, two from 10; three digits if tiny or huge."""
    if value is None:
        return "-"
    if isnan(value):
        return "nan"
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:.2f}" if 10 <= abs(value) < 1e6 else f"{value:.3g}"


def interval(low: float | None, high: float | None) -> str:
    """`[low, high]`; an end that is no number is unbounded, and no interval is a dash."""
    known = [v is not None and isfinite(v) for v in (low, high)]
    if not any(known):
        return "-"
    ends = (number(v) if k else "unbounded" for v, k in zip((low, high), known, strict=True))
    return f"[{', '.join(ends)}]"


def plural(number: int, what: str) -> str:
    """`1 place`, `2 places`."""
    return f"{number} {what}{'s' * (number != 1)}"


def count(value: float | None) -> str:
    """A whole number with thousands marked."""
    return "-" if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """A time in the unit that reads best."""
    if value is None:
        return "-"
    for unit, size in (("h", 3600), ("min", 60)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s" if value >= 0.1 or value == 0 else f"{value * 1000:.3g} ms"


def size(value: float | None) -> str:
    """Bytes in the decimal unit that reads best."""
    if value is None:
        return "-"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def percent(share: float | None, decimals: int = 0, sign: str = "+") -> str:
    """A share in percent, with its sign unless `sign` is empty."""
    return "-" if share is None else f"{100 * share:{sign}.{decimals}f}%"


def span(values: list, show: Callable[[float | None], str] = count) -> str:
    """`low to high` of numbers, or the one number they all are."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    low, high = show(min(known)), show(max(known))
    return low if low == high else f"{low} to {high}"


def table(header: list[str], rows: list[list[str]], left: int = 1, words: int = 0) -> str:
    """A table whose columns line up in monospace.

    The first `left` and the last `words` columns hold words and are flush left.
    """
    cells = [[_cell(c) for c in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    flush = [i < left or i >= len(header) - words for i in range(len(header))]
    lines = []
    for row in cells:
        padded = [
            c.ljust(w) if f else c.rjust(w) for c, w, f in zip(row, widths, flush, strict=True)
        ]
        lines.append(f"| {' | '.join(padded)} |")
    rule = ["-" * w if f else "-" * (w - 1) + ":" for w, f in zip(widths, flush, strict=True)]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def text(*sentences: str) -> str:
    """A paragraph, wrapped."""
    return textwrap.fill(
        " ".join(s for s in sentences if s), WIDTH, break_long_words=False, break_on_hyphens=False
    )


def without_empty(
    header: list[str], rows: list[list[str]], names: Collection[str]
) -> tuple[list[str], list[list[str]]]:
    """A table without those of the named columns in which no row says anything."""
    kept = [
        i
        for i, name in enumerate(header)
        if name not in names or any(row[i] not in ("", "-") for row in rows)
    ]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def item(*sentences: str) -> str:
    """An item of a list, wrapped."""
    return textwrap.fill(
        " ".join(s for s in sentences if s),
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def free(words: str) -> str:
    """Text of a user with the signs escaped that Markdown would take for marks, to be wrapped.

    An underscore inside a word, and signs with a space behind them, stand for themselves.
    """
    marked = SPECIAL.sub(lambda found: "\\" + found[0], words)
    # Wrapping may put any word at the beginning of a line.
    return " ".join(BEGINS.sub(r"\1\\\2", word) for word in marked.split())


def slug(title: str) -> str:
    """The anchor that code forges give a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def links(titles: list[str]) -> str:
    """Links to headings of the same page, wrapped between them."""
    lines = ["Contents:"]
    for title in titles:
        link = f"[{title}](#{slug(title)})" + ("," if title != titles[-1] else "")
        if len(lines[-1]) + 1 + len(link) > WIDTH:
            lines.append(link)
        else:
            lines[-1] += f" {link}"
    return "\n".join(lines)


def code(*lines: str) -> str:
    """A block to copy."""
    return "\n".join(["```", *lines, "```"])


def blocks(*parts: str) -> str:
    """Parts of a document with one empty line between."""
    return "\n\n".join(p for p in parts if p)


def listing(names: list, most: int = 6) -> str:
    """Names with commas; those past `most` are counted, but never a single one."""
    if len(names) <= most + 1:
        return ", ".join(map(str, names))
    return f"{', '.join(map(str, names[:most]))} and {len(names) - most} more"


def _cell(content: str) -> str:
    return " ".join(str(content).split()).replace("|", "\\|")
