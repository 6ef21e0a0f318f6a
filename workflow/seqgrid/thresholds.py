"""The numbers that verdicts hang on, in one place; a study may set others under `thresholds`."""

from typing import Any

from pydantic import Field

from seqgrid.settings import Chosen


class Thresholds(Chosen):
    """What the rules hold numbers against. Shares are of the span, from chance to ceiling."""

    confidence: float = Field(
        0.95,
        gt=0.5,
        le=0.999999,
        description="coverage of intervals, and 1 - the rate of false outcomes",
    )
    level_share: float = Field(
        0.02, ge=0, lt=1, description="closer to a level than this is at the level"
    )
    interval_share: float = Field(
        0.1, gt=0, lt=1, description="a wider half interval holds levels by its width alone"
    )
    unlearnable_share: float = Field(
        0.02, ge=0, lt=1, description="of the ceiling: a ceiling closer to chance shows no learning"
    )
    seen_share: float = Field(
        0.01, ge=0, lt=1, description="test examples seen in training that are worth a word"
    )
    unstable_share: float = Field(
        0.2, gt=0, le=1, description="seeds further apart than this are unstable"
    )
    collapse_share: float = Field(
        0.05, ge=0, lt=1, description="a smaller loss from the best validation is no collapse"
    )
    plateau_share: float = Field(
        0.01, gt=0, lt=1, description="a gain over the window up to this is none"
    )
    flat_share: float = Field(
        0.05, gt=0, lt=1, description="a change over all lengths surely below this is none"
    )
    margin_share: float = Field(
        0.25, gt=0, le=1, description="a margin this wide or wider is none: it hides differences"
    )
    window_share: float = Field(
        0.25, gt=0, le=1, description="of the validations: the end of a curve that is judged"
    )
    window_points: int = Field(5, ge=3, description="fewest validations that a slope is fitted to")
    enough_seeds: int = Field(3, ge=1, description="final seeds, for any general statement")
    worth_share: float = Field(
        0.05, ge=0, lt=1, description="an expected gain below this is not worth resuming for"
    )
    success_half_width: float = Field(
        0.25, gt=0, lt=0.5, description="half the interval of a success rate that seeds are for"
    )

    def words(self) -> dict[str, str]:
        """Each threshold as a rule says it; one that a study has set, with what it replaces."""
        found = {}
        for name, field in type(self).model_fields.items():
            value, usual = getattr(self, name), field.default
            instead = "" if value == usual else f" (set by this study; usually {_shown(usual)})"
            found[name] = _shown(value) + instead
        return found

    def changed(self) -> dict[str, tuple[str, str]]:
        """Name -> (value, default), in words, of the thresholds that a study has set."""
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        own = {name: getattr(self, name) for name in usual}
        return {n: (_shown(own[n]), _shown(usual[n])) for n in own if own[n] != usual[n]}


DEFAULTS = Thresholds()


def of(about: dict[str, Any]) -> Thresholds:
    """The thresholds of a study from what its tables say about it; the defaults where nothing.

    Raises:
        pydantic.ValidationError: a key or value that a study file could not have either.
    """
    return Thresholds.model_validate((about.get("config") or {}).get("thresholds") or {})


def _shown(value: float | int) -> str:
    """A count as it is, a share in percent."""
    return str(value) if isinstance(value, int) else f"{100 * value:.4g} %"
