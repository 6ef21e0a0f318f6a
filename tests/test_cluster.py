"""The test cluster itself: what other tests rely on, and that nothing of it is left."""

import os
import shutil
import tempfile
from pathlib import Path

import cluster as slurm
import pytest
from cluster_processes import processes, until

pytestmark = pytest.mark.slurm


def submit(cluster, *arguments, wrap="sleep 100"):
    return cluster.run("sbatch", "--parsable", "-o", "/dev/null", *arguments, "--wrap", wrap)


def test_jobs_have_accounts_gpus_and_limits(cluster, tmp_path):
    said = tmp_path / "said"
    flags = ["-A", "m0000_g", "-q", "shared", "-C", "gpu", "--gpus=2", "-o", str(said)]
    job = submit(cluster, *flags, wrap="echo $CUDA_VISIBLE_DEVICES")
    cluster.wait(job, "COMPLETED")
    assert said.read_text() == "0,1\n"
    for wrong in (["-A", "nobody"], ["-q", "nothing"], ["-C", "tpu"], ["--gpus=99"]):
        with pytest.raises(RuntimeError, match="Batch job submission failed"):
            submit(cluster, *wrong)


def test_a_minute_is_over_soon_and_a_node_can_go(cluster):
    late = submit(cluster, "-t", "1")
    lost = submit(cluster, "--no-requeue", "-w", cluster.names[1])
    cluster.wait(lost, "RUNNING")
    cluster.down(cluster.names[1])
    cluster.wait(lost, "NODE_FAIL")
    cluster.up(cluster.names[1])
    assert cluster.wait(late, "TIMEOUT") == "TIMEOUT"
    until(lambda: cluster.sacct("-j", late)[0]["State"] == "TIMEOUT", "accounting")


def test_a_job_that_takes_too_much_memory_is_killed(cluster):
    hog = "exec python3 -c 'import time; x = bytearray(300 << 20); time.sleep(60)'"
    job = submit(cluster, "--mem=100", wrap=hog)
    assert cluster.wait(job, "OUT_OF_MEMORY", "FAILED") == (
        "OUT_OF_MEMORY" if cluster.cgroup else "FAILED"
    )


def test_a_second_cluster_runs_beside_it_and_leaves_nothing(cluster):
    with slurm.Cluster("lite", nodes=1) as second:
        job = submit(second, wrap="setsid sleep 1000 & sleep 1000")
        second.wait(job, "RUNNING")
        node, clock = second.names[0], second._clock()["FAKETIME_SHARED"].split()[0]
        second.kill_slurmd(node)
        second.up(node)
        assert node not in cluster.names
        assert processes(second.folder)
    assert not processes(second.folder)
    assert not second.folder.exists()
    assert not Path("/dev/shm", clock.strip("/")).exists()
    assert not [p for p in Path("/sys/fs/cgroup").glob("*/slurm_*") if p.name.endswith(node)]
    assert "UP" in cluster.run("scontrol", "ping")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_run_one(cluster):
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which is its owner's alone
        Path(folder).chmod(0o755)
        shutil.copytree(Path(__file__).parent, f"{folder}/tests")
        command = f"/usr/bin/python3 {folder}/tests/cluster.py"
        script = f"""
            eval "$({command} start --mode lite)" &&
            sbatch -W -o /dev/null --wrap true && echo "$SEQGRID_CLUSTER"
            {command} stop
        """
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        said = cluster.run(*drop, "sh", "-c", script, HOME="/tmp", PATH="/usr/bin:/bin")
    mine = Path(said.splitlines()[-1])
    assert mine.name.startswith("slurm-")
    assert not mine.exists()
    assert not processes(mine)
