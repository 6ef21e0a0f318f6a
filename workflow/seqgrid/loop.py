"""The training loop, the only one.

It counts steps; everything that decides the weights is a function of the step, so that a training
cut anywhere and resumed ends with the same bits as one that was not.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seqgrid import checkpoint, compute, memory, metrics, optimiser, predict, registry
from seqgrid.cell import Cell
from seqgrid.examples import Examples
from seqgrid.outcome import Progress
from seqgrid.quantum.cost import of_model
from seqgrid.seeds import derive

FINITE_CHECK_STEPS = 25  # asking a GPU for a number on every step would stall it


class Diverged(Exception):
    """The loss is not finite any more; the message says where."""


@dataclass
class Seconds:
    """Where the time of this part went."""

    training: float = 0.0
    validation: float = 0.0
    checkpoint: float = 0.0


@dataclass
class Track:
    """What the loop knows besides weights and optimiser; all of it is in the checkpoint."""

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # history of all parts
    solved_in_a_row: int = 0
    solved_step: int | None = None
    solved_seconds: float | None = None
    best_step: int | None = None
    best_metric: float | None = None
    since_best: int = 0  # validations
    earlier_seconds: float = 0.0  # training seconds of earlier parts
    part_seconds: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])


def device() -> torch.device:
    """Where this process trains."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Loop:
    """One cell in training: build, restore from the state of a checkpoint if any, then `run`."""

    def __init__(
        self, cell: Cell, live: Path, part: int, start: dict[str, Any] | None, pieces: int = 1
    ) -> None:
        """Build the training of a part.

        Args:
            cell: what to train.
            live: folder of the rolling checkpoints.
            part: number of the part.
            start: state to go on from; None to begin.
            pieces: that each batch is cut into; at least what `start` was trained with.
        """
        self.cell, self.live, self.part = cell, live, part
        self.device = device()
        self.task = registry.make_task(cell.task, cell.task_settings, cell.seqlen)
        torch.manual_seed(cell.seed_of("init"))
        self.model = registry.make_model(cell.model, cell.model_settings, self.task.shape)
        self.model.to(self.device)
        with compute.applied(cell.compute, self.device):
            self.backend = self.model.backend
        compute.prepare(self.model, cell.compute, self.device)
        self.optimiser = optimiser.make(self.model, cell.training)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        torch.manual_seed(derive(cell.seed_of("order"), "dropout"))
        self.examples = Examples(cell, self.task, self.device)
        self.levels = {
            level.kind: level.value
            for level in self.task.levels()
            if level.metric == self.task.metric and level.kind in ("chance", "solved")
        }
        self.track = Track()
        self.best: dict[str, torch.Tensor] | None = None
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.loss_steps = 0
        self.gradient_norm = torch.zeros((), device=self.device)
        self.first_step = 0
        self.pieces = pieces
        if start:
            self._restore(start)
        self.validation = [b for x in self.examples.validation() for b in x.pieces(self.pieces)]
        self.seconds = Seconds(*self.track.part_seconds)

    # -- state ---------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        self.track.part_seconds = [
            self.seconds.training, self.seconds.validation, self.seconds.checkpoint
        ]  # fmt: skip
        return {
            "cell": self.cell.path,
            "part": self.part,
            "first_step": self.first_step,
            "step": self.track.step,
            "seen_tokens": self._tokens(),
            "track": vars(self.track),
            "model": self.model.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "random": checkpoint.random_state(self.device),
            "loss_sum": self.loss_sum,
            "loss_steps": self.loss_steps,
            "gradient_norm": self.gradient_norm,
            "pieces": self.pieces,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.track = Track(**state["track"])
        self.model.load_state_dict(state["model"])
        self.best = state["best"]
        self.optimiser.load_state_dict(state["optimiser"])
        checkpoint.set_random_state(state["random"], self.device)
        self.loss_sum, self.loss_steps = state["loss_sum"], state["loss_steps"]
        self.gradient_norm = state["gradient_norm"]
        self.pieces = max(self.pieces, state.get("pieces", 1))
        if state["part"] == self.part:
            self.first_step = state["first_step"]
        else:
            self.first_step = state["step"]
            self.track.earlier_seconds += self.track.part_seconds[0]
            self.track.part_seconds = [0.0, 0.0, 0.0]

    def save(self, fence: Callable[[], None] | None = None) -> Path:
        """Write a rolling checkpoint; `fence` raises where it is not ours to write any more.

        Raises:
            OSError: it could not be written; older checkpoints are untouched.
        """
        begin = time.perf_counter()
        try:
            return checkpoint.save(self._state(), self.live, fence)
        finally:
            self.seconds.checkpoint += time.perf_counter() - begin

    @property
    def total_seconds(self) -> float:
        """Training seconds of all parts."""
        return self.track.earlier_seconds + self.seconds.training

    def progress(self) -> Progress:
        """Where the training stands."""
        last = self.track.rows[-1] if self.track.rows else None
        return Progress(
            first_step=self.first_step,
            step=self.track.step,
            seen_tokens=self._tokens(),
            solved_step=self.track.solved_step,
            solved_seconds=self.track.solved_seconds,
            best_step=self.track.best_step,
            best_metric=self.track.best_metric,
            last_metric=last["validation_metric"] if last else None,
            metric=self.task.metric,
            training_seconds=self.seconds.training,
            validation_seconds=self.seconds.validation,
            checkpoint_seconds=self.seconds.checkpoint,
            peak_memory_bytes=memory.peak(),
            peak_host_bytes=memory.peak_host(),
            pieces=self.pieces,
            parameters=self.model.num_parameters,
            state_bytes=self.model.state_bytes(self.cell.seqlen),
            flops_per_token=self._flops_per_token(),
            **self._circuits(),
        )

    def facts(self) -> dict[str, Any]:
        """Device, dtype and backends, for the provenance of the result."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "dtype": self._dtype(),
            "backend": self.backend,
        }

    def _flops_per_token(self) -> float | None:
        """None where a model of its own does not say."""
        count = getattr(self.model, "flops_per_token", None)
        return None if count is None else float(count(self.cell.seqlen))

    def _circuits(self) -> dict[str, Any]:
        """What its circuits cost, by the names of `Progress`; nothing where it has none."""
        found = of_model(self.model, self.cell.seqlen)
        return {} if found is None else vars(found)

    def _dtype(self) -> str:
        chosen = self.cell.compute
        words = [str(self.parameters[0].dtype).removeprefix("torch.")]
        if chosen.precision == "bf16":
            words.append("bfloat16 products")
        if chosen.tf32 and self.device.type == "cuda":
            words.append("TF32 products")
        return ", ".join(words)

    def _tokens(self) -> int:
        return self.track.step * self.cell.training.batch_size * self.cell.seqlen

    # -- training ------------------------------------------------------------------------------

    def run(self, pause: Callable[["Loop"], bool]) -> str | None:
        """Train until the end, or until `pause` says to stop here.

        Args:
            pause: called between steps; may save, write heartbeats, and return True to stop.

        Returns:
            Why the training is finished, or None where it was paused.

        Raises:
            Diverged: the loss is not finite any more.
        """
        with compute.applied(self.cell.compute, self.device):
            return self._run(pause)

    def _run(self, pause: Callable[["Loop"], bool]) -> str | None:
        self.model.train()
        if self.cell.compute.cuda_graphs and self._finished() is None:
            compute.capture(self.model, self.examples.batch(self.track.step), self.pieces)
        total = self.cell.training.steps
        reason = self._finished()
        while reason is None:
            if pause(self):
                return None
            begin = time.perf_counter()
            self._step()
            self.seconds.training += time.perf_counter() - begin
            step = self.track.step
            if step % FINITE_CHECK_STEPS == 0 and not torch.isfinite(self.loss_sum):
                raise Diverged(f"the training loss was not finite by step {step}")
            reason = self._finished()
            if step % self.cell.validation.every_steps == 0 or step == total or reason:
                begin = time.perf_counter()
                self._validate()
                self.seconds.validation += time.perf_counter() - begin
                reason = self._finished()
        return reason

    def _step(self) -> None:
        batch = self.examples.batch(self.track.step)
        rate = optimiser.learning_rate(self.track.step, self.cell.training)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss = optimiser.backward(self.model, batch, self.task.loss, self.pieces)
        limit = self.cell.training.gradient_clip
        self.gradient_norm = optimiser.clip(self.optimiser, self.parameters, limit)
        self.optimiser.step()
        self.loss_sum += loss
        self.loss_steps += 1
        self.track.step += 1

    def _validate(self) -> None:
        if not torch.isfinite(self.loss_sum):
            raise Diverged(f"the training loss was not finite by step {self.track.step}")
        found = predict.score(self.model, self.validation, self.task)
        main, step = found[self.task.metric], self.track.step
        if not math.isfinite(main.value):
            raise Diverged(f"the validation {self.task.metric} is {main.value} at step {step}")
        self.track.rows.append(
            {
                "part": self.part,
                "step_steps": step,
                "seen_tokens": self._tokens(),
                "train_loss": float(self.loss_sum) / self.loss_steps,
                "learning_rate": optimiser.learning_rate(step - 1, self.cell.training),
                "gradient_norm": float(self.gradient_norm),
                "validation_loss": found[metrics.LOSS_METRIC[self.task.loss]].value,
                "metric": self.task.metric,
                "validation_metric": main.value,
                "validation_standard_error": main.standard_error,
                "training_seconds": self.total_seconds,
            }
        )
        self.loss_sum.zero_()
        self.loss_steps = 0
        self._judge(main)

    def _judge(self, found: metrics.Summary) -> None:
        """Update the best weights and the counters of the stopping rules."""
        track, sign = self.track, 1 if self.task.better == "higher" else -1
        value = found.value
        if track.best_metric is None or sign * (value - track.best_metric) > 0:
            track.best_metric, track.best_step, track.since_best = value, track.step, 0
            self.best = deepcopy(self.model.state_dict())
        else:
            track.since_best += 1
        worst = min(sign * found.low, sign * found.high)  # of the 95 % interval
        at_chance = worst <= sign * self.levels["chance"]
        if at_chance and not self.cell.stopping.plateau_at_chance:
            track.since_best = 0
        solved = self.levels.get("solved")  # a task whose ceiling is chance has none
        if solved is not None and sign * (value - solved) >= 0:
            track.solved_in_a_row += 1
            if track.solved_step is None:
                track.solved_step, track.solved_seconds = track.step, self.total_seconds
        else:
            track.solved_in_a_row = 0

    def _finished(self) -> str | None:
        track, rules = self.track, self.cell.stopping
        if rules.solved_validations and track.solved_in_a_row >= rules.solved_validations:
            return f"solved at step {track.solved_step}"
        if rules.plateau_validations and track.since_best >= rules.plateau_validations:
            return f"plateau: no better validation since step {track.best_step}"
        if track.step >= self.cell.training.steps:
            return f"budget of {self.cell.training.steps} steps"
        limit = self.cell.training.seconds
        if limit is not None and self.total_seconds >= limit:
            return f"budget of {limit:g} training seconds"
        return None
