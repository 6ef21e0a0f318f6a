"""What a comparison says, in words."""

from math import isfinite

from seqgrid.analysis.groups import short
from seqgrid.analysis.paired import Judged, Paired
from seqgrid.analysis.sides import Side
from seqgrid.metric_names import SOLVED, SOLVING, STEPS

MOST = 3  # seeds that are named one by one


def statement(
    row: dict, paired: Paired | None, judged: Judged | None, single: str, notes: list[str]
) -> str:
    """The sentence of a row of `comparisons`."""
    outcome = row["outcome"]
    if judged is None or paired is None:
        return _join("; ".join(row["blockers"]), single, *notes)
    blocked = "; ".join(row["blockers"])
    if outcome == "NOT COMPARABLE":
        said = blocked
    elif single:
        said = _join(single, blocked)
    elif outcome == "TOO FEW PAIRS":
        said = _join(
            f"{_pairs(paired.asked)} can give no p below {short(paired.least)}: for "
            f"{judged.tests} {_tests(judged.tests)} {judged.pairs_needed} are needed",
            _signs(row, paired),
            blocked,
        )
    elif outcome == "NOT TESTABLE YET":
        waiting = f"{paired.waiting} of {_pairs(paired.asked)} to come, which can change the answer"
        said = _join(waiting if paired.waiting else "", blocked)
    elif outcome == "NO DIFFERENCE SHOWN" and judged.outcome != outcome:
        said = f"{_held_back(row, paired, judged)}, but {blocked}: that is not claimed"
    else:
        said = _join(_found(row, paired, judged), blocked)
    return _join(said, *notes)


def _held_back(row: dict, paired: Paired, judged: Judged) -> str:
    """What the pairs alone show, where something else stands against it."""
    near = judged.outcome == "NO DIFFERENCE"
    p = (judged.p_equivalent_corrected or 0.0) if near else judged.p_corrected
    many = f"{_pairs(len(paired.differences))}, p {short(p)} after correction"
    shown = many if row["metric"] == STEPS else f"{_interval(row)}, {many}"
    what = (
        f"the pairs are closer than {short(paired.margin or 0.0)}" if near else "the pairs differ"
    )
    return f"{what} ({shown})"


def _found(row: dict, paired: Paired, judged: Judged) -> str:
    unit = row["metric"]
    many = f"{_pairs(len(paired.differences))}, p {short(judged.p_corrected)} after correction"
    if unit == SOLVED:
        return _rates(row, paired, judged)
    if unit == STEPS:
        many = f"log-rank over {many}"
        if row["outcome"] in ("A BETTER", "B BETTER"):
            sides = (row["a"], row["b"]) if row["outcome"] == "A BETTER" else (row["b"], row["a"])
            return f"{sides[0]} solves the task sooner than {sides[1]} ({many})"
        return f"no difference in steps to solve is shown ({many})"
    interval = _interval(row)
    if row["outcome"] in ("A BETTER", "B BETTER"):
        sides = (row["a"], row["b"]) if row["outcome"] == "A BETTER" else (row["b"], row["a"])
        by = f" by {short(abs(row['difference']))}" if row["difference"] is not None else ""
        within = (
            f"; a median difference of {short(paired.margin)} or more is excluded as well"
            if paired.margin is not None
            and judged.p_equivalent_corrected is not None
            and judged.p_equivalent_corrected <= 1 - row["confidence"]
            else ""
        )
        return (
            f"{sides[0]} is better than {sides[1]}{by} {unit} in the median pair "
            f"({interval}, {many}){within}"
        )
    if row["outcome"] == "NO DIFFERENCE":
        return (
            f"a median difference of {short(paired.margin or 0.0)} {unit} or more is excluded "
            f"({interval}, {_pairs(len(paired.differences))}, p "
            f"{short(judged.p_equivalent_corrected or 0.0)} after correction)"
            + (f"; within it {_signs(row, paired)}" if ahead(row) else "")
        )
    return (
        f"no difference is shown ({interval}, {many}), which does not mean that there is none; "
        f"{_signs(row, paired)}"
    )


def _rates(row: dict, paired: Paired, judged: Judged) -> str:
    p = judged.p_corrected
    if row["outcome"] == "NO DIFFERENCE":
        p = judged.p_equivalent_corrected or 0.0
    many = f"{_interval(row)}, {_pairs(len(paired.differences))}, p {short(p)} after correction"
    if row["outcome"] in ("A BETTER", "B BETTER"):
        sides = (row["a"], row["b"]) if row["outcome"] == "A BETTER" else (row["b"], row["a"])
        by = short(abs(row["difference"]))
        return (
            f"{sides[0]} solves the task in more seeds than {sides[1]}, rates {by} apart ({many})"
        )
    if row["outcome"] == "NO DIFFERENCE":
        share = short(paired.margin or 0.0)
        return f"success rates that differ by {share} or more are excluded ({many})"
    words = "no difference in success rate is shown"
    return f"{words} ({many}), which does not mean that there is none"


def ahead(row: dict) -> bool:
    """Whether the interval of a row lies on one side of zero."""
    return (row["low"] or 0.0) > 0 or (row["high"] or 0.0) < 0


def _interval(row: dict) -> str:
    ends = [
        "unbounded" if v is None or not isfinite(v) else short(v) for v in (row["low"], row["high"])
    ]
    return f"{row['coverage']:.1%} interval {ends[0]} to {ends[1]}"


def _signs(row: dict, paired: Paired) -> str:
    n = len(paired.differences)
    if not n or row["metric"] in SOLVING:
        return ""
    up = sum(d > 0 for d in paired.differences)
    down = sum(d < 0 for d in paired.differences)
    a, b = (up, down) if paired.better == "higher" else (down, up)
    tied = f", {n - a - b} tied" if a + b < n else ""
    return f"a is ahead in {a}, b in {b}{tied}"


def notes(a: Side, b: Side, named: tuple[bool, bool] = (False, False)) -> tuple[str, ...]:
    """What must be known of the sides, whatever comes out.

    named: whether a and b each name their variant.
    """
    found = []
    for name, side, chosen in zip("ab", (a, b), named, strict=True):
        if of := _and(
            {str(m.variants) for m in side.members if m.variants > 1 and not m.unselected}
        ):
            found.append(
                f"the variant of {name} was chosen by the study, of {of} that were tried"
                if chosen
                else f"the variant of {name} was selected of {of} on these seeds: its values are "
                "too high for new seeds"
            )
        if side.words.startswith("group "):
            models = ", ".join(m.model for m in side.members)
            found.append(f"{name} is the mean of {models} at each seed: it speaks for these alone")
        if any(any(m.row["stales"]) for m in side.members if m.row):
            found.append(f"sources of {name} have changed since")
    return tuple(found)


def listed(entries: list[str]) -> str:
    """Entries, those past the first few counted."""
    more = len(entries) - MOST
    return "; ".join(entries[:MOST]) + (f"; and {more} more" if more > 0 else "")


def _and(values: set[str]) -> str:
    return " and ".join(sorted(values))


def _pairs(n: int) -> str:
    return f"{n} pair{'' if n == 1 else 's'}"


def _tests(n: int) -> str:
    return f"test{'' if n == 1 else 's'}"


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
