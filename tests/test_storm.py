"""A grid whose trainers are killed at random, all the time, ends like one that nothing happened to.

SEQGRID_STORM_KILLS=1000 makes it a longer one, SEQGRID_STORM_SEED=N the same one again.
"""

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from forge import ended
from grids import ONE, Grid
from trainers import same

KILLS = int(os.environ.get("SEQGRID_STORM_KILLS", "100"))
SEED = int(os.environ.get("SEQGRID_STORM_SEED", random.randrange(10**6)))
STEPS = 30 * KILLS
WORKERS = 2
STUDY = (
    ONE.replace("models: {gru:", "models: {lstm: {settings: {d_model: 8, num_layers: 1}}, gru:")
    .replace("seeds: [3]", "seeds: 0..2")
    .replace("steps: 600", f"steps: {STEPS}")
    .replace("every_steps: 20", "every_steps: 50")
)
VICTIMS = ("training", "supervisor", "everything")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGSTOP)


@dataclass
class Hit:
    """One kill: which part, how many attempts it had then, and the step that was saved."""

    words: str
    part: object
    attempts: int
    step: int


@dataclass
class Target:
    """A cell in the storm: its trainer, and the steps at which it will be hit."""

    goals: list[int]
    trainer: object = None
    part: object = None
    before: int = 0  # step at which the part began
    at: float = float("inf")  # when the next hit is due
    hits: list[Hit] = field(default_factory=list)


class Storm:
    def __init__(self, grid, kills, seed):
        self.grid, self.random = grid, random.Random(seed)
        paths = [s.row.cell.path for s in grid.plan()]
        goals = {path: [] for path in paths}
        self.left = kills
        for number in range(kills * 5 // 4):  # some come too late, for cells that ended
            goals[paths[number % len(paths)]].append(self.random.randrange(STEPS // 2))
        self.changed = True  # on the disk, since the last plan
        self.targets = {path: Target(sorted(goals[path])) for path in paths}

    def rage(self):
        """Run the grid and hit its trainers until every cell is trained; returns the hits."""
        deadline = time.monotonic() + 60 + 10 * KILLS
        while self._fill() or any(t.trainer for t in self.targets.values()):
            assert time.monotonic() < deadline, "the storm does not end"
            for target in self.targets.values():
                if target.trainer:
                    self._look(target)
            time.sleep(0.003)
        return [hit for target in self.targets.values() for hit in target.hits]

    def _fill(self):
        """Start what is next where there is room; whether anything is left to train."""
        working = sum(t.trainer is not None for t in self.targets.values())
        if not self.changed:
            return bool(working)
        self.changed = False
        # A cell that was hit three times in a row without a step of progress is asked for again.
        todo = [s for s in self.grid.plan("killed") if s.next in ("train", "resume")]
        for standing in todo:
            target = self.targets[standing.row.cell.path]
            if target.trainer is None and working < WORKERS:
                target.part = self.grid.part(standing)
                target.before = standing.last.progress.step if standing.last else 0
                target.trainer = self.grid.train(standing)
                working += 1
        return bool(todo)

    def _look(self, target):
        if target.trainer.poll() is not None:
            assert target.trainer.poll() in (0, 75, -signal.SIGKILL, -signal.SIGTERM,
                                             -signal.SIGUSR1), target.trainer.said  # fmt: skip
            assert "Traceback" not in target.trainer.said, target.trainer.said
            target.trainer, self.changed = None, True
            return
        step = max(target.before, target.part.step())
        if target.goals and step >= target.goals[0]:
            target.goals.pop(0)
            target.at = time.monotonic() + self.random.uniform(0, 0.05)
        if self.left and time.monotonic() >= target.at:
            target.at = float("inf")
            self._hit(target)

    def _hit(self, target):
        victim, number = self.random.choice(VICTIMS), self.random.choice(SIGNALS)
        words = f"{number.name} to {victim} of {target.part}"
        hit = Hit(words, target.part, len(target.part.attempts()), target.part.step())
        if self._send(target, victim, number):
            target.hits.append(hit)
            self.left -= 1
            if number == signal.SIGSTOP:
                time.sleep(self.random.uniform(0, 0.1))
                target.trainer.send_all(signal.SIGCONT)
        else:  # it ended just now; the next one gets it
            target.goals.insert(0, 0)

    def _send(self, target, victim, number):
        if victim == "everything":
            return target.trainer.send_all(number)
        if victim == "supervisor":
            return target.trainer.send(number)
        pid = (target.part.beat() or {}).get("pid")
        if pid is None or ended(pid) or parent(pid) != target.trainer.pid:
            return False
        os.kill(pid, number)
        return True


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


@pytest.mark.slow
def test_a_grid_in_a_storm_of_kills_ends_like_one_in_calm_weather(tmp_path, forge):
    calm = Grid(tmp_path / "calm", forge, STUDY)
    calm.finish()
    grid = Grid(tmp_path / "storm", forge, STUDY)
    storm = Storm(grid, KILLS, SEED)
    try:
        hits = storm.rage()
        grid.finish()  # evaluations, and the end of what was hit last
        assert len(hits) == KILLS
        for hit in hits:
            assert_nothing_saved_was_lost(hit)
        for quiet, stormy in zip(calm.plan(), grid.plan(), strict=True):
            assert_same_results(calm, quiet, grid, stormy)
        assert grid.litter() == []
    except BaseException:
        print(f"the storm again: SEQGRID_STORM_SEED={SEED} SEQGRID_STORM_KILLS={KILLS}")  # noqa: T201
        raise


def assert_nothing_saved_was_lost(hit):
    """What had been saved when the kill came is where the next process begins, or later."""
    attempts = hit.part.attempts()
    if len(attempts) > hit.attempts:
        assert attempts[hit.attempts]["step"] >= hit.step, hit.words
    else:
        assert hit.part.read().progress.step >= hit.step, hit.words


def assert_same_results(calm, quiet, grid, stormy):
    whole, found = calm.end(quiet), grid.end(stormy)
    same(found[1]["model"], whole[1]["model"])
    same(found[1]["best"], whole[1]["best"])
    assert found[2] == whole[2]
    assert (found[0].outcome, found[0].reason) == (whole[0].outcome, whole[0].reason)
    tables = [
        pq.read_table(g.part(s, s.last.part).folder / f"evaluation-{s.evaluation.name}.parquet")
        for g, s in ((calm, quiet), (grid, stormy))
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows > 0
