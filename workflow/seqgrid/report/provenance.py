"""The last sections of a report: rules, and where every number comes from."""

import importlib.metadata

from seqgrid import tables
from seqgrid.analysis import ledger
from seqgrid.analysis.verdicts import RULES
from seqgrid.report import inventory
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, item, listing, number, span, table, text
from seqgrid.report.sections import MOST_ROWS
from seqgrid.thresholds import of


def rules(content: Content) -> str:
    """Each rule in one sentence; how often it applied."""
    found = [v["verdict"] for v in content.verdicts]
    thresholds = of(content.about)
    lines = [
        item(f"**{r.name}** ({found.count(r.name)} here): {r.words(thresholds)}") for r in RULES
    ]
    note = text(
        "Span: the distance from chance to ceiling. Jointly: each seed's interval over test "
        "examples is widened so that those of all final seeds hold at once. The evidence of each "
        "verdict stands in `verdicts.parquet`; a study changes a threshold under `thresholds` in "
        "its file."
    )
    set_here = [[f"`{name}`", own, usual] for name, (own, usual) in thresholds.changed().items()]
    changed = blocks(
        "Thresholds that this study has set otherwise than usual:",
        table(["threshold", "here", "usually"], set_here),
    )
    return blocks(note, changed if set_here else "", "\n".join(lines))


def provenance(content: Content) -> str:
    """Where every number comes from."""
    if content.about.get("imported"):
        return blocks(inventory.provenance(content), _levels(content))
    about = ledger.provenance(content.cells)
    versions = [f"{package} {' or '.join(v)}" for package, v in about["versions"].items()]
    days = [t.strftime("%Y-%m-%d %H:%M") for t in (about["first"], about["last"]) if t is not None]
    newest = about["last"]
    lines = [
        item(
            "newest time in the tables, the date of this report's data:",
            f"{newest:%Y-%m-%d %H:%M} (UTC)" if newest else "none",
        ),
        item(
            f"commits: {listing(about['commits']) or 'none recorded'};",
            f"cells with changed tracked files: {about['dirty']}",
        ),
        item(f"trained: {' to '.join(dict.fromkeys(days)) or 'never'} (UTC)"),
        item(
            f"hosts: {listing(about['hosts']) or '-'}; devices: {listing(about['devices']) or '-'}"
        ),
        item(f"versions: {', '.join(versions) or 'none recorded'}"),
        item(
            f"dtypes: {listing(about['dtypes']) or '-'};",
            f"threads: {listing(about['threads']) or '-'};",
            f"kernels: {listing(about['backends'], 12) or '-'}",
        ),
        item(f"report by seqgrid {_version()}, tables of schema version {tables.SCHEMA_VERSION}"),
    ]
    cut = ledger.in_pieces(content.cells)
    if cut:
        which = ", ".join(f"{n} of {model}" for model, n in cut.items())
        lines.append(
            item(
                f"cells that ran out of memory and went on with each batch in pieces: {which};",
                "the pieces' gradients add up to the batch's but for rounding, and dropout draws",
                "other numbers",
            )
        )
    for model, digests in about["digests"].items():
        if digests:
            lines.append(item(f"sources of {model}: {listing([d[:12] for d in digests])}"))
    return blocks("\n".join(lines), _levels(content))


def _version() -> str:
    try:
        return importlib.metadata.version("seqgrid")
    except importlib.metadata.PackageNotFoundError:
        return "of no installed version"


def _levels(content: Content) -> str:
    """Where each level's value comes from."""
    seen: dict[tuple[str, str, str, str], list[float]] = {}
    for level in content.levels:
        key = (level["task"], level["metric"], level["level"], level["derivation"] or "-")
        seen.setdefault(key, []).append(level["value"])
    rows = [[t, m, n, span(values, number), why] for (t, m, n, why), values in seen.items()]
    if not rows:
        return ""
    header = ["task", "metric", "level", "value", "where it comes from"]
    return blocks("Levels:", table(header, rows[:MOST_ROWS], left=5))
