"""A cell: one fully resolved training run. Frozen, validated, knows nothing of any study."""

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from seqgrid import registry
from seqgrid.outcome import write_text
from seqgrid.seeds import derive
from seqgrid.settings import Chosen, ModelSettings, Strict


class Training(Chosen):
    """How the weights are found. Every key counts towards the cell's identity."""

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1, description="examples a step")
    examples: int | None = Field(
        None, ge=1, description="size of a fixed training set; null: every example is new"
    )
    seconds: float | None = Field(
        None, gt=0, description="training seconds over all parts after which the cell is finished"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        "constant",
        description="learning rate after the warm-up; all but constant end at 0, wsd (warm-up, "
        "stable, decay) after a linear decay over the last decay_fraction of the steps",
    )
    decay_fraction: float = Field(
        0.1, gt=0, le=1, description="share of the steps in which wsd decays"
    )
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="decay of matrices; vectors, and what a layer exempts (A_log, D, ...), have "
        "none",
    )
    decay_embeddings: bool = Field(
        True, description="whether the matrix that embeds tokens or channels decays too"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's first-moment decay")
    beta2: float = Field(0.999, ge=0, lt=1, description="AdamW's second-moment decay")
    gradient_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: none")
    data_seed: int | None = Field(None, ge=0, description="seed of the examples; null: the cell's")
    init_seed: int | None = Field(None, ge=0, description="seed of the weights; null: the cell's")
    order_seed: int | None = Field(
        None,
        ge=0,
        description="seed of the order of a fixed training set and of dropout; null: the cell's",
    )


class Validation(Chosen):
    """When and on what the training looks at itself."""

    every_steps: int = Field(100, ge=1, description="steps between validations")
    examples: int = Field(500, ge=2, description="validation examples")


class Stopping(Chosen):
    """When training ends before its budget."""

    solved_validations: int | None = Field(
        2, ge=1, description="stop after so many solved validations in a row; null: never"
    )
    plateau_validations: int | None = Field(
        None, ge=1, description="stop after so many validations without a new best; null: never"
    )
    plateau_at_chance: bool = Field(
        False, description="whether a plateau counts while the metric is still at chance"
    )


class Compute(Chosen):
    """How the arithmetic is done."""

    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of the model's products; weights, optimiser and losses are float32"
    )
    tf32: bool = Field(
        False, description="whether float32 products on a GPU may run in TF32, 10 bits of mantissa"
    )
    kernels: Literal["auto", "torch"] = Field(
        "auto",
        description="auto: fused kernels on a GPU, an error where their package is missing, the "
        "chunked torch path on a CPU; torch: the chunked torch path everywhere",
    )
    compile: bool = Field(False, description="torch.compile for the model")
    cuda_graphs: bool = Field(False, description="record each training pass once, and replay it")

    @model_validator(mode="after")
    def _recordable(self) -> Self:
        if self.cuda_graphs and self.kernels == "torch":
            # it looks at gates to choose how to factorise, which a recording cannot
            raise ValueError(
                "cuda_graphs: true needs kernels: auto; the torch path is not recorded"
            )
        return self


class Cell(Strict):
    """One training run."""

    model: str
    model_settings: dict[str, Any] = Field(default_factory=dict)
    task: str
    task_settings: dict[str, Any] = Field(default_factory=dict)
    seqlen: int = Field(ge=1, description="training sequence length, tokens")
    seed: int = Field(ge=0)
    training: Training = Training()
    validation: Validation = Validation()
    stopping: Stopping = Stopping()
    compute: Compute = Compute()

    @cached_property
    def fingerprint(self) -> str:
        """10 hex digits over the settings that differ from the defaults.

        Model, task, length and seed stand in the path beside it and are left out.
        """
        return _fingerprint(
            self.model,
            json.dumps(self.model_settings, sort_keys=True),
            self.task,
            json.dumps(self.task_settings, sort_keys=True),
            self.training,
            self.validation,
            self.stopping,
            self.compute,
        )

    @cached_property
    def path(self) -> str:
        """Folder of the cell below results/cells."""
        return f"{self.model}/{self.task}/L{self.seqlen}/seed{self.seed}-{self.fingerprint}"

    def seed_of(self, use: Literal["data", "init", "order"]) -> int:
        """The seed of one use of randomness: unrelated to those of other uses and cells."""
        chosen = getattr(self.training, f"{use}_seed")
        return derive(self.seed if chosen is None else chosen, use)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Other model files that the model is made of."""
        record = registry.settings("model", self.model)
        if record.parts is ModelSettings.parts:  # all but a few: nothing to work out
            return ()
        return record(**self.model_settings).parts

    def unable(self) -> str | None:
        """Why the model cannot do the task at this length; None where it can."""
        chosen = registry.settings("model", self.model)(**self.model_settings)
        return chosen.unable(self.seqlen)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        for name in ("fingerprint", "path", "parts"):  # a copy may be given other settings
            copied.__dict__.pop(name, None)
        return copied

    def write(self, folder: Path) -> None:
        """Write `cell.json` into the folder, unless it is there: what was begun is not renamed."""
        try:
            Cell.read(folder)
            return
        except (OSError, ValueError):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "cell.json", self.model_dump_json(indent=1) + "\n", durable=False)

    @classmethod
    def read(cls, folder: Path) -> "Cell":
        """The cell of a folder.

        Raises:
            OSError: there is no cell.json. ValueError: it is not a cell.
        """
        return cls.model_validate_json((folder / "cell.json").read_bytes())


@cache
def _fingerprint(
    model: str,
    model_settings: str,
    task: str,
    task_settings: str,
    training: Training,
    validation: Validation,
    stopping: Stopping,
    compute: Compute,
) -> str:
    chosen = {
        "model_settings": registry.settings("model", model)(**json.loads(model_settings)),
        "task_settings": registry.settings("task", task)(**json.loads(task_settings)),
        "training": training,
        "validation": validation,
        "stopping": stopping,
        "compute": compute,
    }
    differing = {name: value.model_dump(exclude_defaults=True) for name, value in chosen.items()}
    # Empty groups go, so that a new group of settings leaves old fingerprints as they are.
    text = json.dumps({name: value for name, value in differing.items() if value}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
