"""Selection among variants: which values were tried, and the rules on how far to trust a choice."""

import re

from seqgrid.analysis.groups import Group
from seqgrid.analysis.rules import Finding, rule

PRELIMINARY = "a variant was selected before all cells of its grid had ended"
NO_SELECTION = "NO SELECTION"
UNSELECTED = "no variant is selected, as finished ones have no validation"
SETTING = re.compile(r"(?:^|, )([\w.]+)=")  # values may hold commas, and no more settings


def settings(variant: str) -> dict[str, str]:
    """Setting -> value, as a variant words them: `learning_rate=0.001, dropout=0.1`."""
    pieces = SETTING.split(variant)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def as_number(text: str) -> float | None:
    """The value as a number; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def tried(variants: list[str]) -> dict[str, list[str]]:
    """Setting -> the values among the variants, numbers in their order; only what varies."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        for key, value in settings(variant).items():
            values = found.setdefault(key, [])
            if value not in values:
                values.append(value)
    return {key: _ordered(values) for key, values in found.items() if len(values) > 1}


def _ordered(values: list[str]) -> list[str]:
    if any(as_number(value) is None for value in values):
        return values
    return sorted(values, key=float)


def edges(variant: str, variants: list[str]) -> list[str]:
    """In words, each setting whose value is the smallest or largest that was tried."""
    chosen, found = settings(variant), []
    for key, values in tried(variants).items():
        if key in chosen and as_number(chosen[key]) is not None:
            place = {values[0]: "smallest", values[-1]: "largest"}.get(chosen[key])
            if place:
                found.append(f"{key}={chosen[key]}, the {place} of {len(values)} tried")
    return found


@rule(
    "PRELIMINARY SELECTION",
    "group",
    "The variant has the best validation so far, and not all cells of its grid have ended: "
    "another may yet be selected.",
)
def preliminary(group: Group) -> Finding | None:
    """A selection that may change."""
    found = group.selection
    if not found.preliminary:
        return None
    return (
        f"PRELIMINARY SELECTION {found.finished}/{found.asked}",
        f"{found.finished} of {found.asked} cells of its {len(found.variants)} variants have ended",
        {"finished": found.finished, "asked": found.asked, "variants": list(found.variants)},
    )


@rule(
    "NO SELECTION",
    "group",
    "One of several variants has a finished cell without a validation, so that none can be "
    "selected; the test split has no say. Nothing is said of the model, only of each variant.",
)
def no_selection(group: Group) -> Finding | None:
    """Variants that nothing chooses between."""
    found = group.selection
    if not found.unvalidated:
        return None
    return (
        NO_SELECTION,
        f"{found.unvalidated} finished cells of its {len(found.variants)} variants have no "
        "validation, so none is selected",
        {"unvalidated": found.unvalidated, "variants": list(found.variants)},
    )


@rule(
    "AT GRID EDGE",
    "group",
    "The selected value of a swept number is the smallest or the largest that was tried: a better "
    "one may lie beyond it.",
)
def at_grid_edge(group: Group) -> Finding | None:
    """The grid may have been too narrow."""
    found = group.selection
    at = edges(group.variant, list(found.variants)) if found.selected else []
    if not at or not found.finished:
        return None
    return "AT GRID EDGE", f"selected {'; '.join(at)}", {"edges": at}
