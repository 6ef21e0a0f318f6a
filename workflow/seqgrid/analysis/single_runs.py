"""One run of each side: what their test examples allow to be said, of these two runs alone."""

from collections.abc import Iterator
from math import inf, isnan, sqrt
from typing import NamedTuple

from seqgrid.analysis import stats
from seqgrid.analysis.groups import short
from seqgrid.analysis.sides import Member, Side


class Band(NamedTuple):
    """A value with its interval over test examples, its coverage, and how many there are."""

    value: float
    low: float
    high: float
    coverage: float
    examples: int


class Told(NamedTuple):
    """What two runs come to.

    apart: whether the interval of their difference excludes zero.
    columns: of the row of `comparisons`.
    """

    statement: str
    apart: bool
    columns: dict


class SingleRuns:
    """Looks up the intervals of runs in the rows of `evaluations`."""

    def __init__(self, evaluations: list[dict], confidence: float):
        self.confidence = confidence
        self.rows = {
            (*_run(row), row["metric"]): row
            for row in evaluations
            if row["weights"] == "best" and not row["slice"]
        }

    def noise(self, sides: tuple[Side, Side], place: tuple[int, int, str], metric: str) -> float:
        """Standard error over test examples of a difference of one seed; 0 where it is not known.

        place: evaluated length of a and of b, test set.
        """
        square = 0.0
        for members, ends in self._halves(sides, place, metric):
            half = stats.median(ends) if ends else 0.0
            square += (half / stats.simultaneous_z(1) / members) ** 2
        return sqrt(square)

    def known(self, sides: tuple[Side, Side], place: tuple[int, int, str], metric: str) -> bool:
        """Whether every model of both sides has values with an interval over test examples."""
        return all(ends for _, ends in self._halves(sides, place, metric))

    def _halves(
        self, sides: tuple[Side, Side], place: tuple[int, int, str], metric: str
    ) -> Iterator[tuple[int, list[float]]]:
        """Of each model: how many its side has, and half the interval of each of its runs."""
        for side, evaluated in zip(sides, place[:2], strict=True):
            for m in side.members:
                who = (m.model, m.task, m.variant, m.seqlen)
                runs = [(*who, cell["seed"], evaluated, place[2], metric) for cell in m.cells]
                found = [(b.high - b.low) / 2 for run in runs if (b := self._band(run))]
                yield len(side.members), found

    def unequal(
        self, sides: tuple[Side, Side], place: tuple[int, int, str], metric: str
    ) -> list[str]:
        """In words, test sets of unlike size, where both sizes are known."""
        counts = [
            {row["examples"] for row in self._rows(side, at, place[2], metric)} - {None}
            for side, at in zip(sides, place[:2], strict=True)
        ]
        if not all(counts) or counts[0] == counts[1]:
            return []
        each = [" and ".join(f"{n:,}" for n in sorted(found)) for found in counts]
        return [f"test examples: {each[0]} of a, {each[1]} of b"]

    def outputs(self, sides: tuple[Side, Side], place: tuple[int, int, str], metric: str) -> float:
        """The fewest scored outputs behind a value, of a group of all its models; else infinite."""
        known = [
            count * len(side.members)
            for side, at in zip(sides, place[:2], strict=True)
            for row in self._rows(side, at, place[2], metric)
            if (count := row["scored"] or row["examples"])
        ]
        return min(known, default=inf)

    def _rows(self, side: Side, evaluated: int, test_set: str, metric: str) -> Iterator[dict]:
        """The rows of the runs of a side."""
        for m in side.members:
            who = (m.model, m.task, m.variant, m.seqlen)
            for cell in m.cells:
                if row := self.rows.get((*who, cell["seed"], evaluated, test_set, metric)):
                    yield row

    def told(
        self, sides: tuple[Member, Member], seed: int, place: tuple[int, int, str], metric: str
    ) -> Told | None:
        """What can be told of one run each; None where a value has no interval.

        place: evaluated length of a and of b, test set.
        """
        one, two = (
            self._band((m.model, m.task, m.variant, m.seqlen, seed, evaluated, place[2], metric))
            for m, evaluated in zip(sides, place[:2], strict=True)
        )
        if one is None or two is None:
            return None
        value, low, high = stats.square_and_add(one[:3], two[:3])
        apart = not low <= 0 <= high
        counts = sorted({one.examples, two.examples})
        basis = f"{' and '.join(map(str, counts))} test examples"
        coverage = min(one.coverage, two.coverage)
        statement = (
            f"one run each, {short(one.value)} and {short(two.value)}: over {basis} "
            f"{'the two runs differ' if apart else 'no difference can be told'} (difference "
            f"{short(value)}, {coverage:.0%} interval {short(low)} to {short(high)}); it speaks "
            "for these runs only, not for other seeds"
        )
        columns = {
            "low": low,
            "high": high,
            "interval": f"of these two runs, over {basis} (Newcombe 1998, method 10)",
            "coverage": coverage,
        }
        return Told(statement, apart, columns)

    def _band(self, run: tuple) -> Band | None:
        row = self.rows.get(run)
        if row is None or row["value"] is None or isnan(row["value"]):
            return None
        low, high = row["low"], row["high"]
        if low is not None and high is not None and not isnan(low + high):
            n = row["examples"] or row["scored"] or 0
            return Band(row["value"], low, high, stats.CONFIDENCE, n)
        if row["correct"] is None or not row["scored"]:
            return None
        found = stats.wilson(row["correct"], row["scored"], self.confidence)
        return Band(row["value"], found.low, found.high, self.confidence, row["scored"])


def _run(row: dict) -> tuple:
    return (
        *(row["model"], row["task"], row["variant"] or "", row["seqlen_tokens"], row["seed"]),
        *(row["evaluated_seqlen_tokens"], row["test_set"] or ""),
    )
