"""What the Snakefile asks of the library, once, when a run starts."""

import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from seqgrid import collection, controls, plan, requests, scheduler, site, study, unlock
from seqgrid.job import say
from seqgrid.study_file import StudyError, unknown

RESULTS = Path("results")
CONFIG_KEYS = ["study", "rerun", "cell"]


@dataclass(frozen=True)
class Driver:
    """Targets of a run, and what to do before its first job."""

    targets: list[str]
    collected: list[str]  # what the tables wait for
    requests: dict[str, requests.Jobs]  # what jobs ask for, by run folder below results/cells
    prepare: Callable[[int], None]
    chosen: list[plan.Standing]  # the cells of this run

    def leave_out_running(self) -> None:
        """Leave out cells that jobs of an earlier run still train, and say so.

        A second job for such a cell could only wait for the first, on hardware that is paid for.
        """
        known: dict[str | None, bool | None] = {}
        held = []
        for standing in self.chosen:
            holder = plan.running(standing, RESULTS) if standing.begun and standing.target else None
            job = (holder or {}).get("job")
            if job and job not in known:
                known[job] = scheduler.alive(job)
            if known.get(job):
                held.append(f"{RESULTS}/cells/{standing.target}")
        if held:
            jobs = " ".join(str(job) for job, there in known.items() if there)
            say(
                f"cells left out, as jobs of an earlier run still train them: {len(held)} "
                f"(jobs {jobs}); run this again when they are done, or scancel them"
            )
        for wanted in (self.targets, self.collected):
            wanted[:] = [target for target in wanted if target not in held]


def bounds(resources: Mapping[str, Any] | None) -> requests.Bounds:
    """What jobs may ask for, from a profile's default-resources; a mistake is one line."""
    try:
        return requests.Bounds.of(resources)
    except ValueError as error:
        say(str(error))
        sys.exit(1)


def start(config: Mapping[str, Any], bounds: requests.Bounds = requests.DEFAULTS) -> Driver:
    """Plan a run; on a mistake of the user's, one line a problem and the end of the process."""
    unlock.enter(Path(".snakemake"))
    try:
        return _start(config, bounds)
    except (StudyError, plan.WrongRequest, OSError) as error:
        say(str(error))
        sys.exit(1)


def check_targets(arguments: Sequence[str]) -> None:
    """Say of a study, or a file of one, that is given as a target how it is made; end the process.

    Snakemake says only that no rule produces it.
    """
    names = study.available()
    for before, target in pairwise(["", *arguments]):
        parts = Path(target).parts
        if target in names and target not in controls.STUDIES:
            name = target
        elif parts[:2] == ("results", "studies") and len(parts) > 2:
            name = parts[2]
        else:
            continue
        if before.startswith("--") or os.path.exists(target):  # noqa: PTH110 (of any length)
            continue
        made = f"snakemake --config study={name if name in names else 'NAME'}"
        wrong = "" if name in names else f"; {unknown(name, names, f'a file in {study.STUDIES}')}"
        say(f"{target} is no target, files of a study are made by `{made}`{wrong}")
        sys.exit(1)


def check_site(resources: Mapping[str, Any]) -> None:
    """Ask SLURM whether it would take the jobs; if not, one line and the end of the process."""
    try:
        site.check(resources, site.profile_file())
    except site.NotReady as error:
        say(str(error))
        sys.exit(1)


def _start(config: Mapping[str, Any], bounds: requests.Bounds) -> Driver:
    for key in config:
        if key not in CONFIG_KEYS:
            raise plan.WrongRequest(f"--config {key}: {unknown(key, CONFIG_KEYS, 'a setting')}")
    name = str(config.get("study") or "")
    loaded, rows = study.load(name)
    for key in ("cell", "rerun"):
        if key in config and config[key] in (None, ""):
            raise plan.WrongRequest(f"--config {key}=: give it a value, or leave it out")
    again = config.get("rerun") or ""
    rerun = plan.parse_rerun(map(str, again) if isinstance(again, list | tuple) else str(again))
    everything = plan.plan(rows, RESULTS, rerun)
    chosen = plan.select(everything, str(config["cell"])) if "cell" in config else everything
    missing = [f"{RESULTS}/cells/{s.target}" for s in chosen if s.target]
    if "cell" in config:
        # With nothing to make, a file that is there: Snakemake then says "Nothing to be done".
        targets = missing or [f"{RESULTS}/cells/{s.row.cell.path}/cell.json" for s in chosen]
    else:
        behind = controls.behind(name, rows, RESULTS)
        generation = collection.generation(RESULTS, name, loaded, everything, behind)
        targets = [f"{RESULTS}/studies/{name}/.made/{generation}.reported"]

    asked = requests.of(chosen, everything, loaded, bounds, RESULTS)

    def prepare(restarts: int) -> None:
        # A trainer that is cut saves and asks to be restarted, as long as this run will do it.
        os.environ["SEQGRID_RETRIES"] = str(restarts)
        os.environ["SEQGRID_INVOCATION"] = uuid.uuid4().hex[:12]
        entries = {run: requests.as_execution(jobs) for run, jobs in asked.items()}
        try:
            plan.prepare(chosen, name, loaded, RESULTS, entries)
        except OSError as error:  # the disk is full, or the folder somebody else's
            say(f"{error.filename or RESULTS}: {error.strerror}; nothing was started")
            sys.exit(1)

    return Driver(
        targets=targets, collected=missing, requests=asked, prepare=prepare, chosen=chosen
    )
