"""The examples of the page on verdicts: one a rule, and each makes its rule speak."""

import sys
from pathlib import Path

import pytest

from seqgrid.analysis.verdicts import RULES

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

import verdict_examples


def test_each_rule_has_one():
    assert {rule.name for rule in RULES} == set(verdict_examples.EXAMPLES)


@pytest.mark.parametrize("name", verdict_examples.EXAMPLES)
def test_it_fires(name):
    found = verdict_examples.EXAMPLES[name].verdict(name)
    assert found["label"].startswith(name)


def test_numbers_that_do_not_fire_a_rule_are_no_example():
    with pytest.raises(ValueError, match="say nothing"):
        verdict_examples.Example().verdict("SOLVED")
