"""Groups of models, as a study declares them, beside the members they are made of."""

from seqgrid.analysis import stats
from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import DAGGER, blocks, number, table, text
from seqgrid.report.sections import MOST_ROWS, marked, more

NOTE = text(
    "Medians of groups of models, each over the medians of its members over their final seeds, "
    "which stand beside it; such a median has no interval. It speaks for these models alone: they "
    "were chosen, not drawn, so nothing follows for another model of its kind; and a difference "
    "between groups is a statement only where it was declared (see Comparisons)."
)


def medians(content: Content) -> str:
    """A row for each group, task and training length; empty without groups."""
    body = []
    for task in content.tasks if content.groups else []:
        for seqlen in content.lengths(task):
            rows = {r["model"]: r for r in content.rows(task, seqlen) if r["selected"]}
            if all(row["median"] is None for row in rows.values()):
                continue
            body += [
                [task, group, str(seqlen), *_of(members, rows)]
                for group, members in content.groups.items()
                if any(model in rows for model in members)
            ]
    if not body:
        return ""
    header = ["task", "group", "length", "median", "of models", "seeds of each", "members"]
    shown = table(header, body[:MOST_ROWS], left=2, words=1)
    return blocks("### Groups of models", NOTE, shown, more(body))


def _of(members: list[str], rows: dict[str, dict]) -> list[str]:
    """The group's median, how many models it is over, and each of these."""
    known = [rows[m] for m in members if m in rows]
    values = [r["median"] for r in known if r["median"] is not None]
    mark = marks.behind(known)
    if len(values) < len(members) and DAGGER not in mark:
        mark = DAGGER + mark
    shown = "-" if not values else number(stats.median(values, known[0]["better"])) + mark
    each = [f"{m} {marked(rows[m]) if m in rows else '-'}" for m in members]
    seeds = sorted({r["final"] for r in known})
    shown_seeds = " to ".join(map(str, dict.fromkeys([seeds[0], seeds[-1]]))) if seeds else "-"
    return [shown, f"{len(values)}/{len(members)}", shown_seeds, ", ".join(each)]
