"""The section of a report on peaks against final values."""

from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, item, table, text
from seqgrid.report.sections import MOST_ROWS, figure, marked, more


def peaks(content: Content) -> str:
    """Weights best on validation against the last weights, on the test split."""
    last = {_place(r): r for r in content.summary if r["weights"] == "last" and r["primary"]}
    body = []
    rows = [r for task in content.tasks for r in content.rows(task) if _place(r) in last]
    for row in rows[:MOST_ROWS]:
        label = f"{row['model']} {row['variant']}".strip()
        medians = [marked(row), marked(last[_place(row)])]
        body.append([label, row["task"], str(row["seqlen_tokens"]), *medians])
    collapsed = [
        item(
            f"**COLLAPSED** {v['model']} on {v['task']} at {v['seqlen_tokens']}, {v['statement']}."
        )
        for v in content.verdicts
        if v["verdict"] == "COLLAPSED"
    ]
    note = text(
        "Test split, medians over final seeds. The best weights are chosen on validation; where "
        "best and last differ, the choice matters and both are a result."
    )
    shown = blocks(note, table(["model", "task", "length", "best", "last"], body, left=2))
    return blocks(
        shown if body else "No cell is evaluated with both.",
        more(rows) if body else "",
        "\n".join(collapsed[:MOST_ROWS]) or "No seed has collapsed.",
        figure(content, "peaks"),
    )


def _place(row: dict) -> tuple:
    names = ("model", "task", "variant", "seqlen_tokens", "evaluated_seqlen_tokens", "test_set",
             "slice")  # fmt: skip
    return tuple(row[name] for name in names)
