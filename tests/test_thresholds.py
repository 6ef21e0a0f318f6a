"""A study sets thresholds in one line; that changes the report, and no cell."""

import pytest
from grid_factory import SMALL, write_study
from tables_factory import Tables

from seqgrid import collection, plan, study
from seqgrid.analysis.build import build
from seqgrid.report import checks, provenance
from seqgrid.report.content import Content
from seqgrid.study_file import StudyError


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{enough_seds: 5}", "enough_seds"),
        ("{enough_seeds: 0}", "at least 1 is needed, got 0"),
        ("{confidence: 1.5}", "at most 0.999999 is needed, got 1.5"),
        ("{level_share: two}", "a number is needed, got 'two'"),
        ("5", "a mapping is needed"),
    ],
)
def test_a_wrong_one_is_one_line_with_file_and_key(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, SMALL + f"\nthresholds: {line}\n")
    with pytest.raises(StudyError) as caught:
        study.load("small")
    (text,) = str(caught.value).splitlines()
    assert text.startswith("config/studies/small.yaml: thresholds")
    assert said in text


def test_a_changed_one_is_a_new_report_and_no_new_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digests, cells = set(), set()
    for line in ("", "\nthresholds: {enough_seeds: 5}\n"):
        write_study(tmp_path, SMALL + line)
        loaded, rows = study.load("small")
        digests.add(collection.digest(loaded, plan.plan(rows, tmp_path / "results")))
        cells.add(tuple(row.cell.path for row in rows))
    assert len(digests) == 2
    assert len(cells) == 1


def test_the_report_says_what_was_changed(tmp_path):
    for changed in ({}, {"enough_seeds": 5, "level_share": 0.1}):
        found = Tables(config={"thresholds": changed}).cells("gru", "copy", 64, [0.5] * 3).read()
        content = Content.of(tmp_path, found, build(found))
        answer, rules = " ".join(checks.said(content)), provenance.rules(content)
        assert ("enough_seeds 5 (usually 3)" in answer) == bool(changed)
        assert ("Fewer than 5 (set by this study; usually 3) seeds" in rules) == bool(changed)
        assert ("`level_share`" in rules) == bool(changed)
