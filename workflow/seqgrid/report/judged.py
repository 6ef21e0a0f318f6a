"""What a task is judged by, also where no cell of it has a value yet."""

from seqgrid.metric_names import BETTER
from seqgrid.report.content import Content


def metric_of(content: Content, task: str) -> str:
    """The metric a task is judged by, as evaluations say, else a report, else its levels."""
    names = [r["metric"] for r in content.rows(task)]
    names.append((content.about.get("judged_by") or {}).get(task, ""))
    for rows in (content.reported, content.levels):
        names += [r["metric"] for r in rows if r["task"] == task]
    return next(filter(None, names), "")


def better_of(content: Content, task: str, metric: str) -> str | None:
    """Which values of a metric are better; None where nothing says."""
    said = (r["better"] for r in content.levels if (r["task"], r["metric"]) == (task, metric))
    return next(filter(None, said), BETTER.get(metric))
