"""Recipes: how a model is trained in the literature, for a study that says nothing else."""

from collections.abc import Collection
from typing import Any

from seqgrid import registry
from seqgrid.settings import Recipe

# Keys of a recipe that are neither keys of `training` nor settings of the model.
APART = {"source", "learning_rates", "warmup_fraction"}
SETTINGS = {"initializer_std"}


def of(model: str) -> Recipe | None:
    """The recipe in the model's file; None where there is none."""
    return registry.settings("model", model).recipe


def model_settings(recipe: Recipe, given: Collection[str]) -> dict[str, Any]:
    """The recipe's settings of the model, but for those given."""
    stated = recipe.model_dump(exclude_unset=True)
    return {key: stated[key] for key in SETTINGS if key in stated and key not in given}


def training(recipe: Recipe, given: Collection[str], steps: int) -> dict[str, Any]:
    """The recipe's keys of `training` for a training of `steps`, but for those given."""
    stated = recipe.model_dump(exclude_unset=True)
    found = {key: value for key, value in stated.items() if key not in APART | SETTINGS}
    if "warmup_fraction" in stated:
        found["warmup_steps"] = round(stated["warmup_fraction"] * steps)
    return {key: value for key, value in found.items() if key not in given}
