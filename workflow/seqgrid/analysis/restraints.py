"""What holds a claim of a comparison back, whatever its pairs show."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from seqgrid.analysis import stats
from seqgrid.analysis.groups import short
from seqgrid.analysis.paired import Judged, Paired, compare
from seqgrid.analysis.pairs import pairs
from seqgrid.analysis.sides import Side
from seqgrid.metric_names import SOLVED, SOLVING, UNIT

OPPOSITE = {"A BETTER": -1, "B BETTER": 1}


class Shared(NamedTuple):
    """Examples that the seeds have in common.

    noise: standard error of a difference over those of the test, in the unit of the metric; None
        where it is not known.
    """

    words: str
    noise: float | None


def too_wide(margin: float | None, sides: Sequence[Side], metric: str, share: float) -> str:
    """Why a margin is none: it is as wide as much of what the task can show; '' where it is not.

    share: of the span from chance to the ceiling; a metric whose span is not known is taken to
    span 0 to 1 where it lies in there, and any margin will do elsewhere.
    """
    if margin is None:
        return ""
    rows = [m.row for side in sides for m in side.members if m.row]
    known = [
        (abs(r["ceiling"] - r["chance"]), f"{short(r['chance'])} to {short(r['ceiling'])}")
        for r in rows
        if metric not in SOLVING and None not in (r["chance"], r["ceiling"])
    ]
    span, ends = min(known, default=(1.0, "0 to 1"))
    most = span if metric == SOLVED else share * span
    if not (known or metric in UNIT) or margin < most:
        return ""
    of = f"{100 * share:.4g} % of " if most < span else ""
    return (
        f"the margin {short(margin)} is as wide as {of}what there is to show ({ends}), so "
        "equivalence is not tested"
    )


def sharing(sides: Sequence[Side], imported: bool) -> str:
    """How seeds have the same examples, which makes pairs dependent; '' where each has its own.

    imported: whether the study was run elsewhere, where many seeds often have one test set.
    """
    found = set()
    for cell in (cell for side in sides for m in side.members for cell in m.cells):
        training = json.loads(cell["settings"] or "{}").get("training") or {}
        found.add(training.get("data_seed", "unknown" if imported else None))
    given = [seed for seed in found if isinstance(seed, int)]
    if given:
        words = f"all seeds share their examples (data_seed {' and '.join(map(str, given))})"
    elif "unknown" in found:
        words = "whether all seeds share their test examples is not recorded"
    else:
        return ""
    return f"{words}, so that pairs may not be independent"


def one_start(sides: Sequence[Side]) -> str:
    """That seeds start from the same weights, which their spread does not contain; '' else."""
    given: dict[int, set[int]] = {}
    for cell in (cell for side in sides for m in side.members for cell in m.cells):
        training = json.loads(cell["settings"] or "{}").get("training") or {}
        if (seed := training.get("init_seed")) is not None:
            given.setdefault(seed, set()).add(cell["seed"])
    if not any(len(seeds) > 1 for seeds in given.values()):
        return ""
    return (
        f"all seeds start from one initialisation (init_seed {' and '.join(map(str, given))}), "
        "which their spread does not contain: a difference is known to hold for it only"
    )


def exceeded(shared: Shared, found: Paired, judged: Judged) -> bool:
    """Whether a difference is beyond what one test set for all seeds makes by chance.

    The interval over seeds holds for these examples; it must lie as far from zero as examples can
    move both sides, at the same level.
    """
    if not shared.noise or judged.outcome not in OPPOSITE:
        return False
    reach = stats.simultaneous_z(1, judged.coverage) * shared.noise
    interval = judged.interval
    return bool(interval.coverage) and (interval.low > reach or interval.high < -reach)


def members(a: Side, b: Side, better: str, margin: float | None) -> Iterator[tuple[str, Paired]]:
    """Each model of a group against the other side: what is tested, and the pairs."""
    for side in (a, b):
        for member in side.members if len(side.members) > 1 else ():
            one = Side(member.model, (member,))
            found = pairs(*((one, b) if side is a else (a, one)), better)
            differences = list(found.differences.values())
            names = (one.words, b.words) if side is a else (a.words, one.words)
            yield " against ".join(names), compare(differences, better, margin, len(found.waiting))


def contradicting(each: Sequence[tuple[str, Paired]], outcome: str, level: float) -> list[str]:
    """What stands against the mean of a group: models of it that say the opposite by themselves.

    level: a p-value of one model, which is not corrected as nothing is claimed of it.
    """
    if outcome not in (*OPPOSITE, "NO DIFFERENCE"):
        return []
    said = []
    for words, found in each:
        way = found.favours * (1 if found.better == "higher" else -1)
        wrong = way == OPPOSITE[outcome] if outcome in OPPOSITE else way != 0
        near = outcome not in OPPOSITE and (found.p_equivalent or 0.0) <= level
        if found.p_value <= level and wrong and not near:
            said.append(f"{words} is {'A' if way > 0 else 'B'} BETTER (p {short(found.p_value)})")
    words = "models of the group contradict its mean, which stands for none of them"
    return [f"{words}: {'; '.join(said)}"] if said else []
