"""An inspection as Markdown."""

from collections.abc import Iterable, Iterator

from seqgrid.inspection import contents, health
from seqgrid.inspection.derived import trained
from seqgrid.inspection.record import ALL, Inspection
from seqgrid.report.markdown import blocks, count, item, listing, number, size, table, text

MOST = 12  # rows of a table of extremes or of a long list of evidence
MOST_ROWS = 40  # of a table with a row a file
MOST_SERIES = 4  # with tables of their own
RATES = (
    "Relative change is the Euclidean norm of what all trained numbers together moved, over their "
    "norm before. A rate from a longer interval tends to be smaller, since moves to and fro "
    "cancel: compare intervals of like length."
)


def page(found: Inspection) -> str:
    """The report of an inspection."""
    fired = health.verdicts(found)
    word, why = health.verdict(found, fired)
    parts = [
        f"# Checkpoints in {found.name}",
        text(f"**{word}.** {why}"),
        text(health.ONLY_FROM_VALIDATION + ";", where(found)),
        _items(health.notes(found)),
        "## Health",
        table(
            ["rule", "found", "what it looks for"],
            [[e["rule"], str(len(e["evidence"])) if e["evidence"] else "no", e["words"]]
             for e in fired],
            left=2,
            words=1,
        ),
        "\n".join(item(line) for entry in fired for line in _evidence(entry)),
    ]  # fmt: skip
    parts += ["## Files", _inventory(found), _others(found)]
    if found.read:
        parts += [
            "## Missing",
            _missing(found),
            "## Parameters by component",
            _components(found),
            "## Weights",
            _evolution(found),
            "## Extremes by name",
            _extremes(found),
            "## Drift",
            _drift(found),
            "## Not counted",
            _excluded(found),
        ]
    return blocks(*parts) + "\n"


def where(found: Inspection) -> str:
    """Where a validation history is, if any file has one."""
    there = [(row["file"], row["validation"]) for row in found.inventory if row["validation"]]
    if there:
        file, words = there[-1]
        return f"look in {file} under {words}."
    beside = {row["holds"].get("history", "") for row in found.read} - {""}
    if beside:
        return f"no file holds one with validation scores; look at {listing(sorted(beside))}."
    return "no file here holds one."


def _evidence(entry: dict) -> Iterator[str]:
    lines = entry["evidence"]
    yield from (f"{entry['rule']}: {line}" for line in lines[:MOST])
    if len(lines) > MOST:
        yield f"{entry['rule']}: {len(lines) - MOST} more."


def _inventory(found: Inspection) -> str:
    rows = []
    for row in found.inventory:
        at = row["step"] if row["step"] is not None else None
        epoch = f"epoch {row['epoch']}" if at is None and row["epoch"] is not None else "-"
        rows.append(
            [
                row["file"],
                row["status"],
                f"`{row['sha256']}`" if row["sha256"] else "-",
                count(at) if at is not None else epoch,
                row["step_from"] or "-",
                size(row["file_bytes"]),
                size(row["tensor_bytes"]),
                count(row["elements"]),
                listing(sorted(row["dtypes"])) or "-",
            ]
        )
    head = ["file", "status", "SHA-256", "step", "step from", "size", "weights", "numbers"]
    shown = table([*head, "dtypes"], rows[:MOST_ROWS], left=3, words=1)
    return blocks(shown, _more(len(rows) - MOST_ROWS, "files", "inventory.csv"))


def _more(hidden: int, what: str, file: str) -> str:
    """Where the rest of a long table is."""
    return text(f"{hidden} more {what} are in {file} (--format csv --out DIR).") * (hidden > 0)


def _items(lines: Iterable[str]) -> str:
    """A list that is not longer than can be read."""
    found = list(lines)
    rest = [f"{len(found) - MOST_ROWS} more like these."] if len(found) > MOST_ROWS else []
    return "\n".join(item(line) for line in found[:MOST_ROWS] + rest)


def _others(found: Inspection) -> str:
    lines = [
        f"{row['file']}: {row['status']}, {row['reason']}."
        for row in found.inventory
        if row["status"] != "read"
    ]
    for row in found.read:
        rest = row["file_bytes"] - row["tensor_bytes"]
        if row["copies"]:
            lines.append(f"{row['file']} holds further weights that are not examined: "
                         f"{', '.join(row['copies'])}.")  # fmt: skip
        if rest < 0:
            lines.append(f"{row['file']} is smaller than the weights it claims to hold.")
    if found.read:
        last = found.read[-1]
        kept = ", ".join(f"{count(n)} {dtype}" for dtype, n in sorted(last["dtypes"].items()))
        rest = max(0, last["file_bytes"] - last["tensor_bytes"])
        lines.append(
            f"Size: {last['file']} has {kept}, {size(last['tensor_bytes'])} of "
            f"{size(last['file_bytes'])}; the rest, {size(rest)}, is everything else in it. All in "
            f"float32 the numbers would take {size(4 * last['elements'])}."
        )
    return _items(lines)


def _missing(found: Inspection) -> str:
    kinds: dict[tuple, list[str]] = {}
    for row in found.read:
        kinds.setdefault(tuple(row["holds"].items()), []).append(row["file"])
    parts = []
    for holds, names in kinds.items():
        lacking = contents.missing(dict(holds))
        who = "All files" if len(kinds) == 1 else listing(names, 3)
        said = ", ".join(lacking) if lacking else "nothing"
        parts.append(text(f"{who}: missing {said}."))
    if len(kinds) == 1:
        rows = [[name, place or "MISSING"] for name, place in next(iter(kinds))]
        parts.append(table(["what", "where"], rows, words=1))
    step = {row["step_from"] for row in found.read}
    if step == {"file name"}:
        parts.append(text("The step is known from the files' names alone."))
    return blocks(*parts)


def _components(found: Inspection) -> str:
    parts = []
    structures = list(dict.fromkeys(row["structure"] for row in found.components))
    for structure in structures[:MOST_SERIES]:
        rows = [c for c in found.components if c["structure"] == structure]
        rows = sorted(rows, key=lambda c: -c["parameters"])
        total = sum(c["parameters"] for c in rows)
        shown = [
            [
                c["component"],
                count(c["parameters"]),
                "-" if c["share"] is None else f"{100 * c['share']:.1f} %",
                count(c["constants"]),
                count(c["buffers"]),
                str(c["tensors"]),
            ]
            for c in rows
        ]
        others = [count(sum(c[key] for c in rows)) for key in ("constants", "buffers", "tensors")]
        shown.append(["all", count(total), "100 %" if total else "-", *others])
        files = [row["file"] for row in found.read if row["structure"] == structure]
        parts += [
            text(f"{listing(files, 3)}:") if len(structures) > 1 else "",
            table(["component", "parameters", "share", "constants", "buffers", "tensors"], shown),
        ]
    rest = _more(len(structures) - MOST_SERIES, "sets of names and shapes", "components.csv")
    return blocks(*parts, rest)


def _evolution(found: Inspection) -> str:
    rows = [
        [
            row["file"], _step(row["step"]), number(row["mean"]), number(row["std"]),
            number(row["abs_mean"]), number(row["l2"]), f"{100 * row['zeros']:.2f} %",
        ]
        for row in found.evolution
    ]  # fmt: skip
    head = ["file", "step", "mean", "std", "mean of |w|", "norm", "zeros"]
    note = (
        "Over all trained numbers of a file, each weighing the same; buffers, constants and tied "
        "copies are left out. Standard deviations divide by n; zeros are exact."
    )
    if not rows:
        return "No trained tensor."
    rest = _more(len(rows) - MOST_ROWS, "files", "evolution.csv")
    return blocks(table(head, rows[:MOST_ROWS]), rest, text(note))


def _extremes(found: Inspection) -> str:
    ends = [
        [
            row["file"], f"{row['minimum']:.6g}", row["minimum_tensor"],
            f"{row['maximum']:.6g}", row["maximum_tensor"],
        ]
        for row in found.evolution
    ]  # fmt: skip
    head = ["file", "min", "in tensor", "max", "in tensor"]
    parts = [table(head, ends[:MOST_ROWS])] if ends else []
    parts.append(_more(len(ends) - MOST_ROWS, "files", "evolution.csv"))
    for rows in list(found.series.values())[:MOST_SERIES]:
        last = rows[-1]["file"]
        own = sorted(trained(found, last), key=lambda t: -max(abs(t["minimum"]), abs(t["maximum"])))
        shown = [
            [
                t["tensor"], t["dtype"], str(t["shape"]), number(t["minimum"]),
                number(t["maximum"]), number(t["mean"]), number(t["std"]),
                f"{100 * t['zeros'] / t['elements']:.2f} %",
            ]
            for t in own[:MOST]
        ]  # fmt: skip
        if shown:
            head = ["tensor", "dtype", "shape", "min", "max", "mean", "std", "zeros"]
            rest = len(own) - len(shown)
            more = (
                f"Tensors with smaller extremes, {rest} of them, are in tensors.csv."
                if rest
                else ""
            )
            parts += [text(f"{last}, the largest first:"), table(head, shown, left=3), text(more)]
    rest = _more(len(found.series) - MOST_SERIES, "trainings", "tensors.csv")
    return blocks(*parts, rest) or "No trained tensor."


def _drift(found: Inspection) -> str:
    parts = []
    moved = list(dict.fromkeys(row["series"] for row in found.drift))
    for series in moved[:MOST_SERIES]:
        rows = [row for row in found.drift if row["series"] == series]
        whole = [row for row in rows if row["component"] == ALL]
        shown = [
            [
                f"{_step(r['first_step'])} to {_step(r['second_step'])}"
                if r["first_step"] is not None
                else f"{r['first']} to {r['second']}",
                number(r["l2_change"]), number(r["relative"]), number(r["per_1000_steps"]),
                number(r["cosine"]),
            ]
            for r in whole
        ]  # fmt: skip
        head = ["from", "norm of change", "relative", "per 1,000 steps", "cosine"]
        names = list(dict.fromkeys(r["component"] for r in rows if r["component"] != ALL))
        by = {(r["first"], r["component"]): r["per_1000_steps"] for r in rows}
        apart = [
            [name, *(number(by.get((r["first"], name))) for r in whole)] for name in names[:MOST]
        ]
        titles = [line[0] for line in shown]
        rates = [r["per_1000_steps"] for r in whole]
        said = health.course(rates) if None not in rates else ""
        parts += [
            text(f"{series}:") if series else "",
            table(head, shown),
            text(f"{said[:1].upper()}{said[1:]}." if said else ""),
            text("The same by component, per 1,000 steps:") if len(names) > 1 else "",
            table(["component", *titles], apart) if len(names) > 1 else "",
        ]
    rest = _more(len(moved) - MOST_SERIES, "trainings", "drift.csv")
    return blocks(*parts, rest, text(RATES)) if parts else "Fewer than two files to compare."


def _excluded(found: Inspection) -> str:
    seen: dict[tuple, set[str]] = {}
    for row in found.tensors:
        if row["kind"] != "parameter":
            alike = row["tensor"], row["kind"], row["elements"], row["because"]
            seen.setdefault(alike, set()).add(row["series"])
    rows = [
        [name, kind, count(elements), f"{len(where)} of {len(found.series)}", because]
        for (name, kind, elements, because), where in seen.items()
    ]
    note = (
        "A file of weights does not say which tensors are trained. A tensor counts as a buffer by "
        "its dtype or its name, and as a constant where its bits are the same in all files of "
        "more than one; everything else counts as trained. An optimiser in the file is held "
        "against that number."
    )
    if any(len(rows) == 1 for rows in found.series.values()):
        note += " With one file of a series, constants cannot be told from what is trained."
    header = ["tensor", "kind", "numbers", "in trainings", "how it was decided"]
    shown = table(header, rows[: 4 * MOST], 2, 1)
    more = _more(len(rows) - 4 * MOST, "tensors", "tensors.csv")
    return blocks(shown if rows else "Every tensor counts as trained.", more, text(note))


def _step(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
