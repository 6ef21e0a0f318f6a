"""Which variant of a model is selected, by its validations, and how far that can be trusted."""

from collections.abc import Mapping
from functools import cached_property
from math import inf, isnan, nan

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Selection

Key = tuple[str, str, str, int]  # model, task, variant, training length
ENDED = ("finished", "diverged")  # nothing to come


class Choice:
    """The variants of each model, task and training length, and the one selected.

    cells: rows of `cells` of each group. rivals: groups of each model, task and training length.
    selects: of each task, whether higher or lower validations are better.
    """

    def __init__(
        self,
        cells: Mapping[Key, list[dict]],
        rivals: Mapping[tuple[str, str, int], list[Key]],
        selects: Mapping[str, str],
    ):
        self.cells, self.rivals, self.selects = cells, rivals, selects

    @cached_property
    def validations(self) -> dict[Key, float | None]:
        """Median over seeds of each group's best validation."""
        return {key: self._validation(key) for key in self.cells}

    def validation(self, key: Key) -> float | None:
        """That of one group."""
        return self.validations[key]

    def selected(self, key: Key) -> bool:
        """Whether no rival variant has a better validation; the test split has no say.

        None is where a finished cell of several variants has no validation at all.
        """
        if self._unvalidated(key):
            return False
        sign = 1 if self.selects[key[1]] == "higher" else -1
        rivals = self._rivals(key)
        best = max(rivals, key=lambda k: _rank(self.validations[k], sign))
        return key == best

    def standing(self, key: Key) -> Selection:
        """Where a group stands among its rivals, itself included."""
        rivals = self._rivals(key)
        found = [c for rival in rivals for c in self.cells[rival] if c["outcome"] != "skipped"]
        finished = sum(c["outcome"] in ENDED for c in found)
        variants = tuple(rival[2] for rival in rivals)
        counts = (len(found), finished, self._unvalidated(key))
        return Selection(self.selected(key), variants, *counts)

    def _unvalidated(self, key: Key) -> int:
        """Finished cells without a validation, of the model's variants there where it has several.

        An unknown validation is no bad one.
        """
        rivals = self._rivals(key)
        return sum(
            cell["outcome"] == "finished" and cell["best_validation_metric"] is None
            for rival in (rivals if len(rivals) > 1 else ())
            for cell in self.cells[rival]
        )

    def _validation(self, key: Key) -> float | None:
        """Median over seeds of the best validation metric; one without a result is the worst."""
        judged = [c for c in self.cells[key] if c["outcome"] != "skipped"]
        best = [c["best_validation_metric"] if c["outcome"] == "finished" else None for c in judged]
        values = [nan if value is None else value for value in best]
        return stats.median(values, self.selects[key[1]]) if values else None

    def _rivals(self, key: Key) -> list[Key]:
        """The groups of the same model, task and training length, itself included."""
        return self.rivals[key[0], key[1], key[3]]


def _rank(value: float | None, sign: int) -> float:
    return -inf if value is None or isnan(value) else sign * value
