"""The submitit executor: tickets, allocations on this machine, allocations of a real SLURM."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from cluster_processes import PATIENCE, until
from faults_slurm import FAULTS
from slurm_grid import STUDY, Grid

from snakemake_executor_plugin_submitit.tickets import Tickets

TOY = """
N = int(config.get("number", 4))
rule all:
    input: expand("out/{i}", i=range(N))
rule job:
    output: "out/{i}"
    resources: gpu=int(config.get("gpu", 0)), runtime=60, mem_mb=int(config.get("mem", 50))
    shell: '''
        echo start >> started.{wildcards.i}
        while [ -e slow ]; do sleep 0.1; done
        [ ! -e broken ] || exit 3
        echo "${{CUDA_VISIBLE_DEVICES:-none}}" > {output}
        '''
"""


class Toy:
    """A workflow of a few shell jobs, and its driver."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, os.environ | environment
        (folder / "Snakefile").write_text(TOY)
        self.slow = folder / "slow"
        self.drivers = []

    def start(self, *arguments, number=4, gpu=0, mem=50):
        log = self.folder / f"driver{len(self.drivers)}.log"
        words = ["--executor", "submitit", "--jobs", "100", "--submitit-status-seconds", "1"]
        config = ["--config", f"number={number}", f"gpu={gpu}", f"mem={mem}"]
        command = [sys.executable, "-m", "snakemake", *words, *arguments, *config]
        self.drivers.append((start(command, self.folder, self.environment, log), log))
        return self.drivers[-1][0]

    def run(self, *arguments, status=0, **options):
        driver = self.start(*arguments, **options)
        assert driver.wait(timeout=PATIENCE * 120) == status, self.said
        return self.said

    @property
    def said(self):
        return self.drivers[-1][1].read_text()

    def kill_driver(self):
        self.drivers[-1][0].kill()
        self.drivers[-1][0].wait()
        unlock = [sys.executable, "-m", "snakemake", "--unlock"]
        subprocess.run(unlock, cwd=self.folder, check=True, capture_output=True)

    def outputs(self):
        return {int(p.name): p.read_text().strip() for p in (self.folder / "out").iterdir()}

    def starts(self):
        """How often each job was started."""
        paths = sorted(self.folder.glob("started.*"))
        return {int(p.name.split(".")[1]): p.read_text().count("start") for p in paths}

    def logs(self):
        return sorted((self.folder / ".snakemake/submitit/logs/job").glob("*.log"))


@pytest.fixture
def toy(tmp_path):
    toy = Toy(tmp_path, {})
    yield toy
    toy.slow.unlink(missing_ok=True)
    for driver, _ in toy.drivers:
        driver.kill()
        driver.wait()


def start(command, folder, environment, log):
    """A process in the background, its output in a file."""
    with log.open("w") as file:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


LOCAL = ("--submitit-cluster", "local")


# -- tickets ----------------------------------------------------------------------------------


def claim_all(folder, allocation, results):
    tickets, mine = Tickets(folder), []
    list(tickets.mine(allocation))
    while ticket := tickets.claim(allocation):
        mine.append(ticket.name)
    results.put(mine)


def test_every_ticket_is_claimed_by_one_allocation(tmp_path):
    tickets = Tickets(tmp_path)
    names = {tickets.add(f"{i:04d}", "true", tmp_path / "log").name for i in range(300)}
    results = multiprocessing.Queue()
    claimers = [
        multiprocessing.Process(target=claim_all, args=(tmp_path, f"{i}", results))
        for i in range(4)
    ]
    for process in claimers:
        process.start()
    claimed = [name for _ in claimers for name in results.get(timeout=PATIENCE * 60)]
    assert sorted(claimed) == sorted(names)
    assert tickets.holders().keys() == names
    assert not tickets.names_waiting()


def test_a_ticket_is_somewhere_until_it_is_done(tmp_path):
    tickets = Tickets(tmp_path)
    ticket = tickets.add("k", "true", tmp_path / "log")
    assert (ticket.key, tickets.standing()) == ("k", {ticket.name: ""})
    assert tickets.read(ticket.name, "") == ticket
    list(tickets.mine("7_1"))
    assert tickets.claim("7_1") == ticket
    assert tickets.standing() == {ticket.name: "7_1"}
    assert tickets.read(ticket.name, "7_1") == ticket
    tickets.finish("7_1", ticket, 3)
    assert tickets.standing() == {}
    assert tickets.finished([ticket.name, "other"]) == {ticket.name: 3}
    assert tickets.finished(["other"]) == {}
    tickets.collect(ticket.name)
    assert tickets.finished([ticket.name]) == {}


def test_a_requeued_allocation_finds_what_it_had_not_finished(tmp_path):
    tickets = Tickets(tmp_path)
    first, second = (tickets.add(key, "true", tmp_path / "log") for key in "ab")
    list(tickets.mine("7"))
    assert [tickets.claim("7"), tickets.claim("7")] == [first, second]
    # Cut between the note that it is done and the removal of the claim.
    (tickets.done / f"{first.name}.json").write_text(json.dumps({"exit": 0}))
    assert list(tickets.mine("7")) == [second]
    assert tickets.finished([first.name, second.name]) == {first.name: 0}


def test_a_torn_ticket_holds_up_no_other(tmp_path):
    tickets = Tickets(tmp_path)
    (tickets.waiting / "0-torn.json").write_text('{"name": "0-to')
    ticket = tickets.add("k", "true", tmp_path / "log")
    list(tickets.mine("7"))
    assert tickets.claim("7") == ticket
    assert tickets.claim("7") is None


def test_tickets_are_for_the_owners_eyes(tmp_path):
    tickets = Tickets(tmp_path)
    ticket = tickets.add("k", "export SECRET=1; true", tmp_path / "log")
    assert (tickets.waiting / f"{ticket.name}.json").stat().st_mode & 0o077 == 0


# -- on one machine ---------------------------------------------------------------------------


@pytest.mark.slow
def test_jobs_share_allocations_on_one_machine(toy):
    said = toy.run(*LOCAL, "--submitit-slots", "2", "--submitit-allocations", "1", number=5)
    assert toy.outputs().keys() == {0, 1, 2, 3, 4}
    assert re.search(r"5 jobs wait: asked for 1 allocations \(\d+\), 2 jobs at a time", said)
    assert len(toy.logs()) == 5


@pytest.mark.slow
def test_a_failing_job_says_where_its_log_is_and_is_restarted(toy):
    (toy.folder / "broken").touch()
    said = toy.run(*LOCAL, "--restart-times", "1", "--keep-going", number=1, status=1)
    [log] = toy.logs()
    assert "exit status 1" in said
    assert str(log) in said
    assert toy.starts() == {0: 2}
    assert "returned non-zero exit status 3" in log.read_text()


@pytest.mark.slow
def test_a_new_driver_takes_up_the_jobs_of_a_dead_one(toy):
    toy.slow.touch()
    toy.start(*LOCAL, "--submitit-slots", "1", "--submitit-allocations", "1", number=2)
    until(lambda: len(toy.starts()) == 1, "the first job", 60)
    toy.kill_driver()
    arguments = (*LOCAL, "--submitit-slots", "1", "--submitit-allocations", "1")
    # By now something else is known of what the jobs need.
    driver = toy.start(*arguments, "--rerun-incomplete", number=2, mem=70)
    until(lambda: toy.said.count("queued by an earlier run") == 2, "the second driver", 60)
    toy.slow.unlink()
    assert driver.wait(timeout=PATIENCE * 60) == 0, toy.said
    assert toy.starts() == {0: 1, 1: 1}
    assert "asked for" not in toy.said


@pytest.mark.slow
def test_what_ended_while_no_driver_was_there_is_not_run_again(toy):
    toy.slow.touch()
    toy.start(*LOCAL, "--submitit-slots", "2", number=2)
    until(lambda: len(toy.starts()) == 2, "the jobs", 60)
    toy.kill_driver()
    toy.slow.unlink()
    until(lambda: len(toy.outputs()) == 2, "outputs", 60)
    time.sleep(1)
    assert "Nothing to be done" in toy.run(*LOCAL, "--ignore-incomplete", number=2)
    assert toy.starts() == {0: 1, 1: 1}


@pytest.mark.slow
def test_a_dead_allocation_gives_its_jobs_back(toy):
    toy.slow.touch()
    driver = toy.start(*LOCAL, "--restart-times", "1", number=1)
    until(lambda: toy.starts() == {0: 1}, "the job", 60)
    [allocation] = re.findall(r"allocations \((\d+)\)", toy.said)
    pids = [int(allocation), *_below(int(allocation))]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: toy.starts() == {0: 2}, "the second start", 60)
    toy.slow.unlink()
    assert driver.wait(timeout=PATIENCE * 60) == 0, toy.said
    assert f"its allocation {allocation} ended: UNKNOWN" in toy.said


@pytest.mark.slow
def test_an_interrupted_driver_ends_its_allocations(toy):
    toy.slow.touch()
    driver = toy.start(*LOCAL, number=3)
    until(lambda: len(toy.starts()) == 3, "the jobs", 60)
    allocations = re.findall(r"\d+", re.search(r"allocations \((.*?)\)", toy.said)[1])
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=PATIENCE * 60) == 1
    until(lambda: not any(_below(int(pid)) for pid in allocations), "the end of the jobs", 60)
    toy.slow.unlink()
    toy.run(*LOCAL, number=3)
    assert toy.outputs().keys() == {0, 1, 2}


def _below(pid):
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


@pytest.mark.parametrize(
    ("setting", "value", "line"),
    [
        ("cluster", "cloud", "'cloud' is no cluster; allowed: slurm, local"),
        ("slots", "0", "--submitit-slots: 0 is too small; at least 1"),
        ("idle-seconds", "-1", "--submitit-idle-seconds: -1 is too small; at least 0"),
    ],
)
def test_a_wrong_setting_gets_a_line(toy, setting, value, line):
    assert line in toy.run(f"--submitit-{setting}={value}", status=1)


# -- on a real SLURM --------------------------------------------------------------------------


@pytest.fixture
def slurm_toy(toy, cluster):
    toy.environment |= cluster.environment
    yield toy
    cluster.run("scancel", "--me", check=False)


@pytest.mark.slurm
def test_gpus_of_an_allocation_are_shared_out(slurm_toy):
    four = ("--submitit-gpus", "4", "--submitit-allocations", "1")
    slurm_toy.slow.touch()
    driver = slurm_toy.start(*four, number=4, gpu=1)
    until(lambda: len(slurm_toy.starts()) == 4, "four jobs at a time", 60)
    slurm_toy.slow.unlink()
    assert driver.wait(timeout=PATIENCE * 60) == 0, slurm_toy.said
    assert sorted(slurm_toy.outputs().values()) == ["0", "1", "2", "3"]


@pytest.mark.slurm
def test_a_wrong_account_gets_the_schedulers_line(slurm_toy):
    said = slurm_toy.run("--default-resources", "slurm_account=nobody", status=1)
    assert "the scheduler refuses an allocation: sbatch: error:" in said
    assert "Invalid account" in said


@pytest.mark.slurm
def test_many_jobs_are_one_array(slurm_toy, cluster):
    slurm_toy.run("--submitit-slots", "3", "--submitit-allocations", "2", number=8)
    assert len(slurm_toy.outputs()) == 8
    [ids] = re.findall(r"asked for 2 allocations \((.*?)\)", slurm_toy.said)
    first, second = ids.split()
    assert first.split("_")[0] == second.split("_")[0]


class SubmititGrid(Grid):
    """A cell of seqgrid under `--profile profiles/submitit`."""

    def __init__(self, folder, cluster):
        super().__init__(folder, None)
        # Too many for the file `slow`, and none once it is gone: it decides when the cell ends.
        self.project.study(STUDY.replace("{steps: 60,", "{steps: 600,"))
        self.cluster = cluster
        self.project.environment |= cluster.environment
        changes = {"ACCOUNT": "m0000_g", "PARTITION": "main", "mem_mb: 3000": "mem_mb: 800"}
        self.profile(changes, "submitit")

    def start(self, *arguments):
        self.slow.touch()
        self.log = self.folder / f"driver{len(self.drivers)}.log"
        words = ["--profile", "profiles/submitit", "--submitit-status-seconds", "1"]
        command = [sys.executable, "-m", "snakemake", *words, *arguments, "--config", "study=small"]
        self.drivers.append(start(command, self.folder, self.project.environment, self.log))
        return self.drivers[-1]

    def allocation(self, number=1):
        """Wait for the driver's n-th allocation to run; returns its id."""
        pattern = r"asked for 1 allocations \((\S+)\)"
        until(lambda: len(re.findall(pattern, self.said)) >= number, f"allocation\n{self.said}", 90)
        job = re.findall(pattern, self.said)[number - 1]
        self.cluster.wait(job, "RUNNING")
        return job

    @property
    def said(self):
        return self.log.read_text()

    @property
    def trained(self):
        """What the cell's jobs printed, where Snakemake says it is."""
        logs = self.folder.glob(".snakemake/submitit/logs/train/*.log")
        return "".join(path.read_text() for path in logs)

    def scene(self):
        """All that tells what goes on."""
        queue = self.cluster.run("squeue", "-a", "--states=all", check=False)
        return f"{self.said}\n{queue}\n{self.cluster.sacct()}\n{self.trained}"

    def let_finish(self, driver):
        self.slow.unlink()
        assert driver.wait(timeout=PATIENCE * 180) == 0, self.scene()


@pytest.fixture
def grid(tmp_path, cluster):
    grid = SubmititGrid(tmp_path, cluster)
    yield grid
    for driver in grid.drivers:
        driver.kill()
        driver.wait()
    cluster.run("scancel", "--me", check=False)
    for name in cluster.names:
        cluster.up(name)


def begins(grid):
    return [attempt["step"] for attempt in grid.part.attempts()]


def assert_unnoticed(grid):
    """Snakemake saw no failure, and nothing was trained twice."""
    assert "Error in rule" not in grid.said
    assert grid.part.read().outcome == "finished"
    assert grid.project.missing() == {}


@pytest.mark.slurm
def test_a_cell_goes_through_three_allocations_unnoticed(grid):
    driver = grid.start("--submitit-minutes", "4")
    job = grid.allocation()
    until(lambda: len(begins(grid)) >= 3, lambda: f"the third allocation\n{grid.scene()}", 120)
    assert grid.cluster.state(job) == "RUNNING"
    grid.let_finish(driver)
    steps = begins(grid)
    assert steps == sorted(set(steps))
    FAULTS["limits in place"].assert_seen(grid.trained)
    # What cells share is not what each of them asked for.
    assert grid.part.read().asked_minutes is None
    assert_unnoticed(grid)
    assert grid.said.count("asked for") == 1


@pytest.mark.slurm
def test_allocations_go_on_while_the_driver_is_gone(grid):
    driver = grid.start("--submitit-minutes", "4")
    job = grid.allocation()
    until(lambda: grid.part.step() > 0, "a checkpoint", 60)
    driver.kill()
    driver.wait()
    until(lambda: len(begins(grid)) >= 2, "an allocation without a driver", 120)
    grid.slow.unlink()
    until(lambda: (grid.part.folder / "outcome.json").exists(), "the end", 60)
    again = grid.start()
    grid.let_finish(again)
    assert len(begins(grid)) == len(set(begins(grid)))
    jobs = {row["JobID"] for row in grid.cluster.sacct("-X", fields="JobID,JobName")}
    assert job in jobs
    FAULTS["limits without driver"].assert_seen(grid.trained)
    assert_unnoticed(grid)


@pytest.mark.slurm
def test_a_preempted_allocation_goes_on_unnoticed(grid):
    driver = grid.start("--default-resources", "slurm_account=m0000_g", "qos=preempt", "mem_mb=800")
    job = grid.allocation()
    reached = grid.wait_for_progress()
    other = grid.cluster.run(
        "sbatch", "--parsable", "--qos=regular", "-N2", "--exclusive", "-t1", "--wrap", "sleep 2"
    )
    grid.cluster.wait(other, "COMPLETED")
    grid.cluster.wait(job, "RUNNING")
    assert grid.wait_for_progress() > reached
    grid.let_finish(driver)
    assert begins(grid)[1] >= reached
    FAULTS["preempted in place"].assert_seen(grid.trained)
    assert_unnoticed(grid)


@pytest.mark.slurm
def test_a_lost_node_is_left_unnoticed(grid):
    driver = grid.start()
    job = grid.allocation()
    reached = grid.wait_for_progress()
    grid.cluster.down(grid.cluster.run("squeue", "-h", "-j", job, "-o", "%N"))
    grid.cluster.wait(job, "RUNNING")
    assert grid.wait_for_progress() > reached
    grid.let_finish(driver)
    FAULTS["node lost in place"].assert_seen(grid.trained)
    assert_unnoticed(grid)


@pytest.mark.slurm
def test_a_cancelled_allocation_is_named_and_replaced(grid):
    driver = grid.start()
    job = grid.allocation()
    reached = grid.wait_for_progress()
    grid.cluster.run("scancel", job)
    grid.allocation(2)
    assert grid.wait_for_progress() > reached
    grid.let_finish(driver)
    FAULTS["allocation cancelled"].assert_seen(grid.said)
    assert f"its allocation {job} ended" in grid.said
    assert grid.part.read().outcome == "finished"
