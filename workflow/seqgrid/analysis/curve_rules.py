"""The rules about one cell's validation history, all that a word on convergence may rest on."""

from math import hypot, isfinite, isnan

from seqgrid.analysis import stats
from seqgrid.analysis.groups import Cell, short
from seqgrid.analysis.levels import Levels
from seqgrid.analysis.rules import Finding, rule

Points = list[tuple[int, float, float]]  # steps, validation metric, its standard error or NaN


@rule(
    "COLLAPSED",
    "cell",
    "The best validation lies above chance, and the last lies below the best by more than both "
    "standard errors together allow, with {confidence} confidence, widened because the best is a "
    "maximum over all validations, and by more than {collapse_share} of the span. The best and the "
    "last are named.",
)
def collapsed(cell: Cell, levels: Levels) -> Finding | None:
    """The model had it and lost it."""
    points = _points(cell)
    known = [point for point in points if isfinite(point[1])]
    if len(points) < 2 or not known:
        return None
    peak = max(known, key=lambda point: levels.goodness(point[1]))
    last = points[-1]
    if levels.chance is not None and levels.goodness(peak[1]) <= levels.goodness(levels.chance):
        return None  # there was nothing to lose
    drop = levels.goodness(peak[1]) - levels.goodness(last[1])
    noise = hypot(*(0.0 if isnan(e) else e for e in (peak[2], last[2])))
    if noise == 0 and levels.span == 0:
        return None  # nothing says how large a drop would matter
    allowed = stats.simultaneous_z(len(points), levels.thresholds.confidence) * noise
    if drop <= max(allowed, levels.thresholds.collapse_share * levels.span):
        return None
    unknown = ", standard errors unknown" if isnan(peak[2] + last[2]) else ""
    return (
        f"COLLAPSED ({short(peak[1])} -> {short(last[1])})",
        f"seed {cell.seed}: best {short(peak[1])} at step {peak[0]}, last {short(last[1])} at step "
        f"{last[0]}{unknown}",
        {"best": peak[1], "best_step": peak[0], "last": last[1], "last_step": last[0]},
    )


@rule(
    "IMPROVING",
    "cell",
    "The cell finished without solving the task on its test split (where it has no score there, on "
    "validation), and the slope over the last {window_share} of its validations (at least "
    "{window_points}) is an improvement with {confidence} confidence that gains more than one "
    "standard error: the budget ended too early.",
)
def improving(cell: Cell, levels: Levels) -> Finding | None:
    """Training stopped while it still helped."""
    window = _window(cell, levels)
    if not window:
        return None
    gain, least, _, error = _gain(window, levels)
    if not (least > 0 and gain > error):
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
    "The cell finished without solving the task, and over the last {window_share} of its "
    "validations (at least {window_points}), and longer than the longest plateau that is known to "
    "have broken on the task, by its file or in any cell of this study, even the upper end of the "
    "slope's {confidence} interval gains less than {plateau_share} of the span or one standard "
    "error. A plateau inside the chance band does not show that more training is useless.",
)
def plateau(cell: Cell, levels: Levels) -> Finding | None:
    """Training stopped when it no longer helped."""
    window = _long_window(cell, levels)
    if not window or not _flat(window, levels):
        return None
    _, _, most, error = _gain(window, levels)
    at_chance = levels.chance is not None and (
        levels.goodness(window[-1][1]) - 2 * error <= levels.goodness(levels.chance)
    )
    note = ", inside the chance band, where a plateau can still break" if at_chance else ""
    known = cell.known_plateau
    longer = f", longer than the {known:,} steps of the longest one known" if known else ""
    return (
        "PLATEAU",
        f"seed {cell.seed}: at most {short(max(most, 0.0))} gained over steps {window[0][0]} to "
        f"{window[-1][0]}{longer}{note}",
        {"most": most, "from_step": window[0][0], "to_step": window[-1][0], "chance": at_chance}
        | {"known_plateau_steps": known},
    )


@rule(
    "NO CLEAR PLATEAU",
    "cell",
    "The cell finished without solving the task and has gained nothing over the last "
    "{window_share} of its validations (at least {window_points}), by the rule of PLATEAU; but a "
    "plateau as long as that is known to have broken on the task, by its file or in any cell of "
    "this study, so that it shows no end.",
)
def no_clear_plateau(cell: Cell, levels: Levels) -> Finding | None:
    """The end is flat, and too short to say so."""
    window, known = _window(cell, levels), cell.known_plateau
    if not window or not known or not _flat(window, levels):
        return None
    if plateau.find(cell, levels):
        return None
    return (
        "NO CLEAR PLATEAU",
        f"seed {cell.seed}: flat from step {window[0][0]} to {window[-1][0]}, and plateaus of up "
        f"to {known:,} steps are known to break on this task",
        {"from_step": window[0][0], "to_step": window[-1][0], "known_plateau_steps": known},
    )


def _points(cell: Cell) -> Points:
    return [point for point in cell.history if not isnan(point[1])]


def _window(cell: Cell, levels: Levels) -> Points:
    """The last validations of a cell that finished unsolved; empty where they are too few.

    Also where one is infinite: no slope goes through it; and where reaching the solved level on
    validation ended the training, which then has no end of its own.
    """
    solved = cell.solved_step is not None if cell.solved is None else cell.solved
    if cell.outcome != "finished" or solved or cell.reason.startswith("solved"):
        return []
    points, least = _points(cell), levels.thresholds.window_points
    window = points[-max(least, round(levels.thresholds.window_share * len(points))) :]
    finite = all(isfinite(p[1]) for p in window)
    return window if finite and len({p[0] for p in window}) >= least else []


def _long_window(cell: Cell, levels: Levels) -> Points:
    """The same, going back beyond the longest known plateau; empty where the cell does not."""
    window = _window(cell, levels)
    if not window or not cell.known_plateau:
        return window
    points, end = _points(cell), window[-1][0]
    before = [i for i, point in enumerate(points) if end - point[0] > cell.known_plateau]
    longer = points[min(before[-1], len(points) - len(window)) :] if before else []
    return longer if all(isfinite(p[1]) for p in longer) else []


def _flat(window: Points, levels: Levels) -> bool:
    gain, least, most, error = _gain(window, levels)
    small = most < max(levels.thresholds.plateau_share * levels.span, error)
    return small and not (least > 0 and gain > error)


def _gain(window: Points, levels: Levels) -> tuple[float, float, float, float]:
    """Improvement over the window: estimate, low, high; and a validation's standard error."""
    steps = [p[0] for p in window]
    confidence = levels.thresholds.confidence
    fit = stats.slope(steps, [levels.goodness(p[1]) for p in window], confidence)
    length = steps[-1] - steps[0]
    error = stats.median([0.0 if isnan(p[2]) else p[2] for p in window])
    return fit.value * length, fit.low * length, fit.high * length, error
