"""Steps of checkpoints: the interval they were saved at, and which are not there."""

from dataclasses import dataclass

FITS = 0.1  # of the interval: how far a step may be from a multiple
FEWEST = 4  # files below which a near fit may be chance; an exact one need not be
SPARSEST = 10  # multiples a file: beyond that, an interval fits whatever the steps are


@dataclass(frozen=True)
class Saved:
    """Checkpoints at near multiples of an interval; `multiples` are those that are there."""

    interval: float
    multiples: list[int]

    @property
    def gaps(self) -> int:
        """Multiples up to the last one that are not there."""
        return self.multiples[-1] - len(self.multiples)


def saved(steps: list[int]) -> Saved | None:
    """The interval that all steps are multiples of; None where none fits, or below three steps.

    Starts from the smallest distance between neighbours, and fits the interval again with each
    further step by least squares, so that a rounding of the interval does not add up.
    """
    found = sorted({step for step in steps if step > 0})
    if len(found) < 3:
        return None
    interval = float(min(b - a for a, b in zip([0, *found], found, strict=False)))
    multiples: list[int] = []
    for number, step in enumerate(found):
        multiples.append(round(step / interval))
        done = found[: number + 1]
        product = sum(k * s for k, s in zip(multiples, done, strict=True))
        square = sum(k * k for k in multiples)
        if not square:
            return None
        interval = product / square
    off = (abs(s - k * interval) for k, s in zip(multiples, found, strict=True))
    far = max(off)
    if far > FITS * interval or len(set(multiples)) < len(multiples):
        return None
    if (far > 0 and len(found) < FEWEST) or multiples[-1] > SPARSEST * len(found):
        return None
    return Saved(interval, multiples)
