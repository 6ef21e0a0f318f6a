"""The section of a report on claims."""

from seqgrid.report.content import Content


def claims(content: Content) -> str:
    """What the table `claims` says."""
    return "" if content.claims else "The study declares no claim."
