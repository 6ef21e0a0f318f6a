"""The statements of the report come as often as docs/calibration.md says they do."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

from calibrate import MARKER, PAGE, measured
from calibrated import PARTS
from calibration_row import Row

ROWS = [(row, needs) for made, needs in PARTS.values() for row in made()]


@pytest.mark.slow
@pytest.mark.parametrize(("row", "needs"), ROWS)
def test_a_statement_comes_as_often_as_it_should(row: Row, needs: tuple[str, ...]):
    count = measured(row, needs, 30)
    assert row.known or row.holds(count, 30), f"{count} of 30"


def test_a_false_statement_is_noticed():
    row, needs = ROWS[0]
    always = Row(row.about, row.statement, row.made, lambda built: True, most=0.05)
    assert not always.holds(measured(always, needs, 20), 20)
    never = Row(row.about, row.statement, row.made, lambda built: False, least=0.8)
    assert not never.holds(measured(never, needs, 20), 20)


def test_a_rate_that_misses_is_marked():
    row = ROWS[0][0]
    most = Row(row.about, row.statement, row.made, row.said, most=0.05)
    assert [most.mark(n, 100) for n in (5, 6, 15)] == ["", "not shown", "fails"]
    least = Row(row.about, row.statement, row.made, row.said, least=0.8)
    assert [least.mark(n, 100) for n in (80, 77, 60)] == ["", "not shown", "fails"]


def test_the_table_in_the_docs_has_every_row_and_none_that_fails():
    printed = PAGE.read_text().partition(MARKER)[2]
    for row, _ in ROWS:
        assert f"| {row.about} | {row.statement} |" in printed
    assert "NOT MET" not in printed
    failing = [line for line in printed.splitlines() if "**fails**" in line]
    assert not [line for line in failing if "**fails**: " not in line]
