"""The table `comparisons`: what the study's comparisons came to."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `comparisons` of a study from summary and cells."""
    rows: list[dict] = []
    return tables.from_rows("comparisons", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
