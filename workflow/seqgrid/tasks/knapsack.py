"""The most value that fits into a knapsack, each item taken once or not at all.

    inputs   10  3  4 40  4 30  3 35  ?  _  _        target 75

Source: ebaenamar/yoon-kim-hack, tasks/tropical_tasks.py, at commit 58a56d7. The capacity, the
number of items, each item's weight and value, and a question mark, after which the optimum is told
as one class. Capacity, number of items and values are uniform on their ranges, weights on 1, 2, ...
below half of the capacity, rounded down. Above, the items of weights 4 and 3 are the best choice.

Every number has a token of its own; the question mark and the padding (_) come after them. In the
original the question mark is the number 200, and examples of unequal length make no batch.

Levels, accuracy. The optimum has no known distribution, so all but the ceiling come from examples
of a fixed seed, with standard errors stated. The best constant is the most frequent optimum, chosen
on one half of the examples and judged on the other; its loss is the cross entropy of one half under
the frequencies of the other. The shortcuts are heuristics that find some optima: greedy_by_ratio
takes what fits, in the order of value per weight; greedy_by_value in the order of value;
best_greedy has the better total of both; fractional_bound cuts the first item that does not fit,
and drops the fraction of the value.

B batch, L sequence length, N most items, C greatest capacity, V answers.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from seqgrid.data import Batch, Shape
from seqgrid.seeds import derive
from seqgrid.settings import TaskSettings
from seqgrid.streams import Stream
from seqgrid.tasks._base import Control, Level, Published, Task
from seqgrid.tasks._knapsack_solvers import HEURISTICS, optimum

CERTAIN = 50.0  # logit of the only possible answer
TRIALS = 32768  # examples of each half behind the levels


class Settings(TaskSettings):
    """Ranges of capacity, items and values."""

    pooled: ClassVar[bool] = True

    smallest_capacity: int = Field(10, ge=4, description="smallest capacity")
    largest_capacity: int = Field(49, ge=4, le=1000, description="greatest capacity")
    fewest_items: int = Field(5, ge=1, description="fewest items")
    most_items: int = Field(14, ge=1, le=100, description="most items")
    largest_value: int = Field(99, ge=2, le=1000, description="greatest value of an item")

    @model_validator(mode="after")
    def _ranges_hold_something(self) -> Self:
        if self.smallest_capacity > self.largest_capacity:
            raise ValueError(
                f"smallest_capacity={self.smallest_capacity} is above "
                f"largest_capacity={self.largest_capacity}"
            )
        if self.fewest_items > self.most_items:
            raise ValueError(
                f"fewest_items={self.fewest_items} is above most_items={self.most_items}"
            )
        return self

    def impossible(self, seqlen: int) -> str | None:
        """The longest example needs its tokens."""
        needed = 2 * self.most_items + 3
        if needed > seqlen:
            return (
                f"{self.most_items} items need {needed} tokens and there are {seqlen}; "
                f"use most_items <= {max(1, (seqlen - 3) // 2)} or a longer sequence"
            )
        return None

    def log2_inputs(self, seqlen: int) -> float:
        """From the chance that two examples agree in capacity, items, weights and values."""
        capacities = range(self.smallest_capacity, self.largest_capacity + 1)
        items = [math.log2((capacity // 2 - 1) * self.largest_value) for capacity in capacities]
        numbers = range(self.fewest_items, self.most_items + 1)
        least = numbers[0] * items[0]
        alike = math.fsum(2 ** (least - number * bits) for number in numbers for bits in items)
        return least + 2 * math.log2(len(numbers) * len(items)) - math.log2(alike)


class Knapsack(Task):
    """Tokens in, logits of the optimum out."""

    metric: ClassVar = "accuracy"
    better: ClassVar = "higher"
    loss: ClassVar = "cross_entropy"
    settings: Settings
    controls: ClassVar = (
        # ranges so small that a CPU solves them are solved by the better of two greedy choices, too
        Control(
            "lstm",
            23,
            "SOLVED",
            "the optimum follows from how many there are of six kinds of item; not yet shown, and "
            "no model is known to learn the original ranges",
            settings={"num_layers": 1, "d_model": 128},
            task_settings={
                "smallest_capacity": 6,
                "largest_capacity": 7,
                "fewest_items": 10,
                "most_items": 10,
                "largest_value": 3,
            },
            training={
                "steps": 20000,
                "batch_size": 128,
                "learning_rate": 4e-3,
                "schedule": "cosine",
                "validation": {"every_steps": 500, "examples": 2000},
                "stopping": {"solved_validations": None},
            },
        ),
    )
    published: ClassVar = tuple(
        Published(
            f"ebaenamar/yoon-kim-hack, {where}",
            f"{model}, 4 layers",
            f"vocabulary 4096, {settings}",
            f"accuracy {accuracy} %, which is chance",
            f"the question mark is the number 200{unsure}",
            verified=not unsure,
        )
        for where, settings, unsure, results in (
            (
                "committed results",
                "AdamW 1e-3, batch 16, 15 epochs by its script, mean of 10 runs on 200 examples",
                "",
                {"LSTM": "0.6", "GRU": "0.5", "RoPE transformer": "0.4", "DeltaNet": "0.3"},
            ),
            (
                "FINAL_REPORT.md and PHASE1_RESULTS.md",
                "AdamW 3e-4, batch 32, 300 epochs, one run",
                "; in no committed log, and the committed script has learning rate 1e-3 and batch "
                "16",
                {"LSTM": "about 1", "DeltaNet": "about 0"},
            ),
        )
        for model, accuracy in results.items()
    )

    @property
    def question(self) -> int:
        """The token that asks, after all numbers; padding is the one after it."""
        chosen = self.settings
        return 1 + max(chosen.largest_capacity, chosen.most_items, chosen.largest_value)

    @property
    def shape(self) -> Shape:
        """Tokens to logits of every sum of values, pooled."""
        return Shape(
            num_outputs=self.settings.most_items * self.settings.largest_value + 1,
            pooled=True,
            seqlen=self.seqlen,
            vocab_size=self.question + 2,
            slots=1,
        )

    @property
    def symbols(self) -> list[str]:
        """Numbers, the question mark and padding."""
        return [*(str(number) for number in range(self.question)), "?", "_"]

    @property
    def variations(self) -> dict[str, dict[str, int]]:
        """A test where every example has all items."""
        return {"longest": {"fewest_items": self.settings.most_items}}

    def sample(self, stream: Stream) -> Batch:
        """Inputs (B, L) of lengths (B,), targets (B, 1)."""
        capacity, number, weights, values = _draw(self.settings, stream)
        items = torch.stack((weights, values), dim=2).flatten(1)  # (B, 2 N)
        lengths = 2 * number + 3  # (B, 1)
        inputs = torch.full((len(stream), self.seqlen), self.question + 1, device=stream.device)
        inputs[:, 0:1], inputs[:, 1:2] = capacity, number
        inputs[:, 2 : 2 + items.shape[1]] = items
        place = torch.arange(self.seqlen, device=stream.device)
        inputs = torch.where(place < lengths - 1, inputs, self.question + 1)
        inputs.scatter_(1, lengths - 1, self.question)
        targets = optimum(self.settings.largest_capacity, capacity, weights, values)
        return Batch(inputs, targets, lengths=lengths[:, 0])

    def levels(self) -> list[Level]:
        """Accuracy, and the loss of chance and ceiling."""
        found = _measured(self.settings)
        heuristics = [
            Level(
                "accuracy",
                name,
                "shortcut",
                found[name],
                f"from {2 * TRIALS} examples, standard error below 0.002",
            )
            for name in HEURISTICS
        ]
        return [
            Level(
                "accuracy",
                "chance",
                "chance",
                found["chance"],
                f"the most frequent optimum, from twice {TRIALS} examples, standard error "
                f"{math.sqrt(found['chance'] * (1 - found['chance']) / TRIALS):.1g}",
            ),
            *heuristics,
            Level("accuracy", "ceiling", "ceiling", 1.0, "the optimum is a function of the input"),
            Level("accuracy", "solved", "solved", 0.99, "one error in a hundred"),
            Level(
                "loss",
                "chance",
                "chance",
                found["entropy"],
                f"cross entropy of the optimum, from twice {TRIALS} examples",
            ),
            Level("loss", "ceiling", "ceiling", 0.0, "the optimum is a function of the input"),
        ]

    def oracle(self, batch: Batch) -> Tensor:
        """Logits (B, 1, V), certain of the optimum."""
        return self._certain(partial(optimum, self.settings.largest_capacity), batch)

    def constant(self, batch: Batch) -> Tensor:
        """Logits (B, 1, V), the frequencies of the optima."""
        logits = _frequencies(self.settings).log().float().to(batch.inputs.device)
        return logits.expand(len(batch), 1, -1)

    def shortcuts(self) -> dict[str, Callable[[Batch], Tensor]]:
        """Heuristics that find the optimum in some examples."""
        return {name: partial(self._certain, solve) for name, solve in HEURISTICS.items()}

    def _certain(self, solve: Callable[..., Tensor], batch: Batch) -> Tensor:
        """Logits (B, 1, V) for what `solve` makes of the capacity, weights and values."""
        number = batch.inputs[:, 1:2]
        items = batch.inputs[:, 2 : 2 + 2 * self.settings.most_items].unflatten(1, (-1, 2))
        there = torch.arange(items.shape[1], device=items.device) < number  # (B, N)
        weights, values = torch.where(there[..., None], items, 0).unbind(2)
        answer = solve(batch.inputs[:, :1], weights, values)  # (B, 1)
        logits = torch.zeros(len(batch), 1, self.shape.num_outputs, device=items.device)
        return logits.scatter_(2, answer[..., None], CERTAIN)


def _draw(settings: Settings, stream: Stream) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Capacity and number of items, (B, 1) each; weights and values, (B, N), 0 of absent items."""
    least = torch.tensor([settings.smallest_capacity, settings.fewest_items], device=stream.device)
    most = torch.tensor([settings.largest_capacity, settings.most_items], device=stream.device)
    capacity, number = (least + stream.integers(2, most - least + 1)).split(1, dim=1)
    weights = 1 + stream.integers(settings.most_items, capacity // 2 - 1)
    values = 1 + stream.integers(settings.most_items, settings.largest_value)
    there = torch.arange(settings.most_items, device=stream.device) < number
    return capacity, number, torch.where(there, weights, 0), torch.where(there, values, 0)


@cache
def _counts(settings: Settings) -> tuple[Tensor, dict[str, float]]:
    """How often each optimum occurs in each half of the trials, (2, V), and shares found."""
    answers = settings.most_items * settings.largest_value + 1
    counts = torch.zeros(2, answers, dtype=torch.int64)
    found = dict.fromkeys(HEURISTICS, 0)
    for half, count in enumerate(counts):
        for trials in torch.arange(TRIALS).split(4096):  # large capacities would fill the memory
            stream = Stream(derive("knapsack levels", half), trials)
            capacity, _, weights, values = _draw(settings, stream)
            best = optimum(settings.largest_capacity, capacity, weights, values)
            count += best.flatten().bincount(minlength=answers)
            for name, solve in HEURISTICS.items():
                found[name] += int((solve(capacity, weights, values) == best).sum())
    return counts, {name: hits / (2 * TRIALS) for name, hits in found.items()}


def _frequencies(settings: Settings) -> Tensor:
    """Of each optimum in the first half of the trials, (V,) float64, none of them 0."""
    count = _counts(settings)[0][0] + 0.1  # an optimum not seen yet may come
    return count.double() / count.sum()


def _measured(settings: Settings) -> dict[str, float]:
    """Levels that have no closed form."""
    (_, second), found = _counts(settings)
    guess = _frequencies(settings)
    share = second.double() / TRIALS
    entropy = -(share * guess.log()).sum().item()
    return {"chance": share[guess.argmax()].item(), "entropy": entropy, **found}
