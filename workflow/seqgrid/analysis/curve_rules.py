"""The rules about one cell's validation history, all that a word on convergence may rest on."""

from math import hypot, isnan

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Cell, Finding, Levels, rule, short

COLLAPSE_SHARE = 0.05  # of the span: a smaller loss is real perhaps, but no collapse
PLATEAU_SHARE = 0.01  # of the span over the window: less than any level is apart from another
WINDOW_SHARE = 0.25  # of the validations: late enough to be the end, long enough for a slope
WINDOW_MIN_POINTS = 5  # fewer leave a Student interval several times the slope


@rule(
    "COLLAPSED",
    "cell",
    "The last validation lies below the best one by more than both standard errors together allow, "
    "widened because the best is a maximum over all validations, and by more than "
    f"{COLLAPSE_SHARE:.0%} of the span.",
)
def collapsed(cell: Cell, levels: Levels) -> Finding | None:
    """The model had it and lost it."""
    points = _points(cell)
    if len(points) < 2:
        return None
    peak = max(points, key=lambda point: levels.goodness(point[1]))
    last = points[-1]
    drop = levels.goodness(peak[1]) - levels.goodness(last[1])
    noise = hypot(*(0.0 if isnan(e) else e for e in (peak[2], last[2])))
    if noise == 0 and levels.span == 0:
        return None  # nothing says how large a drop would matter
    if drop <= stats.simultaneous_z(len(points)) * noise or drop <= COLLAPSE_SHARE * levels.span:
        return None
    unknown = ", standard errors unknown" if isnan(peak[2] + last[2]) else ""
    return (
        "COLLAPSED",
        f"seed {cell.seed}: best {short(peak[1])} at step {peak[0]}, last {short(last[1])} at step "
        f"{last[0]}{unknown}",
        {"best": peak[1], "best_step": peak[0], "last": last[1], "last_step": last[0]},
    )


@rule(
    "IMPROVING",
    "cell",
    "The cell finished without solving the task, and the slope over the last "
    f"{WINDOW_SHARE:.0%} of its validations (at least {WINDOW_MIN_POINTS}) is an improvement with "
    "95 % confidence that gains more than one standard error: the budget ended too early.",
)
def improving(cell: Cell, levels: Levels) -> Finding | None:
    """Training stopped while it still helped."""
    window = _window(cell)
    if not window:
        return None
    gain, least, _, error = _gain(window, levels)
    if least <= 0 or gain <= error:
        return None
    return (
        "IMPROVING",
        f"seed {cell.seed}: still gained {short(gain)} over steps {window[0][0]} to "
        f"{window[-1][0]}",
        {"gain": gain, "from_step": window[0][0], "to_step": window[-1][0]},
    )


@rule(
    "PLATEAU",
    "cell",
    "The cell finished without solving the task, and over the same window even the upper end of "
    f"the slope's 95 % interval gains less than {PLATEAU_SHARE:.0%} of the span or one standard "
    "error. A plateau inside the chance band does not show that more training is useless.",
)
def plateau(cell: Cell, levels: Levels) -> Finding | None:
    """Training stopped when it no longer helped."""
    window = _window(cell)
    if not window:
        return None
    gain, least, most, error = _gain(window, levels)
    if most >= max(PLATEAU_SHARE * levels.span, error) or (least > 0 and gain > error):
        return None
    at_chance = levels.chance is not None and (
        levels.goodness(window[-1][1]) - 2 * error <= levels.goodness(levels.chance)
    )
    note = ", inside the chance band, where a plateau can still break" if at_chance else ""
    return (
        "PLATEAU",
        f"seed {cell.seed}: at most {short(max(most, 0.0))} gained over steps {window[0][0]} to "
        f"{window[-1][0]}{note}",
        {"most": most, "from_step": window[0][0], "to_step": window[-1][0], "chance": at_chance},
    )


def _points(cell: Cell) -> list[tuple[int, float, float]]:
    return [point for point in cell.history if not isnan(point[1])]


def _window(cell: Cell) -> list[tuple[int, float, float]]:
    """The last validations of a cell that finished unsolved; empty where they are too few."""
    if cell.outcome != "finished" or cell.solved_step is not None:
        return []
    points = _points(cell)
    window = points[-max(WINDOW_MIN_POINTS, round(WINDOW_SHARE * len(points))) :]
    return window if len({p[0] for p in window}) >= WINDOW_MIN_POINTS else []


def _gain(
    window: list[tuple[int, float, float]], levels: Levels
) -> tuple[float, float, float, float]:
    """Improvement over the window: estimate, low, high; and a validation's standard error."""
    steps = [p[0] for p in window]
    fit = stats.slope(steps, [levels.goodness(p[1]) for p in window])
    length = steps[-1] - steps[0]
    error = stats.median([0.0 if isnan(p[2]) else p[2] for p in window])
    return fit.value * length, fit.low * length, fit.high * length, error
