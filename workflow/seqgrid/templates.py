"""The cells of a study but for length and seed: one for each model, task and variant."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from seqgrid import recipes, registry, sizing, sweeps
from seqgrid.cell import Cell
from seqgrid.settings import Strict
from seqgrid.study_file import explain, unknown
from seqgrid.study_schema import SWEPT, Study
from seqgrid.sweeps import Swept

Key = tuple[str, str, str]  # labels of model and task, and the variant


def runs(study: Study, model: str, task: str) -> bool:
    """Whether a model runs on a task, by label."""
    return model in (study.tasks[task].models or study.models)


@dataclass
class _Values:
    """Values of one group of settings, and where in the file each was written."""

    owner: str  # key path of the group
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def update(self, values: dict[str, Any], origin: str) -> None:
        """Values that win over those before; `origin` is the key path of the mapping."""
        self.values |= values
        self.origins |= {key: f"{origin}.{key}" for key in values}

    def place(self, location: list[Any]) -> str:
        """Key path in the file of a location inside the group."""
        if not location:
            return self.owner
        first = self.origins.get(location[0], f"{self.owner}.{location[0]}")
        return ".".join([first, *map(str, location[1:])])


class Templates:
    """Makes them; what is wrong is added to `problems`.

    Args:
        study: as its file says.
        files: label -> file, for models and tasks.
        problems: one line each.
    """

    def __init__(self, study: Study, files: dict[str, dict[str, str]], problems: list[str]) -> None:
        self.study, self.files, self.problems = study, files, problems

    def check(self) -> None:
        """Look for mistakes that concern no single cell."""
        self.problems += sweeps.problems(self.study.sweep, "sweep")
        for label, name in self.files["model"].items():
            entry, here = self.study.models[label], f"models.{label}"
            self.problems += sweeps.problems(entry.sweep, f"{here}.sweep")
            if entry.recipe and recipes.of(name) is None:
                self.problems.append(
                    f"{here}.recipe: no recipe stands in models/{name}.py; give training and "
                    "sweep instead"
                )
            self.problems += self._wrong_size(label, name)

    def _wrong_size(self, label: str, name: str) -> Iterator[str]:
        """Mistakes in `size_to`."""
        entry, here = self.study.models[label], f"models.{label}"
        if entry.size_to is None:
            return
        by, allowed = entry.size_to.by, sizing.integers(name)
        if by not in allowed:
            text = unknown(by, allowed, f"an integer setting of {name}")
            yield f"{here}.size_to.by: {text}"
        given = {
            f"{here}.settings.{by}": by in entry.settings,
            f"{here}.sweep.model.{by}": f"model.{by}" in entry.sweep,
            f"sweep.model.{by}": f"model.{by}" in self.study.sweep,
        }
        for where in (place for place, there in given.items() if there):
            yield f"{where}: {here}.size_to chooses {by}; leave one of them out"

    def cells(self) -> dict[Key, Cell]:
        """A cell for each (model, task, variant), at length 1 and seed 0."""
        found = {}
        extra = {(entry.model, entry.task) for entry in self.study.include}
        for label, task_label in itertools.product(self.files["model"], self.files["task"]):
            if not runs(self.study, label, task_label) and (label, task_label) not in extra:
                continue
            files = {"model": self.files["model"][label], "task": self.files["task"][task_label]}
            sweep = self._sweep(label, task_label)
            for variant in sweeps.variants(sweep):
                made = self._records(label, task_label, files, sweep, variant.values)
                if made["task"] and made["model"]:
                    self._check_pair(label, task_label, made["model"], made["task"])
                if None not in made.values():
                    found[label, task_label, variant.words] = Cell(
                        model=files["model"],
                        model_settings=made["model"].model_dump(mode="json"),
                        task=files["task"],
                        task_settings=made["task"].model_dump(mode="json"),
                        seqlen=1,
                        seed=0,
                        **{group: made[group] for group in SWEPT},
                    )
        return found

    def _sweep(self, label: str, task_label: str) -> dict[str, Swept]:
        """What is swept for a model on a task: the study's, then the model's, or its recipe's."""
        study, model = self.study, self.study.models[label]
        here = f"models.{label}"
        found = sweeps.merged((study.sweep, "sweep"), (model.sweep, f"{here}.sweep"))
        recipe = recipes.of(self.files["model"][label]) if model.recipe else None
        given = {*study.training.model_fields_set, *study.tasks[task_label].training}
        if recipe is None or len(recipe.learning_rates) == 1:
            return found
        if sweeps.RATE not in found and "learning_rate" not in {*given, *model.training}:
            found |= sweeps.merged(({sweeps.RATE: list(recipe.learning_rates)}, f"{here}.recipe"))
        return found

    def _records(
        self,
        label: str,
        task_label: str,
        files: dict[str, str],
        sweep: dict[str, Swept],
        swept: dict[str, Any],
    ) -> dict[str, Any]:
        """Each group of settings, checked; None for one that cannot be."""
        records = {kind: registry.settings(kind, name) for kind, name in files.items()} | SWEPT
        groups = self._groups(label, task_label)
        for key, value in swept.items():
            group, _, name = key.partition(".")
            # A study's own sweep of a model's setting: which of the models it is wrong for.
            who = f" for {label}" if group == "model" and sweep[key].origin[:6] == "sweep." else ""
            groups[group].values[name] = value
            groups[group].origins[name] = f"{sweep[key].origin}{who}"
        if self.study.models[label].recipe:
            self._follow(label, groups)
        if size_to := self.study.models[label].size_to:
            model, by = groups["model"], size_to.by
            # The default may not go with the others; the value wanted comes with the length.
            possible = sizing.first_possible(files["model"], model.values, size_to)
            model.values |= {} if possible is None else {by: possible}
        return {name: self._made(records[name], groups[name]) for name in groups}

    def _check_pair(self, label: str, task_label: str, model: Any, task: Any) -> None:
        if task.next_token and model.reads_ahead:
            self.problems.append(
                f"models.{label}.settings: a model that reads ahead sees the answers of "
                f"{task_label}, which are the tokens after; make it causal, or leave it out with "
                f"tasks.{task_label}.models"
            )
        if model.pooled_only and not task.pooled:
            self.problems.append(
                f"models.{label}: gives one answer a sequence and {task_label} asks at positions; "
                f"leave it out with tasks.{task_label}.models"
            )

    def _groups(self, label: str, task_label: str) -> dict[str, _Values]:
        """The settings of a model on a task: the study's, then the task's, then the model's."""
        model, task = self.study.models[label], self.study.tasks[task_label]
        here, there = f"models.{label}", f"tasks.{task_label}"
        found = {"model": _Values(f"{here}.settings"), "task": _Values(f"{there}.settings")}
        found["model"].update(model.settings, f"{here}.settings")
        found["task"].update(task.settings, f"{there}.settings")
        for group in SWEPT:
            found[group] = _Values(group)
            found[group].update(getattr(self.study, group).model_dump(), group)
            found[group].update(getattr(task, group), f"{there}.{group}")
        for group in ("training", "compute"):
            found[group].update(getattr(model, group), f"{here}.{group}")
        return found

    def _follow(self, label: str, groups: dict[str, _Values]) -> None:
        """Fill in a model's recipe wherever nothing is written; last, as steps may be swept."""
        recipe = recipes.of(self.files["model"][label])
        training, model = groups["training"], groups["model"]
        # The study's own values are defaults unless they are written there.
        written = {key for key, origin in training.origins.items() if origin != f"training.{key}"}
        written |= self.study.training.model_fields_set
        steps = training.values["steps"]
        if recipe is not None and isinstance(steps, int):
            origin = f"models.{label}.recipe"
            training.update(recipes.training(recipe, written, steps), origin)
            model.update(recipes.model_settings(self.files["model"][label], model.values), origin)

    def _made(self, record: type[Strict], group: _Values) -> Any:
        try:
            return record.model_validate(group.values)
        except ValidationError as error:
            self.problems += explain(error, record, group.place)
            return None
