"""The section of a report on what to do next."""

from seqgrid.analysis import ledger
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, code, item

# Outcomes after which the same cell is worth another try, and what to look at before.
AGAIN = {
    "failed": "a traceback stands above; mend its cause first",
    "killed": "its processes died; mend what the reason above names first",
    "out_of_memory": "give the job more memory, or set `out_of_memory_pieces` in the study",
    "diverged": "lower or sweep the learning rate; the same settings may diverge again",
}


def advice(content: Content) -> str:
    """Commands for what is open, as they can be pasted."""
    run = f"snakemake --config study={content.name}"
    about = ledger.coverage(content.cells)
    found = {v["verdict"] for v in content.verdicts}
    steps = []
    again = {k: n for k, n in about["open"].items() if k in AGAIN}
    going = {k: n for k, n in about["open"].items() if k not in AGAIN}
    if going:
        why = ", ".join(f"{n} {outcome}" for outcome, n in going.items())
        steps.append(blocks(f"Go on with what is open ({why}):", code(run)))
    for outcome, n in again.items():
        steps.append(
            blocks(f"{n} {outcome}: {AGAIN[outcome]}, then", code(f"{run} rerun={outcome}"))
        )
    if about["stale"] or about["mixed"]:
        steps.append(
            blocks(
                "Train again what changed sources have made stale, if the change matters:",
                code(f"{run} rerun=stale"),
            )
        )
    where = f"config/studies/{content.name}.yaml"
    advice = {
        "IMPROVING": "more training steps for the cells named improving under Convergence",
        "TOO FEW SEEDS": "more seeds, where all that were asked for have finished",
        "SINGLE LR": "a sweep of the learning rate, before a failure is put down to a model",
        "AT GRID EDGE": "a wider grid of the values named under Swept settings",
        "UNLEARNABLE AS SCORED": "another metric or another scoring for the task",
        "UNSTABLE ACROSS SEEDS": "more seeds, so that the success rate gets an interval of use",
    }
    wanted = [item(f"**{name}**: {words}.") for name, words in advice.items() if name in found]
    if wanted:
        steps.append(blocks(f"What the verdicts ask for, set in `{where}`:", "\n".join(wanted)))
    return blocks(*steps) or "Nothing is open."
