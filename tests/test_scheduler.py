"""What a real SLURM says of the jobs it ended, and what the next attempt makes of it."""

import json
import shlex
import subprocess
import sys
import time

import cluster as slurm
import pytest
from cluster_processes import until

from seqgrid import postmortem, registry, scheduler
from seqgrid.cell import Cell, Stopping, Training, Validation
from seqgrid.store import Part

pytestmark = pytest.mark.slurm
CELL = "gru/adding_problem/L8/seed0-0123456789"

# A process that works on a part as a trainer does, without the training: what it knows of the
# attempt before, a line that it begins, a heartbeat, and then whatever `end` does.
WORKER = """
import os, sys, time
from pathlib import Path
from seqgrid import postmortem, scheduler
from seqgrid.store import Part, add_rolling
part = Part.of(Path({folder!r}), {cell!r}, "", 1)
postmortem.explain(part)
part.begin_attempt("invocation")
add_rolling(part.live, 800, b"at 800")
part.write_beat(step=840)
def hog():
    kept = []
    while True:
        kept.append(b"x" * (20 << 20))
{end}
"""
SLEEP = "time.sleep(300)"


class Jobs:
    """Jobs of a cluster, each working on a part of its own."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder

    def submit(self, name, *options, end=SLEEP, prefix="exec"):
        """Start a worker; returns its job and its part."""
        folder = self.folder / name
        part = Part.of(folder, CELL, "", 1)
        code = WORKER.format(folder=str(folder), cell=CELL, end=end)
        return self.run(name, f"{prefix} {sys.executable} -c {shlex.quote(code)}", *options), part

    def run(self, name, command, *options):
        log = f"--output={self.folder}/{name}.log"
        options = ("--time=5", log, "--open-mode=append", *options)
        return self.cluster.run("sbatch", "--parsable", *options, "--wrap", command)

    def said(self, name):
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def jobs(cluster, tmp_path_factory):
    return Jobs(cluster, tmp_path_factory.mktemp("jobs"))


@pytest.fixture
def asking(cluster, monkeypatch):
    """This process asks the cluster, as a driver on its login node would."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)


def wait_for_beat(part, attempts=1):
    until(lambda: len(part.attempts()) == attempts and part.beat(), f"attempt {attempts}", 60)


def explained(part, capfd):
    """The one attempt of a part, explained as the next attempt would, and the line about it."""
    capfd.readouterr()
    postmortem.explain(part)
    return part.attempts()[-1]["why"], capfd.readouterr().err


def test_a_node_that_fails(jobs, cluster, asking, capfd):
    node = cluster.names[1]
    job, part = jobs.submit("node", "--no-requeue", f"--nodelist={node}")
    wait_for_beat(part)
    assert scheduler.alive(job) is True
    assert scheduler.why(job, part.attempts()[0]["started_at"]) is None  # it still runs
    cluster.down(node)
    cluster.wait(job, "NODE_FAIL")
    why, said = explained(part, capfd)
    cluster.up(node)
    assert (why["state"], why["node"]) == ("NODE_FAIL", node)
    assert said == (
        f"{part}: job {job} on {node} ended NODE_FAIL at step 840; goes on from step 800\n"
    )
    assert scheduler.alive(job) is False


def test_a_cancelled_job_names_who_cancelled_it(jobs, cluster, asking, capfd):
    job, part = jobs.submit("cancelled")
    wait_for_beat(part)
    cluster.run("scancel", job)
    cluster.wait(job, "CANCELLED")
    why, said = explained(part, capfd)
    assert (why["state"], why["by"]) == ("CANCELLED", slurm.USER)
    assert f"ended CANCELLED by {slurm.USER} at step 840" in said


def test_a_task_of_an_array(jobs, cluster, asking, capfd):
    command = f"{sys.executable} -c 'import time; time.sleep(300)'"
    job = jobs.run("array", command, "--array=1-2")
    cluster.wait(f"{job}_2", "RUNNING")
    assert scheduler.alive(f"{job}_2") is True
    cluster.run("scancel", f"{job}_2")
    cluster.wait(f"{job}_2", "CANCELLED")
    until(lambda: cluster.sacct("-j", f"{job}_2"), "the accounting")
    [own] = [row["JobIDRaw"] for row in cluster.sacct("-j", f"{job}_2", fields="JobIDRaw")]
    for name in (f"{job}_2", own):
        found = scheduler.why(name, "2026-11-21T12:00:00+00:00")
        assert (found.state, found.by) == ("CANCELLED", slurm.USER)
    assert scheduler.alive(f"{job}_1") is True
    cluster.run("scancel", job)


def test_a_time_limit(jobs, cluster, asking, capfd):
    job, part = jobs.submit("limit", "--time=1")
    wait_for_beat(part)
    cluster.wait(job, "TIMEOUT", seconds=90)
    why, said = explained(part, capfd)
    assert why["state"] == "TIMEOUT"
    assert "ended TIMEOUT at step 840" in said


def test_a_time_limit_that_comes_before_the_first_step(jobs, cluster, asking, capfd):
    # As a trainer that is told to stop while it starts.
    end = (
        "import signal\n"
        "signal.signal(15, lambda *_: (part.end_attempt('exit 75'), os._exit(75)))\n"
        "[path.unlink() for path in part.rolling()]\n" + SLEEP
    )
    job, part = jobs.submit("short", "--time=1", end=end)
    cluster.wait(job, "TIMEOUT", seconds=90)
    assert part.attempts()[0]["ended"] == "exit 75"
    why, said = explained(part, capfd)
    assert why["state"] == "TIMEOUT"
    assert "ended TIMEOUT, exit 75" in said
    assert len(part.deaths_here()) == 1


@pytest.mark.parametrize("prefix", ["exec", "srun"])
def test_too_little_memory_in_the_job_or_in_a_step_of_it(jobs, cluster, asking, capfd, prefix):
    if not cluster.cgroup:
        pytest.skip("needs control groups that hold jobs to their memory")
    job, part = jobs.submit(f"memory-{prefix}", "--mem=200", end="hog()", prefix=prefix)
    cluster.wait(job, "OUT_OF_MEMORY", "FAILED")
    assert postmortem.memory_factor(part) == 2  # as a driver asks, before anybody has noted it
    why, said = explained(part, capfd)
    assert why["state"] == "OUT_OF_MEMORY"
    assert ("the job says FAILED" in said) == (prefix == "srun")
    assert postmortem.memory_factor(part) == 2


def test_a_preempted_job_is_told_from_its_second_life(jobs, cluster, asking, capfd):
    node = cluster.names[0]
    end = "time.sleep(1000 if len(part.attempts()) == 1 else 0)"
    options = ("--qos=preempt", "--requeue", f"--nodelist={node}")
    job, part = jobs.submit("preempted", *options, end=end)
    wait_for_beat(part)
    urgent = jobs.run("urgent", "sleep 1", "--qos=regular", "--exclusive", f"--nodelist={node}")
    until(lambda: cluster.state(urgent) == "COMPLETED", "the urgent job", 60)
    assert scheduler.alive(job) is True
    cluster.wait(job, "COMPLETED", seconds=90)
    first, second = part.attempts()
    assert first["job"] == second["job"] == job
    assert first["job_started"] != second["job_started"]
    # The second attempt ran under the same id when it asked about the first.
    assert (first["why"]["state"], first["why"]["node"]) == ("PREEMPTED", node)
    assert f"job {job} on {node} ended PREEMPTED at step 840" in jobs.said("preempted")


def test_a_preempted_job_that_is_not_requeued(jobs, cluster, asking, capfd):
    node = cluster.names[0]
    options = ("--qos=preempt", "--no-requeue", f"--nodelist={node}")
    job, part = jobs.submit("dropped", *options)
    wait_for_beat(part)
    jobs.run("urgent2", "true", "--qos=regular", "--exclusive", f"--nodelist={node}")
    cluster.wait(job, "PREEMPTED")
    assert explained(part, capfd)[0]["state"] == "PREEMPTED"


def test_a_node_failure_with_requeue_goes_on_elsewhere(jobs, cluster, asking, capfd):
    node = cluster.names[1]
    end = "time.sleep(1000 if len(part.attempts()) == 1 else 0)"
    # No node is named: it may go on wherever there is room.
    other = jobs.run("filler", "sleep 300", "--exclusive", f"--nodelist={cluster.names[0]}")
    cluster.wait(other, "RUNNING")
    job, part = jobs.submit("requeued", "--requeue", end=end)
    wait_for_beat(part)
    cluster.down(node)
    cluster.run("scancel", other)
    cluster.wait(job, "COMPLETED", seconds=90)
    cluster.up(node)
    assert part.attempts()[0]["why"]["state"] == "NODE_FAIL"
    assert f"job {job} on {node} ended NODE_FAIL" in jobs.said("requeued")


# -- the trainer itself --------------------------------------------------------------------------


def place(folder, batch_size=8, steps=10**6, **limits):
    """A cell's folder as the workflow prepares it."""
    cell = Cell(
        model="gru",
        model_settings=registry.settings("model", "gru")(d_model=8, num_layers=1).model_dump(),
        task="adding_problem",
        task_settings=registry.settings("task", "adding_problem")().model_dump(),
        seqlen=8,
        seed=0,
        training=Training(steps=steps, batch_size=batch_size),
        validation=Validation(every_steps=1000, examples=32),
        stopping=Stopping(solved_validations=None),
    )
    cell.write(folder / "cells" / cell.path)
    text = json.dumps({"checkpoint_seconds": 0.2} | limits)
    (folder / "cells" / cell.path / "execution.json").write_text(text)
    return Part.of(folder / "cells", cell.path, "", 1)


def train(part):
    return f"{sys.executable} -m seqgrid.train {part.run_folder}"


def test_a_trainer_short_of_memory_asks_for_more_instead_of_dying_again(jobs, cluster, asking):
    if not cluster.cgroup:
        pytest.skip("needs control groups that hold jobs to their memory")
    part = place(jobs.folder / "memory", batch_size=400_000)
    # One process is killed, not the whole job: the supervisor lives to tell.
    command = f"{train(part)}; echo exit $?"
    job = jobs.run("trainer", command, "--mem=700")
    cluster.wait(job, "OUT_OF_MEMORY", "COMPLETED", "FAILED", seconds=120)
    assert "exit 75" in jobs.said("trainer")
    [attempt] = part.attempts()
    assert attempt["ended"] == "signal 9 (SIGKILL)"
    assert attempt["why"]["state"] == "OUT_OF_MEMORY"
    assert f"job {job} on" in jobs.said("trainer")
    assert "ended OUT_OF_MEMORY, signal 9 (SIGKILL) at step" in jobs.said("trainer")
    assert "not tried again with the memory of this job" in jobs.said("trainer")
    assert not (part.folder / "outcome.json").exists()
    assert postmortem.memory_factor(part) == 2
    # Twice more, and it is an outcome: the same is not tried for ever.
    for _ in range(2):
        cluster.wait(
            jobs.run("trainer", command, "--mem=700"), "OUT_OF_MEMORY", "COMPLETED", seconds=120
        )
    found = part.read()
    assert (found.outcome, found.silent_deaths) == ("killed", 3)
    assert found.last_death.state == "OUT_OF_MEMORY"
    assert found.last_death.job_id
    assert "the training's own: 3" in found.reason


def test_a_trainer_goes_on_after_a_node_failure_and_its_outcome_says_so(jobs, cluster, asking):
    node = cluster.names[1]
    part = place(jobs.folder / "real", part_seconds=2)
    # The job outlives its killed trainer, so that it is the node that ends it.
    command = f"{train(part)}; code=$?; test $code = 137 && sleep 300; exit $code"
    filler = jobs.run("filler2", "sleep 300", "--exclusive", f"--nodelist={cluster.names[0]}")
    cluster.wait(filler, "RUNNING")
    job = jobs.run("real", command, "--requeue", "--mem=2000")
    until(lambda: part.step() > 0, "a checkpoint", 90)
    processes = [str(part.attempts()[0]["pid"]), str(part.beat()["pid"])]
    subprocess.run(["kill", "-9", *processes], check=True)
    cluster.down(node)
    cluster.run("scancel", filler)
    cluster.wait(job, "COMPLETED", seconds=120)
    cluster.up(node)
    found = part.read()
    assert (found.outcome, found.silent_deaths) == ("timed_out", 1)
    assert (found.last_death.state, found.last_death.host) == ("NODE_FAIL", node)
    assert found.last_death.job_id == job
    assert found.last_death.kept_step <= found.last_death.step < found.progress.step


# -- without accounting, on the real clock -------------------------------------------------------


@pytest.fixture(scope="module")
def lite():
    if lacking := slurm.missing("lite"):
        pytest.skip(f"needs {' '.join(lacking)}")
    with slurm.Cluster("lite", speed=1, extra="MinJobAge=8") as running:
        yield running


@pytest.fixture
def asking_lite(lite, monkeypatch):
    for name, value in lite.environment.items():
        monkeypatch.setenv(name, value)


def test_without_accounting_the_controller_is_asked(lite, asking_lite, tmp_path, capfd):
    jobs, node = Jobs(lite, tmp_path), lite.names[1]
    job, part = jobs.submit("node", "--no-requeue", f"--nodelist={node}")
    wait_for_beat(part)
    lite.down(node)
    lite.wait(job, "NODE_FAIL")
    begun = time.monotonic()
    why, said = explained(part, capfd)
    assert time.monotonic() - begun < scheduler.LAG_SECONDS  # nothing to wait for
    lite.up(node)
    assert (why["state"], why["node"]) == ("NODE_FAIL", node)
    assert "ended NODE_FAIL (NodeDown) at step 840" in said
    # Forgotten after MinJobAge: nobody knows.
    until(lambda: not lite.state(job), "the controller to forget the job", 90)
    assert scheduler.why(job, part.attempts()[0]["started_at"]) is None
    assert scheduler.alive(job) is False


def test_without_accounting_a_requeued_job_says_that_it_was(lite, asking_lite, tmp_path, capfd):
    jobs = Jobs(lite, tmp_path)
    end = "time.sleep(1000 if len(part.attempts()) == 1 else 0)"
    job, part = jobs.submit("again", "--requeue", end=end)
    wait_for_beat(part)
    time.sleep(1.1)  # starts are told apart by the second
    lite.run("scontrol", "requeue", job)
    lite.wait(job, "COMPLETED", seconds=90)
    first = part.attempts()[0]
    assert first["why"]["state"] == "REQUEUED"
    assert "started again by SLURM" in first["why"]["reason"]


def test_a_trainer_ends_in_time_before_the_jobs_limit(lite, asking_lite, tmp_path):
    jobs, part = Jobs(lite, tmp_path), place(tmp_path)
    job = jobs.run("limit", f"sleep 2; {train(part)}", "--time=1", "--mem=2000")
    lite.wait(job, "RUNNING")
    lite.run("scontrol", "update", f"jobid={job}", "EndTime=now+25")
    lite.wait(job, "COMPLETED", seconds=60)
    found = part.read()
    assert found.outcome == "timed_out"
    assert "the job's time limit of" in found.reason
    assert found.progress.step > 0


def test_where_the_job_is_started_again_in_place_its_limit_is_not_the_trainers(
    lite, asking_lite, tmp_path
):
    jobs, part = Jobs(lite, tmp_path), place(tmp_path)
    limits = "from seqgrid.worker import _deadline; print(_deadline(None)[1])"
    ask = f"{sys.executable} -c '{limits}'"
    command = f"{ask}; export SNAKEMAKE_SUBMITIT_REQUEUE=1; {ask}; exec {train(part)}"
    job = jobs.run("place", command, "--time=1", "--requeue", "--mem=2000")
    until(lambda: part.step() > 0, "a checkpoint", 60)
    step = part.step()
    lite.run("scancel", "--batch", "--signal=USR1", job)
    lite.wait(job, "FAILED", seconds=60)
    before, after = jobs.said("place").splitlines()[:2]
    assert (before, after) == ("the job's time limit of 60 s is near", "no limit")
    assert not (part.folder / "outcome.json").exists()
    assert part.attempts()[0]["ended"] == "exit 75"
    assert part.step() >= step
    assert "goes on in the next job" in jobs.said("place")
