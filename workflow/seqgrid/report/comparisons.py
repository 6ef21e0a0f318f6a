"""The section of a report on declared comparisons."""

from collections import Counter
from math import isinf

from seqgrid import thresholds
from seqgrid.analysis.groups import short
from seqgrid.metric_names import SOLVED, STEPS
from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, code, interval, item, listing, number, table, text

EXAMPLE = (
    "compare:",
    "  lstm_or_gru:",
    "    a: lstm",
    "    b: gru",
    "    on: {task: mqar, seqlen: [64, 128]}",
    "    margin: 0.02",
)
TIMES = (
    " Steps to solve are compared by log-rank, whose p-value is exact over exchanges of the sides "
    "within pairs; a run that has not solved the task counts as taking longer than it lasted (>)."
)
RATES = (
    " Success rates (solved) are compared by McNemar's exact test, of the seeds that one side "
    "alone solves; their difference is that of the shares of seeds, with the score interval of "
    "Tango, whose coverage is nominal."
)
MOST_SEEDS = 12  # values that are written out


def comparisons(content: Content) -> str:
    """Every declared comparison: a table, then what each row says and rests on."""
    rows = content.comparisons
    if not rows:
        return blocks(
            text(
                "The study declares no comparison, and this report compares nothing by itself.",
                "One is declared in the study's file, such as",
            ),
            code(*EXAMPLE),
        )
    names = dict.fromkeys(row["comparison"] for row in rows)
    counts = Counter(row["outcome"] for row in rows)
    said = ", ".join(f"{outcome} {n}" for outcome, n in counts.most_common())
    confidence = thresholds.of(content.about).confidence
    correction = next((row["correction"] for row in rows if row["correction"]), None)
    header = [
        *("comparison", "place", "pairs", "a - b", "interval", "p corrected"),
        *("effect", "P(a beats b)", "outcome"),
    ]
    rules = text(
        "A difference is claimed only of pairs of ended runs of the same seed, by a sign test",
        f"whose p-value, corrected, is at most {1 - confidence:.2g}, with equal budgets, the same",
        "metric and test set, no failed control, and no larger losses in other seeds that outweigh",
        "it. The difference is the median of those of the seeds; its interval excludes zero",
        "exactly where the test rejects, if it reaches the coverage asked for; that of each stands",
        "beside it. Over all places a seed counts once, as its runs share data and initial",
        "weights. The interval of P(a beats b) is of",
        f"{100 * confidence:.4g} %, not corrected for their number, and decides nothing."
        + (TIMES if any(row["metric"] == STEPS for row in rows) else "")
        + (RATES if any(row["metric"] == SOLVED for row in rows) else "")
        + (
            f" Corrected for all tests of the study: {correction}; each row with pairs is one, and "
            "one more, of equivalence, where a margin is declared."
            if correction
            else ""
        ),
    )
    return blocks(
        text(f"Comparisons: {len(names)}, in {len(rows)} rows: {said}."),
        rules,
        table(header, [_row(row) for row in rows], left=2, words=1),
        *(_said(name, [r for r in rows if r["comparison"] == name]) for name in names),
    )


def place(row: dict) -> str:
    """Where a row of `comparisons` is from."""
    if row["task"] is None:
        if row["seeds"] is None:
            return "none"
        many, of = row["places"], row["places_asked"]
        which = "all places" if many == of else f"{many} of {of} places"
        return f"{which} ({row['metric']})"
    at = row["evaluated_seqlen_tokens"]
    beyond = f", tested at {at}" if at != row["seqlen_tokens"] else ""
    other = f", {row['test_set']}" if row["test_set"] else ""
    return f"{row['task']} at {row['seqlen_tokens']}{beyond}{other}"


def _row(row: dict) -> list[str]:
    effect = "-" if row["effect_size"] is None else f"{row['effect_size']:.3g}"
    return [
        row["comparison"],
        place(row),
        f"{row['pairs'] or 0}" + (f" (+{row['unpaired']} unpaired)" if row["unpaired"] else ""),
        marks.added(number(row["difference"]), marks.of(not row["missing"], stale(row))),
        _interval(row),
        "-" if row["p_corrected"] is None else f"{row['p_corrected']:.3g}",
        effect,
        _improvement(row),
        row["outcome"],
    ]


def stale(row: dict) -> bool:
    """Whether sources behind a row of `comparisons` have changed, as it says itself."""
    return "have changed since" in row["statement"]


def _interval(row: dict) -> str:
    ends = interval(row["low"], row["high"])
    return "-" if row["coverage"] is None or ends == "-" else f"{ends} ({row['coverage']:.1%})"


def _improvement(row: dict) -> str:
    if row["improvement"] is None:
        return "-"
    if row["improvement_low"] is None:
        return f"{row['improvement']:.2f}"
    ends = f"{row['improvement_low']:.2f} to {row['improvement_high']:.2f}"
    return f"{row['improvement']:.2f} ({ends})"


def _said(name: str, rows: list[dict]) -> str:
    """What a comparison came to, place by place, with the values behind it."""
    first = rows[0]
    margin = "" if first["margin"] is None else f", margin {number(first['margin'])}"
    about = f"; {first['metric']}{margin}" if first["metric"] else ""
    head = f"**{name}**: a is {first['a']}, b is {first['b']}{about}."
    alike: dict[tuple[str, str], list[dict]] = {}
    for row in rows:  # at several places one sentence may hold
        alike.setdefault((row["outcome"], row["statement"]), []).append(row)
    lines = [
        item(
            f"{'; '.join(map(place, found))}: **{outcome}**: {statement}.",
            _values(found),
            _waits(found),
        )
        for (outcome, statement), found in alike.items()
    ]
    unequal: dict[str, list[str]] = {}
    for row in rows:
        for line in row["unequal"] if row["task"] is not None else ():
            unequal.setdefault(line, []).append(place(row))
    what = [
        item(line if len(unequal_at) == len(rows) else f"{line} ({listing(unequal_at, 3)})")
        for line, unequal_at in unequal.items()
    ]
    others = blocks("What the sides do not share besides:", "\n".join(what)) if what else ""
    return blocks(text(head), "\n".join(lines), others)


def _values(rows: list[dict]) -> str:
    """The difference of each seed, in as few words as can be."""
    told = []
    for row in rows:
        by_seed = zip(row["seeds"], row["differences"], strict=True) if row["differences"] else ()
        shown = [f"{seed}: {_signed(value)}" for seed, value in by_seed]
        where = f" ({place(row)})" if len(rows) > 1 else ""
        told += [f"a - b by seed{where}: {listing(shown, MOST_SEEDS)}."] if shown else []
    return " ".join(told)


def _signed(value: float) -> str:
    if isinf(value):
        return "-inf" if value < 0 else "+inf"
    return f"{'+' if value > 0 else ''}{short(value)}"


def _waits(rows: list[dict]) -> str:
    missing = list(dict.fromkeys(path for row in rows for path in row["missing"] or ()))
    cells = "cell" if len(missing) == 1 else "cells"
    return f"{len(missing)} {cells} to come, such as {missing[0]}." if missing else ""
