"""Two executors on one test cluster: from submission to finish for many short cells.

Not among the benchmarks that run by default: it needs SLURM's Debian packages and minutes.
"""

import sys
import tempfile
from pathlib import Path

import measure
import yaml
from table import Table, ratio

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

WORKFLOW = """
rule all:
    input: expand("out/{{i}}", i=range({jobs}))
rule cell:
    output: "out/{{i}}"
    resources: mem_mb=500, runtime=60
    shell: "sleep {seconds}; date +%s.%N > {{output}}"
"""
SLOTS = 16  # as many as a node of the test cluster has CPUs, which both may use


def run(quick: bool) -> list[Table]:
    """Seconds until the last of the cells is done and Snakemake knows it."""
    return [compare(8, 1) if quick else compare(200, 10)]


def compare(jobs: int, seconds: int) -> Table:
    """So many cells that take so many seconds each."""
    from cluster import Cluster, missing

    table = Table(
        f"{jobs} cells of {seconds} s on SLURM, 2 nodes with {SLOTS} CPUs each",
        ["executor", "s to finish", "jobs of SLURM", "to the SLURM executor"],
    )
    if lacking := missing():
        table.notes = [f"Not measured: needs the Debian packages {' '.join(lacking)}."]
        return table
    with Cluster(speed=1, cgroup=False, cpus=SLOTS, memory_mb=64000) as cluster:
        rivals = {
            "snakemake-executor-plugin-slurm": [],
            "submitit": [f"--submitit-slots={SLOTS}", "--submitit-allocations=2"],
        }
        found = {}
        for name, more in rivals.items():
            before = len(cluster.sacct("-X"))
            profile = name.rpartition("-")[2]
            wall = _run(cluster, profile, more, WORKFLOW.format(jobs=jobs, seconds=seconds))
            found[name] = wall
            first = found["snakemake-executor-plugin-slurm"]
            table.add(name, f"{wall:.0f}", len(cluster.sacct("-X")) - before, ratio(wall, first))
    waves = -(-jobs // (2 * SLOTS)) * seconds
    table.notes = [
        f"Each with the settings of its profile. A cell sleeps; {waves} s is what the cells alone",
        "take on so many CPUs. The rest is Snakemake's start for each job (one process with",
        "submitit, two with the SLURM executor; both share this machine's few cores) and polling.",
    ]
    return table


def _run(cluster, profile: str, more: list[str], workflow: str) -> float:
    """Seconds that a driver took."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "Snakefile").write_text(workflow)
        settings = yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())
        settings["default-resources"] = {"slurm_account": "m0000_g", "slurm_partition": "main"}
        settings["jobs"] = 1000
        (folder / "profile").mkdir()
        (folder / "profile/config.yaml").write_text(yaml.safe_dump(settings))
        done = measure.python(
            "-m", "snakemake", "--profile", "profile", "--quiet", "all", *more,
            folder=folder, **cluster.environment,
        )  # fmt: skip
        return done.wall_seconds
