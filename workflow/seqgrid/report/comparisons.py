"""The section of a report on declared comparisons."""

from seqgrid.report.content import Content


def comparisons(content: Content) -> str:
    """What the table `comparisons` says."""
    return "" if content.comparisons else "The study declares no comparison."
