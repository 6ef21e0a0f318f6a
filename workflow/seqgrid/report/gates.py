"""What a report says of the gates of its study."""

from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, free, table, text


def said(content: Content) -> list[str]:
    """A sentence for the answer; none where the study has no gate."""
    states = [row["state"] for row in content.gates]
    if not states:
        return []
    open_ = len(states) - states.count("passed") - states.count("failed")
    rest = f", {open_} cannot be told yet" if open_ else ""
    return [f"{states.count('passed')} of {len(states)} gates of this study passed{rest}."]


def gates(content: Content) -> str:
    """The gates of the study, beside the controls of its tasks; empty where it has none."""
    body = [
        [
            row["control"].removeprefix("gate: "),
            row["expected"],
            row["observed"] or "-",
            row["state"].upper() if row["state"] == "failed" else row["state"],
            row["reason"],
            free(row["why"] or "-"),
        ]
        for row in content.gates
    ]
    if not body:
        return ""
    note = text(
        "A gate is a band that a model of this study is known to fall into on a task. Where its",
        "median lies outside, nothing is believed of that task, and nothing on it is compared.",
    )
    header = ["gate", "band", "observed", "state", "because", "known from"]
    return blocks("### Gates", note, table(header, body, left=6))
