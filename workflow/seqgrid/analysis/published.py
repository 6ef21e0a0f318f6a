"""The table `published`: our numbers beside those from elsewhere."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `published` of a study from summary and cells."""
    rows: list[dict] = []
    return tables.from_rows("published", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
