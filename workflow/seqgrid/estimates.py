"""Time and memory of a cell's next jobs, estimated from the parts already run.

What is known is used in this order, and the basis is said in words:

    the cell's own earlier parts
    the same model and task at the same length
    the same model and task at other lengths, by a power law in length
    the same model on other tasks, likewise

Only parts on the kind of device that ran last count, GPU or not; of several kinds of host, and of
several swept settings that are not the cell's own, the slowest.
"""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from seqgrid.outcome import Outcome
from seqgrid.plan import Standing
from seqgrid.rows import Row

Level = Literal["own", "equal", "lengths", "tasks"]


@dataclass(frozen=True)
class Amount:
    """An estimate without its margin."""

    value: float
    level: Level
    basis: str


class Quantity:
    """One quantity, such as seconds per step, as measured by model, task, length and hardware."""

    def __init__(self, typical: Callable[[list[float]], float], least_growth: float) -> None:
        """`typical` of values that should be equal; `least_growth`, the exponent beyond them."""
        self.typical, self.least_growth = typical, least_growth
        self.own: dict[str, list[float]] = defaultdict(list)
        self.places: dict[tuple[str, str], dict[int, dict[tuple[str, str], list[float]]]]
        self.places = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        self.cells: dict[tuple[str, str, int], set[str]] = defaultdict(set)
        self.found: dict[tuple[str, str, int, str], Amount | None] = {}

    def add(self, row: Row, hardware: str, value: float) -> None:
        """Note a measurement of a row's cell."""
        seqlen = row.cell.seqlen
        self.own[row.cell.path].append(value)
        self.places[row.model, row.task][seqlen][row.variant, hardware].append(value)
        self.cells[row.model, row.task, seqlen].add(row.cell.path)

    def of(self, row: Row) -> Amount | None:
        """The best estimate for a row's cell; None where nothing is known of its model."""
        if own := self.own.get(row.cell.path):
            return Amount(max(own), "own", f"{counted(len(own), 'earlier part')} of the cell")
        key = row.model, row.task, row.cell.seqlen, row.variant
        if key not in self.found:
            self.found[key] = self._of_others(*key)
        return self.found[key]

    def _of_others(self, model: str, task: str, seqlen: int, variant: str) -> Amount | None:
        lengths = self.places.get((model, task), {})
        if groups := lengths.get(seqlen):
            parts = sum(map(len, groups.values()))
            cells = counted(len(self.cells[model, task, seqlen]), "equal cell")
            value = self._slowest(groups, variant)
            return Amount(value, "equal", f"{counted(parts, 'part')} of {cells}")
        if lengths:
            known = {at: self._slowest(groups, variant) for at, groups in lengths.items()}
            words = f"length {_listed(known)} of the same model and task"
            return Amount(self._scaled(known, seqlen), "lengths", words)
        known = {}
        for (other, _), lengths in self.places.items():
            for at, groups in lengths.items() if other == model else ():
                known[at] = max(self._slowest(groups, variant), known.get(at, 0.0))
        if not known:
            return None
        return Amount(self._scaled(known, seqlen), "tasks", "other tasks of the same model")

    def _slowest(self, groups: dict[tuple[str, str], list[float]], variant: str) -> float:
        """Of the hardware, and of the swept settings where the cell's own were not measured."""
        own = [values for (of, _), values in groups.items() if of == variant]
        return max(map(self.typical, own or groups.values()))

    def _scaled(self, known: dict[int, float], seqlen: int) -> float:
        """By the power law through the lengths on both sides, or from the nearest length.

        Beyond the known lengths the power is fitted to all of them; it falls linearly at most
        towards shorter ones and grows quadratically at most towards longer ones. Where one length
        is known, it is flat and linear.
        """
        nearest = min(known, key=lambda at: abs(math.log(seqlen / at)))
        shorter, longer = [a for a in known if a < seqlen], [a for a in known if a > seqlen]
        if shorter and longer:
            growth = _growth({at: known[at] for at in (max(shorter), min(longer))})
        else:
            growth = float(bool(shorter))
            if len(known) > 1:
                least, most = (self.least_growth, 2.0) if shorter else (0.0, 1.0)
                growth = min(max(_growth(known), least), most)
        return known[nearest] * (seqlen / nearest) ** growth


class Known:
    """What the parts of a study say about the time and memory of its next jobs."""

    def __init__(self, standings: Iterable[Standing]) -> None:
        standings = list(standings)
        last = max(
            (o for s in standings for o in s.outcomes if o.provenance.device),
            key=lambda o: o.ended_at,
            default=None,
        )
        self.on_gpu = last is not None and _on_gpu(last)
        self.parts, self.cells = 0, set()
        # Twice the length is at least twice the work; memory has a part that does not grow.
        self.step_seconds = Quantity(statistics.median, 1.0)
        self.training_bytes = Quantity(max, 0.0)
        self.evaluation_seconds = Quantity(statistics.median, 1.0)
        self.evaluation_bytes = Quantity(max, 0.0)
        for s in standings:
            for outcome in s.outcomes:
                self._add(s, outcome)

    def _add(self, s: Standing, outcome: Outcome) -> None:
        # A part whose trainer was killed does not say what it ran on.
        if not outcome.provenance.device or _on_gpu(outcome) != self.on_gpu:
            return
        hardware, progress = _hardware(outcome), outcome.progress
        if (steps := _steps(outcome)) and (seconds := spent(outcome)):
            self.step_seconds.add(s.row, hardware, seconds / steps)
            self.parts += 1
            self.cells.add(s.row.cell.path)
        # Before host memory was recorded by itself, it was what the CPU's trainings recorded.
        peak = progress.peak_host_bytes or (None if self.on_gpu else progress.peak_memory_bytes)
        if peak:
            self.training_bytes.add(s.row, hardware, peak)
        if outcome is s.last and (found := s.evaluation) and found.valid and not found.error:
            self.evaluation_seconds.add(s.row, hardware, found.seconds)
            if found.peak_host_bytes:
                self.evaluation_bytes.add(s.row, hardware, found.peak_host_bytes)


@dataclass(frozen=True)
class Forecast:
    """What a study still takes: sums of estimates without margins, early stopping left out."""

    seconds: float
    on_gpu: bool
    parts: int  # that it rests on
    cells: int
    levels: dict[Level, int]  # cells to train, by what their estimate rests on
    unknown: int  # cells to train of whose model no part has run

    @classmethod
    def of(cls, standings: list[Standing]) -> "Forecast":
        """The forecast of a study."""
        known = Known(standings)
        seconds, unknown = 0.0, 0
        levels: dict[Level, int] = dict.fromkeys(get_args(Level), 0)
        for s in standings:
            if s.next in ("train", "resume"):
                if rate := known.step_seconds.of(s.row):
                    seconds += rate.value * remaining(s)
                    levels[rate.level] += 1
                else:
                    unknown += 1
            if s.next and (evaluation := known.evaluation_seconds.of(s.row)):
                seconds += evaluation.value
        return cls(seconds, known.on_gpu, known.parts, len(known.cells), levels, unknown)


def spent(outcome: Outcome) -> float:
    """Seconds of a part in training, validation and checkpoints."""
    p = outcome.progress
    return p.training_seconds + p.validation_seconds + p.checkpoint_seconds


def remaining(s: Standing) -> int:
    """Steps that the run still lacks; what a part under way has done does not count yet."""
    goes_on = s.last and s.next == "resume" and s.run == s.reported_run
    return s.row.cell.training.steps - (s.last.progress.step if s.last and goes_on else 0)


def _steps(outcome: Outcome) -> int:
    return outcome.progress.step - outcome.progress.first_step


def _on_gpu(outcome: Outcome) -> bool:
    return outcome.provenance.device != "cpu"


def _hardware(outcome: Outcome) -> str:
    """The device, and the class of the host: its name without the number in the rack."""
    host = re.sub(r"\d+", "", outcome.provenance.host.partition(".")[0])
    return f"{outcome.provenance.device} {host}"


def _growth(known: dict[int, float]) -> float:
    """The exponent of a power law, by least squares of the logarithms."""
    x, y = ([math.log(v) for v in values] for values in (known, known.values()))
    return statistics.linear_regression(x, y).slope


def counted(number: int, what: str) -> str:
    """`1 part`, `2 parts`."""
    return f"{number} {what}{'s' * (number != 1)}"


def _listed(lengths: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(lengths)))
