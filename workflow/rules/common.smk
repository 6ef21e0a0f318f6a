# What there is to do. Only the driver plans; a job's own process is told its target by name, so
# nothing below may depend on what lies on disk by then.
import gc
import sys

from seqgrid import controls, driver, requests
from snakemake.settings.enums import Quietness

PYTHON = sys.executable
# Snakemake tells its targets later than it reads this file.
if "controls" in sys.argv[1:] and config["study"] not in controls.STUDIES:
    config["study"] = "controls"
STUDY = str(config["study"])
FOLDER = f"results/studies/{STUDY}"
TARGETS, COLLECTED, PREPARE, LEAVE_OUT = [], [], lambda restarts: None, lambda: None
BOUNDS = driver.bounds(workflow.resource_settings.default_resources)
ASKED = requests.Asked({}, BOUNDS, driver.RESULTS)

if workflow.is_main_process:
    driver.check_targets(sys.argv[1:])
    plan = driver.start(config, BOUNDS)
    TARGETS, COLLECTED, PREPARE = plan.targets, plan.collected, plan.prepare
    LEAVE_OUT = plan.leave_out_running
    ASKED = requests.Asked(plan.requests, BOUNDS, driver.RESULTS)
    # A fifth of the time on a large grid went into looking for garbage that is not there.
    gc.disable()


def targets(wildcards):
    """What is missing. Evaluated when Snakemake knows where jobs will run, if at all."""
    executor = workflow.executor_plugin
    # The executor over submitit may also be told to stay on this machine.
    cluster = getattr(workflow.executor_settings, "cluster", "slurm")
    if executor is not None and executor.name in ("slurm", "submitit") and cluster == "slurm":
        asked = workflow.resource_settings.default_resources or {}
        driver.check_site({name: resource.raw for name, resource in asked.items()})
    if executor is not None and executor.name != "submitit":  # which takes them up again
        LEAVE_OUT()
    if workflow.dryrun and not workflow.output_settings.printshellcmds:
        # Counts instead of a page for every job (`-n -p` prints those), in half the time. The
        # logger keeps the set it was given, so that the counts themselves are still printed.
        workflow.output_settings.quiet = {Quietness.RULES, Quietness.PROGRESS}
    return TARGETS


def collected(wildcards):
    """What the tables of this run wait for."""
    return COLLECTED


def silently(wildcards):
    """No input, and nothing on the console but what the job itself prints."""
    workflow.output_settings.quiet.add(Quietness.ALL)
    return []


def asked(wildcards, attempt):
    """What the job of a part asks for."""
    if "evaluation" in wildcards.keys():
        return ASKED.evaluate(wildcards.cell, attempt)
    return ASKED.train(wildcards.cell, int(wildcards.get("part", 1)), attempt)


def runtime(wildcards, attempt):
    return asked(wildcards, attempt).runtime


def mem_mb(wildcards, attempt):
    return asked(wildcards, attempt).mem_mb


wildcard_constraints:
    cell=r"[^/]+/[^/]+/L\d+/seed\d+-[0-9a-f]+(/again\d+)?",
    part=r"[2-9]|[1-9]\d+",
    any_part=r"[1-9]\d*",
    evaluation=r"L\d+(\+\d+)*-n\d+(-again\d+)?",
    generation=r"\d+",
