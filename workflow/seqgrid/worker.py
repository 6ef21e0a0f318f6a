"""The process that trains: saves, beats, stops in time, and turns every end into an outcome."""

import contextlib
import ctypes
import os
import signal
import time
import traceback
from dataclasses import dataclass
from typing import Any

from seqgrid import provenance, sources
from seqgrid.cell import Cell
from seqgrid.job import STOP_SIGNALS, TRY_AGAIN, WRONG_CALL, WrongCall, execution, say
from seqgrid.lease import HEARTBEAT_SECONDS, Lease, Lost
from seqgrid.outcome import UNFINISHED, Name
from seqgrid.store import Part
from seqgrid.tables import history_bytes

THREADS = 1  # two contending threads ran 20 times slower than one thread a worker
CHECKPOINT_SECONDS = 60.0
# Before a scheduler's limit: time for the last step, a validation and a checkpoint.
MARGIN_SECONDS = 60.0


def work(cell: Cell, part: Part, lease: Lease, restarts_left: int, stopping: bool) -> int:
    """Train the part in this process; returns its exit status."""
    stop: list[str] = ["a signal before the training began"] if stopping else []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: stop.append(signal.Signals(number).name))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    _die_with_parent()
    _keep_memory()
    worker = _Worker(cell, part, lease, restarts_left, stop)
    try:
        return worker.run()
    except WrongCall as error:
        say(f"{part}: {error}")
        return WRONG_CALL
    except Lost:  # the supervisor says so
        return TRY_AGAIN
    except OSError as error:
        say(f"{part}: cannot write results ({error}); nothing is lost, try again")
        return TRY_AGAIN


class _Worker:
    def __init__(
        self, cell: Cell, part: Part, lease: Lease, restarts_left: int, stop: list[str]
    ) -> None:
        self.cell, self.part, self.lease, self.stop = cell, part, lease, stop
        self.restarts_left = restarts_left
        self.limits = execution(part.run_folder)
        self.saved = self.beaten = time.monotonic()
        self.deadline, self.why = float("inf"), ""
        self.loop: Any = None
        self.begun_at = 0

    def run(self) -> int:
        """Train and record the end; returns the exit status.

        Raises:
            OSError: the end could not be recorded.
        """
        self.lease.check()
        self.part.write_beat(state="starting", step=self.part.step())
        try:
            end = self._train()
        except MemoryError as error:
            end = _End("out_of_memory", str(error) or "no memory left", trusted=False)
        except (Lost, WrongCall):
            raise
        except Exception as error:
            if _is_out_of_memory(error):
                end = _End("out_of_memory", str(error).splitlines()[0], trusted=False)
            else:
                words = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
                trace = traceback.format_exc()
                end = _End("failed", words.splitlines()[0], error=trace, trusted=False)
        if end.outcome in UNFINISHED and self.restarts_left > 0:
            self.loop.save(self.lease.check)
            return TRY_AGAIN
        self._record(end)
        return 0

    def _train(self) -> "_End":
        import torch

        from seqgrid.loop import Diverged, Loop, device

        torch.set_num_threads(THREADS)
        self.loop = Loop(self.cell, self.part.live, self.part.number, self._start(device()))
        self.begun_at = self.loop.track.step
        # Counted from here: a part that spends its time on imports would never get anywhere.
        self.deadline, self.why = _deadline(self.limits.get("part_seconds"))
        try:
            reason = self.loop.run(self._pause)
        except Diverged as error:
            return _End("diverged", str(error))
        if reason is not None:
            return _End("finished", reason)
        cut, why = ("interrupted", self.stop[0]) if self.stop else ("timed_out", self.why)
        return _End(cut, f"{why} at step {self.loop.track.step} of {self.cell.training.steps}")

    def _start(self, device: Any) -> dict[str, Any] | None:
        from seqgrid import checkpoint

        found = checkpoint.newest(self.part, device)
        if found is None:
            return None
        path, state = found
        say(f"{self.part}: goes on from {path.relative_to(self.part.cells)}")
        return state

    def _pause(self, loop: Any) -> bool:
        """Between steps: whether to stop here; saves and beats when it is time."""
        now = time.monotonic()
        # One step at least: parts that only load and save would go on for ever.
        if self.stop or (now >= self.deadline and loop.track.step > self.begun_at):
            return True
        if now - self.saved >= self.limits.get("checkpoint_seconds", CHECKPOINT_SECONDS):
            self._save(loop)
            self.saved = time.monotonic()
        if now - self.beaten >= HEARTBEAT_SECONDS:
            self._beat(loop)
            self.beaten = now
        return False

    def _save(self, loop: Any) -> None:
        try:
            loop.save(self.lease.check)
        except OSError as error:
            # The older checkpoints stand; a disk that has room again will take the next one.
            say(f"{self.part}: no checkpoint at step {loop.track.step} ({error}); training goes on")

    def _beat(self, loop: Any) -> None:
        with contextlib.suppress(OSError):  # a file system that does not answer now
            self.lease.check()
        progress = loop.progress()
        done = progress.step - progress.first_step
        spent = progress.training_seconds + progress.validation_seconds
        rate = done / spent if spent else 0.0
        left = (self.cell.training.steps - progress.step) / rate if rate else None
        self.part.write_beat(
            state="training",
            step=progress.step,
            steps=self.cell.training.steps,
            metric=progress.metric,
            last_metric=progress.last_metric,
            steps_per_second=rate,
            seconds_left=left,
        )

    def _record(self, end: "_End") -> None:
        """Store the outcome; where the state cannot be trusted, with the newest checkpoint."""
        digest = sources.training_digest(self.cell.model, self.cell.task)
        facts = provenance.collect(digest, self.limits.get("study"), THREADS)
        if self.loop is None or not end.trusted:
            from seqgrid.checkpoint import summary

            rows, progress, checkpoint = summary(self.part)
        else:
            checkpoint = self.loop.save(self.lease.check)
        if self.loop is not None:
            rows, progress = self.loop.track.rows, self.loop.progress()
            facts = facts.model_copy(update=self.loop.facts())
        self.part.finish(
            checkpoint,
            history_bytes(rows),
            outcome=end.outcome,
            reason=end.reason,
            error=end.error,
            progress=progress,
            provenance=facts,
            fence=self.lease.check,
        )
        if end.error:
            say(f"{self.part}: {end.reason}; traceback in {self.part.folder}/outcome.json")


@dataclass(frozen=True)
class _End:
    """How the training ended; `trusted` where its state is worth saving."""

    outcome: Name
    reason: str
    error: str | None = None
    trusted: bool = True


def _deadline(part_seconds: float | None) -> tuple[float, str]:
    """When to stop, on the monotonic clock, and what set it."""
    limits = [(float("inf"), "no limit")]
    if part_seconds:
        limits.append((time.monotonic() + part_seconds, f"part_seconds {part_seconds:g} used up"))
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():  # seconds since 1970
        left = int(end) - time.time() - MARGIN_SECONDS
        limits.append((time.monotonic() + left, "the job's time limit"))
    return min(limits)


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM when the supervisor dies, so that no orphan trains on."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        return


def _keep_memory() -> None:
    """Have glibc keep freed memory: tensors above 32 MB are otherwise mapped anew on every use."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_TOP_PAD, 64 << 20)


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text
