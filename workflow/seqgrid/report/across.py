"""One number a model over all tasks and lengths, in the section on results."""

from seqgrid.report import marks
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, interval, item, number, table, text

NOTE = text(
    "The interquartile mean (IQM) of the share of the way from chance (0) to the ceiling of the "
    "task (1): the mean over all seeds, tasks and lengths without the lowest and the highest "
    "quarter. Intervals resample whole seeds. It weighs every task alike, hides which of them a "
    "model fails, and says of no two models that they differ (see Comparisons)."
)


def across(content: Content) -> str:
    """The models with a value everywhere, and why the others have none; empty for one place."""
    if not content.across:
        return ""
    whole = [row for row in content.across if row["iqm"] is not None]
    body = [
        [
            row["model"],
            str(len(row["seeds"])),
            number(row["iqm"]) + marks.behind(_behind(content, row)),
            interval(row["low"], row["high"]) if row["coverage"] else "-",
            row["interval"],
        ]
        for row in whole
    ]
    places = content.across[0]["places"]
    why: dict[str, list[str]] = {}
    for row in content.across:
        if row["iqm"] is None:
            why.setdefault(row["reason"], []).append(row["model"])
    left = [item(f"{', '.join(models)}: {reason}") for reason, models in why.items()]
    return blocks(
        "### Across tasks",
        NOTE,
        text(f"Over {len(places)} places: {', '.join(places)}."),
        table(["model", "seeds", "IQM", "interval", "how"], body, words=1) if body else "",
        blocks("Without a number:", "\n".join(left)) if left else "",
    )


def _behind(content: Content, row: dict) -> list[dict]:
    """The rows of `summary` that a number is over."""
    return [
        found
        for task in content.tasks
        for found in content.rows(task)
        if found["selected"]
        and found["model"] == row["model"]
        and f"{task} {found['seqlen_tokens']}" in row["places"]
    ]
