"""What a rule is: a function from cells to a statement, with its sentence and thresholds."""

from collections.abc import Callable
from dataclasses import dataclass
from string import Formatter
from typing import Any

from seqgrid.thresholds import DEFAULTS, Thresholds

Finding = tuple[str, str, dict]  # label, statement, evidence


@dataclass(frozen=True)
class Verdict:
    """A statement, the rule that made it and the numbers it rests on.

    label: what stands in a table, e.g. `SOLVED 2/3`.
    """

    name: str
    statement: str
    rule: str
    evidence: dict
    label: str


@dataclass(frozen=True)
class Rule:
    """A named rule: call it with what its scope says; it returns a Verdict or None.

    scope: 'level' (a Group, at each evaluated length), 'group' (a Group, once) or 'cell' (a Cell
    and its Levels).
    sentence: the rule in words, with the names of its thresholds in braces.
    """

    name: str
    scope: str
    sentence: str
    find: Callable[..., Finding | None]

    def __call__(self, *asked: Any) -> Verdict | None:
        """The verdict, or None where the rule does not apply."""
        found = self.find(*asked)
        if found is None:
            return None
        words = self.words(asked[-1].thresholds)
        return Verdict(self.name, found[1], words, found[2], found[0])

    def words(self, thresholds: Thresholds = DEFAULTS) -> str:
        """The rule in words, with the thresholds in force; it stands in the report."""
        return self.sentence.format(**thresholds.words())

    @property
    def thresholds(self) -> list[str]:
        """Names of the thresholds that it hangs on."""
        named = [field for _, field, _, _ in Formatter().parse(self.sentence) if field]
        return list(dict.fromkeys(named))


def rule(name: str, scope: str, sentence: str) -> Callable[[Callable], Rule]:
    """Make a function that returns a Finding or None a Rule."""
    return lambda find: Rule(name, scope, sentence, find)
