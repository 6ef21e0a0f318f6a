"""What runs within an allocation: the jobs of a queue, so many at a time, until there are none.

submitit calls an `Allocation` in the allocation's first process. When the time limit nears or the
scheduler preempts, it calls `checkpoint` and requeues the allocation under the same job id. All
state is in the queue's files, so that an allocation which the scheduler requeues by itself, as
after a node failure, goes on just as well.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil
import submitit
from submitit.helpers import DelayedSubmission

from snakemake_executor_plugin_submitit.tickets import Ticket, Tickets

POLL_SECONDS = 0.2
# A job that fails shortly before the allocation itself is told to stop was told so too: the
# scheduler signals every process. It is not done but cut.
CUT_SECONDS = 3.0
# Jobs started here may rely on being started again in place when a signal ends them.
REQUEUES = {"SNAKEMAKE_SUBMITIT_REQUEUE": "1"}


@dataclass
class _Running:
    ticket: Ticket
    slot: int
    process: subprocess.Popen
    ended: float | None = None  # when it was seen to have failed


@dataclass
class Allocation:
    """Runs the jobs of a queue, `slots` at a time.

    Attributes:
        queue: folder of the tickets.
        slots: jobs at a time.
        gpus_per_job: GPUs that each job sees; jobs share them where there are more slots.
        idle_seconds: how long to wait for another job.
        stop_seconds: how long jobs may take to save and end when the allocation is cut.
    """

    queue: Path
    slots: int
    gpus_per_job: int
    idle_seconds: float
    stop_seconds: float
    running: list[_Running] = field(default_factory=list)

    def __call__(self) -> int:
        """Run until the queue is empty; returns the number of jobs run."""
        self.id = submitit.JobEnvironment().job_id
        self.tickets = Tickets(self.queue)
        self.terminated = False
        signal.signal(signal.SIGTERM, self._on_term)
        left = list(self.tickets.mine(self.id))
        count, idle_since = 0, time.monotonic()
        while not self.terminated:
            self._reap()
            while len(self.running) < self.slots:
                ticket = left.pop(0) if left else self.tickets.claim(self.id)
                if ticket is None:
                    break
                self._start(ticket)
                count += 1
            if self.running:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= self.idle_seconds or self.tickets.is_closed:
                return count
            time.sleep(POLL_SECONDS)
        # Cancelled or preempted. Jobs stay claimed: a requeued allocation finds them.
        self._stop()
        os._exit(128 + signal.SIGTERM)

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit before it requeues the allocation."""
        if not self.running and not self.tickets.names_waiting():
            os._exit(0)  # there is nothing to be requeued for
        self._stop()
        return DelayedSubmission(
            Allocation(
                self.queue, self.slots, self.gpus_per_job, self.idle_seconds, self.stop_seconds
            )
        )

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True

    def _start(self, ticket: Ticket) -> None:
        slot = min(set(range(self.slots)) - {job.slot for job in self.running})
        environment = os.environ | REQUEUES | self._devices(slot)
        log = Path(ticket.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            process = subprocess.Popen(
                ["/bin/bash", "-c", ticket.command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore_user_signals,
            )
        _say(f"{ticket.name}: started, output in {log}")
        self.running.append(_Running(ticket, slot, process))

    def _devices(self, slot: int) -> dict[str, str]:
        """The GPUs of a slot, of those that the scheduler gave."""
        given = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
        if not self.gpus_per_job or not given:
            return {}
        first = slot * self.gpus_per_job
        mine = [given[(first + i) % len(given)] for i in range(self.gpus_per_job)]
        return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}

    def _reap(self) -> None:
        for job in list(self.running):
            status = job.process.poll()
            if status is None:
                continue
            now = time.monotonic()
            job.ended = job.ended or now
            if status == 0 or now - job.ended >= CUT_SECONDS:
                self._finish(job, status)

    def _finish(self, job: _Running, status: int) -> None:
        self.tickets.finish(self.id, job.ticket, status)
        self.running.remove(job)
        _say(f"{job.ticket.name}: exit {status}")

    def _stop(self) -> None:
        """Have every job save and end; those that did come to their end meanwhile are done."""
        deadline = time.monotonic() + self.stop_seconds
        families = {job.ticket.name: family(job.process.pid) for job in self.running}
        for members in families.values():
            # The leaves do the work; Snakemake's own process waits for them.
            for process in members:
                if not _children(process):
                    _signal(process, signal.SIGTERM)
        while any(j.process.poll() is None for j in self.running) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for job in list(self.running):
            if job.process.poll() is None:
                for process in [*families[job.ticket.name], *family(job.process.pid)]:
                    _signal(process, signal.SIGKILL)
            elif job.process.returncode == 0:
                self._finish(job, 0)


def _say(text: str) -> None:
    """One line in the allocation's log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _ignore_user_signals() -> None:
    """The scheduler sends these to every process; a shell or Snakemake would die of them."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty where it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
