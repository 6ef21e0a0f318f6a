"""The table `advice`: what to do next, each with the rule that fired and a command."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `advice` of a study from all tables before it."""
    rows: list[dict] = []
    return tables.from_rows("advice", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
