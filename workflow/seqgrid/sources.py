"""Digests of the sources a result came from: equal as long as the code means the same.

Comments, formatting, docstrings and the version of Python do not count; what the entry modules
import from seqgrid, directly or not, does.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# They decide what runs, where and how it is recorded, never what a number comes out as.
NEUTRAL = {
    "cell", "collect", "collection", "control_results", "control_study", "controls", "driver",
    "expectation", "facts", "grid", "job", "lease", "outcome", "plan", "provenance", "quantum.cost",
    "recipes", "registry", "rows", "settings", "sizing", "sources", "status", "store", "study",
    "study_file", "study_schema", "sweeps", "tables", "templates", "train", "unlock", "worker",
}  # fmt: skip
# Of a class: what is known about a task or model, which decides no example, weight or score. What
# a study takes from a recipe stands in the cell's settings.
KNOWN = {"controls", "published", "recipe"}


def training_digest(model: str, task: str, parts: tuple[str, ...] = ()) -> str:
    """Digest of everything that decides the weights of a cell.

    parts: other model files that a model is made of.
    """
    return digest("loop", *(f"models.{name}" for name in (model, *parts)), f"tasks.{task}")


def evaluation_digest(model: str, task: str, parts: tuple[str, ...] = ()) -> str:
    """Digest of everything that turns weights into test results; parts as in `training_digest`."""
    return digest("evaluate", *(f"models.{name}" for name in (model, *parts)), f"tasks.{task}")


@cache
def digest(*entries: str) -> str:
    """12 hex digits over the meaning of the entry modules and all that they import."""
    seen: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += _parsed(module)[1]
    text = "\n".join(f"{module} {_parsed(module)[0]}" for module in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _file(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _parsed(module: str) -> tuple[str, list[str]]:
    """Digest of one module's meaning, and the seqgrid modules it imports."""
    path = _file(module)
    if path is None:
        return "missing", []
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # it fails where it is used; here it only is another source
        return hashlib.sha256(path.read_bytes()).hexdigest(), []
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module)
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    ours = {name.removeprefix("seqgrid.") for name in imported if name.startswith("seqgrid.")}
    kept = sorted(n for n in ours if NEUTRAL.isdisjoint((n, n.split(".")[0])) and _file(n))
    meaning = repr(_meaning(_without_words(tree)))
    return hashlib.sha256(meaning.encode()).hexdigest(), kept


def _without_words(tree: ast.Module) -> ast.Module:
    """The tree without docstrings, and without what a class only states."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
            and isinstance(node.body[0].value.value, str)
        ):
            node.body = node.body[1:]
        if isinstance(node, ast.ClassDef):
            node.body = [line for line in node.body if not _stated(line)]
    return tree


def _stated(line: ast.stmt) -> bool:
    targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
    return any(isinstance(target, ast.Name) and target.id in KNOWN for target in targets)


def _meaning(node: object) -> object:
    # Own walk, not ast.dump: empty and new fields differ between versions of Python.
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if isinstance(node, ast.AST):
        fields = [(name, _meaning(value)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, [(n, v) for n, v in fields if v not in (None, [], "")]]
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    return node
