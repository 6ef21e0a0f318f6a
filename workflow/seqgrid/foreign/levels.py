"""What the scores of a foreign study mean: levels, ceilings and sizes, by our own code or given."""

from typing import Any

from seqgrid import registry
from seqgrid.foreign.mapping import Mapping
from seqgrid.metric_names import BETTER

Place = tuple[str, int, str]  # task, evaluated length, test set


class Known:
    """Our tasks and models behind the labels of a study; each is made once.

    problems: lengths at which a task does not exist, one line each.
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.problems: list[str] = []
        self._tasks: dict[tuple[str, int], Any] = {}
        self._sizes: dict[tuple[str, str, int], dict[str, Any]] = {}

    def metric(self, task: str) -> str:
        """What a task is judged by."""
        entry = self.mapping.tasks[task]
        return entry.metric or registry.task_class(str(entry.task)).metric

    def better(self, task: str, metric: str) -> str | None:
        """Which values of a metric are better; None where nobody says."""
        entry = self.mapping.tasks[task]
        if entry.better and metric == self.metric(task):
            return entry.better
        return BETTER.get(metric)

    def outputs(self, task: str, seqlen: int) -> int:
        """Scored values of one example of a regression; 1 where it is not known."""
        made = self._task(task, seqlen)
        return made.shape.num_outputs if made is not None and made.shape.pooled else 1

    def levels(self, places: set[Place]) -> list[dict[str, Any]]:
        """The rows of the table `levels` at these places, worst first at each."""
        rows: dict[tuple, dict[str, Any]] = {}
        for task, seqlen, test_set in sorted(places):
            found: list[dict[str, Any]] = [
                {
                    "metric": level.metric or self.metric(task),
                    "level": level.level,
                    "kind": level.kind,
                    "value": level.value,
                    "derivation": level.derivation,
                }
                for level in self.mapping.tasks[task].levels
                if level.test_set == test_set and seqlen in (level.lengths or [seqlen])
            ]
            found += [
                {
                    "metric": level.metric,
                    "level": level.name,
                    "kind": level.kind,
                    "value": level.value,
                    "derivation": level.derivation,
                    "slice": level.slice,
                }
                for level in self._tested(task, seqlen, test_set)
            ]
            for level in found:
                row = {
                    "task": task,
                    "evaluated_seqlen_tokens": seqlen,
                    "test_set": test_set,
                    "slice": "",
                    "better": self.better(task, level["metric"]),
                } | level
                key = (task, seqlen, test_set, row["slice"], row["metric"], row["level"])
                rows[(*key, row["kind"])] = row
        labels = list(self.mapping.tasks)
        return sorted(
            rows.values(),
            key=lambda row: (
                labels.index(row["task"]),
                row["metric"],
                row["evaluated_seqlen_tokens"],
                row["test_set"],
                row["slice"],
                row["value"] if row["better"] == "higher" else -row["value"],
            ),
        )

    def ceiling(self, model: str, place: Place, metric: str) -> dict[str, Any]:
        """The columns on the best that a model can score at a place; empty: nothing is known."""
        entry = self.mapping.models[model]
        if entry.model is None:
            return {}
        sight = registry.settings("model", entry.model)(**entry.settings).sight
        task, seqlen, test_set = place
        made = self._task(task, seqlen)
        if sight is None or made is None:
            return {}
        tested = made.test_sets().get(test_set)
        for level in tested.model_ceilings(sight) if tested else []:
            if level.metric == metric and not level.slice:
                return {
                    "model_ceiling": level.value,
                    "model_ceiling_name": level.name,
                    "model_ceiling_derivation": level.derivation,
                }
        return {}

    def sizes(self, model: str, task: str, seqlen: int) -> dict[str, Any]:
        """Parameters, state and FLOPs: as the mapping has them, else counted in our file."""
        key = (model, task, seqlen)
        if key not in self._sizes:
            entry = self.mapping.models[model]
            given = {
                "parameters": entry.parameters,
                "state_bytes": entry.state_bytes,
                "flops_per_token": entry.flops_per_token,
            }
            self._sizes[key] = self._counted(model, task, seqlen) | {
                name: value for name, value in given.items() if value is not None
            }
        return self._sizes[key]

    def log2_inputs(self, task: str, seqlen: int) -> float | None:
        """log2 of the number of different inputs; None where it is not known."""
        made = self._task(task, seqlen)
        return None if made is None else float(made.settings.log2_inputs(seqlen))

    def _counted(self, model: str, task: str, seqlen: int) -> dict[str, Any]:
        entry, made = self.mapping.models[model], self._task(task, seqlen)
        if entry.model is None or made is None:
            return {}
        from seqgrid import sizing

        try:
            built = sizing.counted(entry.model, entry.settings, made.shape)
        except ValueError as error:
            problem = f"models.{model}: cannot be made for {task} at {seqlen} tokens: {error}"
            self.problems.append(problem)
            return {}
        return {
            "parameters": built.num_parameters,
            "state_bytes": built.state_bytes(seqlen),
            "flops_per_token": float(built.flops_per_token(seqlen)),
        }

    def _tested(self, task: str, seqlen: int, test_set: str) -> list[Any]:
        made = self._task(task, seqlen)
        tested = made.test_sets().get(test_set) if made is not None else None
        return tested.levels() if tested else []

    def _task(self, task: str, seqlen: int) -> Any:
        if (task, seqlen) not in self._tasks:
            entry = self.mapping.tasks[task]
            made = None
            if entry.task is not None:
                try:
                    made = registry.make_task(entry.task, entry.settings, seqlen)
                except ValueError as error:
                    self.problems.append(f"tasks.{task}: {error}")
            self._tasks[task, seqlen] = made
        return self._tasks[task, seqlen]
