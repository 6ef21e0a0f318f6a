"""The section of a report on fairness: what the compared models share, and what they do not."""

import json

from seqgrid.analysis import fairness as shared
from seqgrid.analysis.fairness import Fact
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, listing, size, span, table, text
from seqgrid.report.sections import MOST_ROWS

SHOW = {"state_bytes": size, "learning_rate": lambda v: "-" if v is None else f"{v:g}"}
# Columns of the two tables: what the models are, and how they were trained.
MODELS = ("parameters", "state_bytes", "flops_per_token", "mlp", "backend")
TRAINING = ("dtype", "budget_steps", "batch_size", "seen_tokens", "learning_rate", "device")
MOST_VALUES = 6  # of learning rates beside each other


def fairness(content: Content) -> str:
    """One line on what is equal and what is not, then the numbers, model by model."""
    facts = shared.facts(content.cells)
    if not facts:
        return "No cell has run."
    if len({model for fact in facts for model in fact.values}) == 1:
        said = "One model has run: there is nothing it could share."
    else:
        equal = [fact.name for fact in facts if fact.equal]
        unequal = [_difference(fact) for fact in facts if not fact.equal]
        said = text(
            "Equal among the models at every task and length:",
            f"{', '.join(equal) or 'nothing that is recorded'}.",
            f"Not equal: {'; '.join(unequal) or 'nothing that is recorded'}.",
        )
    by_column = {fact.column: fact for fact in facts}
    others = [f for f in facts if not f.equal and f.column not in (*MODELS, *TRAINING)]
    tables = [
        _table(content, "What the models are:", [by_column.get(c) for c in MODELS]),
        _table(content, "How they were trained:", [by_column.get(c) for c in TRAINING]),
        _table(content, "What else is not equal:", list(others)),
    ]
    return blocks(said, *tables)


def _difference(fact: Fact) -> str:
    """A fact that is not equal, with the largest ratio and where it is."""
    found = fact.apart
    if fact.unknown:
        return f"{fact.name}, not recorded of {listing(list(fact.unknown))}"
    if fact.column == "learning_rate":
        tried = {model: len(values) for model, values in fact.values.items()}
        each = ", ".join(f"{model} {n}" for model, n in tried.items())
        same = len(set(tried.values())) == 1
        return fact.name if same else f"{fact.name}, also in their number ({each})"
    if found is None or found[0] == 1:
        return fact.name
    ratio, (task, seqlen), ends = found
    show = SHOW.get(fact.column, count)
    values = " and ".join(f"{model} {show(value)}" for model, value in ends.items())
    return f"{fact.name} by up to {ratio:.3g}x ({values} on {task} at {seqlen} tokens)"


def _table(content: Content, title: str, facts: list[Fact | None]) -> str:
    kept = [fact for fact in facts if fact is not None]
    models = [m for m in content.models if any(m in fact.values for fact in kept)]
    if not kept or not models:
        return ""
    body = [[m, *(_values(f.values.get(m, []), f.column) for f in kept)] for m in models]
    return blocks(title, table(["model", *(f.name for f in kept)], body[:MOST_ROWS]))


def _values(values: list, column: str) -> str:
    if not values:
        return "-"
    if isinstance(values[0], str):
        named = [_object(v) for v in values]
        return listing(named, 2) if len(values) <= 2 else f"{len(values)} different"
    show = SHOW.get(column, count)
    if column == "learning_rate" and len(values) <= MOST_VALUES:
        return " ".join(map(show, values))
    return span(values, show)


def _object(value: str) -> str:
    """`a=1 b=2` for a JSON object, other text as it is."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    if not isinstance(found, dict):
        return value
    return " ".join(f"{k}={v}" for k, v in sorted(found.items())) or "-"
