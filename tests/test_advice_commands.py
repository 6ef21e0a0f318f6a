"""Every command and every change of the study that a report advises does what it says."""

import contextlib
import re
import shlex
from unittest import mock

import advised
import pytest
import yaml

from seqgrid import collect, driver, study
from seqgrid.report import __main__ as report

BLOCK = re.compile(r"^```(yaml)?\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advised")
    advised.everything(folder)
    with contextlib.chdir(folder):
        assert collect.main(["small"]) == 0
        with mock.patch.object(report.figures, "draw", return_value={}):  # the slowest part
            assert report.main(["results/studies/small"]) == 0
    return folder


@pytest.fixture(scope="module")
def section(made):
    page = (made / "results/studies/small/report.md").read_text()
    after = re.split(r"^## \d+ What to do next\n", page, maxsplit=1, flags=re.M)[1]
    return re.split(r"^## ", after, maxsplit=1, flags=re.M)[0]


def commands(text):
    """Lines of the blocks to paste."""
    return [line for kind, block in BLOCK.findall(text) if not kind for line in block.splitlines()]


def parts(section):
    """Text of each action that changes the study, by its title."""
    found = re.split(r"^\*\*(.+)\*\*$", section, flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def asked(command):
    """What a command gives the workflow; it must be one that the workflow knows."""
    words = shlex.split(command)
    assert words[:2] == ["snakemake", "--config"], command
    return dict(word.split("=", 1) for word in words[2:])


def chosen(folder, command):
    """Paths of the cells that a command has work for, each with what is next."""
    with contextlib.chdir(folder):
        started = driver._start(asked(command), driver.requests.DEFAULTS)
    return {s.row.cell.path: s.next for s in started.chosen if s.next}


@contextlib.contextmanager
def changed(folder, text):
    """The study's file with the keys of a change set, each list whole."""
    path = folder / "config/studies/small.yaml"
    before = path.read_text()
    content = yaml.safe_load(before)
    for kind, block in BLOCK.findall(text):
        if kind:
            assert block.startswith("# config/studies/small.yaml\n")
            put(content, yaml.load(block, study_loader()))
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        yield
    finally:
        path.write_text(before)


def study_loader():
    from seqgrid.study_file import Loader

    return Loader


def put(into, change):
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            put(into[key], value)
        else:
            into[key] = value


def paths(folder):
    with contextlib.chdir(folder):
        return {row.cell.path for row in study.load("small")[1]}


def said(text):
    """Sum of the column `cells` of the table of an action."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, *rows = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines]
    return sum(int(row[header.index("cells")]) for row in rows[1:])


def test_every_command_names_cells_that_have_work(made, section):
    found = commands(section.partition("\n**")[0])
    assert len(found) == 9
    for command in found:
        assert chosen(made, command), command


def test_the_plain_command_goes_on_and_the_others_leave_out_what_is_not_worth_it(made, section):
    first, _, rest = section.partition("All but those:")
    (plain,) = commands(first)
    everything = chosen(made, plain)
    assert sorted(everything.values()) == ["evaluate", "evaluate", "resume", "resume", "train"]
    (others,) = [block for kind, block in BLOCK.findall(rest)[:1] if not kind]
    left = {path for c in others.splitlines() for path in chosen(made, c)}
    avoided = everything.keys() - left
    assert len(avoided) == 1
    (line,) = [text for text in section.splitlines() if "do not resume" in text]
    assert f"seed{line.split('|')[4].strip()}-" in avoided.pop()


def test_rerun_commands_do_what_their_reason_says(made, section):
    steps = {c.rpartition("=")[2]: chosen(made, c) for c in commands(section) if "rerun=" in c}
    assert set(steps) == {"failed", "killed", "stale"}
    again = chosen(made, "snakemake --config study=small")
    for state, step in (("failed", "resume"), ("killed", "resume"), ("stale", "train")):
        new = dict(steps[state].items() - again.items())
        assert set(new.values()) == {step}, state


@pytest.mark.parametrize(
    "title",
    [
        "More seeds everywhere",
        "More seeds",
        "Raise the budget",
        "Sweep the learning rate",
        "Widen the grid",
    ],
)
def test_a_change_adds_the_cells_it_says_and_no_other_is_trained_again(made, section, title):
    text = parts(section)[title]
    before = paths(made)
    again = chosen(made, "snakemake --config study=small")
    with changed(made, text):
        after = paths(made)
        assert after > before
        assert len(after - before) == said(text)
        todo = {path: step for c in commands(text) for path, step in chosen(made, c).items()}
    added = {path: step for path, step in todo.items() if path not in again}
    assert set(added) == after - before
    assert set(added.values()) == {"train"}


def test_a_change_that_is_wrong_is_noticed(made, section):
    text = parts(section)["Widen the grid"].replace("training.learning_rate", "training.rate")
    with changed(made, text), pytest.raises(study.StudyError, match=r"training\.rate"):
        paths(made)
    with pytest.raises(driver.plan.WrongRequest):
        chosen(made, "snakemake --config study=small cell='gruu/*'")


def pasted(project, command, *more):
    """Run a command of a report as it stands, in the project's folder."""
    return project.run(*shlex.split(command), *more)


@pytest.mark.slow
def test_snakemake_takes_every_command_and_plans_what_the_driver_plans(project):
    advised.everything(project.folder)
    for module in ("collect small", "report results/studies/small"):
        name, argument = module.split()
        assert project.run(f"seqgrid.{name}", argument).returncode == 0
    page = (project.folder / "results/studies/small/report.md").read_text()
    text = re.split(r"^## \d+ What to do next\n", page, maxsplit=1, flags=re.M)[1]
    text = re.split(r"^## ", text, maxsplit=1, flags=re.M)[0]
    first = commands(text.partition("\n**")[0])
    blocks = [("", first), *((part, commands(part)[:1]) for part in parts(text).values())]
    for change, found in blocks:
        with changed(project.folder, change):
            for command in found:
                done = pasted(project, command, "-n")
                assert done.returncode == 0, done.stderr
                for step in ("train", "resume"):
                    number = list(chosen(project.folder, command).values()).count(step)
                    line = re.search(rf"^{step} +(\d+)$", done.stdout + done.stderr, re.M)
                    assert (int(line[1]) if line else 0) == number, command


CUT = """
question: does a pasted command go on?
models: {gru: {settings: {d_model: 16, num_layers: 1}}}
tasks: {mqar: {settings: {num_pairs: 2, vocab_size: 16}}}
lengths: [16]
seeds: [0, 1]
training: {steps: 4000, batch_size: 32}
validation: {every_steps: 20, examples: 64}
evaluation: {examples: 64}
part_seconds: 1.5
"""


@pytest.mark.slow
def test_a_pasted_command_resumes_the_cell_that_it_names_and_no_other(project):
    project.study(CUT)
    assert project.snakemake().returncode == 0
    page = (project.folder / "results/studies/small/report.md").read_text()
    (command,) = [c for c in BLOCK.findall(page) if "/seed0-" in c[1]]
    (line,) = [c for c in command[1].splitlines() if "/seed0-" in c]
    done = pasted(project, line)
    assert done.returncode == 0, done.stderr
    second = [c.name.partition("-")[0] for c in project.cells() if (c / "part2").exists()]
    assert second == ["seed0"]
