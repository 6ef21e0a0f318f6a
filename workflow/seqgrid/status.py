"""`python -m seqgrid.status STUDY`: the grid as a matrix model x (task, length), a letter a seed."""

import argparse
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path

from seqgrid import lease, plan, study
from seqgrid.job import WRONG_CALL, say
from seqgrid.plan import Standing
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
SHOWN_REASONS = 20


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
    lines = [
        f"{name}: {len(standings)} cells: {summary}",
        f"to do: {todo}",
        *_cost(standings),
        "",
        *_matrix(standings, states),
        "",
        "  ".join(f"{letter} {state.replace('_', ' ')}" for letter, state in used.items())
        + "  (a letter a seed, in order)",
        *_stale(standings),
        *_running(standings, holders),
        *_reasons(standings, states),
    ]
    return "\n".join(lines)


def _matrix(standings: list[Standing], states: dict[str, str]) -> list[str]:
    columns = sorted({(s.row.task, s.row.cell.seqlen) for s in standings})
    cells: dict[tuple[str, str], dict[tuple[str, int], str]] = defaultdict(dict)
    for s in sorted(standings, key=lambda s: s.row.cell.seed):
        row = cells[s.row.model, s.row.variant]
        column = (s.row.task, s.row.cell.seqlen)
        row[column] = row.get(column, "") + LETTERS[states[s.row.cell.path]]
    order = list(dict.fromkeys((s.row.model, s.row.variant) for s in standings))
    labels = [" ".join(filter(None, key)) for key in order]
    left = max(len(label) for label in labels)
    titles = [f"L{seqlen}" for _, seqlen in columns]
    widths = [
        max(len(title), *(len(cells[key].get(column, "-")) for key in order)) + 2
        for title, column in zip(titles, columns, strict=True)
    ]
    head = ""
    for task in dict.fromkeys(task for task, _ in columns):
        span = sum(w for w, (t, _) in zip(widths, columns, strict=True) if t == task)
        head += f" {task[: span - 2]:<{span}}"
    lines = [" " * left + head.rstrip()]
    spaced = _spaced([f"{title:<{w}}" for title, w in zip(titles, widths, strict=True)], columns)
    lines.append(" " * left + spaced.rstrip())
    for key, label in zip(order, labels, strict=True):
        row = [f"{cells[key].get(c, '-'):<{w}}" for c, w in zip(columns, widths, strict=True)]
        lines.append(f"{label:<{left}}" + _spaced(row, columns).rstrip())
    return lines


def _spaced(texts: list[str], columns: list[tuple[str, int]]) -> str:
    """Texts of the columns, one more space before each new task."""
    found, before = "", None
    for text, (task, _) in zip(texts, columns, strict=True):
        found += (" " if task != before else "") + text
        before = task
    return found


def _cost(standings: list[Standing]) -> list[str]:
    """Time spent, and a forecast from the seconds a step took in equal cells."""
    spent = 0.0
    rates: dict[tuple, list[float]] = defaultdict(list)
    for s in standings:
        for outcome in s.outcomes:
            p = outcome.progress
            spent += p.training_seconds + p.validation_seconds + p.checkpoint_seconds
            if steps := p.step - p.first_step:
                rates[s.row.model, s.row.task, s.row.cell.seqlen].append(
                    (p.training_seconds + p.validation_seconds) / steps
                )
    to_come, unknown = 0.0, 0
    for s in standings:
        if s.next in ("train", "resume"):
            known = rates.get((s.row.model, s.row.task, s.row.cell.seqlen))
            done = s.last.progress.step if s.last and s.next == "resume" else 0
            if known:
                to_come += statistics.median(known) * (s.row.cell.training.steps - done)
            else:
                unknown += 1
    text = f"cost: {_duration(spent)} of training so far"
    if to_come:
        text += f"; about {_duration(to_come)} to come at most, from equal cells"
    if unknown:
        text += f"; {unknown} cells with no equal one to tell from"
    return [text]


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


def _running(standings: list[Standing], holders: dict[str, dict | None]) -> list[str]:
    lines = []
    for s in standings:
        holder = holders[s.row.cell.path]
        if holder:
            beat = holder.get("beat") or {}
            step = f"step {beat.get('step', '?')} of {s.row.cell.training.steps}"
            rate = beat.get("steps_per_second")
            left = beat.get("seconds_left")
            pace = f", {rate:.1f} steps/s" if rate else ""
            pace += f", about {_duration(left)} left at most" if left else ""
            lines.append(f"  {s.row.cell.path}: {step}{pace}, {lease.describe(holder)}")
    return ["", "running:", *lines] if lines else []


def _reasons(standings: list[Standing], states: dict[str, str]) -> list[str]:
    """Why cells are neither finished nor missing, equal reasons together."""
    grouped: dict[tuple[str, str, str, str], list[Standing]] = defaultdict(list)
    for s in standings:
        state = states[s.row.cell.path]
        if state not in ("finished", "running", "missing"):
            grouped[state, s.row.model, s.row.task, s.reason].append(s)
        elif s.evaluation and (s.evaluation.error or not s.evaluation.valid):
            what = (s.evaluation.error or "the file is corrupt").strip().splitlines()[-1]
            grouped["evaluation failed", s.row.model, s.row.task, what].append(s)
    lines = []
    for (state, model, task, reason), found in list(grouped.items())[:SHOWN_REASONS]:
        where = found[0].row.cell.path + (f" and {len(found) - 1} more" if len(found) > 1 else "")
        lines.append(f"  {state.replace('_', ' ')}: {model} {task}: {reason} ({where})")
    if len(grouped) > SHOWN_REASONS:
        lines.append(f"  ... and {len(grouped) - SHOWN_REASONS} more reasons")
    return ["", "why:", *lines] if lines else []


if __name__ == "__main__":
    sys.exit(main())
