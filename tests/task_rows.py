"""Examples of a task as plain Python."""

from seqgrid.data import IGNORE


def rows(batch):
    """Inputs, targets and what is scored, as lists, example by example."""
    scored = batch.targets != IGNORE if batch.scored is None else batch.scored
    parts = (batch.inputs.tolist(), batch.targets.tolist(), scored.tolist())
    return zip(*parts, strict=True)


def answers(targets, scored):
    return {i: t for i, (t, yes) in enumerate(zip(targets, scored, strict=True)) if yes}
