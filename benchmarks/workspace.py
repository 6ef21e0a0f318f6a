"""A copy of the project in a temporary folder, with studies and results of the benchmark's own."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import Cost, python

ROOT = Path(__file__).parent.parent


class Workspace:
    """Commands in a copy of the project; its own package comes first on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("config", "profiles", "workflow"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "Snakefile", folder)
        self.environment = {
            "PYTHONPATH": str(folder / "workflow"),
            "XDG_CACHE_HOME": str(folder / ".cache"),
            "OMP_NUM_THREADS": "1",
        }

    def study(self, name: str, text: str) -> None:
        """Write config/studies/`name`.yaml."""
        (self.folder / f"config/studies/{name}.yaml").write_text(text)

    def python(self, *arguments: str) -> Cost:
        """Run Python in the copy."""
        return python(*arguments, folder=self.folder, **self.environment)

    def snakemake(self, *arguments: str) -> Cost:
        """Run Snakemake in the copy."""
        return self.python("-m", "snakemake", *arguments)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this process work in the copy."""
        with contextlib.chdir(self.folder):
            yield


@contextlib.contextmanager
def workspace() -> Iterator[Workspace]:
    """A copy that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="seqgrid-bench-") as folder:
        yield Workspace(Path(folder))
