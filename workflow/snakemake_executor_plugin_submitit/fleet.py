"""The allocations that serve one queue, as the driver sees them."""

import contextlib
import hashlib
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import submitit
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from snakemake_executor_plugin_submitit.allocation import Allocation, family
from snakemake_executor_plugin_submitit.tickets import Tickets, write

# Gone from the scheduler's list so many times in a row: ended, and not an answer cut short.
LOOKS = 2
# What the first process of an allocation, and Snakemake's own process around each job, take
# (measured: 60 and 90 MB).
OWN_MB, OWN_MB_PER_JOB = 150, 150
NO_LIMIT_MINUTES = 60 * 24 * 365
REQUEST = "request.json"


class Refused(Exception):
    """The scheduler did not take a submission; the message is its own."""


@dataclass(frozen=True)
class Request:
    """What one allocation asks the scheduler for; equal requests share a queue."""

    cluster: str  # 'slurm' or 'local'
    slots: int  # jobs at a time
    cpus: int
    memory_mb: int | None
    gpus: int
    gpus_per_job: int
    options: dict[str, str]  # account, partition, qos, constraint
    extra: str  # further flags of sbatch

    @property
    def name(self) -> str:
        """Name of the queue of those who ask for this."""
        words = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()[:12]

    def parameters(self, minutes: int, signal_seconds: int, exclude: set[str]) -> dict[str, Any]:
        """As submitit takes them."""
        if self.cluster == "local":
            gpus = {"gpus_per_node": self.gpus} if self.gpus else {}
            return {"timeout_min": minutes, **gpus}
        more: dict[str, Any] = {"requeue": True}
        for flag in shlex.split(self.extra):
            name, equals, value = flag.removeprefix("--").partition("=")
            more[name] = value if equals else True
        asked: dict[str, Any] = {
            "time": minutes,
            "cpus_per_task": self.cpus,
            "signal_delay_s": signal_seconds,
            "additional_parameters": more,
            "srun_args": [f"--cpus-per-task={self.cpus}"],  # no step inherits it since 22.05
            **self.options,
        }
        if self.memory_mb:
            asked["mem"] = f"{self.memory_mb + OWN_MB + self.slots * OWN_MB_PER_JOB}MB"
        if self.gpus:
            asked["gpus_per_node"] = self.gpus
        if exclude:
            asked["exclude"] = ",".join(sorted(exclude))
        return asked


class Fleet:
    """Allocations of one request, and the tickets they work on."""

    def __init__(
        self,
        folder: Path,
        request: Request,
        idle_seconds: float,
        signal_seconds: int,
        requeues: int,
    ) -> None:
        self.request, self.tickets = request, Tickets(folder)
        write(folder / REQUEST, asdict(request))
        self.idle_seconds, self.signal_seconds = idle_seconds, signal_seconds
        self.requeues = requeues
        self.minutes = 0  # the longest runtime that a job asked for
        self.records = folder / "allocations"
        self.records.mkdir(exist_ok=True)
        self.logs = folder / "allocation-logs"
        self.missed: dict[str, int] = {}  # looks in a row at which an allocation was not there
        self.ended: dict[str, str] = {}  # how each that is gone came to its end
        self.failed_nodes: set[str] = set()
        self.tickets.close(False)

    @property
    def live(self) -> list[str]:
        """Allocations queued or running, also those of an earlier driver."""
        return sorted(path.stem for path in self.records.glob("[0-9]*.json"))

    def submit(self, number: int, minutes: int) -> list[str]:
        """Ask for more allocations, as one array; returns their ids.

        minutes: their time limit; 0 for what jobs asked for.

        Raises:
            Refused: the scheduler does not want to.
        """
        minutes = minutes or self.minutes or NO_LIMIT_MINUTES
        # A signal at the very start would find nobody to hear it.
        early = min(self.signal_seconds, minutes * 60 // 4)
        work = Allocation(
            queue=self.tickets.folder,
            slots=self.request.slots,
            gpus_per_job=self.request.gpus_per_job,
            idle_seconds=self.idle_seconds,
            stop_seconds=max(5.0, early - 10.0),
        )
        limit = {f"{self.request.cluster}_max_num_timeout": self.requeues}
        try:
            executor = submitit.AutoExecutor(
                folder=self.logs / "%j", cluster=self.request.cluster, **limit
            )
            asked = self.request.parameters(minutes, early, self.failed_nodes)
            if self.request.cluster == "slurm":
                asked = {f"slurm_{key}": value for key, value in asked.items()}
            executor.update_parameters(**asked, **self._name)
            jobs = executor.submit_array([work] * number)
        except (FailedSubmissionError, UncompletedJobError, OSError) as error:
            raise Refused(str(error).strip().splitlines()[-1]) from None
        for job in jobs:
            write(self.records / f"{job.job_id}.json", {"started": _started(job.job_id)})
        return [job.job_id for job in jobs]

    @property
    def _name(self) -> dict[str, str]:
        return {"name": "snakemake"} if self.request.cluster == "slurm" else {}

    def look(self, queued: set[str] | None) -> None:
        """Note which allocations are gone.

        queued: jobs that SLURM has queued or running; None where it did not answer.
        """
        for name in self.live:
            if self.request.cluster == "local":
                there = _started(name) == _record(self.records / f"{name}.json")
            elif queued is None:
                return
            else:
                there = name in queued
            self.missed[name] = 0 if there else self.missed.get(name, 0) + 1
            if self.missed[name] >= LOOKS or (self.missed[name] and self._has_result(name)):
                self.ended[name] = self._why(name)
                (self.records / f"{name}.json").unlink(missing_ok=True)

    def _has_result(self, name: str) -> bool:
        return (self.logs / name / f"{name}_0_result.pkl").exists()

    def _why(self, name: str) -> str:
        """How an allocation ended, as far as anybody knows."""
        if self.request.cluster == "local" or not shutil.which("sacct"):
            return "COMPLETED" if self._has_result(name) else "UNKNOWN"
        job = submitit.SlurmJob(folder=self.logs / "%j", job_id=name)
        info = job.get_info(mode="force")
        state = info.get("State") or "UNKNOWN"
        if state == "NODE_FAIL" and info.get("NodeList"):
            self.failed_nodes.add(info["NodeList"])
        return state

    def log(self, name: str) -> Path:
        """What the first process of an allocation wrote."""
        return self.logs / name / f"{name}_0_log.err"

    def cancel(self) -> None:
        """End all allocations; jobs get a signal and may save."""
        for name in self.live:
            if self.request.cluster == "local":
                for process in family(int(name)):
                    with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                        process.terminate()
            else:
                subprocess.run(["scancel", name], capture_output=True, timeout=60, check=False)


def queued() -> set[str] | None:
    """This user's jobs of SLURM, queued or running; None where it does not answer."""
    command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def requests(folder: Path) -> Iterator[Request]:
    """Requests of the queues that earlier drivers left in a folder."""
    for path in sorted(folder.glob(f"*/{REQUEST}")):
        try:
            yield Request(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue  # made by another version, or torn: not ours to serve


def _started(name: str) -> float | None:
    """When the process that a local allocation is named after began; None for any other."""
    try:
        process = psutil.Process(int(name))
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (ValueError, psutil.Error):
        return None


def _record(path: Path) -> float | None:
    try:
        return json.loads(path.read_text())["started"]
    except (OSError, ValueError, KeyError):
        return float("nan")
