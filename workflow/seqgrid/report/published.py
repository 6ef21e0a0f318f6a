"""The section of a report on published numbers."""

from seqgrid.report.content import Content


def published(content: Content) -> str:
    """What the table `published` says."""
    return "" if content.published else "The study names no published number."
