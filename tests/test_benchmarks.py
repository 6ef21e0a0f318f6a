"""That the benchmarks run and print ratios; how fast anything is, no test asserts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def bench(*arguments):
    return subprocess.run(
        [sys.executable, "benchmarks/run.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_benchmark_prints_a_table_with_ratios_and_the_machine():
    results = ROOT / "benchmarks/RESULTS.md"
    before = results.read_bytes() if results.exists() else None
    done = bench("--quick", "overhead")
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1  # aligned
    assert "ratio" in table[0]
    assert all(re.search(r"\| +\d+\.\d+x \|", line) for line in table[2:])
    assert "Rival:" in done.stdout
    assert re.search(r"processor: .+ cores", done.stdout)
    assert re.search(r"torch \d.*snakemake \d", done.stdout)
    assert (results.read_bytes() if results.exists() else None) == before


def test_an_unknown_benchmark_is_refused_with_those_there_are():
    done = bench("overheads")
    assert done.returncode == 2
    assert "overhead, generation, planning" in done.stderr


@pytest.mark.parametrize(
    ("name", "option"), [("zoology_mqar", "zoology"), ("quantum_epoch", "original")]
)
def test_without_its_rival_a_benchmark_says_in_a_line_how_to_get_it(name, option, tmp_path):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", f"--{option}", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(rf"no {option} here: git clone .*--{option}\n", done.stdout)
