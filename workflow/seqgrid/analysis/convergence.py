"""The table `convergence`: steps to solve, model by model and compared."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `convergence` of a study from cells and summary."""
    rows: list[dict] = []
    return tables.from_rows("convergence", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
