"""`snakemake --profile slurm` on a real SLURM, and what clusters do to jobs and drivers."""

import re
import time

import cluster as slurm
import pytest
import torch
from cluster_processes import until
from faults_slurm import FAULTS
from slurm_grid import Grid

pytestmark = pytest.mark.slurm


@pytest.fixture
def grid(tmp_path, cluster):
    with Grid(tmp_path, cluster) as grid:
        yield grid
    for name in cluster.names:
        cluster.up(name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The end of the same training that nothing disturbed, on this machine without SLURM."""
    grid = Grid(tmp_path_factory.mktemp("unbroken"), None)
    done = grid.project.snakemake()
    assert done.returncode == 0, done.text
    return grid.end()


def assert_same(found, unbroken):
    for name, state in unbroken[0].items():
        for key, tensor in state.items():
            assert torch.equal(found[0][name][key], tensor), (name, key)
    assert found[1] == unbroken[1]


def assert_whole(grid, unbroken):
    """The cell finished as if undisturbed, is in the report, and nothing is left to do."""
    outcome = grid.part.read()
    assert (outcome.outcome, outcome.progress.step) == ("finished", 60)
    assert_same(grid.end(), unbroken)
    assert "slow" in (grid.folder / "results/studies/small/report.md").read_text()
    assert grid.project.missing() == {}


def states(cluster, job):
    return [row["State"].split()[0] for row in cluster.sacct("-j", job, fields="State")]


def logs(grid):
    return "".join(p.read_text() for p in grid.folder.glob(".snakemake/slurm_logs/**/*.log"))


def test_from_a_fresh_copy_to_the_report(grid, unbroken):
    driver = grid.finish()
    assert_whole(grid, unbroken)
    # train and evaluate; tables and report are made where the driver runs
    assert len(driver.jobs) == 2
    assert "Nothing to be done" in grid.finish().said


def test_three_time_limits_in_a_row_lose_nothing(grid, cluster, unbroken):
    driver = grid.start()
    reached = []
    for number in (1, 2, 3):
        job = driver.running(number)
        reached.append(grid.wait_for_progress())
        # A limit that comes without notice; a minute of this cluster is over after 10 s.
        cluster.run("scontrol", "update", f"jobid={job}", "TimeLimit=1")
        cluster.wait(job, "TIMEOUT")
        assert grid.part.step() >= reached[-1]
    driver.running(4)
    grid.slow.unlink()
    driver.wait()
    assert [states(cluster, job) for job in driver.jobs[:3]] == [["TIMEOUT"]] * 3
    FAULTS["timeouts"].assert_seen(driver.said)
    assert driver.said.count("Trying to restart job") == 3
    assert reached == sorted(set(reached))
    assert_whole(grid, unbroken)


def test_a_cancelled_job_goes_on_in_the_next(grid, cluster, unbroken):
    driver = grid.start()
    job = driver.running(1)
    grid.wait_for_progress()
    cluster.run("scancel", job)
    cluster.wait(job, "CANCELLED")
    reached = grid.part.step()
    driver.running(2)
    assert grid.wait_for_progress() > reached
    grid.slow.unlink()
    driver.wait()
    FAULTS["scancel"].assert_seen(driver.said)
    assert_whole(grid, unbroken)


def test_a_node_that_is_set_down_sends_its_job_elsewhere(grid, cluster, unbroken):
    driver = grid.start()
    job = driver.running(1)
    reached = grid.wait_for_progress()
    node = cluster.run("squeue", "-h", "-j", job, "-o", "%N")
    cluster.down(node)
    until(lambda: states(cluster, job)[:1] == ["NODE_FAIL"], "NODE_FAIL")
    cluster.wait(job, "RUNNING")  # the same job, as SLURM requeues it
    assert cluster.run("squeue", "-h", "-j", job, "-o", "%N") != node
    assert grid.wait_for_progress() > reached
    FAULTS["node down"].assert_seen(logs(grid))
    grid.slow.unlink()
    driver.wait()
    assert driver.jobs[0] == job
    assert_whole(grid, unbroken)


def test_a_node_whose_daemon_dies_leaves_a_trainer_that_nothing_trains_beside(
    grid, cluster, unbroken
):
    driver = grid.start()
    job = driver.running(1)
    reached = grid.wait_for_progress()
    node = cluster.run("squeue", "-h", "-j", job, "-o", "%N")
    cluster.kill_slurmd(node)
    until(lambda: states(cluster, job)[:1] == ["NODE_FAIL"], "NODE_FAIL", 120)
    # The old trainer goes on, as SLURM cannot reach it; the requeued job must not join it.
    assert grid.wait_for_progress() > reached
    until(lambda: "held by" in logs(grid), "a refusal", 180)
    FAULTS["slurmd killed"].assert_seen(logs(grid))
    grid.slow.unlink()
    driver.wait()
    assert len(grid.part.attempts()) == 1
    assert_whole(grid, unbroken)


def test_a_preempted_job_goes_on_when_there_is_room(grid, cluster, unbroken):
    grid.profile({"  runtime:": "  qos: preempt\n  runtime:"})
    driver = grid.start()
    job = driver.running(1)
    reached = grid.wait_for_progress()
    preempt(cluster)
    until(lambda: "PREEMPTED" in states(cluster, job), "PREEMPTED")
    cluster.wait(job, "RUNNING")
    assert grid.wait_for_progress() > reached
    FAULTS["preempted"].assert_seen(logs(grid))
    grid.slow.unlink()
    driver.wait()
    assert driver.jobs[0] == job
    assert_whole(grid, unbroken)


def preempt(cluster):
    """Run a job that takes every node at once."""
    whole = ["-q", "regular", "--nodes=2", "--exclusive", "-t", "1", "-o", "/dev/null"]
    cluster.wait(cluster.run("sbatch", "--parsable", *whole, "--wrap", "true"), "COMPLETED")


def test_without_requeue_a_preempted_job_is_waited_for_in_vain(grid, cluster, unbroken):
    grid.profile({"  runtime:": "  qos: preempt\n  runtime:", "slurm-requeue": "slurm-no-requeue"})
    driver = grid.start()
    job = driver.running(1)
    grid.wait_for_progress()
    preempt(cluster)
    cluster.wait(job, "PREEMPTED")
    time.sleep(10)
    assert driver.process.poll() is None
    assert len(driver.jobs) == 1
    driver.kill()
    assert grid.project.snakemake("--unlock").returncode == 0
    grid.profile({"slurm-no-requeue": "slurm-requeue"})
    grid.finish()
    assert_whole(grid, unbroken)


HUNGRY = """
    eaten, wanted = [], int(Path("hungry").read_text())
    while len(eaten) < wanted:
        eaten.append(bytearray(100 << 20))
        time.sleep(0.05)
"""


def starve(grid, pieces):
    """A model that needs so many times 100 MB; returns the driver after it has ended."""
    model = grid.folder / "workflow/seqgrid/models/slow.py"
    model.write_text(model.read_text().replace("    model = ", HUNGRY + "    model = "))
    grid.profile({"mem_mb: 3000": "mem_mb: 1500"})
    (grid.folder / "hungry").write_text(str(pieces))
    return grid.finish()


def test_a_job_without_enough_memory_is_given_more(grid, cluster):
    if not cluster.cgroup:
        pytest.skip("jobs are held to their memory by control groups as root alone")
    driver = starve(grid, 15)
    FAULTS["host memory"].assert_seen(logs(grid))
    outcome = grid.part.read()
    assert (outcome.outcome, outcome.last_death.state) == ("finished", "OUT_OF_MEMORY")
    asked = [attempt["asked"][1] for attempt in grid.part.attempts()]
    assert asked == [1500, 3000]
    steps = cluster.sacct("-j", driver.jobs[0], fields="State", steps=True)
    assert "OUT_OF_MEMORY" in [step["State"] for step in steps]


def test_a_job_that_never_has_enough_memory_becomes_an_outcome(grid, cluster):
    starve(grid, 100)
    outcome = grid.part.read()
    assert outcome.outcome == "killed"
    assert "without progress" in outcome.reason
    if cluster.cgroup:
        FAULTS["never enough memory"].assert_seen(f"killed, {outcome.reason}")
    assert "killed" in (grid.folder / "results/studies/small/report.md").read_text()
    assert grid.project.missing() == {}


def test_a_killed_driver_leaves_a_job_that_nothing_trains_beside(grid, cluster, unbroken):
    first = grid.start()
    job = first.running(1)
    grid.wait_for_progress()
    first.kill()
    # Its lock is gone with it, and what its job trains is left out.
    second = grid.project.snakemake("--profile", "slurm")
    assert second.returncode == 0, second.text
    assert (
        f"cells left out, as jobs of an earlier run still train them: 1 (jobs {job})" in second.text
    )
    assert cluster.state(job) == "RUNNING"
    grid.slow.unlink()
    cluster.wait(job, "COMPLETED")
    grid.finish()
    assert len(grid.part.attempts()) == 1
    assert_whole(grid, unbroken)


def test_two_drivers_never_train_a_cell_twice(grid, cluster, unbroken):
    first = grid.start()
    first.running(1)
    grid.wait_for_progress()
    second = grid.start()
    second.wait(status=1)
    assert "LockException" in second.said
    forced = grid.start("--nolock")
    forced.wait()
    assert "cells left out" in forced.said
    grid.slow.unlink()
    first.wait()
    assert len(grid.part.attempts()) == 1
    assert_whole(grid, unbroken)


def test_the_profile_of_perlmutter_asks_for_what_it_says(grid, cluster, unbroken):
    grid.profile({"ACCOUNT": "m0000_g", "mem_mb: 56000": "mem_mb: 3000"}, "perlmutter")
    grid.profile({"cpus_per_task: 32": "cpus_per_task: 16"}, "perlmutter")
    driver = grid.finish("--profile", "profiles/perlmutter")
    fields = "Account,QOS,Constraints,ReqTRES,Timelimit"
    for job, limit in zip(driver.jobs, ["04:00:00", "00:15:00"], strict=True):
        [row] = cluster.sacct("-j", job, fields=fields)
        assert (row["Account"], row["QOS"], row["Constraints"]) == ("m0000_g", "shared", "gpu")
        assert "gres/gpu=1" in row["ReqTRES"]
        assert row["Timelimit"] == limit
    assert_whole(grid, unbroken)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"m0000_g": "nobody"}, "SLURM refuses slurm_account: nobody, slurm_partition: main ("),
        ({" main ": " nothing "}, "SLURM refuses slurm_partition: nothing (Invalid partition"),
        ({"  runtime:": "  qos: best\n  runtime:"}, "SLURM refuses qos: best (Invalid qos"),
    ],
)
def test_what_slurm_refuses_is_one_line_before_the_first_job(grid, changes, line):
    grid.profile(changes)
    driver = grid.start()
    driver.wait(status=1)
    assert driver.said.splitlines()[-1].startswith(f"profiles/slurm/config.yaml: {line}")
    assert not driver.jobs


def test_a_cluster_without_accounting_will_do(tmp_path, unbroken):
    with slurm.Cluster("lite", nodes=1) as lite, Grid(tmp_path, lite) as grid:
        driver = grid.start()
        driver.running(1)
        grid.wait_for_progress()
        lite.run("scancel", driver.jobs[0])
        driver.running(2)
        grid.slow.unlink()
        driver.wait()
        assert_whole(grid, unbroken)


def test_a_scheduler_that_does_not_answer_is_one_line(grid, cluster):
    conf = (cluster.folder / "etc/slurm.conf").read_text()
    (grid.folder / "slurm.conf").write_text(re.sub("SlurmctldPort=.*", "SlurmctldPort=1", conf))
    # Past the commands of the cluster, which have its address built in.
    path = cluster.environment["PATH"].replace(f"{cluster.folder}/bin:", "")
    grid.project.environment |= {"PATH": path, "SLURM_CONF": str(grid.folder / "slurm.conf")}
    driver = grid.start()
    driver.wait(status=1)
    assert "profiles/slurm/config.yaml: SLURM gives sbatch no answer" in driver.said
