"""`python -m seqgrid.status STUDY`: the grid as a matrix of letters, one for each seed."""

import argparse
import shutil
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqgrid import deaths, lease, plan, study, underway
from seqgrid.estimates import Forecast, counted, spent
from seqgrid.job import WRONG_CALL, say
from seqgrid.plan import Standing
from seqgrid.store import Part
from seqgrid.study_file import StudyError

RESULTS = Path("results")
LETTERS = {
    "finished": "F",
    "running": "R",
    "timed_out": "T",
    "interrupted": "I",
    "diverged": "D",
    "out_of_memory": "M",
    "killed": "K",
    "failed": "X",
    "skipped": "S",
    "corrupt": "C",
    "missing": ".",
}
BASES = {
    "own": "earlier parts of the same cell",
    "equal": "equal cells",
    "lengths": "other lengths of the same model and task",
    "tasks": "other tasks of the same model",
}
SHOWN = 20  # lines of a list
WIDTH = 120  # where nothing tells the terminal's
MANY_SEEDS = 12


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seqgrid.status", description=__doc__)
    parser.add_argument("study", help="a file name in config/studies, without .yaml")
    options = parser.parse_args(arguments)
    try:
        _, rows = study.load(options.study)
    except StudyError as error:
        say(str(error))
        return WRONG_CALL
    sys.stdout.write(view(options.study, plan.plan(rows, RESULTS), RESULTS) + "\n")
    return 0


def view(name: str, standings: list[Standing], results: Path) -> str:
    """The whole view as text."""
    holders = {s.row.cell.path: plan.running(s, results) for s in standings}
    states = {
        s.row.cell.path: "running" if holders[s.row.cell.path] else s.state for s in standings
    }
    counted = Counter(states.values())
    summary = ", ".join(f"{counted[s]} {s.replace('_', ' ')}" for s in LETTERS if counted[s])
    jobs = plan.counts(standings)
    todo = ", ".join(f"{kind} {number}" for kind, number in jobs.items()) or "nothing"
    used = {letter: s for s, letter in LETTERS.items() if counted[s]}
    cost = sum(spent(o) for s in standings for o in s.outcomes)
    lines = [
        f"{name}: {len(standings)} cells: {summary}",
        f"to do: {todo}",
        f"cost: {_duration(cost)} of training so far",
        "",
        *_matrix(standings, states),
        "",
        "  ".join(f"{letter} {state.replace('_', ' ')}" for letter, state in used.items())
        + "  (a letter a seed, in order; - not asked for)",
        *_stale(standings),
        *_running(standings, holders, results),
        *_reasons(standings, states),
        *_deaths(standings, holders, results),
        *_forecast(standings),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Panel:
    """Neighbouring columns of one task, as text of equal width: title, lengths, then the rows."""

    lines: list[str]

    @property
    def width(self) -> int:
        return len(self.lines[0])


def _matrix(standings: list[Standing], states: dict[str, str]) -> list[str]:
    """Rows are models, columns lengths below their task; in as many blocks as the width asks."""
    cells: dict[tuple, dict[tuple[str, int], list[str]]] = defaultdict(lambda: defaultdict(list))
    for s in sorted(standings, key=lambda s: s.row.cell.seed):
        letter = LETTERS[states[s.row.cell.path]]
        cells[s.row.model, s.row.variant][s.row.task, s.row.cell.seqlen].append(letter)
    order = list(dict.fromkeys((s.row.model, s.row.variant) for s in standings))
    labels = ["", "", *(" ".join(filter(None, key)) for key in order)]
    left = max(map(len, labels))
    room = max(20, shutil.get_terminal_size((WIDTH, 0)).columns - left)
    blocks: list[list[_Panel]] = []
    used = 0
    for task in dict.fromkeys(s.row.task for s in standings):
        lengths = sorted({s.row.cell.seqlen for s in standings if s.row.task == task})
        columns = [
            [f"L{seqlen}", *(_seeds(cells[key].get((task, seqlen), [])) for key in order)]
            for seqlen in lengths
        ]
        for panel in _panels(task, columns, room):
            if not blocks or used + 3 + panel.width > room:
                blocks.append([])
                used = 0
            blocks[-1].append(panel)
            used += 3 + panel.width
    lines = []
    for block in blocks:
        texts = zip(labels, *(panel.lines for panel in block), strict=True)
        lines += ["", *("   ".join([f"{first:<{left}}", *more]).rstrip() for first, *more in texts)]
    return lines[1:]


def _panels(task: str, columns: list[list[str]], room: int) -> Iterator[_Panel]:
    """The columns of a task, side by side as long as there is room."""
    widths = [max(map(len, column)) for column in columns]
    start = 0
    while start < len(columns):
        stop = start + 1
        while stop < len(columns) and sum(widths[start : stop + 1]) + 2 * (stop - start) < room:
            stop += 1
        rows = zip(*columns[start:stop], strict=True)
        texts = ["  ".join(map(str.ljust, row, widths[start:stop])) for row in rows]
        width = max(len(task), len(texts[0]))
        yield _Panel([text.ljust(width) for text in [task, *texts]])
        start = stop


def _seeds(letters: list[str]) -> str:
    """A letter a seed, or how many of each where there are many."""
    if len(letters) <= MANY_SEEDS:
        return "".join(letters) or "-"
    return " ".join(f"{count}{letter}" for letter, count in Counter(letters).most_common())


def _forecast(standings: list[Standing]) -> list[str]:
    """Time still to come, and what that rests on."""
    if not any(s.next for s in standings):
        return []
    found = Forecast.of(standings)
    lines = []
    if found.parts:
        unit = "GPU" if found.on_gpu else "CPU"
        lines.append(
            f"forecast: about {_duration(found.seconds)} of {unit} time to come at most, "
            f"from {counted(found.parts, 'part')} of {counted(found.cells, 'cell')}"
        )
        lines += [
            f"  {counted(number, 'cell')} from {BASES[level]}"
            for level, number in found.levels.items()
            if number
        ]
    else:
        lines.append("forecast: none before the first part")
    if found.unknown:
        lines.append(f"  {counted(found.unknown, 'cell')} by a first guess, not counted")
    return ["", *lines]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _stale(standings: list[Standing]) -> list[str]:
    stale = sum(s.stale for s in standings)
    evaluations = sum(bool(s.evaluation and s.evaluation.stale) for s in standings)
    lines = []
    if stale:
        lines.append(
            f"stale: the sources of {stale} trained cells have changed since; "
            "--config rerun=stale trains them again"
        )
    if evaluations and evaluations != stale:
        lines.append(f"stale: the sources of {evaluations} evaluations have changed since")
    return ["", *lines] if lines else []


def _running(
    standings: list[Standing], holders: dict[str, dict | None], results: Path
) -> list[str]:
    lines = []
    for s in standings:
        if holder := holders[s.row.cell.path]:
            beat = holder["beat"] or {}
            text = f"step {underway.step(holder, s, results)} of {s.row.cell.training.steps}"
            if rate := beat.get("steps_per_second"):
                text += f", {rate:.1f} steps/s"
            if left := beat.get("seconds_left"):
                text += f", about {_duration(left)} left at most"
            lines.append(f"  {s.row.cell.path}: {text}, {lease.describe(holder)}")
    return _section("running", lines)


def _reasons(standings: list[Standing], states: dict[str, str]) -> list[str]:
    """Why cells are neither finished nor missing, equal reasons together."""
    grouped: dict[tuple[str, str, str, str], list[Standing]] = defaultdict(list)
    for s in standings:
        state = states[s.row.cell.path]
        if state not in ("finished", "running", "missing"):
            grouped[state, s.row.model, s.row.task, s.reason].append(s)
        if s.evaluation and (s.evaluation.error or not s.evaluation.valid):
            what = (s.evaluation.error or "the file is corrupt").strip().splitlines()[-1]
            grouped["evaluation failed", s.row.model, s.row.task, what].append(s)
    lines = []
    for (state, model, task, reason), found in grouped.items():
        where = found[0].row.cell.path + (f" and {len(found) - 1} more" if len(found) > 1 else "")
        text = textwrap.shorten(reason, 160, placeholder=" ...")
        lines.append(f"  {state.replace('_', ' ')}: {model} {task}: {text} ({where})")
    return _section("why", lines)


def _deaths(standings: list[Standing], holders: dict[str, dict | None], results: Path) -> list[str]:
    """Parts under way whose last process died, equal deaths together."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for s in standings:
        if s.next not in ("train", "resume") or holders[s.row.cell.path]:
            continue
        part = Part(results / "cells", s.row.cell.path, s.run, s.part)
        attempt = next(reversed(part.attempts()), None)
        if attempt and deaths.died(attempt):
            # Nobody has asked the scheduler before the next attempt does.
            how = deaths.how(attempt) + ("" if "why" in attempt else " (not looked into yet)")
            where = f"{part}, {deaths.where(attempt)}, goes on from step {part.step()}"
            grouped[how].append(where)
    lines = [
        f"  {how}: {where[0]}" + (f" and {len(where) - 1} more" if len(where) > 1 else "")
        for how, where in grouped.items()
    ]
    return _section("died underway", lines)


def _section(title: str, lines: list[str]) -> list[str]:
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"  ... and {len(lines) - SHOWN} more"]
    return ["", f"{title}:", *lines] if lines else []


if __name__ == "__main__":
    sys.exit(main())
