"""What a task is scored by, from the text of its file: metrics, test sets, names of levels."""

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


@cache
def judged(name: str) -> str | None:
    """The metric that the task file `name` is judged by; None where its text does not say."""
    given = _declared(FOLDERS["task"] / f"{name}.py").get("metric")
    return str(given.value) if isinstance(given, ast.Constant) else None


@cache
def test_sets(name: str) -> tuple[str, ...] | None:
    """Names of the further test sets that it can have; None where its text does not say."""
    found: list[str] = []
    for tree in _texts(name):
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        for function in (f for f in functions if f.name == "variations"):
            for node in ast.walk(function):
                if isinstance(node, ast.Return):
                    names = _keys(node.value)
                    if names is None:
                        return None
                    found += names
    return tuple(dict.fromkeys(found))


@cache
def words(name: str) -> frozenset[str]:
    """Every name in quotes in the file and in those it imports: its levels are among them."""
    texts = (_text(node) or "" for tree in _texts(name) for node in ast.walk(tree))
    return frozenset(text for text in texts if text.replace("-", "_").isidentifier())


def _keys(node: ast.expr | None) -> list[str] | None:
    """The keys of a dict, or of either branch of `a if b else c`; None: they are computed."""
    if isinstance(node, ast.IfExp):
        both = [_keys(node.body), _keys(node.orelse)]
        return None if None in both else [key for keys in both for key in keys or ()]
    if not isinstance(node, ast.Dict):
        return None
    texts = [_text(key) for key in node.keys]
    return None if None in texts else [text for text in texts if text is not None]


def _text(node: ast.AST | None) -> str | None:
    """The text that a constant is; None where it is something else."""
    known = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if known else None


@cache
def _texts(name: str) -> tuple[ast.Module, ...]:
    """The syntax of a task's file, and of the files of tasks that it imports from."""
    found: dict[str, ast.Module] = {}
    waiting = [name]
    while waiting:
        path = FOLDERS["task"] / f"{waiting.pop()}.py"
        if path.stem in (*found, "_base") or not path.exists():
            continue
        try:
            tree = ast.parse(path.read_bytes(), filename=str(path))
        except (OSError, SyntaxError, ValueError):
            continue
        found[path.stem] = tree
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == INHERITED.rstrip("."):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(INHERITED):
                waiting.append(str(node.module).removeprefix(INHERITED))
    return tuple(found.values())


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
