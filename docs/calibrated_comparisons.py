"""What the calibration simulates of comparisons: differences, equivalence and success rates."""

from collections.abc import Callable, Iterator

import numpy as np
from calibration_row import LEVEL, Built, Row
from simulated import (
    SHORTCUT,
    Draw,
    Tables,
    alike,
    bimodal,
    lucky,
    normal,
    skewed,
    solving,
    study,
    trained,
)


def pairs(
    a: Draw,
    b: Draw,
    seeds: int,
    tasks: int = 1,
    margin: float | None = None,
    metric: str | None = None,
) -> Callable[[np.random.Generator], Tables]:
    """A study of two models whose comparisons are declared task by task."""

    def made(generator: np.random.Generator) -> Tables:
        entry = {"a": {"model": "a"}, "b": {"model": "b"}, "metric": metric, "margin": margin}
        compare = {f"on task{i}": entry | {"on": {"task": [f"task{i}"]}} for i in range(tasks)}
        tables = study(tasks, compare=compare)
        for i in range(tasks):
            trained(tables, "a", a(generator, seeds), generator, f"task{i}")
            trained(tables, "b", b(generator, seeds), generator, f"task{i}")
        return tables

    return made


def claimed(*outcomes: str) -> Callable[[Built], bool]:
    """Whether any comparison of the study came to one of these."""
    return lambda built: any(r["outcome"] in outcomes for r in built["comparisons"])


BETTER = ("A BETTER", "B BETTER")


def shifted(by: float, spread: float = 0.05) -> Draw:
    """Seeds that are better by so much."""
    return lambda generator, n: normal(generator, n, 0.6 + by, spread)


def comparisons() -> Iterator[Row]:
    """False and true differences, and equivalence."""
    drawn = {"alike": alike, "bimodal": lucky, "one in ten at chance": skewed, "perfect": solving}
    for seeds, tasks in ((3, 1), (6, 1), (10, 1), (6, 8), (10, 8)):
        for name, draw in drawn.items():
            about = f"no effect, {name}; {seeds} seeds, {tasks} comparisons"
            made = pairs(draw, draw, seeds, tasks)
            yield Row(about, "any difference", made, claimed(*BETTER), most=LEVEL)
    for seeds, by, least in ((6, 0.15, 0.8), (10, 0.1, 0.6), (20, 0.05, 0.4)):
        about = f"better by {by}, seeds {0.05} apart; {seeds} seeds"
        yield Row(
            about, "A BETTER", pairs(shifted(by), alike, seeds), claimed("A BETTER"), None, least
        )
    about = "better by 0.15 on all of 8 tasks; 10 seeds"
    yield Row(about, "A BETTER", pairs(shifted(0.15), alike, 10, 8), claimed("A BETTER"), None, 0.8)
    edge = pairs(shifted(0.05, 0.02), shifted(0.0, 0.02), 10, margin=0.05)
    yield Row("a difference as large as the margin; 10 seeds", "NO DIFFERENCE", edge,
              claimed("NO DIFFERENCE"), most=LEVEL)  # fmt: skip
    none = pairs(shifted(0.0, 0.02), shifted(0.0, 0.02), 10, margin=0.05)
    yield Row("no effect, seeds 0.02 apart, margin 0.05; 10 seeds", "NO DIFFERENCE", none,
              claimed("NO DIFFERENCE"), least=0.5)  # fmt: skip


def succeeding(share: float) -> Draw:
    """Seeds of which such a share solves the task, and the others stay at a shortcut."""
    return lambda generator, n: bimodal(generator, n, SHORTCUT, 0.99, share)


def rates(
    a: float, b: float, seeds: int, tasks: int = 1, margin: float | None = None
) -> Callable[[np.random.Generator], Tables]:
    """A study of two models of which these shares of seeds solve the task."""
    return pairs(succeeding(a), succeeding(b), seeds, tasks, margin, "solved")


def successes() -> Iterator[Row]:
    """False and true differences of success rates, and equivalence."""
    for share, seeds, tasks in ((0.5, 10, 1), (0.5, 20, 1), (0.9, 20, 1), (0.5, 10, 4)):
        about = f"{share:.0%} of seeds solve it with either; {seeds} seeds, {tasks} comparisons"
        made = rates(share, share, seeds, tasks)
        yield Row(about, "any difference", made, claimed(*BETTER), most=LEVEL)
    for a, b, seeds, least in ((0.95, 0.1, 10, 0.7), (0.9, 0.4, 20, 0.6)):
        about = f"{a:.0%} and {b:.0%} of seeds solve it; {seeds} seeds"
        made = rates(a, b, seeds)
        yield Row(about, "A BETTER", made, claimed("A BETTER"), least=least)
    yield Row("all seeds solve it and 70%, margin 0.3; 20 seeds", "NO DIFFERENCE",
              rates(1.0, 0.7, 20, margin=0.3), claimed("NO DIFFERENCE"), most=LEVEL)  # fmt: skip
    made = rates(0.98, 0.98, 20, margin=0.3)
    yield Row("98% of seeds solve it with either, margin 0.3; 20 seeds", "NO DIFFERENCE", made,
              claimed("NO DIFFERENCE"), least=0.8)  # fmt: skip
