"""Sizing a model to a budget: the value of one setting whose model is nearest to it.

What is counted is the model itself, built without memory on torch's meta device. Values that were
found are kept under results/, by sources, settings and shape, so that torch is needed once.
"""

import hashlib
import json
import types
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from seqgrid import registry, sources
from seqgrid.cell import Cell
from seqgrid.outcome import write_text
from seqgrid.study_schema import SizeTo

KEPT = Path("results/.sizes.json")
SLACK = 0.1  # of the budget: farther from it, it is not that size
LARGEST = 2**16  # value of a setting that is tried
FILLS = {"normal_", "uniform_", "fill_", "zero_", "copy_", "log_normal_", "exponential_"}


class Unreachable(Exception):
    """No value of the setting gives the size; the message is one clause."""


def integers(model: str) -> list[str]:
    """Settings of a model that a budget can choose."""
    fields = registry.settings("model", model).model_fields
    return [name for name, field in fields.items() if int in _kinds(field.annotation)]


def _kinds(annotation: Any) -> tuple:
    inside = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return tuple(kind for kind in inside if kind is not type(None))


def first_possible(model: str, settings: dict[str, Any], wanted: SizeTo) -> int | None:
    """The smallest value that goes with the other settings; None: none does."""
    return next(_possible(model, settings, wanted), None)


def _possible(model: str, settings: dict[str, Any], wanted: SizeTo) -> Iterator[int]:
    """Values that go with the other settings, upwards."""
    record, last = registry.settings("model", model), 0
    for value in range(wanted.multiple_of, LARGEST + 1, wanted.multiple_of):
        try:
            record(**settings | {wanted.by: value})
        except ValidationError:
            if last and value > 8 * last:  # such as divisors: there are no more
                return
            continue
        last = value
        yield value


class Sizes:
    """Looks sizes up, and finds those that are not known yet."""

    def __init__(self, path: Path = KEPT) -> None:
        self.path, self.fresh = path, False
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError):
            known = {}
        self.known: dict[str, Any] = known if isinstance(known, dict) else {}

    def settings(self, cell: Cell, wanted: SizeTo) -> dict[str, Any]:
        """The model settings of a cell at which its model has the size wanted.

        Raises:
            Unreachable: none within 10 % of the budget.
        """
        record = registry.settings("model", cell.model)
        if record(**cell.model_settings).unable(cell.seqlen):
            return cell.model_settings  # the cell is skipped
        others = {k: v for k, v in cell.model_settings.items() if k != wanted.by}
        digest = sources.digest(f"models.{cell.model}", f"tasks.{cell.task}")
        asked = [digest, cell.model, others, cell.task, cell.task_settings, cell.seqlen]
        text = json.dumps([*asked, wanted.model_dump()], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if not isinstance(self.known.get(key), int):
            self.known[key] = _find(cell, wanted, others)
            self.fresh = True
        return record(**others | {wanted.by: self.known[key]}).model_dump(mode="json")

    def save(self) -> None:
        """Keep what was found; without write permission the next plan finds it again."""
        if self.fresh:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_text(self.path, json.dumps(self.known), durable=False)
            except OSError:
                return


def _find(cell: Cell, wanted: SizeTo, others: dict[str, Any]) -> int:
    """The value of the setting whose model is nearest to the budget."""
    budget = wanted.budget
    shape = registry.make_task(cell.task, cell.task_settings, cell.seqlen).shape
    found: dict[int, int] = {}

    def size(value: int) -> int:
        if value not in found:
            model = counted(cell.model, others | {wanted.by: value}, shape)
            by_state = wanted.params is None
            found[value] = model.state_bytes(cell.seqlen) if by_state else model.num_parameters
        return found[value]

    tried = _near(_possible(cell.model, others, wanted), size, budget)
    if not tried:
        raise Unreachable(f"no {wanted.by} up to {LARGEST:,} goes with the other settings")
    best = min(tried, key=lambda value: (abs(size(value) - budget), value))
    if abs(size(best) - budget) <= SLACK * budget:
        return best
    below = max((v for v in found if size(v) <= budget), key=size, default=None)
    above = min((v for v in found if size(v) > budget), key=size, default=None)
    nearest = [f"{size(v):,} ({wanted.by}={v})" for v in (below, above) if v is not None]
    raise Unreachable(
        f"no {wanted.by} gives {'parameters' if wanted.params else 'bytes of state'} within "
        f"{SLACK:.0%} of {budget:,}; the nearest are {' and '.join(nearest)}"
    )


def _near(possible: Iterator[int], size: Callable[[int], int], budget: int) -> list[int]:
    """Values around the one at which a size that goes up or down passes the budget."""
    values: list[int] = []
    for value in possible:
        values.append(value)
        # At each doubling: sizes go up with most settings, and then this is far enough.
        if len(values) & (len(values) - 1) == 0 and size(value) > max(budget, size(values[0])):
            break
    if not values:
        return []
    falling = size(values[-1]) < size(values[0])
    ordered = values[::-1] if falling else values
    place = bisect_left(ordered, budget, key=size)
    return ordered[max(0, place - 2) : place + 2]


def counted(model: str, settings: dict[str, Any], shape: Any) -> Any:
    """The model as something to count: on the meta device, which holds no numbers."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        """Initial values are left out: most of the time of building, and nothing to count."""

        def __torch_function__(
            self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            fills = func.__name__ in FILLS or getattr(func, "__module__", "") == "torch.nn.init"
            if not fills:
                return func(*args, **(kwargs or {}))
            return args[0] if args else (kwargs or {})["tensor"]

    try:
        with torch.device("meta"), Unfilled():
            return registry.make_model(model, settings, shape)
    except (NotImplementedError, RuntimeError):  # initial values that need numbers
        return registry.make_model(model, settings, shape)
