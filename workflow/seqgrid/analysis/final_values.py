"""Behind a row of `summary`: which cells are to come, and what the tests of final values allow."""

from collections.abc import Iterable, Iterator

ENDED = ("diverged", "skipped")  # without a value, and nothing to wait for
SAME = ("model", "task", "variant", "seqlen_tokens", "metric", "weights", "test_set")


def to_come(cell: dict) -> str | None:
    """What keeps a cell from having come to its end, in a word; None where it has."""
    if cell["outcome"] in ENDED or (cell["outcome"] == "finished" and cell["evaluated"]):
        return None
    return "finished, not evaluated" if cell["outcome"] == "finished" else cell["outcome"]


def stale(row: dict | None) -> bool:
    """Whether the sources of a final value have changed since."""
    return row is not None and any(
        changed for changed, final in zip(row["stales"], row["finals"], strict=True) if final
    )


def intervals(row: dict, evaluations: Iterable[dict]) -> Iterator[tuple[float, float, float]]:
    """(value, low, high) over test examples of each final value that has them."""
    final = {s for s, is_final in zip(row["seeds"], row["finals"], strict=True) if is_final}
    for found in evaluations:
        if (
            None not in (found["value"], found["low"], found["high"])
            and found["seed"] in final
            and all((found[name] or "") == (row[name] or "") for name in SAME)
            and found["evaluated_seqlen_tokens"] == row["evaluated_seqlen_tokens"]
            and not found["slice"]
        ):
            yield found["value"], found["low"], found["high"]
