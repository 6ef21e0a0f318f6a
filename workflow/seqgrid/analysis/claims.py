"""The table `claims`: which of the study's claims hold."""

import json

import pyarrow as pa

from seqgrid import tables
from seqgrid.analysis.summary import meta


def build(read: dict[str, pa.Table], built: dict[str, pa.Table]) -> pa.Table:
    """The table `claims` of a study from comparisons, scaling, verdicts and summary."""
    rows: list[dict] = []
    return tables.from_rows("claims", rows, {"seqgrid.study": json.dumps(meta(read["cells"]))})
