"""What a claim rests on: a comparison, a verdict at a place, or a course over lengths."""

from math import log2

import pyarrow as pa

from seqgrid.analysis import comparison_words, expectations
from seqgrid.analysis.expectations import Places
from seqgrid.analysis.final_values import stale, to_come
from seqgrid.analysis.observed import (
    OPEN,
    REFUTED,
    SUPPORTED,
    Number,
    Observed,
    labelled,
    together,
)
from seqgrid.analysis.selection import PRELIMINARY
from seqgrid.expectation import parse
from seqgrid.statements import COURSES, Claim
from seqgrid.thresholds import Thresholds

UNTESTABLE = "NOT TESTABLE YET"
# With one of these at a place no claim on its scores is supported or refuted.
UNSOUND = ("CONTROL FAILED", "GATE FAILED", "ABOVE CEILING")
UNLEARNABLE, UNSTABLE = "UNLEARNABLE AS SCORED", "UNSTABLE ACROSS SEEDS"
NO_SCORE = ("SKIPPED", "DIVERGED")  # verdicts that rest on no score
OF_NO_SEEDS = (UNLEARNABLE, "SKIPPED")  # those that hold with however few seeds
# Verdicts that count every seed that can exist; the others look at final values alone.
OF_ALL_SEEDS = ("SOLVED", "NOT SOLVED", "DIVERGED")
# Verdicts that some seeds can show, whatever became of the others.
OF_ANY_SEEDS = (*OF_ALL_SEEDS, *OF_NO_SEEDS, UNSTABLE)
COMPATIBLE = {
    ("FLAT", "AT CEILING"),
    ("FLAT", "CEILING MOVES"),  # said only where the share is flat, or stands at its ceiling
    ("AT CEILING", "FLAT"),
    ("AT CEILING", "CEILING MOVES"),
    ("CEILING MOVES", "FLAT"),
}


class Evidence:
    """Looks up what claims rest on."""

    def __init__(
        self, read: dict[str, pa.Table], built: dict[str, pa.Table], limits: Thresholds
    ) -> None:
        self.limits = limits
        self.known = expectations.known(read, built)
        self.comparisons = built["comparisons"].to_pylist()
        self.scaling = built["scaling"].to_pylist()

    def of(self, claim: Claim) -> Observed:
        """What the claim rests on has come to."""
        if claim.compare is not None:
            return self._compared(claim)
        return self._placed(claim) if claim.place is not None else self._followed(claim)

    def _compared(self, claim: Claim) -> Observed:
        """A comparison: its row over all places, or its one place; one for each metric."""
        every = [r for r in self.comparisons if r["comparison"] == claim.compare]
        pooled = {r["metric"] for r in every if r["task"] is None}
        rows = [r for r in every if r["task"] is None or r["metric"] not in pooled]
        if not rows:
            return Observed("nothing", OPEN, "the comparison has no row")
        said = [self._outcome(claim, row) for row in rows]
        seen = Observed("; ".join(labelled(rows, "outcome")))
        seen.status = together([status for status, _ in said])
        seen.reason = "; ".join(dict.fromkeys(reason for _, reason in said))
        against = self._against(claim, seen.status, [r for r in every if r not in rows])
        if against:
            seen.status, seen.reason = OPEN, f"{seen.reason}; but {against}"
        part = [
            f"it rests on {r['places']} of {r['places_asked']} places, as the others show nothing"
            for r in rows
            if r["task"] is None and r["seeds"] is not None and r["places"] < r["places_asked"]
        ]
        if part and seen.status == SUPPORTED:
            seen.status, seen.reason = OPEN, f"{seen.reason}; but {part[0]}"
        # The interval of single runs is one over test examples, and says nothing of seeds.
        covered = [r["coverage"] if r["pairs"] > 1 else None for r in rows]
        seen.numbers = [
            Number(r["difference"], r["low"], r["high"], coverage)
            for r, coverage in zip(rows, covered, strict=True)
        ]
        # A row that is not testable with no cell missing waits for rivals of its variants.
        barred = [r["outcome"] for r in rows if r["outcome"] in ("NOT COMPARABLE", UNTESTABLE)]
        barred += ["cells are to come" for r in rows if r["missing"]] + part
        barred += _apart([r for r in every if r not in rows])
        seen.barred = "; ".join(dict.fromkeys(barred))
        if seen.status == OPEN or claim.expected is not None:
            seen.missing = [path for r in rows for path in r["missing"] or ()]
        seen.stale = any("have changed since" in r["statement"] for r in every)
        return seen

    def _against(self, claim: Claim, status: str, places: list[dict]) -> str:
        """Single places that contradict what all of them together say of a claim."""
        opposite = {SUPPORTED: REFUTED, REFUTED: SUPPORTED}.get(status)
        found = [
            f"{row['task']} at {row['seqlen_tokens']} tokens is {row['outcome']}"
            for row in places
            if self._outcome(claim, row)[0] == opposite
            or (opposite and row["outcome"] == "NOT COMPARABLE")
        ]
        return "; ".join(found)

    def _outcome(self, claim: Claim, row: dict) -> tuple[str, str]:
        wanted, outcome, reason = claim.verdict, row["outcome"], row["statement"]
        if outcome == wanted:
            return SUPPORTED, reason
        better = ("A BETTER", "B BETTER")
        if wanted in better and outcome == "NO DIFFERENCE" and comparison_words.ahead(row):
            return OPEN, f"{reason}; the difference is small, and not shown to be none"
        if wanted in better and outcome in (*better, "NO DIFFERENCE"):
            return REFUTED, reason
        if wanted == "NO DIFFERENCE" and outcome in better:
            equivalent, margin = row["p_equivalent"], row["margin"]
            if equivalent is not None and equivalent <= 1 - self.limits.confidence:
                return SUPPORTED, reason
            ends = row["low"], row["high"]
            known = margin is not None and None not in ends
            if known and (ends[0] >= margin or ends[1] <= -margin):
                return REFUTED, reason
            words = "no margin is declared, so no difference can be small enough"
            return OPEN, f"{reason}; {words if margin is None else 'it may be within the margin'}"
        if wanted == "NO DIFFERENCE" and row["margin"] is None:
            return OPEN, f"{reason}; without a margin equivalence is not tested"
        return OPEN, reason

    def _placed(self, claim: Claim) -> Observed:
        """A verdict at a place, or at each training length."""
        place = claim.place
        assert place is not None
        entry = place.model_dump() | {"verdict": claim.verdict or "SOLVED", "why": ""}
        entry["beyond_noise"] = True  # a bar that some seeds pass by luck supports nothing
        rows = list(Places(self.known, entry).rows())
        if not rows:
            return Observed("nothing", OPEN, "no cell of the study is there")
        said = [self._verdict(claim, row) for row in rows]
        seen = Observed("; ".join(labelled(rows, "observed")))
        seen.status = together([status for status, _ in said])
        shown = [reason for status, reason in said if status == seen.status]
        seen.reason = "; ".join(dict.fromkeys(shown)) if claim.verdict else ""
        summary = [self._summary(row) for row in rows]
        seen.numbers = [
            Number(s["median"], s["low"], s["high"], s["coverage"]) for s in summary if s
        ]
        unsound = [name for row in rows for name in UNSOUND if name in _names(row)]
        seen.missing = [
            cell["path"]
            for row in rows
            for cell in self.known["cells"]
            if cell["path"] in row["paths"] and to_come(cell)
        ]
        barred = list(dict.fromkeys(unsound))
        barred += ["cells are to come"] if seen.missing else []
        barred += ["a place has no value"] if not all(summary) else []
        without = sum(r["asked"] - r["final"] for r in rows)
        barred += [f"{without} seeds have no value"] if without and not seen.missing else []
        barred += [PRELIMINARY] if any(s["preliminary"] for s in summary if s) else []
        if any(name.startswith(UNSTABLE) for row in rows for name in _names(row)):
            barred.append(f"{UNSTABLE}, so no median stands for them")
        seen.barred = "; ".join(barred)
        seen.stale = any(stale(s) for s in summary if s)
        return seen

    def _verdict(self, claim: Claim, row: dict) -> tuple[str, str]:
        at = f"at {row['seqlen_tokens']} tokens: "
        unsound = [name for name in UNSOUND if name in _names(row)]
        if unsound:
            return OPEN, f"{at}{unsound[0]}, so nothing on this task can be believed"
        if UNLEARNABLE in _names(row) and parse(row["expected"])[0] not in (UNLEARNABLE, *NO_SCORE):
            return OPEN, f"{at}{UNLEARNABLE}, so no score there can show anything"
        rule, _ = parse(row["expected"])
        if row["met"] is None:
            return OPEN, at + row["reason"]
        nan = next((name for name in _names(row) if name.startswith("NOT A NUMBER")), None)
        if nan and rule not in (UNLEARNABLE, *NO_SCORE):
            return OPEN, f"{at}{row['reason']}, but {nan}"
        if rule == "SOLVED" and row["solved"] is None and not row["met"]:
            return OPEN, at + row["reason"]
        without = row["asked"] - row["final"]
        if row["met"] and without > 0 and rule not in OF_ANY_SEEDS:
            words = f"{without} of {row['asked']} seeds have no value, and it is said of the others"
            return OPEN, f"{at}{row['reason']}, but {words}"
        seeds = row["asked"] if rule in OF_ALL_SEEDS else row["final"]
        if rule not in OF_NO_SEEDS and seeds < self.limits.enough_seeds:
            few = f"TOO FEW SEEDS ({seeds}, {self.limits.enough_seeds} needed)"
            return OPEN, f"{at}{row['reason']}, but {few}"
        return (SUPPORTED if row["met"] else REFUTED), at + row["reason"]

    def _summary(self, row: dict) -> dict | None:
        columns = ("model", "task", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set")
        for found in self.known["summary"]:
            if all(found[c] == row[c] for c in columns) and found["final"]:
                return found
        return None

    def _followed(self, claim: Claim) -> Observed:
        """A course over training lengths."""
        along = claim.scaling
        assert along is not None
        rows = self._judged_by(along.model, along.task)
        if not rows:
            return Observed("nothing", OPEN, "no course over lengths is known")
        known = [
            s for s in self.known["summary"]
            if (s["model"], s["task"]) == (along.model, along.task) and _at_home(s)
        ]  # fmt: skip
        said = [_course(claim.verdict, row, self.limits) for row in rows]
        seen = Observed("; ".join(dict.fromkeys(r["outcome"] for r in rows)))
        seen.status = together([status for status, _ in said])
        seen.reason = "; ".join(dict.fromkeys(reason for _, reason in said))
        seen.numbers = [Number(r["slope"], r["low"], r["high"], r["coverage"]) for r in rows]
        seen.missing = [
            cell["path"]
            for cell in self.known["cells"]
            if (cell["model"], cell["task"]) == (along.model, along.task) and to_come(cell)
        ]
        partial = [r for r in rows if not r["complete"] or r["outcome"] not in COURSES]
        barred = ["the course cannot be told"] if partial else []
        seen.stale = any(map(stale, known))
        if any(s["preliminary"] for s in known):
            barred.append(PRELIMINARY)
            seen.status, seen.reason = OPEN, f"{seen.reason}; but {PRELIMINARY}"
        seen.barred = "; ".join(barred)
        return seen

    def _judged_by(self, model: str, task: str) -> list[dict]:
        """Courses of a model in the metric that its task is judged by, and its chosen variants."""
        rows = [r for r in self.scaling if (r["model"], r["task"]) == (model, task)]
        known = [r for r in self.known["summary"] if r["task"] == task]
        primary = {r["metric"] for r in known if r["metric"]}
        chosen = {r["variant"] or "" for r in known if r["model"] == model}
        rows = [r for r in rows if r["metric"] in primary] or rows
        return [r for r in rows if (r["variant"] or "") in chosen] or rows


def _course(wanted: str | None, row: dict, limits: Thresholds) -> tuple[str, str]:
    outcome = row["outcome"]
    if outcome == wanted:
        return SUPPORTED, row["statement"]
    known = outcome in COURSES and (wanted, outcome) not in COMPATIBLE
    if wanted == "FLAT" and outcome in ("RISES", "FALLS"):
        known = _beyond_flat(row, limits)
    return (REFUTED if known else OPEN), row["statement"]


def _beyond_flat(row: dict, limits: Thresholds) -> bool:
    """Whether a share that is shown to change surely changes by more than what counts as flat."""
    ends = [row[end] for end in ("share_low", "share_high") if row.get(end) is not None]
    if len(ends) < 2:
        return False
    doublings = log2(row["lengths"][-1] / row["lengths"][0])
    return min(map(abs, ends)) * doublings > limits.flat_share


def _apart(places: list[dict]) -> list[str]:
    """Why no number stands for all places of a comparison: they contradict each other."""
    said = {row["outcome"] for row in places}
    if {"A BETTER", "B BETTER"} <= said:
        return ["the places contradict each other, so no number stands for them"]
    return ["a place is NOT COMPARABLE"] if "NOT COMPARABLE" in said else []


def _at_home(summary: dict) -> bool:
    """Whether a row of `summary` is of the training length, on the usual test set."""
    at, trained = summary["evaluated_seqlen_tokens"], summary["seqlen_tokens"]
    return at == trained and not summary["test_set"]


def _names(row: dict) -> list[str]:
    return row["observed"].split("; ")
