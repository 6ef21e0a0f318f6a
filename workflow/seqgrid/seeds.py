"""Seeds derived by name, so that no two uses of randomness share a stream by accident."""

import hashlib
import json


def derive(*parts: int | str) -> int:
    """A 63-bit integer that depends on every part, its type and its place.

    SHA-256 makes streams of related parts (seed 1 and seed 2, "train" and "test") unrelated, and is
    the same on every machine and in every process, unlike `hash`.

    Raises:
        TypeError: a part is neither an int nor a str; a float would tie a seed to its printed form.
    """
    for part in parts:
        if type(part) not in (int, str):
            raise TypeError(f"a seed derives from int and str, not from {part!r}")
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
