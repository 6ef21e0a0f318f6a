"""The pages say what the sources say, their examples run, and their links lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest

from seqgrid import registry, study

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FILE = re.compile(r"A file `(model|task)s/(\w+)\.py` is complete")
TRAIN = """
import math, sys, tempfile
from pathlib import Path
from seqgrid import study
from seqgrid.loop import Loop

_, rows = study.load("small")
loop = Loop(rows[0].cell, Path(tempfile.mkdtemp(dir=".")), 1, None)
assert loop.run(lambda loop: False) == "budget of 3 steps"
[row] = loop.track.rows
assert math.isfinite(row["train_loss"]) and math.isfinite(row["validation_metric"]), row
print("trained", loop.cell.path)
"""


def blocks(page, language):
    """Fenced code of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def generate():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("generate")


@pytest.fixture(scope="module")
def generated(generate):
    return generate.pages()


@pytest.mark.parametrize("name", registry.names("task"))
def test_the_page_of_a_task_is_in_step_with_it(generate, name):
    page = DOCS / f"tasks/{name}.md"
    assert page.read_text() == generate.task_page(name), "run `make generated`"
    assert "<svg" in page.with_suffix(".svg").read_text()


def test_reference_pages_are_in_step_with_the_sources(generated):
    for path, text in generated.items():
        assert path.read_text() == text, f"{path.name}: run `python docs/generate.py`"


def test_every_key_and_column_has_a_meaning(generated):
    for path, text in generated.items():
        empty = [line for line in text.splitlines() if line.endswith("|  |")]
        assert not empty, f"{path.name}: no description for {empty}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index


def test_the_worked_example_of_a_study_is_one(tmp_path, monkeypatch):
    text, judged = blocks(DOCS / "study.md", "yaml")
    (tmp_path / "config/studies").mkdir(parents=True)
    (tmp_path / "config/studies/example.yaml").write_text(text + judged)
    monkeypatch.chdir(tmp_path)
    asked, rows = study.load("example")
    assert len(rows) == 58  # as the page counts them
    assert {row.evaluation.lengths for row in rows} == {(32, 128), (64, 128)}
    assert [gate.model for gate in asked.gates] == ["delta"]
    assert asked.thresholds.enough_seeds == 5


def test_every_outcome_and_state_is_explained():
    from seqgrid.status import LETTERS

    page = (DOCS / "outcomes.md").read_text()
    for name in LETTERS:
        assert f"| `{name}` |" in page


def test_the_tree_of_the_design_page_is_the_real_one():
    text = (DOCS / "design.md").read_text().partition("## Tree\n\n```\n")[2].partition("```")[0]
    assert text
    for line in text.splitlines():
        base = ROOT / "workflow/seqgrid" if line.startswith(" ") else ROOT
        for name in line.strip().partition("  ")[0].split():
            assert list(base.glob(name.rstrip("/"))), f"design.md names {name}"


@pytest.mark.parametrize("name", ["add-a-model.md", "add-a-task.md"])
def test_the_file_of_the_page_trains_when_it_is_dropped_in(name, project):
    page = DOCS / name
    kind, file = FILE.search(page.read_text()).groups()
    [code] = blocks(page, "python")
    [entry] = blocks(page, "yaml")
    project.add(kind, file, code)
    other = {"model": "tasks: {adding_problem: }", "task": "models: {gru: }"}[kind]
    project.study(
        f"question: does it run?\n{entry}{other}\nlengths: [8]\nseeds: [0]\n"
        "training: {steps: 3, batch_size: 4}\n"
        "validation: {every_steps: 3, examples: 8}\n"
    )
    (project.folder / "check.py").write_text(TRAIN)
    done = project.run("check")
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout
    assert f"/{file}/" in f"/{done.stdout.split()[-1]}"

    wrong = re.sub(r"settings: \{(\w+): [\d.]+\}", r"settings: {\1: -1}", entry)
    assert wrong != entry
    path = project.folder / "config/studies/small.yaml"
    path.write_text(path.read_text().replace(entry, wrong))
    done = project.run("seqgrid.status", "small")
    assert done.returncode != 0
    assert re.search(rf"small\.yaml: {kind}s\.{file}\.settings\.\w+: .*-1", done.stderr)
