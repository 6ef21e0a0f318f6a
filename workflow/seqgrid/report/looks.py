"""How each model looks in every figure of a report: a colour, a marker and a dash.

Up to eight models without groups have the colours of Okabe & Ito, Color Universal Design (2008),
which are told apart with any colour vision. Models of one group, and more than eight, share the
hue of a family and differ in lightness, which grey prints keep. Marker and dash repeat the
distinction in black and white. A look depends on the places of a model and of its group in the
study's file alone: what is added behind them changes no earlier one, but for the ninth model of a
study without groups.
"""

from collections.abc import Sequence
from typing import NamedTuple

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D1F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p")

# A hue at lightness L* = 46, 78, 20, 63 and 33 (CIELAB), which a grey print tells apart.
FAMILIES = (
    ("#0072B2", "#9AC7E1", "#003350", "#54A1CB", "#005281"),
    ("#B44F00", "#ECB68C", "#512400", "#DE8138", "#833A00"),
    ("#007C5B", "#82D0BA", "#003829", "#24AC87", "#005A42"),
    ("#AF409F", "#E0B3D9", "#52194A", "#CA7FBF", "#812D75"),
    ("#8A6800", "#DDBE63", "#3E2E00", "#C19100", "#644B00"),
    ("#6D6D6D", "#C1C1C1", "#303030", "#989898", "#4F4F4F"),
)

Dash = tuple[float, tuple[float, ...]]
# Of lines, in points. Dots are left to what is not final.
DASHES: tuple[Dash, ...] = ((0, ()), (0, (6, 1.5)), (0, (7, 1.5, 1.5, 1.5)))
NOT_FINAL: Dash = (0, (1, 1.4))


class Look(NamedTuple):
    """Colour, marker and dash of a model."""

    colour: str
    marker: str
    dash: Dash


Looks = dict[str, Look]


def looks(models: Sequence[str], groups: dict[str, list[str]]) -> Looks:
    """The look of each model, by label.

    models: in the study's order.
    groups: of models, as the study declares them; a model in several goes with the first.
    """
    colours = _colours(models, groups)
    found = {}
    for i, model in enumerate(models):
        # 11 markers and 3 dashes share no factor: 33 models before both repeat together.
        found[model] = Look(colours[model], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
    return found


def ordered(models: Sequence[str], groups: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Models group by group, each once; what is in no group last, under an empty name."""
    left, found = list(models), []
    for name, members in groups.items():
        here = [m for m in left if m in members]
        if here:
            found.append((name, here))
        left = [m for m in left if m not in members]
    return found + ([("", left)] if left else [])


def _colours(models: Sequence[str], groups: dict[str, list[str]]) -> dict[str, str]:
    if not groups:
        if len(models) <= len(COLOURS):
            return dict(zip(models, COLOURS, strict=False))
        # One step of each family first: neighbours in the study's order differ in hue.
        return {
            model: FAMILIES[i % len(FAMILIES)][i // len(FAMILIES) % len(FAMILIES[0])]
            for i, model in enumerate(models)
        }
    # The last family, of greys, is of models in no group.
    hues = {name: i % (len(FAMILIES) - 1) for i, name in enumerate(groups)}
    return {
        model: FAMILIES[hues.get(name, -1)][i % len(FAMILIES[0])]
        for name, members in ordered(models, groups)
        for i, model in enumerate(members)
    }
