"""The rows of an evaluation file, by weights, length, test set and slice."""

from typing import Any

import numpy as np
import pyarrow as pa

PLACE = ("evaluated_seqlen_tokens", "test_set", "slice")  # where a test value or level holds


def parts(table: pa.Table) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """An evaluation's rows by weights, length, test set and slice: what they share, and columns."""
    for name in ("test_set", "slice"):  # files written before there were any
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat("", len(table)))
    names = ["weights", "step_steps", *PLACE]
    codes = np.zeros(len(table), dtype=np.int64)
    for name in names:
        column = table[name].combine_chunks().dictionary_encode()
        codes = codes * max(1, len(column.dictionary)) + column.indices.to_numpy()
    _, first, code = np.unique(codes, return_index=True, return_inverse=True)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    return [
        ({name: columns[name][start] for name in names},
         {name: column[code == number] for name, column in columns.items() if name not in names})
        for number, start in sorted(enumerate(first), key=lambda pair: pair[1])
    ]  # fmt: skip


def numbers(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The numeric columns that are not wholly null."""
    found = {}
    for name in ("scored", "correct", "loss_sum", "target_sum", "target_square_sum"):
        column = columns[name].astype(float)
        if name in ("scored", "loss_sum") or not np.isnan(column).all():
            found[name] = column
    return found
