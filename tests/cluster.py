"""A real SLURM on one machine, up in seconds: several nodes, fake GPUs, no systemd, loopback only.

eval "$(python tests/cluster.py start)"     start it and point this shell at it
sinfo; sbatch --wrap hostname; sacct        use it
python tests/cluster.py down n2             a node of sinfo; also up, kill-slurmd, start-slurmd
python tests/cluster.py stop                kill what belongs to it and delete its folder

Runs as root and as an ordinary user, any number of them at once. Needs the Debian packages
slurmctld slurmd slurm-client munge slurmdbd mariadb-server faketime.
"""

import argparse
import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cluster_files
from cluster_processes import environ, free_ports, kill, processes, remove_cgroup, until

PACKAGES = {
    "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge",
    "slurmdbd": "slurmdbd", "mariadbd": "mariadb-server", "faketime": "faketime",
}  # fmt: skip
LITE = ("slurmctld", "slurmd", "sbatch", "munged", "faketime")
CLOCK = ("LD_PRELOAD", "FAKETIME", "FAKETIME_SHARED")
USER = getpass.getuser()
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
CGROUPS = Path("/sys/fs/cgroup")
ALLOWED = "normal,regular,debug,shared,preempt,interactive,workflow"
ACCOUNTING = """\
add qos preempt Priority=0 PreemptMode=requeue
add qos regular,debug,shared,interactive,workflow Priority=100 Preempt=preempt
modify qos debug set MaxWall=00:30:00 MaxJobsPU=2 MaxSubmitJobsPU=5
add account m0000,m0000_g Description=test Organization=test
add user {user} Account=m0000,m0000_g DefaultAccount=m0000_g AdminLevel=Administrator
modify user {user} set QOS={allowed} DefaultQOS=regular
"""


def missing(mode: str = "full") -> list[str]:
    """Debian packages that the cluster needs and this machine lacks."""
    programs = LITE if mode == "lite" else PACKAGES
    return [PACKAGES[p] for p in programs if not shutil.which(p, path=SYSTEM)]


def can_limit_memory() -> bool:
    """Whether jobs can be held to their memory by a control group here (root, version 1)."""
    return os.geteuid() == 0 and os.access(CGROUPS / "memory/cgroup.procs", os.W_OK)


class Cluster:
    """A running cluster between `start` and `stop`, or within `with`.

    Args:
        mode: 'full' has accounting, accounts, QOS and preemption; 'lite' has no database, so no
            sacct, and takes any account and QOS unchecked.
        nodes: how many, named n1, n2, ... (`names`).
        speed: how many times as fast the daemons' clock runs; jobs and clients keep the real one.
            With 6 a job of the shortest limit, a minute, ends after 10 to 15 s.
        cgroup: whether jobs are held to their memory by control groups, which end them as
            OUT_OF_MEMORY; else they are watched, and end as FAILED. None: where it can be.
        extra: more lines of slurm.conf.
    """

    def __init__(
        self, mode="full", nodes=2, speed=6, cgroup=None, *, extra="", cpus=16, memory_mb=8000,
        gpus=4,
    ):  # fmt: skip
        self.mode, self.speed, self.extra = mode, speed, extra
        self.cgroup = can_limit_memory() if cgroup is None else cgroup
        self.hardware = {"cpus": cpus, "memory_mb": memory_mb, "gpus": gpus}
        # Sockets allow 108 characters, so not below the long folders of pytest.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.port = free_ports(nodes + 3)
        # Control groups are named after nodes: those of two clusters must differ.
        prefix = f"n{self.port}x" if self.cgroup else "n"
        self.names = [f"{prefix}{i}" for i in range(1, nodes + 1)]

    @classmethod
    def at(cls, folder: Path) -> "Cluster":
        """The running cluster of a folder."""
        cluster = cls.__new__(cls)
        cluster.folder = folder
        cluster.names = [path.name for path in sorted((folder / "spool").iterdir())]
        return cluster

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this cluster, besides its own environment."""
        conf, path = self.folder / "etc/slurm.conf", os.environ.get("PATH", "")
        mine = f"{self.folder}/bin:"
        return {
            "SLURM_CONF": str(conf),
            "SEQGRID_CLUSTER": str(self.folder),
            "PATH": path if path.startswith(mine) else f"{mine}{path}:/usr/sbin:/sbin",
        }

    def __enter__(self):
        try:
            self.start()
        except BaseException as error:
            error.add_note(self._errors())
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    # -- using it ----------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """What a command prints, run against this cluster."""
        done = subprocess.run(
            command, env=_outside() | self.environment | environment, timeout=120,
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def sacct(
        self, *arguments: str, fields: str = "JobID,State,ExitCode,NodeList", steps: bool = False
    ) -> list[dict]:
        """Rows of sacct, one a job and incarnation, oldest first; `arguments` as of sacct."""
        names, flags = fields.split(","), "-nPD" if steps else "-nPDX"
        # The daemons' clock is half a day behind: the default window would miss everything.
        since = time.strftime("%Y-%m-%d", time.localtime(time.time() - 2 * 86400))
        table = self.run("sacct", flags, "-S", since, "-o", fields, *arguments)
        return [dict(zip(names, line.split("|"), strict=True)) for line in table.splitlines()]

    def state(self, job: str) -> str:
        """State of a job as the controller has it, such as RUNNING; empty for an unknown one."""
        return self.run("squeue", "-h", "--states=all", "-j", job, "-o", "%T", check=False)

    def wait(self, job: str, *states: str, seconds: float = 120) -> str:
        """Wait until a job is in one of the states."""
        until(lambda: self.state(job) in states, f"job {job} in {states}", seconds)
        return self.state(job)

    def down(self, node: str) -> None:
        """Set a node down, as an administrator or the health check does: its jobs end at once."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def up(self, node: str) -> None:
        """Bring a node back, slurmd included, and wait until it takes jobs."""
        if not self._slurmd(node):
            self.start_slurmd(node)
        self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        ready = ("idle", "mixed", "allocated")
        until(lambda: self.run("sinfo", "-h", "-n", node, "-o", "%T") in ready, f"{node} up")

    def kill_slurmd(self, node: str) -> None:
        """Kill a node's daemon, as a crash of the node does; its jobs' processes go on."""
        os.kill(self._slurmd(node), signal.SIGKILL)

    def start_slurmd(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon("slurmd", "-N", node, "-c")  # -c clears what an earlier one left

    # -- starting and stopping ---------------------------------------------------------------

    def start(self) -> None:
        """Bring everything up and wait until all nodes are idle."""
        spools = [f"spool/{name}" for name in self.names]
        for name in ["etc", "log", "state", "run", "bin", "db", "tmp", *spools]:
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        facts = {"names": self.names, "port": self.port, "extra": self.extra} | self.hardware
        cluster_files.write(self.folder, self.mode, self.cgroup, **facts)
        if self.speed != 1:
            self._start_clock()
        self._start_munge()
        if self.mode == "full":
            self._start_accounting()
        self._daemon("slurmctld")
        until(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld", 30)
        for name in self.names:
            self.start_slurmd(name)
        idle = ("sinfo", "-h", "-N", "-t", "idle", "-o", "%N")
        until(lambda: len(self.run(*idle).split()) == len(self.names), "idle nodes", 60)

    def stop(self) -> None:
        """Kill what belongs to this cluster, jobs included, and delete its folder.

        Nothing is kept, so nothing is shut down in order, which would take 10 s.
        """
        until(lambda: not kill(processes(self.folder)), "the end of the cluster's processes")
        for name in self._clock().get("FAKETIME_SHARED", "").split():
            for prefix in ("", "sem."):
                Path("/dev/shm", prefix + name.strip("/")).unlink(missing_ok=True)
        for kind in ("memory", "cpuset", "devices", "freezer"):
            for name in self.names:
                remove_cgroup(CGROUPS / kind / f"slurm_{name}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_clock(self) -> None:
        command = ["faketime", "-m", "-f", f"-12h x{self.speed}", "sleep", "infinity"]
        self._detached(*command)
        found = {}

        def ready():
            for pid in processes(self.folder):
                found.update({k: v for k, v in environ(pid).items() if k in CLOCK})
            return "FAKETIME_SHARED" in found

        until(ready, "faketime")
        (self.folder / "run/clock").write_text("".join(f"{k}={v}\n" for k, v in found.items()))

    def _clock(self) -> dict[str, str]:
        path = self.folder / "run/clock"
        lines = path.read_text().splitlines() if path.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def _start_munge(self) -> None:
        etc, run = self.folder / "etc", self.folder / "run"
        self.run(
            "munged", "--force", f"--key-file={etc}/munge.key", f"--socket={run}/munge.socket",
            f"--pid-file={run}/munged.pid", f"--seed-file={run}/munge.seed",
            f"--log-file={self.folder}/log/munged.log",
        )  # fmt: skip
        until(lambda: self.run("munge", "-n", "-S", f"{run}/munge.socket", check=False), "munged")

    def _start_accounting(self) -> None:
        data, unix = self.folder / "db", f"--socket={self.folder}/run/mysql"
        # A folder of its own: a server that starts deletes all temporary tables below its tmpdir,
        # those that the server of another cluster has in use, too.
        files = (
            f"--tmpdir={self.folder}/tmp", "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        self.run(
            "mariadb-install-db", "--no-defaults", f"--datadir={data}", *files,
            f"--user={USER}", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip
        self._detached(
            "mariadbd", "--no-defaults", f"--datadir={data}", *files, f"--user={USER}",
            unix, f"--port={self.port + 2}", "--bind-address=127.0.0.1", "--skip-name-resolve",
            f"--pid-file={self.folder}/run/mariadbd.pid", "--performance-schema=0",
            "--innodb-buffer-pool-size=64M", "--innodb-doublewrite=0",
            "--innodb-lock-wait-timeout=900", f"--log-error={self.folder}/log/mariadbd.log",
        )  # fmt: skip
        client = "mariadb", "--no-defaults", "-u", "root", unix, "-e"
        until(lambda: self.run(*client, "select 1", check=False), "mariadb", 30)
        self.run(
            *client,
            "create database slurm_acct_db; create user slurm@'127.0.0.1' identified by 'slurm';"
            "grant all on slurm_acct_db.* to slurm@'127.0.0.1'",
        )
        self._daemon("slurmdbd")
        until(lambda: "Cluster" in self.run("sacctmgr", "show", "cluster", check=False), "slurmdbd")
        self.run("sacctmgr", "-i", "-Q", "add", "cluster", f"test{self.port}")
        for line in ACCOUNTING.format(user=USER, allowed=ALLOWED).splitlines():
            # A call each: a session does not see the QOS that it has just added.
            self.run("sacctmgr", "-i", "-Q", *line.split())

    def _daemon(self, *command: str) -> None:
        self.run(*command, **self._clock())

    def _detached(self, *command: str) -> None:
        """Start what does not put itself into the background."""
        subprocess.run(
            ["setsid", "--fork", *command], env=_outside() | self.environment, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _slurmd(self, node: str) -> int:
        """Process of a node's daemon; 0 where there is none."""
        for pid in processes(self.folder):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if words[0].endswith("slurmd") and node in words:
                    return pid
        return 0

    def _errors(self) -> str:
        """The last complaints in the logs."""
        lines = []
        for path in sorted((self.folder / "log").glob("*.log")):
            said = path.read_text(errors="replace").splitlines()
            lines += [f"\n{path.name}: {x}" for x in said if "error" in x or "fatal" in x][-5:]
        return "".join(lines)


def _outside() -> dict[str, str]:
    """This process's environment without the traces of a job that it may run in."""
    return {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = ["start", "stop", "down", "up", "kill-slurmd", "start-slurmd"]
    parser.add_argument("command", choices=commands)
    parser.add_argument("node", nargs="?", help="n1, n2, ... as sinfo names them")
    parser.add_argument("--mode", default="full", choices=["full", "lite"])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--speed", type=float, default=6, help="of the daemons' clock")
    options = parser.parse_args()
    if options.command == "start":
        if lacking := missing(options.mode):
            parser.error(f"needs the Debian packages {' '.join(lacking)}")
        cluster = Cluster(options.mode, options.nodes, options.speed).__enter__()
        words = (f"export {name}={value}" for name, value in cluster.environment.items())
        sys.stdout.write("\n".join(words) + "\n")
        return 0
    if not (folder := os.environ.get("SEQGRID_CLUSTER")):
        parser.error('which cluster? eval "$(python tests/cluster.py start)" says')
    cluster = Cluster.at(Path(folder))
    if options.command == "stop":
        cluster.stop()
    elif options.node not in cluster.names:
        parser.error(f"which node? {', '.join(cluster.names)}")
    else:
        getattr(cluster, options.command.replace("-", "_"))(options.node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
