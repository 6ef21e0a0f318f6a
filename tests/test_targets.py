"""What Snakemake is asked for and cannot make, and what is made under another name."""

import pytest

from seqgrid import driver


@pytest.fixture(autouse=True)
def studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "controls"):
        (tmp_path / f"config/studies/{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"config/studies/{name}.yaml").touch()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/studies/quikstart/report.md", ["study=NAME`", "did you mean 'quickstart'?"]),
        ("results/studies/quickstart/report.md", ["`snakemake --config study=quickstart`"]),
        ("./results/studies/quickstart", ["`snakemake --config study=quickstart`"]),
        ("quickstart", ["quickstart is no target", "`snakemake --config study=quickstart`"]),
    ],
)
def test_a_study_as_a_target_is_one_line(target, words, capsys):
    with pytest.raises(SystemExit):
        driver.check_targets(["-n", target])
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line


def test_rules_options_and_files_that_are_there_are_left_alone(tmp_path):
    report = tmp_path / "results/studies/quickstart/report.md"
    report.parent.mkdir(parents=True)
    report.touch()
    driver.check_targets(["--config", "study=quikstart", "-n", "status", "x" * 5000])
    driver.check_targets(["controls", "results/studies/quickstart/report.md", "results/studies"])
    driver.check_targets(["--report", "results/studies/quickstart/all.html"])
