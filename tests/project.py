"""A copy of the project in a temporary folder, to run, edit and break."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("Snakefile", "config", "profiles", "slurm", "workflow")


class Project:
    """Commands in a copy of the project; its own package comes first on the path."""

    def __init__(self, folder):
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_symlink():
                (folder / name).symlink_to(source.readlink())
            elif source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        self.environment = os.environ | {
            "PYTHONPATH": str(folder / "workflow"),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(folder / ".cache"),
        }

    def study(self, text, name="small"):
        (self.folder / "config/studies" / f"{name}.yaml").write_text(text)

    def run(self, *command, **environment):
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    def snakemake(self, *arguments, study="small", **environment):
        pairs = [a for a in arguments if "=" in a and not a.startswith("-")]
        rest = [a for a in arguments if a not in pairs]
        config = ["--config", f"study={study}", *pairs]
        done = self.run("snakemake", *rest, "--cores", "2", *config, **environment)
        done.text = done.stdout + done.stderr
        return done

    def missing(self, *arguments, **options):
        """Job counts of a dry run; {} where there is nothing to do."""
        done = self.snakemake("-n", *arguments, **options)
        assert done.returncode == 0, done.text
        if "Nothing to be done" in done.text:
            return {}
        table = done.text.split("--------\n" if "--------\n" in done.text else "-----\n")
        lines = done.text[done.text.index("job ") :].splitlines()[2:]
        assert table
        counts = {}
        for line in lines:
            name, _, number = line.partition(" ")
            if name == "total" or not number.strip().isdigit():
                break
            counts[name] = int(number)
        counts.pop("all", None)
        return counts

    def cells(self, pattern="*/*/L*/seed*"):
        return sorted((self.folder / "results/cells").glob(pattern))

    def outcomes(self, part="part1"):
        return {
            str(c.relative_to(self.folder / "results/cells")): json.loads(
                (c / part / "outcome.json").read_text()
            )
            for c in self.cells()
            if (c / part / "outcome.json").exists()
        }

    def add(self, kind, name, text):
        (self.folder / f"workflow/seqgrid/{kind}s/{name}.py").write_text(text)
