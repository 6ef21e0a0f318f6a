"""Fixtures that several test files use."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cluster as slurm
from forge import Forge
from project import Project


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def cluster():
    """A running SLURM with accounts, two nodes and a clock six times as fast."""
    if lacking := slurm.missing():
        words = f"needs SLURM: apt-get install --no-install-recommends {' '.join(lacking)}"
        # Where SLURM is meant to be there, a skip would hide that nothing was tested.
        (pytest.fail if os.environ.get("SEQGRID_REQUIRE_SLURM") == "1" else pytest.skip)(words)
    with slurm.Cluster() as running:
        yield running


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """A cell, and how its training ends when nothing happens to it."""
    from trainers import train_unbroken  # only those who ask for it wait for torch

    return train_unbroken(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="session")
def forge(tmp_path_factory):
    made = Forge(tmp_path_factory.mktemp("forge"))
    yield made
    made.close()


@pytest.fixture
def run(tmp_path, unbroken, forge):
    """A cell whose unbroken end is known, and the trainers sent to it."""
    from trainers import Run

    return Run(tmp_path, *unbroken, forge)
