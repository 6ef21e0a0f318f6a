"""A report on checkpoints that are not here: its own numbers, and what does not follow."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from seqgrid.inspect import main

HRM = Path(__file__).parent / "foreign/hrm"


@pytest.fixture(scope="module")
def page():
    from seqgrid.inspection import given, given_page

    return given_page.page(given.read(HRM / "mapping.yaml"))


def rows(page, title):
    """Cells of the table under a heading, without its head."""
    [body] = re.findall(rf"^## {title}\n\n((?:\|.*\n)+)", page, flags=re.M)
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in body.splitlines()[2:]]


def original(name):
    with (HRM / name).open() as file:
        return [list(row.values()) for row in csv.DictReader(file)]


def test_the_tables_of_the_report_are_there_with_its_numbers(page):
    assert [row[0:2] for row in rows(page, "Files")] == [r[:2] for r in original("files.csv")]
    parts = [[row[0], row[1], row[3]] for row in rows(page, "Parameters by component")]
    assert parts[:-1] == original("components.csv")
    assert parts[-1][:2] == ["all", "27,990,018"]
    weights = rows(page, "Weights")
    found = [[step, mean, std, zeros, note] for step, std, mean, zeros, _, _, note in weights]
    assert found == original("evolution.csv")
    ends = [[row[0], *row[4:6]] for row in weights if row[4] != "-"]
    assert ends == original("range.csv")


def test_the_rates_are_those_of_the_numbers(page):
    said = {row[0]: float(row[1]) for row in rows(page, "Change per 1,000 steps")}
    rounded = {"1,261 to 3,607": 0.46, "3,607 to 4,503": 0.59, "4,503 to 5,767": 0.50,
               "5,767 to 6,306": 0.68, "6,306 to 7,566": 1.15}  # fmt: skip
    for steps, rate in rounded.items():
        assert round(said[steps] * 1000, 2) == rate
    assert "- std: in size, the last of 8 rates is the largest: nothing slows down." in page


def test_what_its_data_do_not_carry_is_refused(page):
    answers = {row[0].split(":")[0].split(" (")[0]: row[1] for row in rows(
        page, "Statements of the report")}  # fmt: skip
    assert answers == {
        "CONVERGED": "cannot be said",
        "Stop training": "cannot be said",
        "No signs of overfitting": "cannot be said",
        "No catastrophic forgetting or weight explosion": "cannot be said",
        "Model is regularizing": "cannot be said",
        "Deploy step_7566 for production": "cannot be said",
        "No NaN or Inf values detected in any checkpoint": "not checked",
        "-1.44% change in magnitude from start to finish": "not checked",
    }
    flat = " ".join(page.split())
    assert "Convergence, overfitting and forgetting cannot be told from weights" in flat
    assert "does not say in which tensors the extremes are" in flat
    assert "2.253906 at every step given is probably that of a tensor which is not trained" in flat
    assert "42 intervals, 9 files; 33 checkpoints in between are not here" in flat
    assert "would take 112 MB, which is 106.77 in units of 2^20 bytes" in flat
    assert "Puzzle Embeddings is 87.8 % of the numbers; a tensor is 4.3 % of the mean" in flat
    assert "HEALTHY" not in page


def test_what_is_missing_is_as_the_report_says(page):
    found = {row[0]: row[1] for row in rows(page, "Missing")}
    assert {name for name, word in found.items() if word == "MISSING"} == {
        "optimiser", "history", "config", "data hash"
    }  # fmt: skip
    assert len(found) == 12


def test_named_extremes_are_printed_with_their_names(tmp_path):
    copy = tmp_path / "hrm"
    shutil.copytree(HRM, copy)
    (copy / "range.csv").write_text("Step,Min Weight,Max Weight,Where\n180,-5.0,2.25,q_head.bias\n")
    text = (copy / "mapping.yaml").read_text()
    text = text.replace("minimum: Min Weight,", "minimum: Min Weight, minimum_tensor: Where,")
    (copy / "mapping.yaml").write_text(text)
    assert main(["--from", str(copy / "mapping.yaml"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/inspect.md").read_text()
    assert rows(page, "Extremes") == [["180", "-5.0", "q_head.bias", "2.25", "-"]]
    assert "cannot be interpreted" not in page


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("rows: files", "rows: fils", "tables.0.rows: 'files', 'statistics' or 'components'"),
        ("file: files.csv", "file: none.csv", "none.csv: No such file"),
        ("size: Size (MB)}", "size: Size}", "tables.0: 'Size' is not a column of "),
        ("columns: {file: File, step", "columns: {step", "tables.0: file is needed"),
        ("about: health", "about: wealth", "claims.6.about: "),
        ("  optimiser:", "  optimizer:", "missing: 'optimizer' is not something"),
        ("parameters: Parameters", "parameters: Component", "is needed: 'Puzzle Embed"),
    ],
)
def test_a_wrong_mapping_is_one_line_that_says_where(tmp_path, capsys, before, after, said):
    copy = tmp_path / "hrm"
    shutil.copytree(HRM, copy)
    text = (copy / "mapping.yaml").read_text()
    assert before in text
    (copy / "mapping.yaml").write_text(text.replace(before, after))
    assert main(["--from", str(copy / "mapping.yaml")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err.splitlines()[0]
    assert str(copy / "mapping.yaml") in output.err.splitlines()[0]


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        (
            "files.csv",
            "x,,60",
            "files.csv line 2 column 'Step': a whole number from 0 on is needed",
        ),
        ("files.csv", "x,nan,60", "a whole number from 0 on is needed: 'nan'"),
        ("files.csv", "x,1e400,60", "a whole number from 0 on is needed: '1e400'"),
        ("files.csv", "x,-5,60", "a whole number from 0 on is needed: '-5'"),
        ("files.csv", "x,5,6_0", "column 'Size (MB)': a number is needed: '6_0'"),
        ("components.csv", "x,,5%", "column 'Parameters': a whole number from 0 on is needed: ''"),
        ("range.csv", ",-5,2", "range.csv line 2 column 'Step': a whole number from 0 on"),
    ],
)
def test_a_row_without_its_step_or_count_is_one_line(tmp_path, capsys, file, line, said):
    copy = tmp_path / "hrm"
    shutil.copytree(HRM, copy)
    lines = (copy / file).read_text().splitlines()
    (copy / file).write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    assert main(["--from", str(copy / "mapping.yaml")]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert said in output.err


@pytest.mark.parametrize("words", [[], ["somewhere", "--from", str(HRM / "mapping.yaml")]])
def test_a_folder_or_a_mapping_and_not_both(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == "give either a folder or --from MAPPING\n"
