"""Regular expressions of a mapping file, which may take for ever: searched under a limit."""

import re
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from seqgrid.foreign.files import Record
from seqgrid.foreign.mapping import Parse

SECONDS = 5.0  # of processor time, for all texts of a file; a million texts take one or two


class TooLong(Exception):
    """The limit has passed."""


@dataclass(frozen=True)
class Matches:
    """What the patterns of a table find in its records, by pattern and text."""

    found: dict[tuple[str, str], re.Match[str] | None]

    @classmethod
    def of(cls, number: int, parses: Sequence[Parse], records: Sequence[Record]) -> "Matches":
        """Search the records of table `number` for all of its patterns.

        Raises:
            ValueError: a pattern takes longer than the limit; names it and the text.
        """
        found: dict[tuple[str, str], re.Match[str] | None] = {}
        for place, parse in enumerate(parses):
            text, pattern = "", re.compile(parse.pattern)
            try:
                with _limit(SECONDS):
                    for text in dict.fromkeys(text_of(parse, record) for record in records):
                        found[parse.pattern, text] = pattern.search(text)
            except TooLong:
                raise ValueError(
                    f"tables.{number}.parse.{place}.pattern: {parse.pattern} is not done with "
                    f"'{text:.60}' after {SECONDS:g} s; a repeat of what repeats, such as (a+)+, "
                    "tries every way to part a text; write a+"
                ) from None
        return cls(found)


def text_of(parse: Parse, record: Record) -> str:
    """The text that a pattern is searched in."""
    return record.file if parse.column is None else str(record.values.get(parse.column, ""))


@contextmanager
def _limit(seconds: float) -> Generator[None]:
    """End what takes longer; `re` lets signals through, which only the main thread receives.

    Raises:
        TooLong: after so many seconds of processor time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
