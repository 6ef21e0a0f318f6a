"""What a profile for SLURM says where it cannot work, without a SLURM to ask."""

import shutil
import subprocess

import pytest
from project import ROOT
from test_workflow import STUDY, ran


@pytest.fixture
def nowhere(project, tmp_path):
    """A project on a machine without SLURM."""
    project.study(STUDY)
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("bash", "which", "git"):
        (folder / name).symlink_to(shutil.which(name))
    project.environment["PATH"] = str(folder)
    return project


def edit(project, *pairs):
    path = project.folder / "profiles/slurm/config.yaml"
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def last_line(done):
    assert done.returncode == 1, done.text
    assert "Traceback" not in done.text
    return done.text.splitlines()[-1]


@pytest.mark.parametrize("profile", ["slurm", "profiles/perlmutter"])
def test_a_profile_that_nobody_has_edited_says_what_to_edit(nowhere, profile):
    file = f"profiles/{profile.split('/')[-1]}/config.yaml"
    said = last_line(nowhere.snakemake("--profile", profile))
    assert said == (
        f"{file}: slurm_account is still 'ACCOUNT'; write your account there, or delete the line "
        "to take the cluster's default"
    )
    said = last_line(nowhere.snakemake("-s", "Snakefile", SNAKEMAKE_PROFILE=profile))
    assert said.startswith(f"{file}: slurm_account is still")


def test_the_partition_is_asked_for_after_the_account(nowhere):
    edit(nowhere, ("ACCOUNT", "m1"))
    said = last_line(nowhere.snakemake("--profile", "slurm"))
    assert said.startswith("profiles/slurm/config.yaml: slurm_partition is still 'PARTITION'")


def test_a_machine_without_slurm_is_named_as_such(nowhere):
    edit(nowhere, ("ACCOUNT", "m1"), ("PARTITION", "long"))
    said = last_line(nowhere.snakemake("--profile", "slurm"))
    assert said.startswith("profiles/slurm/config.yaml: this executor needs SLURM, but there is")


@pytest.mark.slow
def test_a_dry_run_and_a_look_need_no_slurm(nowhere):
    assert nowhere.missing("--profile", "slurm")["train"] == 8
    assert "8 missing" in ran(nowhere.snakemake("status", "--profile", "slurm")).text


def test_a_clone_has_the_profile_by_its_bare_name(tmp_path):
    clone = tmp_path / "clone"
    done = subprocess.run(["git", "clone", "-q", ROOT, clone], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not in a git repository: {done.stderr.strip()}")
    assert (clone / "slurm").readlink() == (clone / "profiles/slurm").relative_to(clone)
    assert (clone / "slurm/config.yaml").read_text().startswith("# For `snakemake --profile slurm`")
