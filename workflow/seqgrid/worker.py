"""The process that trains: saves, beats, stops in time, and turns every end into an outcome."""

import contextlib
import ctypes
import gc
import signal
import time
import traceback
from dataclasses import dataclass
from typing import Any

from seqgrid import memory, provenance, scheduler, sources
from seqgrid.cell import Cell
from seqgrid.job import (
    STOP_SIGNALS,
    TRY_AGAIN,
    WRONG_CALL,
    WrongCall,
    execution,
    say,
    started_again,
)
from seqgrid.lease import HEARTBEAT_SECONDS, Lease, Lost
from seqgrid.outcome import UNFINISHED, Name
from seqgrid.store import Part
from seqgrid.tables import history_bytes

THREADS = 1  # two contending threads ran 20 times slower than one thread a worker
CHECKPOINT_SECONDS = 60.0
# Before a scheduler's limit: time for the last step, a validation and a checkpoint. The smaller of
# the two holds.
MARGIN_SECONDS, MARGIN_SHARE = 60.0, 0.2


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
        self.begun_at, self.pieces = 0, 1
        self.too_large: list[int] = []  # pieces with which memory ran out

    def run(self) -> int:
        """Train and record the end; returns the exit status.

        Raises:
            OSError: the end could not be recorded.
        """
        self.lease.check()
        self.part.write_beat(state="starting", step=self.part.step())
        try:
            end = self._train()
        except (Lost, WrongCall):
            raise
        except Exception as error:
            if memory.ran_out(error):
                end = _End("out_of_memory", self._ran_out(error), trusted=False)
            else:
                words = f"{type(error).__name__}: {_first_line(error)}"
                trace = traceback.format_exc()
                end = _End("failed", words, error=trace, trusted=False)
        # A signal is no end where the job is started again in place; being out of time may be.
        again = started_again() and end.outcome == "interrupted"
        if end.outcome in UNFINISHED and (again or self.restarts_left > 0):
            self.loop.save(self.lease.check)
            return TRY_AGAIN
        self._record(end)
        return 0

    def _train(self) -> "_End":
        """Train, and once more in pieces where the study allows it after an out-of-memory."""
        import torch

        torch.set_num_threads(THREADS)
        allowed = self.limits.get("out_of_memory_pieces", 1)
        try:
            return self._train_in(1)
        except Exception as error:
            if not memory.ran_out(error) or self._pieces() >= allowed or self.stop:
                raise
            words = self._ran_out(error)
        say(f"{self.part}: {words}; now in {allowed} pieces")
        self.loop = None
        gc.collect()  # what the exception's frames held
        torch.cuda.empty_cache()
        return self._train_in(allowed)

    def _train_in(self, pieces: int) -> "_End":
        from seqgrid.loop import Diverged, Loop, device

        self.pieces = pieces
        start = self._start(device())
        self.loop = Loop(self.cell, self.part.live, self.part.number, start, pieces)
        self.begun_at = self.loop.track.step
        if not self.why:
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

    def _pieces(self) -> int:
        """Pieces each batch is cut into; those of the checkpoint, where it has more."""
        return self.loop.pieces if self.loop else self.pieces

    def _ran_out(self, error: Exception) -> str:
        """Why memory ran out: the error, the peak so far, and how batches were cut."""
        self.too_large.append(self._pieces())
        tried = ["whole" if n == 1 else f"in {n} pieces" for n in self.too_large]
        peak = f"peak {memory.peak() / 1e9:.3g} GB with batches {', then '.join(tried)}"
        return f"{_first_line(error)}; {peak}"

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
        digest = sources.training_digest(self.cell.model, self.cell.task, self.cell.parts)
        facts = provenance.collect(digest, self.limits.get("study"), THREADS)
        if self.loop is None or not end.trusted:
            from seqgrid.checkpoint import summary

            rows, progress, checkpoint = summary(self.part)
            # What a training used that could not even be built.
            used = {"peak_memory_bytes": memory.peak(), "peak_host_bytes": memory.peak_host()}
            progress = progress.model_copy(update=used | {"pieces": self._pieces()})
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
    left = None if started_again() else scheduler.seconds_left()
    if left:
        usable = left[0] - min(MARGIN_SECONDS, MARGIN_SHARE * left[1])
        words = f"the job's time limit of {left[1]:g} s is near"
        limits.append((time.monotonic() + usable, words))
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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"
