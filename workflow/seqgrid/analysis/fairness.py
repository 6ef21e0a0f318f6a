"""What a comparison of models takes as equal, and by how much it is not, from the table `cells`."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

# In words -> column of `cells`, or key of `_written`.
SHARED = {
    "parameters": "parameters",
    "state at the training length": "state_bytes",
    "FLOPs a token": "flops_per_token",
    "MLP": "mlp",
    "precision": "dtype",
    "steps asked for": "budget_steps",
    "steps done": "step_steps",
    "batch size": "batch_size",
    "tokens seen": "seen_tokens",
    "learning rates tried": "learning_rate",
    "optimiser settings": "optimiser",
    "backend": "backend",
    "pieces a batch was cut into": "pieces",
    "device": "device",
    "threads": "threads",
}
# Of `training`, what has a row of its own, or is no matter of how weights are found.
APART = ("steps", "batch_size", "learning_rate", "data_seed", "init_seed", "order_seed")
RAN = ("missing", "skipped", "corrupt")  # not

Place = tuple[str, int]  # task and training length


@dataclass(frozen=True)
class Fact:
    """One thing that models share or do not.

    values: of each model, everywhere.
    at: of each model, by place; a model is compared with another only where both ran.
    unknown: models that ran and of which it is not recorded.
    """

    name: str
    column: str
    values: dict[str, list]
    at: dict[Place, dict[str, frozenset]]
    unknown: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether all models are known to have the same wherever they ran."""
        return not self.unknown and all(
            len(set(models.values())) == 1 for models in self.at.values()
        )

    @property
    def apart(self) -> tuple[float, Place, dict[str, float]] | None:
        """Where numbers differ most: the ratio, the place, and the two models' values.

        None where they are no numbers, or where one is 0.
        """
        found = []
        for place, models in self.at.items():
            if not all(isinstance(v, int | float) for values in models.values() for v in values):
                return None
            largest = {model: float(max(values)) for model, values in models.items()}
            low, high = (pick(largest, key=largest.__getitem__) for pick in (min, max))
            if largest[low] <= 0:
                return None
            ends = {low: largest[low], high: largest[high]}
            found.append((largest[high] / largest[low], place, ends))
        return max(found, key=lambda one: one[0], default=None)


def facts(cells: list[dict]) -> list[Fact]:
    """What is recorded of the cells that ran, in the order of SHARED."""
    ran = [cell | _written(cell) for cell in cells if cell["outcome"] not in RAN]
    models = dict.fromkeys(cell["model"] for cell in ran)
    found = []
    for name, column in SHARED.items():
        at: dict[Place, dict[str, set]] = defaultdict(lambda: defaultdict(set))
        values: dict[str, set] = defaultdict(set)
        for cell in ran:
            if cell.get(column) is not None:
                at[cell["task"], cell["seqlen_tokens"]][cell["model"]].add(cell[column])
                values[cell["model"]].add(cell[column])
        if values:
            frozen = {
                place: {model: frozenset(v) for model, v in here.items()}
                for place, here in at.items()
            }
            listed = {model: sorted(v) for model, v in values.items()}
            unknown = tuple(model for model in models if model not in values)
            found.append(Fact(name, column, listed, frozen, unknown))
    return found


def _written(cell: dict) -> dict[str, Any]:
    """What the settings of a cell say."""
    try:
        settings = json.loads(cell["settings"] or "{}")
    except ValueError:
        return {}
    model, training = settings.get("model_settings", {}), settings.get("training", {})
    if not training:
        return {}
    ratio = model.get("mlp_ratio")
    # Of a study run elsewhere only what its mapping says is known.
    known = settings.get("model", "") is not None or "mlp_ratio" in model
    others = {k: v for k, v in training.items() if k not in APART}
    return {
        "mlp": (f"{ratio:g}x" if ratio else "none") if known else None,
        "batch_size": training.get("batch_size"),
        "learning_rate": training.get("learning_rate"),
        "optimiser": json.dumps(others, sort_keys=True),
    }
