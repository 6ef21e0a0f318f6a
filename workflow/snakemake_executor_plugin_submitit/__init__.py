"""Snakemake executor plugin on submitit: jobs share allocations that outlive the driver.

`snakemake --executor submitit`. A job becomes a ticket in a queue of files; allocations (one
submitit job each, submitted as arrays) work the queue off, so many jobs at a time, and take the
next as one finishes. When an allocation's time limit nears, or it is preempted, its jobs are told
to save, it is requeued under the same id, and starts them again: Snakemake sees no failure, and
need not even be there. A new driver finds the tickets of the one before and submits nothing twice.
"""

import hashlib
import re
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase
from snakemake_interface_executor_plugins.utils import encode_target_jobs_cli_args

if TYPE_CHECKING:
    from snakemake_executor_plugin_submitit.fleet import Fleet, Request
    from snakemake_executor_plugin_submitit.tickets import Ticket

CLUSTERS = ("slurm", "local")
POLL_SECONDS = 1.0  # between looks at files that say which jobs are done


def _setting(default: Any, text: str, type: Any = None) -> Any:
    return field(default=default, metadata={"help": text} | ({"type": type} if type else {}))


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Settings, on the command line with `--submitit-` in front."""

    cluster: str = _setting("slurm", "Where allocations run: slurm, or local for this machine.")
    folder: str = _setting(
        ".snakemake/submitit", "Folder of queues and logs, on a file system that every node sees."
    )
    allocations: int = _setting(20, "Allocations at a time, for each kind of request.", int)
    slots: int = _setting(
        1, "Jobs at a time in an allocation; for jobs with GPUs, jobs that share a GPU.", int
    )
    gpus: int = _setting(0, "GPUs of an allocation; 0: as many as one job asks for.", int)
    minutes: int = _setting(
        0,
        "Time limit of an allocation; 0: the longest runtime that a waiting job asks for. Jobs "
        "that take longer go through several allocations.",
        int,
    )
    requeues: int = _setting(1000, "How often an allocation may be requeued at its limit.", int)
    signal_seconds: int = _setting(
        120, "How long before the time limit jobs are told to save and end.", int
    )
    idle_seconds: int = _setting(20, "How long an allocation without a job waits for one.", int)
    status_seconds: int = _setting(30, "How often the scheduler is asked for its jobs.", int)

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise WorkflowError(
                f"--submitit-cluster: '{self.cluster}' is no cluster; allowed: slurm, local"
            )
        lowest = {"allocations": 1, "slots": 1, "signal_seconds": 1, "status_seconds": 1}
        for name in ("gpus", "minutes", "requeues", "idle_seconds", *lowest):
            if getattr(self, name) < lowest.get(name, 0):
                raise WorkflowError(
                    f"--submitit-{name.replace('_', '-')}: {getattr(self, name)} is too small; "
                    f"at least {lowest.get(name, 0)}"
                )


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
)


class Executor(RemoteExecutor):
    """The driver's side: queues tickets, keeps enough allocations, hears of their ends."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # Before the base class starts the thread that checks jobs.
        self.fleets: dict[str, Fleet] = {}
        self.queued: dict[str, tuple[Fleet, Ticket]] = {}
        self.lock_fleets = threading.Lock()
        self.looked = time.monotonic()
        self.refused_before = False
        self.settings: ExecutorSettings = workflow.executor_settings
        self.folder = Path(self.settings.folder).resolve()
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        self.next_seconds_between_status_checks = POLL_SECONDS

    def run_job(self, job: JobExecutorInterface) -> None:
        """Queue one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Queue jobs, or take up those that an earlier driver queued.

        Raises:
            WorkflowError: they cannot be queued, or the scheduler refuses the allocations.
        """
        with self.lock_fleets:
            try:
                before = self._left_before()
                for job in jobs:
                    self.run_job_pre(job)
                    fleet, ticket = self._ticket(job, before)
                    self.queued[ticket.name] = (fleet, ticket)
                    self.report_job_submission(SubmittedJobInfo(job, external_jobid=ticket.name))
                self._balance(first=True)
            except OSError as error:
                raise WorkflowError(f"{error.filename or self.folder}: {error.strerror}") from None

    def _left_before(self) -> "dict[str, tuple[Fleet, Ticket]]":
        """Jobs that are queued or running already, by key, whatever they had asked for."""
        from snakemake_executor_plugin_submitit import fleet

        if not self.fleets:
            for request in fleet.requests(self.folder):
                if request.cluster == self.settings.cluster:
                    self._open(request)
            for _ in range(fleet.LOOKS):
                self._look()
        found = {}
        for one in self.fleets.values():
            for name, holder in one.tickets.standing().items():
                known = name in self.queued or (holder and holder not in one.live)
                if not known and (ticket := one.tickets.read(name, holder)):
                    found[ticket.key] = (one, ticket)
        return found

    def _ticket(
        self, job: JobExecutorInterface, before: "dict[str, tuple[Fleet, Ticket]]"
    ) -> "tuple[Fleet, Ticket]":
        target: Any = job.get_target_spec()
        words = " ".join(encode_target_jobs_cli_args(target))
        key = hashlib.sha256(words.encode()).hexdigest()[:16]
        if key in before:
            self.logger.info(f"{job.name}: queued by an earlier run, not queued again")
            return before[key]
        fleet = self._fleet(job)
        log = self.folder / "logs" / job.name / f"{_file_name(job)}-{key[:8]}.log"
        return fleet, fleet.tickets.add(key, self.format_job_exec(job), log)

    def _fleet(self, job: JobExecutorInterface) -> "Fleet":
        """The queue that a job belongs to."""
        # Imported here, so that `snakemake --help` and every job's own process stay fast.
        from snakemake_executor_plugin_submitit.fleet import Request

        asked, settings = job.resources, self.settings
        gpus_per_job = int(asked.get("gpu") or 0)
        gpus = max(settings.gpus, gpus_per_job) if gpus_per_job else 0
        slots = settings.slots * (gpus // gpus_per_job if gpus else 1)
        memory = asked.get("mem_mb")
        names = {
            "account": "slurm_account",
            "partition": "slurm_partition",
            "qos": "qos",
            "constraint": "constraint",
        }
        request = Request(
            cluster=settings.cluster,
            slots=slots,
            cpus=slots * max(1, int(asked.get("cpus_per_task") or job.threads)),
            memory_mb=slots * int(memory) if isinstance(memory, int) else None,
            gpus=gpus,
            gpus_per_job=gpus_per_job,
            options={name: str(asked[key]) for name, key in names.items() if asked.get(key)},
            extra=str(asked.get("slurm_extra") or ""),
        )
        fleet = self._open(request)
        fleet.minutes = max(fleet.minutes, int(asked.get("runtime") or 0))
        return fleet

    def _open(self, request: "Request") -> "Fleet":
        from snakemake_executor_plugin_submitit.fleet import Fleet

        if request.name not in self.fleets:
            self.fleets[request.name] = Fleet(
                self.folder / request.name,
                request,
                idle_seconds=self.settings.idle_seconds,
                signal_seconds=self.settings.signal_seconds,
                requeues=self.settings.requeues,
            )
        return self.fleets[request.name]

    def _look(self) -> None:
        """Ask the scheduler for its jobs."""
        from snakemake_executor_plugin_submitit import fleet

        self.looked = time.monotonic()
        fleets = list(self.fleets.values())
        live = any(one.live for one in fleets) and self.settings.cluster == "slurm"
        queued = fleet.queued() if live else None
        for one in fleets:
            one.look(queued)

    def _balance(self, first: bool = False) -> None:
        """Ask for as many allocations as the queues can use."""
        from snakemake_executor_plugin_submitit.fleet import Refused

        for fleet in self.fleets.values():
            waiting, live = len(fleet.tickets.names_waiting()), fleet.live
            if not waiting:
                continue
            jobs = waiting + len(fleet.tickets.holders())
            useful = min(self.settings.allocations, -(-jobs // fleet.request.slots))
            if len(live) >= useful:
                continue
            try:
                ids = fleet.submit(useful - len(live), self.settings.minutes)
            except Refused as error:
                # A limit on submissions passes; a wrong account does not.
                if first and not live and not self.refused_before:
                    self.cancel_jobs([])
                    raise WorkflowError(f"the scheduler refuses an allocation: {error}") from None
                self.refused_before = True
                self.logger.info(f"the scheduler refuses an allocation, tried again: {error}")
            else:
                self.refused_before = False
                shown = f"{ids[0]} ... {ids[-1]}" if len(ids) > 2 else " ".join(ids)
                self.logger.info(
                    f"{waiting} jobs wait: asked for {len(ids)} allocations ({shown}), "
                    f"{fleet.request.slots} jobs at a time in each"
                )

    async def check_active_jobs(  # ty: ignore[incompatible-method-override]  # as documented there
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the jobs that came to an end; yield the others."""
        looked = time.monotonic() - self.looked >= self.settings.status_seconds
        wanted = {str(info.external_jobid) for info in active_jobs}
        try:
            if looked:
                self._look()
            fleets = list(self.fleets.values())
            # In the order in which a ticket moves, so that none is missed on its way.
            there = {k: v for f in fleets for k, v in f.tickets.standing().items() if looked}
            finished = {k: v for f in fleets for k, v in f.tickets.finished(wanted).items()}
        except OSError as error:
            # A file system that does not answer for a while says nothing of the jobs.
            self.logger.info(f"{error.filename}: {error.strerror}; tried again")
            looked, there, finished = False, {}, {}
        for info in active_jobs:
            fleet, ticket = self.queued[str(info.external_jobid)]
            if ticket.name in finished:
                fleet.tickets.collect(ticket.name)
                self._report(info, ticket, finished[ticket.name])
            elif looked and lost(fleet, there.get(ticket.name)):
                fleet.tickets.forget(ticket.name)
                self._report_lost(info, fleet, ticket, there.get(ticket.name))
            else:
                yield info
        if looked:
            with self.lock_fleets:
                self._balance()

    def _report(self, info: SubmittedJobInfo, ticket: "Ticket", status: int) -> None:
        if status == 0:
            self.report_job_success(info)
        else:
            self._report_error(info, f"exit status {status}", [ticket.log])

    def _report_lost(
        self, info: SubmittedJobInfo, fleet: "Fleet", ticket: "Ticket", holder: str | None
    ) -> None:
        logs = [ticket.log]
        why = f"its ticket is gone from {fleet.tickets.folder}"
        if holder:
            logs.append(str(fleet.log(holder)))
            why = f"its allocation {holder} ended: {fleet.ended[holder]}"
        self._report_error(info, why, logs)

    def _report_error(self, info: SubmittedJobInfo, why: str, logs: list[str]) -> None:
        # A line of our own: `--quiet rules` hides Snakemake's.
        self.logger.error(f"{info.job.name} ({_file_name(info.job)}): {why}; see {logs[0]}")
        self.report_job_error(info, msg=f"{why}. ", aux_logs=logs)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Take back what waits and end the allocations; jobs get a signal and may save."""
        for fleet in self.fleets.values():
            for name in fleet.tickets.names_waiting():
                fleet.tickets.forget(name)
            fleet.cancel()
            for name in fleet.tickets.holders():
                fleet.tickets.forget(name)

    def shutdown(self) -> None:
        """Let idle allocations end at once."""
        for fleet in self.fleets.values():
            fleet.tickets.close(True)
        super().shutdown()


def lost(fleet: "Fleet", holder: str | None) -> bool:
    """Whether nobody will run a ticket any more: it is nowhere, or its allocation has ended."""
    return holder is None or holder in fleet.ended


def _file_name(job: JobExecutorInterface) -> str:
    """Wildcards of a job as part of a file name."""
    wildcards: Mapping[str, str] = getattr(job, "wildcards_dict", None) or {}
    words = ".".join(str(value) for value in wildcards.values())
    return re.sub(r"[^\w.=+-]+", "_", words)[-150:] or "job"
