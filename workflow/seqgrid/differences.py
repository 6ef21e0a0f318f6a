"""What differs between the tables of two studies, as rows to print."""

from collections.abc import Iterator

import pyarrow as pa

from seqgrid import changed_runs, changed_values
from seqgrid.analysis.summary import meta
from seqgrid.changed_values import PLACE

# Tables of outcomes -> what a row is about, and what is held against each other.
OUTCOMES = {
    "comparisons": (
        ("comparison", "task", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set", "metric"),
        ("outcome", "difference"),
    ),
    "scaling": (("model", "task", "variant", "metric", "origin"), ("outcome", "slope")),
    "claims": (("statement", "about", "needed"), ("status", "value")),
    "published": (("model", "task", "seqlen_tokens", *PLACE[:2], "metric"), ("outcome", "ours")),
    "expectations": (("task", "model", "seqlen_tokens", *PLACE[:2], "expected"), ("met",)),
    "controls": (("task_file", "control", "expected"), ("state", "observed")),
    "gates": (("task", "control", "expected"), ("state", "observed")),
}


def of(a: dict[str, pa.Table], b: dict[str, pa.Table]) -> Iterator[changed_runs.Part]:
    """Every kind of difference; those without rows are the same in both."""
    rows = {name: (a[name].to_pylist(), b[name].to_pylist()) for name in a if name != "history"}
    yield changed_runs.settings(meta(a["cells"]), meta(b["cells"]))
    yield changed_runs.cells(*rows["cells"])
    yield changed_runs.cell_settings(*rows["cells"])
    yield changed_values.values(*rows["evaluations"])
    if "summary" in rows:
        yield changed_values.medians(*rows["summary"])
    if "verdicts" in rows:
        yield changed_values.verdicts(*rows["verdicts"])
    yield changed_values.levels(*rows["levels"])
    for name, (keys, columns) in OUTCOMES.items():
        if name in rows:
            yield changed_values.outcomes(name, keys, columns, *rows[name])
    yield changed_values.reported(*rows["reported"])
    yield changed_runs.sources(*rows["cells"])
    yield changed_runs.cost(rows["cells"], rows["parts"])
