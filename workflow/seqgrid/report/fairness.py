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
    # Numbers first: columns of words are flush left.
    kept.sort(key=_is_words)
    body = [[m, *(_values(fact, m) for fact in kept)] for m in models]
    head = ["model", *(fact.name for fact in kept)]
    return blocks(title, table(head, body[:MOST_ROWS], words=sum(map(_is_words, kept))))


def _is_words(fact: Fact) -> bool:
    return any(isinstance(v, str) for values in fact.values.values() for v in values)


def _values(fact: Fact, model: str) -> str:
    values = fact.values.get(model, [])
    if not values:
        return "-"
    if _is_words(fact):
        shared = _in_common(fact)
        named = list(dict.fromkeys(_object(v, shared) for v in values))
        return listing(named, 2) if len(named) <= 2 else f"{len(named)} different"
    show = SHOW.get(fact.column, count)
    if fact.column == "learning_rate" and len(values) <= MOST_VALUES:
        return " ".join(map(show, values))
    return span(values, show)


def _object(value: str, shared: set[str]) -> str:
    """`a=1 b=2` for a JSON object without the keys in common, other text as it is."""
    found = _read(value)
    if found is None:
        return value
    return " ".join(f"{k}={v}" for k, v in sorted(found.items()) if k not in shared) or "-"


def _in_common(fact: Fact) -> set[str]:
    """Keys of a setting that has the same value in every model; none of a backend."""
    found = [_read(v) for values in fact.values.values() for v in values]
    if fact.column != "optimiser" or not found:
        return set()
    first = found[0] or {}
    return {key for key in first if all((other or {}).get(key) == first[key] for other in found)}


def _read(value: str) -> dict | None:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
