"""Base classes of what a model or a task lets a study set.

A model or task file declares one class named `Settings`. It is read without running the rest of
the file (see `registry.settings`), so that a study is validated without importing torch: it may
use only what this module, `math`, `typing` and `pydantic` give.
"""

import math
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A frozen record: unknown keys and wrong types are errors, nothing is coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class Chosen(Strict):
    """What a user writes: every number is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Recipe(Chosen):
    """How a model is trained in the literature: keys of a study's `training` and of its settings.

    The defaults are those of Zoology's code, HazyResearch/zoology, for models of this size on
    recall (Arora et al., arXiv:2312.04927): a grid of rates that the best is selected from, a
    cosine to 0, AdamW as in torch with a weight decay of 0.1, weights of 0.02. It neither warms up
    nor clips. Warm-up in a tenth of the steps is that of Beck et al., arXiv:2405.04517, appendix on
    associative recall, on the same task with the same grid and decay and a cosine; clipping at 1
    is that of Brown et al., arXiv:2005.14165, appendix B.

    A model states what its own paper or code has otherwise, but for learning rates and warm-ups of
    models that are thousands of times larger: those are no guide here.

    Attributes:
        source: what comes from which paper or code, besides these defaults.
        warmup_fraction: share of the steps.
    """

    source: str
    learning_rates: tuple[float, ...] = Field((1e-4, 4.6e-4, 2.2e-3, 1e-2), min_length=1)
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    decay_fraction: float = Field(0.1, gt=0, le=1)
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    gradient_clip: float | None = Field(1.0, gt=0)
    initializer_std: Annotated[float, Field(gt=0)] | Literal["small"] = 0.02


class Sight(NamedTuple):
    """What of the order of positions can reach the answer of a model that reads in chunks.

    Attributes:
        order: `chunks`: which chunk a position is in, and no more; `unordered_chunks`: which
            positions share a chunk, and which chunk is the shorter last; `chunks_both_ways`: as
            `chunks`, in chunks from the start and in others from the end.
        chunk_size: positions.
    """

    order: Literal["chunks", "unordered_chunks", "chunks_both_ways"]
    chunk_size: int


class ModelSettings(Chosen):
    """What every model lets a study set.

    Attributes:
        recipe: how the model is trained in the literature; None: nobody says.
        common: settings in which the layers of a stack have to agree, as they share what depends
            on them.
        pooled_only: whether it gives one answer a sequence and none at a position.
    """

    recipe: ClassVar[Recipe | None] = None
    common: ClassVar[tuple[str, ...]] = ()
    pooled_only: ClassVar[bool] = False

    d_model: int = Field(64, ge=1, le=65536, description="width of the residual stream, channels")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on embedding, mixer and MLP")

    @property
    def parts(self) -> tuple[str, ...]:
        """Other model files whose mixers it runs on."""
        return ()

    @property
    def reads_ahead(self) -> bool:
        """Whether the output at a position may depend on later inputs."""
        return False

    @property
    def sight(self) -> Sight | None:
        """What of the order of positions can reach the answer; None: nothing is known to be lost.

        A task that knows what such a model can score at best gives that as the model's ceiling.
        """
        return None

    def unable(self, seqlen: int) -> str | None:
        """Why a model with these settings cannot read `seqlen` tokens; None where it can."""
        return None


class BackboneSettings(ModelSettings):
    """The backbone a mixer sits in: embedding, then per layer norm, mixer, norm, MLP; head."""

    num_layers: int = Field(2, ge=1, le=1024, description="layers of mixer and MLP")
    mlp_ratio: float = Field(2.0, ge=0, description="hidden width of the MLP over d_model; 0: none")
    initializer_std: Annotated[float, Field(gt=0)] | Literal["small"] = Field(
        0.02,
        description="std of linear weights; small: sqrt(2 / (5 d_model)), which knows the width",
    )
    embedding_std: float | None = Field(
        None, gt=0, description="std of embeddings and positions; null: that of linear weights"
    )
    rescale_prenorm_residual: bool = Field(
        True,
        description="layers that write into the residual stream start smaller by "
        "sqrt(2 num_layers)",
    )
    pool: Literal["last", "mean"] = Field(
        "last", description="what a pooled target reads: the last position, or the mean of all"
    )

    @property
    def linear_std(self) -> float:
        """Std of linear weights; SmallInit: Nguyen and Salazar, arXiv:1910.05895."""
        if self.initializer_std == "small":
            return math.sqrt(2 / (5 * self.d_model))
        return self.initializer_std


class QuantumHydraSettings(ModelSettings):
    """What the models of the quantum_hydra study share (JHPark9090/Quantum-Hydra-Mamba).

    The defaults are those of the study, so that a study that sets nothing is that study.
    """

    pooled_only: ClassVar[bool] = True
    recipe: ClassVar[Recipe | None] = Recipe(
        learning_rates=(1e-3,),
        weight_decay=1e-4,
        warmup_fraction=0.0,
        source="all of it: JHPark9090/Quantum-Hydra-Mamba, scripts/run_synthetic_benchmark.py, "
        "with batches of 32. There the cosine falls once an epoch, here at every step; there "
        "biases, norms, A_log and D decay too; there training stops after 20 epochs without a "
        "better validation loss",
    )

    d_model: int = Field(128, ge=1, le=65536, description="width of a position, channels")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout, where the original has it")


class TaskSettings(Chosen):
    """What defines a task besides its sequence length.

    Attributes:
        any_length: whether a model trained at one length can be tested at another.
        next_token: whether targets are the token after, which a model that reads ahead sees.
        pooled: whether there is one target a sequence and none at a position.
    """

    any_length: ClassVar[bool] = True
    next_token: ClassVar[bool] = False
    pooled: ClassVar[bool] = False

    def impossible(self, seqlen: int) -> str | None:
        """Why the task does not exist at `seqlen` tokens; None where it does."""
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """log2 of how many different inputs there are, as far as chance goes.

        That is -log2 of the probability that two examples have the same input: where it is small, a
        test example may have been seen in training. Infinite for inputs of real numbers.
        """
        return math.inf

    def known_plateau(self, seqlen: int) -> int | None:
        """Optimiser steps of the longest plateau that is known to have broken; None: none known.

        A training that is flat for no longer than that has not shown its end.
        """
        return None
