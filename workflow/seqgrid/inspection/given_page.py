"""What a report says of checkpoints, and what cannot be said from it, as Markdown."""

from itertools import pairwise

from seqgrid.inspection import health, steps
from seqgrid.inspection.contents import ITEMS
from seqgrid.inspection.given import Reported
from seqgrid.report.markdown import blocks, count, item, listing, number, size, table, text

MIB = 2**20
TITLES = {"mean": "mean", "std": "std", "abs_mean": "mean of |w|", "l2": "norm", "zeros": "zeros",
          "minimum": "min", "maximum": "max"}  # fmt: skip
# What a statement of a report is about -> what can be said of it from weights, and why.
ANSWERS = {
    "convergence": ("cannot be said", "weights that stop moving may have a learning rate of zero"),
    "overfitting": ("cannot be said", "it takes scores on examples that were not trained on"),
    "forgetting": ("cannot be said", "it takes scores on what was learnt before"),
    "quality": ("cannot be said", "it takes scores; the size of weights is not one"),
    "best checkpoint": ("cannot be said", "no validation score is there to choose by"),
    "health": ("not checked", "the report says so; no file was read"),
    "weights": ("not checked", "a number of the report, repeated below; no file was read"),
}


def page(found: Reported) -> str:
    """The report of an inspection of a report."""
    given = found.given
    origin = " ".join(filter(None, [f"{given.origin.who}, {given.origin.where}", ""]))
    when = f", {given.origin.date}" if given.origin.date else ""
    return (
        blocks(
            f"# Checkpoints of {given.name}, as reported",
            text(f"From {origin}{when}. No file was read: every number below is the report's."),
            text(
                "**CANNOT BE TOLD.** Whether the weights are healthy takes the files: run",
                "`seqgrid inspect` on their folder.",
            ),
            text(f"{health.ONLY_FROM_VALIDATION}; {_history(found)}."),
            text(given.origin.note),
            "## Statements of the report",
            _claims(found),
            "## Files",
            _files(found),
            "## Missing",
            _missing(found),
            "## Parameters by component",
            _components(found),
            "## Weights",
            _statistics(found),
            "## Change per 1,000 steps",
            _rates(found),
            "## Extremes",
            _extremes(found),
        )
        + "\n"
    )


def _history(found: Reported) -> str:
    missing = found.given.missing.get("history")
    return f"the report says that none is there ({missing})" if missing else "it names none"


def _claims(found: Reported) -> str:
    rows = [[c.statement, *ANSWERS[c.about]] for c in found.given.claims]
    return table(["statement", "answer", "why"], rows, left=2, words=1) if rows else "None."


def _files(found: Reported) -> str:
    rows = found.table("files")
    if not rows:
        return "The report lists no file."
    shown = [[r["file"], r["step_text"], r.get("size_text") or "-"] for r in rows]
    lines = []
    if saved := steps.saved([round(row["step"]) for row in rows]):
        lines.append(
            f"Steps are multiples of {saved.interval:.4g}: {saved.multiples[-1]} intervals, "
            f"{len(saved.multiples)} files; {saved.gaps} checkpoints in between are not here."
        )
    lines.append("Nothing shows that all files are of one training.")
    numbers = found.given.parameters
    sizes = sorted({row["size"] for row in rows if row.get("size")})
    if numbers and sizes:
        full = 4 * numbers
        line = f"{count(numbers)} numbers in float32 would take {size(full)}, which is "
        line += f"{full / MIB:.2f} in units of 2^20 bytes; the files have "
        line += f"{listing([size(s) for s in sizes])}, {sizes[0] / numbers:.2f} bytes a number"
        lines.append(line + (": not all of it is float32." if sizes[-1] < full else "."))
    return blocks(table(["file", "step", "size"], shown), "\n".join(map(item, lines)))


def _missing(found: Reported) -> str:
    given = found.given.missing
    rows = [[name, "MISSING" if name in given else "not said", given.get(name, "")]
            for name in ITEMS]  # fmt: skip
    return table(["what", "in the files", "as the report says"], rows, left=2, words=1)


def _components(found: Reported) -> str:
    rows = found.table("components")
    if not rows:
        return "The report does not say."
    total = sum(row["parameters"] for row in rows)
    shown = [
        [
            row["component"],
            count(row["parameters"]),
            f"{100 * row['parameters'] / total:.1f} %",
            row.get("share_text") or "-",
        ]
        for row in rows
    ]
    shown.append(["all", count(total), "100 %", "-"])
    claimed = found.given.parameters
    line = ""
    if claimed and claimed != total:
        line = f"The report's total, {count(claimed)}, is not the sum."
    return blocks(table(["component", "parameters", "share", "as reported"], shown), text(line))


def _statistics(found: Reported) -> str:
    rows, names = found.table("statistics"), _known(found)
    if not rows:
        return "The report gives none."
    notes = any(row.get("note") for row in rows)
    shown = [
        [
            row["step_text"],
            *(row.get(f"{name}_text") or "-" for name in names),
            *([row.get("note", "")] if notes else []),
        ]
        for row in rows
    ]
    head = ["step", *(TITLES[name] for name in names), *(["as the report says"] if notes else [])]
    return blocks(table(head, shown, words=int(notes)), text(_weighting(found)))


def _weighting(found: Reported) -> str:
    """Why a mean over tensors does not describe the weights."""
    given, parts = found.given, found.table("components")
    if given.weighting == "numbers":
        return ""
    if given.weighting is None:
        return "The report does not say what weighs the same in these means."
    line = "In these means every tensor weighs the same, whatever its size."
    if parts and given.tensors:
        total = sum(row["parameters"] for row in parts)
        largest = max(parts, key=lambda row: row["parameters"])
        share = 100 * largest["parameters"] / total
        line += f" {largest['component']} is {share:.1f} % of the numbers; a tensor is "
        line += f"{100 / given.tensors:.1f} % of the mean. They do not describe the weights."
    return line


def _rates(found: Reported) -> str:
    rows = found.table("statistics")
    names = [name for name in _known(found) if name not in ("minimum", "maximum")]
    pairs = [(a, b) for a, b in pairwise(rows) if b["step"] > a["step"]]
    if not pairs or not names:
        return "Fewer than two rows to compare."
    rates = {
        name: [
            1000 * (b[name] - a[name]) / (b["step"] - a["step"])
            if a.get(name) is not None and b.get(name) is not None
            else None
            for a, b in pairs
        ]
        for name in names
    }
    shown = [
        [f"{a['step_text']} to {b['step_text']}", *(_rate(rates[name][i]) for name in names)]
        for i, (a, b) in enumerate(pairs)
    ]
    lines = []
    for name in names:
        sizes = [abs(rate) for rate in rates[name] if rate is not None]
        if said := health.course(sizes):
            lines.append(item(f"{TITLES[name]}: in size, {said}."))
    note = "A statistic that hardly changes does not show that weights hardly move."
    head = ["steps", *(TITLES[name] for name in names)]
    return blocks(table(head, shown), "\n".join(lines), text(note))


def _extremes(found: Reported) -> str:
    rows = [r for r in found.table("statistics") if r.get("minimum_text") or r.get("maximum_text")]
    if not rows:
        return "The report gives none."
    unnamed = not any(row.get("minimum_tensor") or row.get("maximum_tensor") for row in rows)
    if unnamed:
        lines = [
            "The report does not say in which tensors the extremes are. An extreme without a name "
            "cannot be interpreted: it may be the initial value of a bias, or a buffer that is "
            "never trained."
        ]
        highs = {row["maximum_text"] for row in rows if row.get("maximum_text")}
        if len(highs) == 1 and len(rows) > 1:
            lines.append(
                f"A maximum that is {highs.pop()} at every step given is probably that of a tensor "
                "which is not trained: it says nothing about those that are."
            )
        return text(*lines)
    shown = [
        [row["step_text"], *(row.get(f"{key}_text") or "-" for key in
         ("minimum", "minimum_tensor", "maximum", "maximum_tensor"))]
        for row in rows
    ]  # fmt: skip
    return table(["step", "min", "in tensor", "max", "in tensor"], shown)


def _known(found: Reported) -> list[str]:
    return [n for n in TITLES if any(row.get(f"{n}_text") for row in found.table("statistics"))]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3e}" if value else number(value)
