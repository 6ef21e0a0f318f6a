"""The list under the answer of a report: what was found task by task."""

from collections import defaultdict
from collections.abc import Collection

from seqgrid.analysis.selection import NO_SELECTION
from seqgrid.report.content import CAVEATS, HEADLINES, Content
from seqgrid.report.markdown import blocks, item, text

SURELY = "surely)"  # in the label of SOLVED, where an interval holds the solved level
EXPLAINED = (
    "SOLVED k/n (m surely): of the k seeds at the solved level m lie beyond it by more than test "
    "noise; all k do where no such number stands."
)


def tasks(content: Content) -> str:
    """What was found task by task; a caveat that all share is said once."""
    found: dict[str, list[dict]] = {}
    for task in content.tasks:
        found[f"**{task}**"] = content.rows(task)
        for name in content.test_sets(task):
            rows = content.rows(task, test_set=name)
            if any(row["final"] for row in rows):
                found[f"**{task}**, test set {name}"] = rows
    found = {title: judged_rows(rows) for title, rows in found.items()}
    everywhere = _shared(content, [row for rows in found.values() for row in rows])
    lines = []
    for title, rows in found.items():
        if not rows:
            continue
        here = {n: c for n, c in _shared(content, rows).items() if n not in everywhere}
        shared = f", all {'; '.join(here.values())}" if here else ""
        left_out = everywhere.keys() | here.keys()
        lines.append(item(f"{title}{shared}.", *_headlines(content, rows, left_out)))
    said = ""
    if everywhere:
        skipped = any(not can_exist(row) for rows in found.values() for row in rows)
        apart = " but what was skipped" if skipped else ""
        said = f"All{apart} have in common: {'; '.join(everywhere.values())}."
    note = text(
        "Task by task, with training lengths in tokens and weights best on validation; the rules "
        "stand under Verdict rules.",
        said,
        EXPLAINED if any(SURELY in line for line in lines) else "",
    )
    return blocks(note, "\n".join(lines))


def judged_rows(rows: list[dict]) -> list[dict]:
    """The rows that models are judged by; of one without a selected variant, its first."""
    places: dict[tuple, list[dict]] = defaultdict(list)
    for row in rows:
        place = ("model", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set")
        places[tuple(row[name] for name in place)].append(row)
    return [
        row for here in places.values() for row in ([r for r in here if r["selected"]] or here[:1])
    ]


def can_exist(row: dict) -> bool:
    """Whether any cell of a row of `summary` can exist."""
    return bool(row["asked"] > row["skipped"])


def _shared(content: Content, rows: list[dict]) -> dict[str, str]:
    """The caveats that all rows which can exist have, by rule: their label where it is one."""
    each = [_caveats(content, row) for row in rows if can_exist(row) and row["selected"]]
    if len(each) < 2:
        return {}
    found = {}
    for name in each[0]:
        if all(name in caveats for caveats in each):
            labels = {caveats[name] for caveats in each}
            found[name] = labels.pop() if len(labels) == 1 else name
    return found


def _caveats(content: Content, row: dict) -> dict[str, str]:
    """What is said behind the headline of a row, by rule."""
    _, caveats = content.headline(row)
    return {next(n for n in CAVEATS if label.startswith(n)): label for label in caveats}


def _headlines(content: Content, rows: list[dict], left_out: Collection[str]) -> list[str]:
    """What is said first of each row, models and lengths with the same headline together.

    left_out: caveats that are said elsewhere.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row["selected"]:
            found[NO_SELECTION][row["model"]].append(str(row["seqlen_tokens"]))
            continue
        headline, _ = content.headline(row)
        caveats = [c for n, c in _caveats(content, row).items() if n not in left_out]
        note = f" ({'; '.join(caveats)})" if caveats else ""
        found[headline][row["model"]].append(f"{row['seqlen_tokens']}{note}")
    said = []
    for label, models in sorted(found.items(), key=lambda pair: _headline_rank(pair[0])):
        alike: dict[str, list[str]] = defaultdict(list)
        for model, at in models.items():
            alike[", ".join(at)].append(model)
        said.append(
            f"{label}: " + "; ".join(f"{', '.join(who)} at {at}" for at, who in alike.items()) + "."
        )
    return said


def _headline_rank(label: str) -> tuple[int, tuple[int, ...]]:
    names = [i for i, name in enumerate(HEADLINES) if label.startswith(name)]
    # Within one verdict the larger share comes first: 3/3 before 1/3.
    return (names or [len(HEADLINES)])[0], tuple(-ord(c) for c in label)
