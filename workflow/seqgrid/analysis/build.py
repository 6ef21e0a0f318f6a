"""Every table that a report is made of, from those that were collected or imported."""

import pyarrow as pa

from seqgrid.analysis import (
    across,
    advice,
    claims,
    comparisons,
    convergence,
    expectations,
    published,
    scaling,
    summary,
    survival,
)

# In this order: each may read those before it.
BUILT = {
    "across": across.build,
    "expectations": expectations.build,
    "comparisons": comparisons.build,
    "scaling": scaling.build,
    "survival": survival.build,
    "convergence": convergence.build,
    "claims": claims.build,
    "published": published.build,
    "advice": advice.build,
}


def build(read: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of `conclusions` by name, from those of `columns`."""
    built = summary.build(read)
    for name, made in BUILT.items():
        built[name] = made(read, built)
    return built
