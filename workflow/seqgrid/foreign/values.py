"""Values of their tables as values of ours: types, and what stands before the decimals."""

import datetime
import math
import re
from collections.abc import Iterable
from typing import Any, Literal

import pyarrow as pa

from seqgrid.columns import BOOL, FLOAT, TEXT, TIME

Decimal = Literal["comma", "point"]
NUMBER = re.compile(r"[-+]?\d*[.,]\d+([eE][-+]?\d+)?")
THOUSAND = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")  # or a number with three decimals


def decimal(texts: Iterable[str]) -> Decimal:
    """What stands before the decimals of a file's numbers, told by those that leave no doubt.

    0,5 and 12,34 can have nothing but decimals; 1,234 and 1.234 may be thousands.

    Raises:
        ValueError: they do not tell, or contradict each other.
    """
    sure: dict[str, str] = {}
    unsure = None
    for text in texts:
        if THOUSAND.fullmatch(text):
            unsure = text
        elif NUMBER.fullmatch(text):
            sure["comma" if "," in text else "point"] = text
    if len(sure) == 2:
        raise ValueError(f"it has numbers like '{sure['comma']}' and like '{sure['point']}'")
    if not sure and unsure:
        raise ValueError(
            f"'{unsure}' may be a thousand or have decimals; say `decimal: comma` or "
            "`decimal: point`"
        )
    return "comma" if "comma" in sure else "point"


def with_point(text: str) -> str:
    """A number with a decimal comma as one with a point.

    Raises:
        ValueError: it has points, too.
    """
    if "." in text:
        raise ValueError("a number with a decimal comma, and no point, is needed")
    return text.replace(",", ".", 1)


def as_type(type_: pa.DataType, value: Any) -> Any:
    """The value as our type.

    Raises:
        ValueError: it is none of that type.
    """
    if type_ == TEXT:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise ValueError("text that can be written as UTF-8 is needed") from None
        return str(value)
    if type_ == BOOL:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ValueError("true or false is needed")
    if type_ == TIME:
        return _time(value)
    try:
        # Python takes 9_1 for 91; nobody else does.
        known = not isinstance(value, bool) and "_" not in str(value)
        number = float(value) if known else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        raise ValueError("a number is needed")
    if type_ == FLOAT:
        return number
    if not math.isfinite(number):
        raise ValueError("a finite number is needed")
    return number


def _time(value: Any) -> datetime.datetime:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.datetime.fromtimestamp(value, datetime.UTC)  # seconds since 1970
        known = isinstance(value, datetime.datetime)
        found = value if known else datetime.datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise ValueError("a time such as 2026-01-19 02:02 is needed") from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
