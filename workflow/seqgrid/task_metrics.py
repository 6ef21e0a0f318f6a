"""The metrics that a task is scored in, from the text of its file, as studies are read."""

import ast
from functools import cache
from pathlib import Path

from seqgrid.metric_names import BETTER
from seqgrid.registry import FOLDERS

# What `metrics.summarise` makes of each loss.
OF_LOSS = {
    "cross_entropy": ("accuracy", "error_rate", "sequence_accuracy", "loss"),
    "mse": ("r2", "mse"),
}
WITHIN = ("accuracy", "sequence_accuracy")  # as well, where the task has a tolerance
INHERITED = "seqgrid.tasks."


@cache
def metrics(name: str) -> tuple[str, ...]:
    """The metrics of the task file `name`; all there are where its text does not say."""
    declared = _declared(FOLDERS["task"] / f"{name}.py")
    given = declared.get("loss")
    loss = str(given.value) if isinstance(given, ast.Constant) else ""
    if loss not in OF_LOSS:
        return tuple(BETTER)
    tolerance = declared.get("tolerance")
    exact = tolerance is None or (isinstance(tolerance, ast.Constant) and tolerance.value is None)
    return (*OF_LOSS[loss], *(() if exact or loss != "mse" else WITHIN))


def _declared(path: Path) -> dict[str, ast.expr]:
    """What the classes of a file, and those of other task files that they derive from, assign."""
    found: dict[str, ast.expr] = {}
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return found
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.bases]
    bases = {base.id for one in classes for base in one.bases if isinstance(base, ast.Name)}
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not bases & {a.name for a in node.names}:
            continue
        if (module := node.module or "").startswith(INHERITED):
            found |= _declared(path.parent / f"{module.removeprefix(INHERITED)}.py")
    for node in (n for one in classes for n in one.body):
        if isinstance(node, ast.Assign):
            found |= {t.id: node.value for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found
