"""The files that a test cluster runs on: its configuration, fake GPUs and wrapped commands."""

import getpass
import os
import socket
from pathlib import Path
from string import Template

CLIENTS = "sbatch srun salloc squeue sacct scontrol scancel sinfo sacctmgr sshare sprio"
TEMPLATES = Path(__file__).with_name("slurm")


def write(folder: Path, mode: str, cgroup: bool, *, names, port, extra, cpus, memory_mb, gpus):
    """Write them below `folder`; `port` is the first of as many free ones as nodes, and three."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = ""
    # This has the daemons listen on the address of the host's name alone.
    loopback = address.startswith("127.")
    last = port + 2 + len(names)
    facts = {
        "folder": folder,
        "user": getpass.getuser(),
        "cluster": f"test{port}",
        "address": address if loopback else "127.0.0.1",
        "communication": "NoInAddrAny,NoCtldInAddrAny" if loopback else "keepaliveinterval=30",
        "port": port,
        "port_accounting": port + 1,
        "port_database": port + 2,
        "node_ports": f"[{port + 3}-{last}]" if len(names) > 1 else last,
        "nodes": ",".join(names),
        "cpus": cpus,
        "memory_mb": memory_mb,
        "gpus": gpus,
        "task_plugin": "task/cgroup" if cgroup else "task/none",
        "memory_watch": "UsePss" if cgroup else "OverMemoryKill,UsePss",
        "accounting": "AccountingStorageType=accounting_storage/none",
        "extra": extra,
    }

    def fill(name):
        return Template((TEMPLATES / name).read_text()).substitute(facts)

    etc = folder / "etc"
    if mode == "full":
        facts["accounting"] = fill("accounting.conf")
        (etc / "slurmdbd.conf").touch(0o600)
        (etc / "slurmdbd.conf").write_text(fill("slurmdbd.conf"))
    (etc / "slurm.conf").write_text(fill("slurm.conf"))
    (etc / "cgroup.conf").write_text(fill("cgroup.conf") if cgroup else "CgroupAutomount=no\n")
    (etc / "gres.conf").write_text(f"Name=gpu Type=a100 File={_devices(etc, gpus)}\n")
    (etc / "munge.key").touch(0o600)
    (etc / "munge.key").write_bytes(os.urandom(128))
    # Snakemake's SLURM executor drops every SLURM_ variable, SLURM_CONF too, before it calls srun
    # within a job: the commands have to know by themselves.
    for name in CLIENTS.split():
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nSLURM_CONF={etc}/slurm.conf exec /usr/bin/{name} "$@"\n')
        path.chmod(0o755)


def _devices(etc: Path, number: int) -> str:
    """Character devices that pass for GPUs: never opened, told apart by their numbers."""
    paths = [etc / f"nvidia{i}" for i in range(number)]
    try:
        for minor, path in enumerate(paths):
            os.mknod(path, 0o020666, os.makedev(240, minor))
    except PermissionError:
        paths = [Path("/dev", name) for name in ("null", "zero", "full", "random")][:number]
    return ",".join(map(str, paths))
