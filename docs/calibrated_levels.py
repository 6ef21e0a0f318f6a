"""What the calibration simulates of one model's seeds: at a level, beyond one, and apart."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from calibration_row import LEVEL, Built, Row
from simulated import (
    CEILING,
    CHANCE,
    SHORTCUT,
    SOLVED,
    TEST,
    Draw,
    Tables,
    alike,
    bimodal,
    lucky,
    normal,
    study,
    trained,
)

from seqgrid.thresholds import DEFAULTS

SLACK = DEFAULTS.level_share * (CEILING - CHANCE)
LEVEL_SEEN = 1.96 + 1.645  # standard errors of a mean at which 5 % of tests at 5 % see nothing


def one_model(
    draw: Draw, seeds: int, examples: int = TEST
) -> Callable[[np.random.Generator], Tables]:
    """A study of one model."""

    def made(generator: np.random.Generator) -> Tables:
        tables = study()
        trained(tables, "a", draw(generator, seeds), generator, examples=examples)
        return tables

    return made


def at(level: float) -> Draw:
    """Seeds that are all at a level."""
    return lambda _, n: np.full(n, level)


def judged(*names: str) -> Callable[[Built], bool]:
    """Whether any of these verdicts was given."""
    return lambda built: any(r["verdict"] in names for r in built["verdicts"])


def labelled(label: str) -> Callable[[Built], bool]:
    """Whether a verdict with this label was given."""
    return lambda built: any(r["label"] == label for r in built["verdicts"])


def grouped(built: Built) -> bool:
    """Whether the seeds were said to be of two kinds."""
    return any("two groups" in r["label"] for r in built["verdicts"])


def levels() -> Iterator[Row]:
    """Statements about chance, shortcuts, the ceiling and success."""
    for seeds in (3, 10):
        exact = one_model(at(CHANCE), seeds)
        yield Row(
            f"all at chance; {seeds} seeds",
            "AT CHANCE",
            exact,
            judged("AT CHANCE"),
            None,
            1 - LEVEL,
        )
        yield Row(f"all at chance; {seeds} seeds", "ABOVE chance", exact, judged("ABOVE"), LEVEL)
        above = one_model(at(CHANCE + 0.06), seeds)
        yield Row(
            f"0.06 above chance; {seeds} seeds", "AT CHANCE", above, judged("AT CHANCE"), LEVEL
        )
        bag = one_model(at(SHORTCUT), seeds)
        yield Row(f"at the shortcut; {seeds} seeds", "AT SHORTCUT (bag)", bag,
                  labelled("AT SHORTCUT (bag)"), None, 1 - LEVEL)  # fmt: skip
        yield Row(f"at the shortcut; {seeds} seeds", "ABOVE bag", bag, labelled("ABOVE bag"), LEVEL)
        beyond = one_model(at(SHORTCUT + 0.1), seeds)
        yield Row(f"0.1 above the shortcut; {seeds} seeds", "AT SHORTCUT", beyond,
                  judged("AT SHORTCUT"), LEVEL)  # fmt: skip
        perfect = one_model(at(1.0), seeds)
        yield Row(f"perfect; {seeds} seeds", f"SOLVED {seeds}/{seeds}", perfect,
                  labelled(f"SOLVED {seeds}/{seeds}"), None, 1 - LEVEL)  # fmt: skip
        below = one_model(at(SOLVED - 0.05), seeds)
        yield Row(f"0.05 below solved; {seeds} seeds", "SOLVED", below, judged("SOLVED"), LEVEL)
    yield from _close()
    yield from _unsteady()


def _close() -> Iterator[Row]:
    """Truths that lie a few standard errors of one test from a level."""
    for examples, seeds in ((TEST, 3), (TEST, 20), (100, 3)):
        size = f"{seeds} seeds, {examples:,} examples"
        for level, name, word in ((CHANCE, "chance", "AT CHANCE"),
                                  (SHORTCUT, "the shortcut", "AT SHORTCUT")):  # fmt: skip
            error = (level * (1 - level) / examples) ** 0.5
            for n in (1, 2, 3):
                # Within the distance that counts as at the level nothing is wrong; just beyond it
                # the rows show how far the rule sees, and far from it that it does.
                beyond = n * error - SLACK - (LEVEL_SEEN * error / seeds**0.5)
                yield Row(f"{_errors(n)} above {name}; {size}", word,
                          one_model(at(level + n * error), seeds, examples), judged(word),
                          LEVEL if beyond > 0 else None)  # fmt: skip
        error = (SOLVED * (1 - SOLVED) / examples) ** 0.5
        for n in (1, 2, 3):
            made = one_model(at(SOLVED - n * error), seeds, examples)
            about = f"{_errors(n)} below solved; {size}"
            every = f"SOLVED {seeds}/{seeds}"
            yield Row(about, "SOLVED of any seed", made, judged("SOLVED"))
            yield Row(about, every, made, labelled(every), LEVEL)


def _errors(n: int) -> str:
    return f"{n} standard error{'s' * (n > 1)}"


def _unsteady() -> Iterator[Row]:
    """Seeds that agree, that spread, and of two kinds."""
    unsteady = "UNSTABLE ACROSS SEEDS"
    for seeds in (3, 5, 10):
        yield Row(f"seeds alike; {seeds} seeds", unsteady, one_model(alike, seeds),
                  judged(unsteady), LEVEL)  # fmt: skip
    yield Row("bimodal seeds, both kinds present; 5 seeds", unsteady,
              one_model(lambda g, n: g.permutation([*lucky(g, n - 2), SHORTCUT, 0.99]), 5),
              judged(unsteady), None, 1 - LEVEL)  # fmt: skip
    spreads: dict[str, Draw] = {
        "normal, 0.08 apart": lambda g, n: normal(g, n, 0.6, 0.08),
        "normal, 0.15 apart": lambda g, n: normal(g, n, 0.55, 0.15),
        "Student's with 3 degrees of freedom": lambda g, n: 0.6 + 0.08 * g.standard_t(3, n),
        "exponential": lambda g, n: 0.9 - 0.12 * g.exponential(1, n),
        "log-normal, sigma 1": lambda g, n: 0.9 - 0.05 * g.lognormal(0, 1, n),
        "log-normal, sigma 1.5": lambda g, n: 0.9 - 0.02 * g.lognormal(0, 1.5, n),
    }
    grouping = f"{unsteady} (two groups)"
    for (name, draw), seeds in product(spreads.items(), (5, 20)):
        made = one_model(lambda g, n, draw=draw: np.clip(draw(g, n), 0.11, 0.94), seeds)
        about = f"one kind of seeds, {name}; {seeds} seeds"
        most = None if name == "log-normal, sigma 1.5" else LEVEL  # how far the rule sees
        yield Row(about, grouping, made, grouped, most)
        yield Row(about, unsteady, made, judged(unsteady))
    for share, seeds, least in ((0.5, 6, None), (0.5, 10, 0.9), (0.5, 20, 0.9), (0.8, 20, 0.8)):
        kinds = one_model(lambda g, n, share=share: _two_kinds(g, n, share), seeds)
        about = f"two kinds of seeds, {share:.0%} around 0.85, others 0.4, each 0.03 apart"
        yield Row(f"{about}; {seeds} seeds", grouping, kinds, grouped, least=least)


def _two_kinds(generator: np.random.Generator, n: int, share: float) -> np.ndarray:
    """True scores of n seeds (n,) of two kinds that each spread a little."""
    return bimodal(generator, n, 0.4, 0.85, share) + generator.normal(0, 0.03, n)
