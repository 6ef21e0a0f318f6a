"""Results as tables: aligned for a terminal, which also is Markdown."""

from dataclasses import dataclass, field


@dataclass
class Table:
    """One table of a benchmark; the last lines say what is measured against what."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """One row; as many cells as there are columns."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.columns)} columns")
        self.rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(self.columns))]
        right = [all(_numeric(row[i]) for row in self.rows) for i in range(len(self.columns))]

        def shown(line: list[str]) -> str:
            cells = zip(line, widths, right, strict=True)
            return "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in cells) + " |"

        rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
        body = [shown(self.columns), shown(rule), *(shown(row) for row in self.rows)]
        return "\n".join([f"## {self.title}", "", *body, "", *self.notes])


def ratio(value: float, rival: float) -> str:
    """How many times the rival, such as 1.03x."""
    return f"{value / rival:.2f}x" if value < 10 * rival else f"{value / rival:.0f}x"


def _numeric(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("+-").replace(",", "")[:1].isdigit()
