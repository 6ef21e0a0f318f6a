"""A worked example of every verdict rule: numbers that make it speak, and what it says of them.

The rules are run on the numbers, so that no example can say what the rule does not.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from tables_factory import Tables

from seqgrid.analysis import summary
from seqgrid.analysis.verdicts import RULES
from seqgrid.thresholds import DEFAULTS, Thresholds

SCOPES = {
    "level": "the seeds of a model at each evaluated length",
    "group": "all seeds of a model, task and training length",
    "cell": "one seed",
}

LEVELS = {"chance": 0.1, "ceiling": 1.0, "solved": 0.95, "shortcuts": {"bag": 0.3}}
FLAT = [0.5] * 40


@dataclass(frozen=True)
class Example:
    """Seeds of one model on one task at 64 tokens; accuracies, each +- 0.01.

    note: what the numbers below do not show.
    curve: validations of every seed, 100 steps apart.
    """

    note: str = ""
    values: tuple[float | None, ...] = (0.5, 0.5, 0.5)
    levels: dict[str, Any] = field(default_factory=lambda: LEVELS)
    curve: tuple[float, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)
    without_interval: bool = False
    variants: tuple[str, ...] = ("",)
    control: str = ""

    def tables(self) -> Tables:
        """The tables of such a study."""
        made = Tables().levels("task", [64], **self.levels)
        more = dict(self.more) | ({"curve": list(self.curve)} if self.curve else {})
        for variant in self.variants:
            made.cells("model", "task", 64, list(self.values), variant=variant, **more)
        if self.control:
            made.control("task", state=self.control)
        for row in made.rows["evaluations"] if self.without_interval else ():
            row |= {"low": None, "high": None}
        return made

    def verdict(self, rule: str) -> dict[str, Any]:
        """The row of `verdicts` that a rule makes of it.

        Raises:
            ValueError: the rule says nothing.
        """
        rows = summary.build(self.tables().read())["verdicts"].to_pylist()
        for row in rows:
            if row["verdict"] == rule:
                return row
        raise ValueError(f"the example of {rule} makes it say nothing")

    @property
    def given(self) -> str:
        """The numbers in words."""
        levels = {k: v for k, v in self.levels.items() if k != "shortcuts"}
        levels |= {f"shortcut {k}": v for k, v in self.levels.get("shortcuts", {}).items()}
        words = [", ".join(f"{name} {value:g}" for name, value in levels.items())]
        known = [f"{value:g}" for value in self.values if value is not None]
        if known and not self.curve:
            words.append(f"seeds {', '.join(known)}")
        if self.curve:
            words.append(f"validations every 100 steps: {_run(self.curve)}")
        return "; ".join([*words, *([self.note] if self.note else [])])


def _run(values: tuple[float, ...]) -> str:
    """Values with repeats counted, as `0.1, 0.5 (30 times)`."""
    found: list[list[float]] = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1][1] += 1
        else:
            found.append([value, 1])
    if len(found) > 8:
        return f"{values[0]:g} rising evenly to {max(values):g}, {len(values)} of them"
    return ", ".join(f"{v:g}" + (f" ({n:g} times)" if n > 1 else "") for v, n in found)


RISING = tuple(0.1 + 0.0125 * i for i in range(40))
EXAMPLES: dict[str, Example] = {
    "CONTROL FAILED": Example("a control of the task's file failed", control="failed"),
    "ABOVE CEILING": Example(
        values=(0.95, 0.94, 0.96), levels={"chance": 0.5, "ceiling": 0.8, "solved": 0.78}
    ),
    "UNLEARNABLE AS SCORED": Example(
        values=(0.1028, 0.1, 0.1068), levels={"chance": 0.1, "ceiling": 0.1}
    ),
    "SHORTCUT SUFFICES": Example(
        values=(0.96, 0.96, 0.97),
        levels={"chance": 0.0, "ceiling": 1.0, "solved": 0.95, "shortcuts": {"chunks": 0.96}},
    ),
    "SOLVED": Example(
        "solved at step 300, after 12 s",
        (0.99, 0.97, 0.5),
        more={"solved_step_steps": 300, "solved_seconds": 12.0},
    ),
    "AT CEILING": Example(values=(0.995, 1.0, 0.992)),
    "ABOVE MODEL CEILING": Example(
        "a model without the order can score 0.4",
        (0.4, 0.41, 0.5),
        more={"model_ceiling": ("a bag", 0.4)},
    ),
    "AT MODEL CEILING": Example(
        "a model without the order can score 0.4",
        (0.4, 0.41, 0.395),
        more={"model_ceiling": ("a bag", 0.4)},
    ),
    "AT SHORTCUT": Example(values=(0.3, 0.31, 0.295)),
    "SHORTCUT NOT EXCLUDED": Example(
        values=(0.985, 0.991, 0.99), levels=LEVELS | {"solved": 0.99, "shortcuts": {"last": 0.985}}
    ),
    "AT CHANCE": Example(values=(0.1, 0.105, 0.095)),
    "ABOVE": Example(values=(0.6, 0.55, 0.62)),
    "UNSTABLE ACROSS SEEDS": Example(values=(0.996, 0.095, 0.098)),
    "NO INTERVAL": Example("reported without counts", without_interval=True),
    "NOT A NUMBER": Example("seed 1 gives NaN", (0.5, float("nan"), 0.5)),
    "SEEN IN TRAINING": Example(
        "2^12 different inputs, 1,000 examples seen",
        more={"log2_inputs": 12.0, "seen_examples": 1000},
    ),
    "COLLAPSED": Example(curve=(0.2, 0.9, 0.95, 0.4)),
    "IMPROVING": Example(curve=RISING),
    "PLATEAU": Example(curve=tuple(FLAT)),
    "NO CLEAR PLATEAU": Example(
        "plateaus of 5,000 steps are known to break",
        curve=tuple(FLAT),
        more={"known_plateau_steps": 5000},
    ),
    "DIVERGED": Example(
        "all diverged", (None,) * 3, more={"outcome": "diverged", "reason": "loss is NaN"}
    ),
    "FAILED": Example(
        "all failed", (None,) * 3, more={"outcome": "failed", "reason": "RuntimeError: boom"}
    ),
    "SKIPPED": Example(
        "the model refuses the length",
        (None,) * 3,
        more={"outcome": "skipped", "reason": "needs a multiple of 96 tokens"},
    ),
    "AT CHANCE SO FAR": Example(
        "all ran out of time", (0.1, 0.105, 0.095), more={"outcome": "timed_out", "reason": "24 h"}
    ),
    "PARTIAL": Example(
        "all ran out of time", (None,) * 3, more={"outcome": "timed_out", "reason": "24 h"}
    ),
    "TOO FEW SEEDS": Example(values=(0.5, 0.6)),
    "SINGLE LR": Example("one learning rate"),
    "LR UNKNOWN": Example("imported", more={"settings": '{"training": {}}'}),
    "PRELIMINARY SELECTION": Example(
        "two learning rates, no cell evaluated yet",
        (None,) * 3,
        variants=("lr=0.1", "lr=0.01"),
        more={"outcome": "timed_out", "reason": "24 h"},
    ),
    "NO SELECTION": Example(
        "two learning rates, of whose runs only test scores are known",
        (0.7, 0.71, 0.72),
        variants=("lr=0.1", "lr=0.01"),
        more={"best_validation_metric": None},
    ),
    "AT GRID EDGE": Example(
        "learning rates 0.1 and 0.01, as good as each other", variants=("lr=0.1", "lr=0.01")
    ),
    "STALE": Example("the sources have changed since", more={"stale": True}),
}


def reference() -> Iterator[str]:
    """A section for each rule: what it says, an example, and its thresholds."""
    for rule in RULES:
        example = EXAMPLES[rule.name]
        found = example.verdict(rule.name)
        yield from (f"## {rule.name}", "", f"About {SCOPES[rule.scope]}. {rule.words()}", "")
        yield f"Example. Given {example.given}:"
        yield from ("", f"> **{found['label']}**: {found['statement']}", "")
        if rule.thresholds:
            named = ", ".join(f"`{n}` ({DEFAULTS.words()[n]})" for n in rule.thresholds)
            yield from (f"Thresholds: {named}.", "")
    yield from ("## Thresholds", "", "| key | default | meaning |", "|---|---|---|")
    for name, about in Thresholds.model_fields.items():
        yield f"| `{name}` | {DEFAULTS.words()[name]} | {about.description} |"
