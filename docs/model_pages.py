"""The card of every model, from its file: equations, settings, sizes, and how it is trained."""

import ast
from collections.abc import Iterator

from pydantic import ValidationError

from seqgrid import cost, recipes, registry
from seqgrid.report.markdown import count, size

WIDTHS = (64, 128)
LENGTHS = (256, 1024)
CEILING_LENGTHS = (100, 200, 500, 1000)
TASK, POOLED_TASK = "mqar", "selective_copy"
# Keys of a recipe in the order of its row.
RECIPE = ("learning_rates", "schedule", "warmup_fraction", "beta1", "beta2", "weight_decay",
          "gradient_clip", "initializer_std")  # fmt: skip


def card(name: str, settings: list[str]) -> Iterator[str]:
    """The lines of a model's card; `settings`: those of its reference."""
    source = (registry.FOLDERS["model"] / f"{name}.py").read_text(encoding="utf-8")
    yield from (f"## {name}", "", (ast.get_docstring(ast.parse(source)) or "").strip(), "")
    yield from (*settings, *_ceilings(name), *_sizes(name), *_recipe(name))


def _ceilings(name: str) -> Iterator[str]:
    """What it can score at best where the order is the task, if it does not see all of it."""
    sight = registry.settings("model", name)().sight
    if sight is None:
        return
    levels = {
        length: registry.make_task(POOLED_TASK, {}, length).model_ceilings(sight)[0]
        for length in CEILING_LENGTHS
    }
    how = {level.derivation for level in levels.values()}.pop()
    yield from (
        f"The best R2 that it can have on [{POOLED_TASK}](tasks/{POOLED_TASK}.md) as set by "
        f"default, {how}:",
        "",
        _line(["length", *map(str, levels)]),
        "|" + "---:|" * (len(levels) + 1),
        _line(["R2", *(f"{level.value:.3f}" for level in levels.values())]),
        "",
    )


def _sizes(name: str) -> Iterator[str]:
    """What it costs at two widths, all else at its defaults."""
    record, rows = registry.settings("model", name), []
    task = POOLED_TASK if record.pooled_only else TASK
    shapes = [registry.make_task(task, {}, seqlen).shape for seqlen in LENGTHS]
    for width in WIDTHS:
        try:
            chosen = record(d_model=width)
        except ValidationError:  # its other defaults do not go with this width
            continue
        if any(chosen.unable(seqlen) for seqlen in LENGTHS):
            continue
        cards = [cost.card(name, chosen.model_dump(), shape) for shape in shapes]
        first = cards[0]
        rows.append(
            [
                str(width),
                count(first.total),
                count(first.parameters.get("mixers")),
                *(size(c.state_bytes) for c in cards),
                *(count(c.flops_per_token) for c in cards),
            ]
        )
    if rows:
        head = ["d_model", "parameters", "of mixers"]
        head += [f"state at {length}" for length in LENGTHS]
        head += [f"FLOPs/token at {length}" for length in LENGTHS]
        yield from (_line(head), "|" + "---:|" * len(head), *map(_line, rows), "")


def _recipe(name: str) -> Iterator[str]:
    recipe = recipes.of(name)
    if recipe is None:
        return
    rates = " ".join(f"{rate:g}" for rate in recipe.learning_rates)
    values = {key: str(getattr(recipe, key)) for key in RECIPE} | {"learning_rates": rates}
    lacking = recipes.SETTINGS - set(registry.settings("model", name).model_fields)
    shown = [key for key in RECIPE if key not in lacking]
    yield from ("`recipe: literature`:", "")
    yield _line([key.replace("_", " ") for key in shown])
    yield from ("|" + "---|" * len(shown), _line([values[key] for key in shown]), "")
    yield from (f"{recipe.source.rstrip('.')}.", "")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
