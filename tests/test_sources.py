"""A digest follows what the code means: not how it is written, and not what does not take part."""

import shutil
from pathlib import Path

import pytest

from seqgrid import registry, sources
from seqgrid.cell import Cell

SOURCES = Path(sources.__file__).parent


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package to edit; digests are of the copy."""
    shutil.copytree(SOURCES, tmp_path / "seqgrid", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "PACKAGE", tmp_path / "seqgrid")
    forget()
    yield tmp_path / "seqgrid"
    forget()


def forget():
    sources.digest.cache_clear()
    sources._parsed.cache_clear()


def digest_of(package, text):
    """Digest of a module with this text."""
    (package / "trial.py").write_text(text)
    forget()
    return sources.digest("trial")


def edit(package, file, old, new):
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget()


PLAIN = '''"""A module."""

import math

RATE = 0.5


class Thing:
    """A thing."""

    size = 3

    def grow(self, by=None):
        """Grow."""
        return self.size + RATE * (by or 1)
'''
SAME = {
    "what is known": lambda t: t.replace(
        "size = 3", "size = 3\n    controls: tuple = (1, 2)\n    published = (3,)"
    ),
    "comments": lambda t: "# first\n" + t.replace("size = 3", "size = 3  # three\n    # more"),
    "docstrings": lambda t: (
        t.replace('"""A module."""\n', "").replace("A thing.", "Another.").replace("Grow.", "G.\n")
    ),
    "blank lines": lambda t: t.replace("\n\n", "\n").replace("RATE", "\n\nRATE", 1),
    "parentheses": lambda t: t.replace("RATE * (by or 1)", "(RATE * (by or (1)))"),
    "a line break": lambda t: t.replace("self.size + RATE", "(\n            self.size\n + RATE")
    .replace("or 1)", "or 1))"),
    "quotes and number forms": lambda t: t.replace("0.5", "5e-1").replace('"""Grow."""', "'Grow'"),
    "line ends": lambda t: t.replace("\n", "\r\n"),
}  # fmt: skip
OTHER = {
    "a constant": ("0.5", "0.25"),
    "an operator": ("self.size + RATE", "self.size - RATE"),
    "a comparison": ("by or 1", "by and 1"),
    "a name": ("RATE * (", "self.size * ("),
    "a default": ("by=None", "by=0"),
    "an argument": ("by=None", "by=None, too=None"),
    "a decorator": ("    def grow", "    @staticmethod\n    def grow"),
    "a statement": ("        return", "        print(by)\n        return"),
    "a type of number": ("size = 3", "size = 3.0"),
    "an import": ("import math", "import cmath"),
    "a text that is no docstring": ("size = 3", "size = 3\n    name = 'Thing'"),
}


@pytest.mark.parametrize("what", SAME)
def test_how_code_is_written_does_not_count(package, what):
    changed = SAME[what](PLAIN)
    assert changed != PLAIN
    assert digest_of(package, changed) == digest_of(package, PLAIN)


@pytest.mark.parametrize("what", OTHER)
def test_what_code_means_counts(package, what):
    changed = PLAIN.replace(*OTHER[what])
    assert changed != PLAIN
    assert digest_of(package, changed) != digest_of(package, PLAIN)


def test_constants_that_compare_equal_or_are_empty_differ(package):
    values = ["None", "''", "b''", "0", "0.0", "-0.0", "False", "True", "1", "1.0", "()", "[]",
              "{}", "...", "1j", "'0'", "'None'"]  # fmt: skip
    for form in ("A = {}", "f(x={})", "def f(x={}): ...", "def f():\n    return {}"):
        digests = [digest_of(package, form.format(value)) for value in values]
        assert len(set(digests)) == len(values)
    missing = ["def f(x): ...", "def f(x=None): ...", "def f(*, x): ...", "def f(*, x=None): ..."]
    assert len({digest_of(package, text) for text in missing}) == 4


def digests(package):
    """Training digest of every model on every task."""
    forget()
    return {
        (model.stem, task.stem): sources.training_digest(model.stem, task.stem)
        for model in (package / "models").glob("[!_]*.py")
        for task in (package / "tasks").glob("[!_]*.py")
    }


def changed(before, after):
    assert before.keys() == after.keys()
    return {key for key in before if before[key] != after[key]}


# file, old text, new text -> which (model, task) it changes; * is every one
REACHES = {
    "a model": ("models/gru.py", "2.0 * 3", "2.0 * 4", "gru", "*"),
    "a task": ("tasks/mqar.py", "TRIALS = 16384", "TRIALS = 1024", "*", "mqar"),
    "the backbone": ("models/_base.py", "NORM_EPS = 1e-6", "NORM_EPS = 1e-5", "mixers", "*"),
    "an operator": ("ops/slstm.py", "import torch", "import torch\nX = 1", "slstm", "*"),
    "the random streams": ("streams.py", "import", "X = 1\nimport", "*", "*"),
    "the loop": ("loop.py", "FINITE_CHECK_STEPS = 25", "FINITE_CHECK_STEPS = 5", "*", "*"),
    "metrics, imported as a module": (
        "metrics.py",
        "import numpy",
        "X = 1\nimport numpy",
        "*",
        "*",
    ),
    "the optimiser, too": ("optimiser.py", "import math", "X = 1\nimport math", "*", "*"),
}


@pytest.mark.parametrize("what", REACHES)
def test_a_change_reaches_the_cells_that_use_it_and_no_other(package, what):
    file, old, new, model, task = REACHES[what]
    before = digests(package)
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = changed(before, digests(package))
    if model == "mixers":  # some whole models take a function or two from the file, others none
        asked = {key for key in before if key[0] in registry.on_backbone()}
        assert asked <= found < before.keys()
    else:
        asked = {key for key in before if model in ("*", key[0]) and task in ("*", key[1])}
        assert found == asked
    path.write_text(text)
    assert digests(package) == before


def test_modules_that_only_plan_and_record_reach_nothing(package):
    before = digests(package), sources.evaluation_digest("gru", "mqar")
    for module in sources.NEUTRAL:
        path = package / f"{module.replace('.', '/')}.py"
        path.write_text(path.read_text() + "\nSURPRISE = 1\n")
    assert (digests(package), sources.evaluation_digest("gru", "mqar")) == before


def test_the_evaluator_reaches_evaluations_and_no_training(package):
    before, evaluated = digests(package), sources.evaluation_digest("gru", "mqar")
    edit(package, "evaluate.py", "BATCH = 128", "BATCH = 64")
    assert digests(package) == before
    assert sources.evaluation_digest("gru", "mqar") != evaluated


def test_every_import_of_the_package_is_followed(package):
    for text in (
        "from seqgrid import helper",
        "from seqgrid import helper as h",
        "import seqgrid.helper",
        "from seqgrid.helper import VALUE",
        "def late():\n    from seqgrid.helper import VALUE",
    ):
        (package / "helper.py").write_text("VALUE = 1")
        before = digest_of(package, text)
        (package / "helper.py").write_text("VALUE = 2")
        assert digest_of(package, text) != before, text


def test_modules_may_import_each_other(package):
    (package / "helper.py").write_text("import seqgrid.trial")
    assert digest_of(package, "import seqgrid.helper")


def test_a_new_file_in_the_package_changes_nothing(package):
    before = digests(package)
    (package / "models" / "_spare.py").write_text("X = 1")
    assert digests(package) == before


def test_a_hybrid_is_made_of_the_files_of_its_mixers():
    def hybrid(*pattern):
        return Cell(
            model="hybrid", model_settings={"pattern": list(pattern)}, task="mqar", seqlen=8, seed=0
        )

    assert hybrid("gru", "attention").parts == ("attention", "gru")
    assert hybrid("gru").model_copy(update={"model": "gru", "model_settings": {}}).parts == ()
    digests = {sources.training_digest("hybrid", "mqar", parts) for parts in ((), ("gru",))}
    assert len(digests) == 2
