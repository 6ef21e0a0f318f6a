"""Whether SLURM will take the jobs of a run, asked once and before the first of them.

A wrong account is otherwise found out by every job, printed at length and tried again each time.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 30  # to wait for a scheduler's answer
# What a profile leaves to fill in, by its key, and the option of sbatch that it becomes.
TO_FILL_IN = {"slurm_account": "ACCOUNT", "slurm_partition": "PARTITION"}
OPTIONS = {
    "slurm_account": "--account", "slurm_partition": "--partition",
    "qos": "--qos", "constraint": "--constraint",
}  # fmt: skip
# Words of SLURM's complaints, and what they are about.
COMPLAINTS = {
    "account": "slurm_account", "partition": "slurm_partition", "qos": "qos",
    "feature": "constraint",
}  # fmt: skip


class NotReady(Exception):
    """SLURM is not there or refuses the profile's settings; the message says which and where."""


def check(asked: Mapping[str, Any], profile: str) -> None:
    """Ask SLURM whether it would take a job with a profile's default resources.

    Args:
        asked: the default resources, such as slurm_account.
        profile: the file that they stand in, for messages.

    Raises:
        NotReady: no job could be submitted.
    """
    for key, placeholder in TO_FILL_IN.items():
        if asked.get(key) == placeholder:
            what = key.removeprefix("slurm_")
            raise NotReady(
                f"{profile}: {key} is still {asked[key]!r}; write your {what} there, "
                "or delete the line to take the cluster's default"
            )
    if not shutil.which("sbatch"):
        raise NotReady(
            f"{profile}: this executor needs SLURM, but there is no sbatch here; run it on the "
            "cluster's login node, or without --profile on this machine"
        )
    # Of several accounts the executor tries one after the other: the first has to do here.
    first = {"slurm_account": re.split(r"[,\s]", str(asked.get("slurm_account") or ""))[0]}
    values = {**asked, **first}
    flags = [f"{option}={values[key]}" for key, option in OPTIONS.items() if values.get(key)]
    command = ["sbatch", "--test-only", "--output=/dev/null", *flags, "--wrap=true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        raise NotReady(
            f"{profile}: SLURM gives sbatch no answer within {SECONDS} s; try again later"
        ) from None
    if done.returncode:
        raise NotReady(_explain(done.stderr, asked, profile))


def profile_file() -> str:
    """The file of the profile in use, relative to the working folder where it lies in it."""
    name = os.environ.get("SNAKEMAKE_PROFILE", "")
    for word, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if word == "--profile":
            name = following
        elif word.startswith("--profile="):
            name = word.partition("=")[2]
    path = Path(name) / "config.yaml"
    if not name or not path.is_file():
        return f"profile {name}" if name else "command line"
    path, here = path.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _explain(said: str, asked: Mapping[str, Any], profile: str) -> str:
    reason = (said.strip().splitlines() or ["no reason given"])[-1].rsplit(": ", 1)[-1]
    if "contact" in reason:
        return f"{profile}: SLURM gives sbatch no answer ({reason}); try again later"
    about = [key for word, key in COMPLAINTS.items() if word in reason.lower() and key in asked]
    settings = ", ".join(f"{key}: {asked[key]}" for key in about or OPTIONS if key in asked)
    return f"{profile}: SLURM refuses {settings or 'a job without an account'} ({reason})"
