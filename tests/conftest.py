"""Fixtures that several test files use."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from forge import Forge
from project import Project


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


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
