"""Made-up studies that show what figures look like, and tables that have to be made by hand."""

import numpy as np
from tables_factory import Tables

GROUPS = {
    "attention": ["attention", "linear_attention", "gla", "retnet"],
    "state space": ["s4d", "mamba", "mamba2", "hyena"],
    "recurrent": ["rnn", "lstm", "gru"],
}
LENGTHS = (64, 128, 256, 512)


def grid() -> Tables:
    """12 models, 11 of them in 3 groups; 2 tasks, 4 lengths, 3 seeds: 288 cells of every kind."""
    random = np.random.default_rng(7)
    models = [*(model for group in GROUPS.values() for model in group), "deltanet"]
    made = Tables(
        models=models,
        tasks=["mqar", "adding_problem"],
        config={"groups": GROUPS},
    )
    for length in LENGTHS:
        bag = {"order_blind": 12.0 / length + 0.01}
        made.levels("mqar", [length], chance=0.02, ceiling=1.0, solved=0.99, shortcuts=bag)
        made.levels(
            "adding_problem", [length], metric="mse", better="lower", chance=0.167, ceiling=0.0,
            solved=0.005, shortcuts={"mean_of_values": 0.12},
        )  # fmt: skip
    for i, model in enumerate(models):
        cost = {"parameters": 50_000 * (i + 1), "state_bytes": 1024 * 2 ** (i % 5)}
        for j, length in enumerate(LENGTHS):
            for seed in range(3):
                best = 1 / (1 + np.exp(1.2 * (j - 4 + (i * 5 % 12) / 2)))
                share = float(np.clip(best + random.normal(0, 0.03), 0.0, 1.0))
                _cell(
                    made,
                    model,
                    length,
                    seed,
                    share,
                    cost | {"training_seconds": 9.0 * (j + 2) * (i + 3)},
                )
    return made


def _cell(made: Tables, model: str, length: int, seed: int, share: float, cost: dict) -> None:
    """Both tasks of a cell, with a few that came to nothing."""
    more = dict(cost)
    if share > 0.95:
        more |= {"solved_step_steps": 100 * int(3 + 10 * share * seed / 2), "solved_seconds": 9.0}
    for task, value, about in (
        ("mqar", 0.02 + 0.98 * share, {}),
        ("adding_problem", 0.167 * (1 - share), {"metric": "mse", "half": 0.005}),
    ):
        odd = (model, task, length)
        if odd == ("hyena", "mqar", 512):
            made.cell(*odd, seed, outcome="skipped", reason="needs a power of two below 512")
        elif odd == ("rnn", "adding_problem", 512):
            made.cell(*odd, seed, outcome="out_of_memory", reason="no memory left")
        elif odd == ("gla", "mqar", 512) and seed:
            made.cell(*odd, seed, outcome="missing")
        elif odd == ("gru", "mqar", 256) and seed == 2:
            made.cell(*odd, seed, value, outcome="timed_out", reason="out of time", **about, **cost)
        elif odd == ("lstm", "adding_problem", 256) and seed == 1:
            made.cell(*odd, seed, float("nan"), **about, **cost)
        else:
            if task == "adding_problem":
                curve = list(0.167 - (0.167 - value) * (1 - np.exp(-np.arange(1, 21) / 5)))
                about = about | {"curve": curve}
            made.cell(*odd, seed, value, **about, **more)


def one_cell() -> Tables:
    """The smallest study with a result."""
    return Tables().levels("t", [64], chance=0.1, ceiling=1.0).cell("m", "t", 64, 0, 0.5)


def one_seed() -> Tables:
    """Three models, each with one seed."""
    made = Tables(models=["a", "b", "c"]).levels("t", (64, 128), chance=0.1, ceiling=1.0)
    for i, model in enumerate("abc"):
        for length in (64, 128):
            made.cell(model, "t", length, 0, 0.3 * (i + 1), parameters=1000 * (i + 1))
    return made


def survival(model: str, task: str, length: int, events: list[tuple[int, int, int]]) -> list[dict]:
    """Rows of the table `survival`: (steps, solved, censored) at each time, by Kaplan and Meier."""
    at_risk, share, rows = sum(s + c for _, s, c in events), 1.0, []
    for step, solved, censored in events:
        share *= 1 - solved / at_risk
        rows.append(
            {
                "model": model, "task": task, "variant": "", "seqlen_tokens": length,
                "step_steps": step, "at_risk": at_risk, "solved": solved, "censored": censored,
                "unsolved": share, "low": max(0.0, share - 0.3), "high": min(1.0, share + 0.3),
            }
        )  # fmt: skip
        at_risk -= solved + censored
    return rows
