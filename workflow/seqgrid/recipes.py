"""Recipes: how a model is trained in the literature, for a study that says nothing else."""

from collections.abc import Collection
from typing import Any

from seqgrid import registry
from seqgrid.settings import Recipe

# What a recipe says besides keys of `training`; the second are settings of the model.
APART = {"source", "learning_rates", "warmup_fraction"}
SETTINGS = {"initializer_std"}


def of(model: str) -> Recipe | None:
    """The recipe in the model's file; None where there is none."""
    return registry.settings("model", model).recipe


def model_settings(model: str, given: Collection[str]) -> dict[str, Any]:
    """The settings of the model that its recipe says, but for those given."""
    record = registry.settings("model", model)
    said = (SETTINGS & set(record.model_fields)) - set(given)
    return {key: getattr(record.recipe, key) for key in sorted(said)}


def training(recipe: Recipe, given: Collection[str], steps: int) -> dict[str, Any]:
    """The recipe's keys of `training` for a training of `steps`, but for those given."""
    found = recipe.model_dump(exclude=APART | SETTINGS)
    found["warmup_steps"] = round(recipe.warmup_fraction * steps)
    if len(recipe.learning_rates) == 1:  # of several the study makes a grid
        (found["learning_rate"],) = recipe.learning_rates
    return {key: value for key, value in found.items() if key not in given}
