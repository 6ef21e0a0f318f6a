"""The table `survival`: steps to solve as survival curves, with unsolved seeds censored."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `survival` of a study from cells and summary."""
    rows: list[dict] = []
    return tables.from_rows("survival", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
