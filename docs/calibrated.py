"""What the calibration simulates: studies whose truth is known, and what is said of them."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from calibrated_comparisons import comparisons, successes
from calibrated_designs import designs
from calibrated_levels import judged, levels
from calibration_row import LEVEL, Built, Row
from simulated import CHANCE, SHORTCUT, TEST, lucky, normal, study, trained
from tables_factory import Tables

# -- curves ----------------------------------------------------------------------------------------


def curve(shape: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.random.Generator], Tables]:
    """A study of one seed with this course of 20 validations, over x from 0 to 1."""

    def made(generator: np.random.Generator) -> Tables:
        path = shape(np.linspace(0.05, 1, 20))
        tables = study()
        trained(tables, "a", path[-1:], generator, curves=[path])
        return tables

    return made


def flat(x: np.ndarray) -> np.ndarray:
    """No change."""
    return np.full(len(x), 0.6)


def curves() -> Iterator[Row]:
    """Statements about one seed's validations."""
    yield Row("a flat curve", "IMPROVING", curve(flat), judged("IMPROVING"), LEVEL)
    yield Row("a flat curve", "COLLAPSED", curve(flat), judged("COLLAPSED"), LEVEL)
    drift = curve(lambda x: 0.4 + 0.4 * x)
    yield Row("a drift of 0.1 over the last quarter", "PLATEAU", drift, judged("PLATEAU"), LEVEL)
    yield Row(
        "a drift of 0.1 over the last quarter", "IMPROVING", drift, judged("IMPROVING"), None, 0.8
    )
    slow = curve(lambda x: 0.5 + 0.08 * x)
    yield Row("a drift of 0.02 over the last quarter", "PLATEAU", slow, judged("PLATEAU"), LEVEL)
    rise = curve(lambda x: 0.9 * np.minimum(1, 3 * x))
    yield Row("a rise that ends early", "COLLAPSED", rise, judged("COLLAPSED"), LEVEL)
    fall = curve(lambda x: np.where(x < 0.5, 0.9, 0.9 - 0.5 * (x - 0.5)))
    yield Row("a fall from 0.9 to 0.65", "COLLAPSED", fall, judged("COLLAPSED"), None, 1 - LEVEL)


# -- lengths and times -----------------------------------------------------------------------------

LENGTHS = (64, 128, 256, 512)


def along(
    truth: Callable[[int], float], draw: Callable[[np.random.Generator, int, float], np.ndarray],
    ceiling: Callable[[int], float] | None = None, tasks: int = 1, examples: int = TEST,
) -> Callable[[np.random.Generator], Tables]:  # fmt: skip
    """A model at four lengths with three seeds each; `ceiling`: its own at each."""

    def made(generator: np.random.Generator) -> Tables:
        tables = study(tasks, LENGTHS)
        for task, (number, seqlen) in product(range(tasks), enumerate(LENGTHS)):
            own = {} if ceiling is None else {"model_ceiling": ("chunks", ceiling(number))}
            truths = draw(generator, 3, truth(number))
            place = (f"task{task}", seqlen)
            trained(tables, "a", truths, generator, *place, examples=examples, **own)
        return tables

    return made


def near(generator: np.random.Generator, n: int, mean: float) -> np.ndarray:
    """Seeds around a mean."""
    return normal(generator, n, mean, 0.05)


def apart(generator: np.random.Generator, n: int, mean: float) -> np.ndarray:
    """Seeds closer to it."""
    return normal(generator, n, mean, 0.02)


def steadily(generator: np.random.Generator, n: int, mean: float) -> np.ndarray:
    """Seeds that hardly differ."""
    return normal(generator, n, mean, 0.005)


def course(*outcomes: str) -> Callable[[Built], bool]:
    """Whether the scores were said to go so with the length."""
    return lambda built: any(r["outcome"] in outcomes for r in built["scaling"])


def rising(number: int) -> float:
    """A ceiling that rises with the length."""
    return 0.4 + 0.15 * number


def lengths() -> Iterator[Row]:
    """Statements about scores against the length."""
    moves = ("RISES", "FALLS")
    yield Row("no change over 4 lengths, seeds alike", "RISES or FALLS",
              along(lambda _: 0.6, near), course(*moves), LEVEL)  # fmt: skip
    yield Row("no change over 4 lengths, bimodal seeds", "RISES or FALLS",
              along(lambda _: 0.6, lambda g, n, _: lucky(g, n)), course(*moves), LEVEL)  # fmt: skip
    yield Row("0.1 less a doubling", "FALLS", along(lambda i: 0.9 - 0.1 * i, near),
              course("FALLS"), None, 0.8)  # fmt: skip
    share = along(lambda i: CHANCE + 0.8 * (rising(i) - CHANCE), near, rising)
    yield Row("the ceiling rises, the share of it does not", "RISES or FALLS", share,
              course(*moves), LEVEL)  # fmt: skip
    for shape, values in {"dips": (0.8, 0.7, 0.7, 0.8), "peaks": (0.3, 0.85, 0.75, 0.65)}.items():
        about = f"a course that {shape}, seeds 0.02 apart"
        made = along(lambda i, values=values: values[i], apart)
        yield Row(about, "FLAT", made, course("FLAT"), LEVEL)
        yield Row(about, "RISES or FALLS", made, course(*moves), LEVEL)
    for examples, least in ((TEST, None), (10_000, 0.5)):
        yield Row(f"a score of 0.6 everywhere, seeds 0.005 apart; {examples:,} examples", "FLAT",
                  along(lambda _: 0.6, steadily, examples=examples), course("FLAT"),
                  least=least)  # fmt: skip
    yield Row("a change of 5 % of the way over all lengths, the same; 10,000 examples", "FLAT",
              along(lambda i: 0.6 + 0.045 * i / 3, steadily, examples=10_000), course("FLAT"),
              LEVEL)  # fmt: skip
    several = along(lambda _: 0.6, near, tasks=4)
    yield Row("4 courses without a change, seeds alike", "RISES or FALLS of any", several,
              course(*moves), LEVEL)  # fmt: skip
    several = along(lambda i: 0.6 + 0.045 * i / 3, steadily, tasks=4, examples=10_000)
    yield Row("4 courses that change by 5 % of the way, the same; 10,000 examples",
              "FLAT of any", several, course("FLAT"), LEVEL)  # fmt: skip
    several = along(lambda i: 0.9 - 0.1 * i, near, tasks=4)
    yield Row("4 courses of 0.1 less a doubling", "FALLS of each", several,
              lambda built: all(r["outcome"] == "FALLS" for r in built["scaling"]),
              least=0.8)  # fmt: skip
    yield Row("at a ceiling that rises", "CEILING MOVES", along(rising, steadily, rising),
              course("CEILING MOVES"), None, 0.7)  # fmt: skip


def times(scale: float, seeds: int) -> Callable[[np.random.Generator], Tables]:
    """Two models that solve after exponential times, cut at a budget that censors 40 %."""

    def made(generator: np.random.Generator) -> Tables:
        tables = study()
        for model, factor in (("a", 1.0), ("b", scale)):
            budget = -np.log(0.4) * 1000  # 40 % of model a have not solved it by then
            steps = generator.exponential(1000 * factor, seeds)
            done = steps <= budget
            solved = [
                int(np.ceil(s / 50) * 50) if d else None for s, d in zip(steps, done, strict=True)
            ]
            trained(
                tables, model, np.where(done, 1.0, SHORTCUT), generator,
                solved_step_steps=solved, step_steps=[int(budget)] * seeds,
                budget_steps=[int(budget)] * seeds,
            )  # fmt: skip
        return tables

    return made


def survival() -> Iterator[Row]:
    """Statements about steps to solve."""

    def differs(built: Built) -> bool:
        found = [r["p_corrected"] for r in built["convergence"] if r["model"] is None]
        return any(p is not None and p <= LEVEL for p in found)

    for seeds in (3, 10):
        yield Row(f"the same times, 40 % censored; {seeds} seeds", "log-rank: models differ",
                  times(1.0, seeds), differs, LEVEL)  # fmt: skip
    yield Row("ten times slower, 40 % of the faster censored; 10 seeds", "log-rank: models differ",
              times(10.0, 10), differs, None, 0.5)  # fmt: skip


# Title of a part of the table -> its rows, and the tables they need beside summary and verdicts.
PARTS = {
    "Comparisons": (comparisons, ("comparisons",)),
    "Success rates": (successes, ("comparisons",)),
    "Designs": (designs, ("comparisons",)),
    "Levels": (levels, ()),
    "Learning curves": (curves, ()),
    "Length": (lengths, ("scaling",)),
    "Steps to solve": (survival, ("survival", "convergence")),
}
