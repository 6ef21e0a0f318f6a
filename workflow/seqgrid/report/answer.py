"""The answer of a report: one paragraph to quote, then what was found task by task."""

from collections import Counter, defaultdict

from seqgrid import thresholds
from seqgrid.analysis import ledger
from seqgrid.analysis.selection import NO_SELECTION
from seqgrid.metric_names import SOLVED, SOLVING
from seqgrid.report import bytask, checks, comparisons, cost, reported
from seqgrid.report.bytask import SURELY, can_exist, judged_rows
from seqgrid.report.content import HEADLINES, Content
from seqgrid.report.coverage import INVALID
from seqgrid.report.markdown import blocks, free, interval, listing, number, plural, text

STALENESS = {
    "stale": "trained by sources that have changed since",
    "evaluation_stale": "evaluated by sources that have changed since",
    "mixed": "whose parts were trained by different sources",
    "reused": "reused, trained by another study or for another run",
}
EVERY, SOME, OPEN = "SOLVED by every seed", "SOLVED by some seeds", "without a statement yet"
NOT_ALL, NONE = ", not all surely", ", none surely"  # beyond the solved level
DOUBTED = "on tasks whose control failed, of which nothing is said"
PRELIMINARY = "selected before all of their variants have ended"
UNSELECTED = "with several variants and none selected, as finished ones have no validation"
ABOVE = "ABOVE chance or a shortcut, of which no more is said"
# Headlines that say nothing about quality.
UNSTABLE = "UNSTABLE ACROSS SEEDS"
SILENT = (UNSTABLE, "DIVERGED", "FAILED", "PARTIAL", "NO STATEMENT")
UNPROVEN = "that its study calls finished, without a valid test result"
UNTOLD = "CANNOT BE TOLD"
MOST_NAMES = 4
MOST_SHOWN = 5  # comparisons and claims named

Places = list[tuple[str, str, int | None]]  # model, task and length, or None for all lengths


def answer(content: Content) -> str:
    """What a reader may quote: coverage, findings, declared statements, limits, cost."""
    about = ledger.coverage(content.cells)
    sentences = [*_imported(content), *_covered(content, about)]
    if not about["done"]:
        sentences.append(
            "No run has a final value; values reported without seeds, under Results: "
            f"{len(content.reported)}."
            if content.reported
            else "There is no final value, so nothing can be said about any model."
        )
    if about["done"] or content.reported:
        sentences += [*_found(content), *_courses(content)]
        sentences += [*_compared(content), *_claimed(content)]
    sentences += [*checks.said(content), *_limits(content), *filter(None, [cost.said(content)])]
    return blocks(
        text(*sentences), checks.failed(content), bytask.tasks(content) if about["done"] else ""
    )


def _imported(content: Content) -> list[str]:
    if not content.about.get("imported"):
        return []
    where = (content.about.get("origin") or {}).get("where") or "tables"
    return [f"Run elsewhere and imported from {free(where)}."]


def _covered(content: Content, about: dict) -> list[str]:
    words = {INVALID: UNPROVEN} if content.about.get("imported") else {}
    states = ", ".join(f"{n} {words.get(state, state)}" for state, n in about["open"].items())
    found = [
        f"{about['done']} of {about['possible']} cells have finished and are evaluated"
        + (f"; open: {states}" if states else "")
        + (f"; {about['skipped']} more cannot exist and were skipped." if about["skipped"] else ".")
    ]
    return found + [f"Cells {words}: {about[k]}." for k, words in STALENESS.items() if about[k]]


def _places(content: Content) -> list[dict]:
    """The settings that can exist: a model on a task at a training length, as selected."""
    rows = [row for task in content.tasks for row in judged_rows(content.rows(task))]
    return [row for row in rows if can_exist(row)]


def _found(content: Content) -> list[str]:
    """How many settings stand where, and which models; aggregated, so that it stays short."""
    where: dict[str, Places] = defaultdict(list)
    for row in _places(content):
        where[_standing(content, row)].append((row["model"], row["task"], row["seqlen_tokens"]))
    lines = []
    if known := {name: found for name, found in where.items() if name != OPEN or len(where) > 1}:
        settings = plural(sum(map(len, where.values())), "setting")
        opening = f"Of {settings}, each a model on a task at a training length, there are:"
        every = [place for places in where.values() for place in places]
        lines.append(f"{opening} {_aggregated(known, every)}.")
    said: dict[str, Places] = defaultdict(list)
    values = _reported(content)
    for (model, task, _, seqlen, *_), names in values.items():
        name = min(names, key=HEADLINES.index)
        said[ABOVE if name == "ABOVE" else name].append((model, task, seqlen))
    if said:
        lines.append(
            f"Of {len(values)} values reported without seeds and judged by a rule: "
            f"{_aggregated(said, [place for places in said.values() for place in places])}."
        )
    return lines


def _reported(content: Content) -> dict[tuple, set[str]]:
    """Verdicts that say something of quality, by the value without seeds that they are about."""
    found: dict[tuple, set[str]] = defaultdict(set)
    for value, verdict in reported.judged(content):
        if verdict["verdict"] in HEADLINES:
            found[value].add(verdict["verdict"])
    return found


def _courses(content: Content) -> list[str]:
    """How scores go along with length, by the rule's outcome."""
    found: dict[str, Places] = defaultdict(list)
    for row in content.scaling:
        place = row["model"], row["task"], None
        # One for each model and task, though a course may be told of several metrics.
        if row["outcome"] != UNTOLD and place not in found[row["outcome"]]:
            found[row["outcome"]].append(place)
    found = {outcome: places for outcome, places in found.items() if places}
    return [f"Along training lengths: {_aggregated(found, [])}."] if found else []


def _aggregated(where: dict[str, Places], every: Places) -> str:
    """`3 NAME (a on t, b on t at 16)`; models with counts, most first, where there are many.

    every: all places there are; the lengths are named where they are not all of a model and task.
    """
    said = []
    for name in sorted(where, key=_rank):
        at: dict[tuple[str, str], list[int | None]] = defaultdict(list)
        for model, task, seqlen in where[name]:
            at[model, task].append(seqlen)
        pairs = [
            f"{model} on {task}{_lengths(found, [p for p in every if p[:2] == (model, task)])}"
            for (model, task), found in at.items()
        ]
        models = Counter(model for model, *_ in where[name]).most_common()
        several = any(n > 1 for _, n in models)
        short = [f"{model} {n}" if several else model for model, n in models]
        names = pairs if len(pairs) <= MOST_NAMES else short
        said.append(f"{len(where[name])} {name} ({listing(names, MOST_NAMES)})")
    return "; ".join(said)


def _lengths(found: list[int | None], every: Places) -> str:
    known = [str(seqlen) for seqlen in found if seqlen is not None]
    return f" at {', '.join(known)}" if known and len(known) < len(every) else ""


def _standing(content: Content, row: dict) -> str:
    found = {verdict["verdict"] for verdict in content.verdicts_of(row)}
    if "CONTROL FAILED" in found:
        return DOUBTED
    if NO_SELECTION in found:
        return UNSELECTED
    if "PRELIMINARY SELECTION" in found:
        return PRELIMINARY
    label, _ = content.headline(row)
    name = next((n for n in HEADLINES if label.startswith(n)), "NO STATEMENT")
    if name == "SOLVED":
        said = EVERY if row["successes"] == row["asked"] - row["skipped"] else SOME
        return said + ("" if SURELY not in label else NONE if f"(0 {SURELY}" in label else NOT_ALL)
    return ABOVE if name == "ABOVE" else OPEN if name in SILENT else name


def _rank(name: str) -> tuple[int, str]:
    order = [
        *(f"{n}{m}" for n in (EVERY, SOME) for m in ("", NOT_ALL, NONE)),
        *HEADLINES,
        ABOVE,
        OPEN,
        PRELIMINARY,
        UNSELECTED,
        DOUBTED,
    ]
    return (order.index(name) if name in order else len(order)), name


def _compared(content: Content) -> list[str]:
    """The declared comparisons: counts of outcomes, and those that show a difference."""
    rows = [row for row in content.comparisons if row["task"] is not None] or content.comparisons
    if not rows:
        return ["No comparison was declared, so none is made."]
    outcomes = Counter(row["outcome"] for row in rows)
    counts = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    names = len({row["comparison"] for row in rows})
    shown = [
        f"{row['a']} against {row['b']}{_at(row)} ({row['metric']}): {row['outcome']}{_size(row)}"
        for row in rows
        if row["outcome"] in ("A BETTER", "B BETTER", "NO DIFFERENCE")
    ]
    ending = f" ({listing(shown, MOST_SHOWN)})" if shown else ""
    at = plural(len(rows), "place")
    return [f"Comparisons declared: {names}, at {at}: {counts}{ending}; no other is made."]


def _size(row: dict) -> str:
    """The median difference of a comparison with its interval; of steps there may be none."""
    if row["difference"] is None:
        return f", {row['pairs']} pairs"
    what = "difference of rates" if row["metric"] == SOLVED else "median difference"
    size = f"{what} {number(row['difference'])}"
    if row["low"] is not None or row["high"] is not None:
        size += f" {interval(row['low'], row['high'])}"
    unstable = row["metric"] not in SOLVING and UNSTABLE in row["statement"]
    caveat = f", a side {UNSTABLE}" if unstable else ""
    since = ", of values whose sources have changed since" if comparisons.stale(row) else ""
    return f", {size}, {row['pairs']} pairs{caveat}{since}"


def _at(row: dict) -> str:
    return "" if row["task"] is None else f" on {row['task']} at {row['seqlen_tokens']}"


def _claimed(content: Content) -> list[str]:
    """The claims: counts, and each that is supported or refuted."""
    if not content.claims:
        return []
    found = defaultdict(list)
    for row in content.claims:
        since = " from values whose sources have changed since" if row["stale"] else ""
        found[row["status"]].append(f'"{free(row["statement"].rstrip("."))}"{since}')
    said = [
        f"{len(found[status])} {status}"
        + (f" ({listing(found[status], MOST_SHOWN)})" if named and found[status] else "")
        for status, named in (("supported", True), ("refuted", True), ("not testable yet", False))
    ]
    return [f"Of {plural(len(content.claims), 'claim')}, {', '.join(said)}."]


def _limits(content: Content) -> list[str]:
    """What must not be concluded, and why."""
    about = thresholds.of(content.about)
    found = defaultdict(list)
    for verdict in content.verdicts:
        if verdict["scope"] == "group" and not verdict["selected"]:
            continue
        place = verdict["model"], verdict["task"], verdict["seqlen_tokens"]
        if place not in found[verdict["verdict"]]:
            found[verdict["verdict"]].append(place)
    said = []
    if failed := found["CONTROL FAILED"]:
        tasks = listing(list(dict.fromkeys(task for _, task, _ in failed)))
        said.append(f"anything about {tasks}, whose control failed")
    if useless := found["UNLEARNABLE AS SCORED"]:
        tasks = listing(list(dict.fromkeys(task for _, task, _ in useless)))
        said.append(f"anything from the scores on {tasks}, whose ceiling is chance")
    if few := found["TOO FEW SEEDS"]:
        said.append(
            f"anything general from fewer than {about.enough_seeds} final seeds "
            f"({len(few)} of {len(_places(content))} settings)"
        )
    for name, where in (
        ("SINGLE LR", "only one learning rate was tried"),
        ("LR UNKNOWN", "no table names the learning rates that were tried"),
    ):
        if models := [m for m in content.models if m in {model for model, _, _ in found[name]}]:
            said.append(
                f"that a model cannot learn a task, where {where} ({listing(models, MOST_NAMES)})"
            )
    return [f"Not to be concluded: {'; '.join(said)}."] if said else []
