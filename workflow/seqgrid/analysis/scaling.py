"""The table `scaling`: how scores go with the training length, against the ceiling at each."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `scaling` of a study from summary, levels and reported."""
    rows: list[dict] = []
    return tables.from_rows("scaling", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
