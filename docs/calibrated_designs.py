"""What the calibration simulates of designs: sweeps, places together, groups, one test set."""

import json
from collections.abc import Callable, Iterator

import numpy as np
from calibrated_comparisons import BETTER, claimed
from calibration_row import LEVEL, Row
from simulated import TRAINED, Tables, alike, lucky, normal, study, trained

from seqgrid.analysis import stats

Made = Callable[[np.random.Generator], Tables]


def swept(variants: int, seeds: int, spread_a: float, spread_b: float) -> Made:
    """Two models, each with this many learning rates, all of which are worth the same."""

    def made(generator: np.random.Generator) -> Tables:
        tables = study(compare={"x": _entry({"model": "a"}, {"model": "b"})})
        for model, spread in (("a", spread_a), ("b", spread_b)):
            for variant in range(variants):
                rate = 1e-4 * 2**variant
                settings = json.dumps({"training": TRAINED | {"learning_rate": rate}})
                trained(tables, model, normal(generator, seeds, 0.6, spread), generator,
                        variant=f"learning_rate={rate:g}", settings=settings)  # fmt: skip
        return tables

    return made


def places(tasks: int, seeds: int, draw: Callable, by: float = 0.0) -> Made:
    """Two models on several tasks under one comparison; b is ahead by so much on the first."""

    def made(generator: np.random.Generator) -> Tables:
        names = [f"task{i}" for i in range(tasks)]
        entry = _entry({"model": "a"}, {"model": "b"}) | {"on": {"task": names}}
        tables = study(tasks, compare={"x": entry})
        for i, name in enumerate(names):
            for model in "ab":
                ahead = by if model == "b" and not i else 0.0
                trained(tables, model, draw(generator, seeds) + ahead, generator, name)
        return tables

    return made


def groups(means: dict[str, tuple[float, float]], seeds: int) -> Made:
    """Two groups of two models each, with these true scores."""

    def made(generator: np.random.Generator) -> Tables:
        members = {group: [f"{group}{i}" for i in (0, 1)] for group in means}
        tables = study(compare={"x": _entry(*({"group": g} for g in means))}, groups=members)
        tables.about["models"] = [m for found in members.values() for m in found]
        for group, found in members.items():
            for model, mean in zip(found, means[group], strict=True):
                trained(tables, model, normal(generator, seeds, mean, 0.03), generator)
        return tables

    return made


def one_test_set(seeds: int, examples: int = 500) -> Made:
    """Seeds share their test examples, and which are hard is the model's: equal on all others."""

    def made(generator: np.random.Generator) -> Tables:
        tables = study(compare={"x": _entry({"model": "a"}, {"model": "b"})})
        settings = json.dumps({"training": TRAINED | {"data_seed": 0}})
        for model in "ab":
            likely = generator.beta(0.3, 0.2, examples)  # that an example is right; mean 0.6
            for seed in range(seeds):
                correct = int((generator.random(examples) < likely).sum())
                ends = stats.wilson(correct, examples)
                score = correct / examples
                tables.cell(model, "task0", 64, seed, score, curve=[score], half=0.0,
                            settings=settings)  # fmt: skip
                for row in tables.rows["evaluations"][-2:]:
                    row |= {"low": ends.low, "high": ends.high, "correct": correct}
                    row |= {"scored": examples, "examples": examples}
        return tables

    return made


def _entry(a: dict, b: dict) -> dict:
    return {"a": a, "b": b, "metric": None, "margin": None}


def designs() -> Iterator[Row]:
    """False differences where more than two columns of seeds are compared."""
    word, said = "any difference", claimed(*BETTER)
    for variants, spread_a, spread_b in ((5, 0.05, 0.05), (9, 0.15, 0.03)):
        about = f"{variants} learning rates, all alike, seeds {spread_a} and {spread_b} apart"
        made = swept(variants, 10, spread_a, spread_b)
        yield Row(f"{about}; 10 seeds", word, made, said, LEVEL)
    for name, draw in (("alike", alike), ("bimodal", lucky)):
        yield Row(f"no effect on 4 tasks together, {name}; 10 seeds", word,
                  places(4, 10, draw), said, LEVEL)  # fmt: skip
    yield Row("b ahead by 0.2 on one of 4 tasks; 10 seeds", "A BETTER",
              places(4, 10, alike, 0.2), claimed("A BETTER"), LEVEL)  # fmt: skip
    same = {"A": (0.6, 0.6), "B": (0.6, 0.6)}
    yield Row("two groups of two models, all alike; 10 seeds", word, groups(same, 10), said, LEVEL)
    mixed = {"A": (0.8, 0.4), "B": (0.6, 0.6)}
    yield Row("two groups with the same mean, one of unlike models; 10 seeds", word,
              groups(mixed, 10), said, LEVEL)  # fmt: skip
    yield Row("no effect, one test set of 500 examples for all seeds; 10 seeds", word,
              one_test_set(10), said, LEVEL)  # fmt: skip
