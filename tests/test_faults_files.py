"""Files that are damaged, foreign, too new or malicious: rows of the fault table."""

import hashlib
import json
import os
import signal

import pytest
import torch
from faults import FAULTS
from forge import wait_until
from grids import ONE, Grid
from trainers import same

from seqgrid import checkpoint

NAMES = {"checkpoint": "checkpoint.pt", "history": "history.parquet", "outcome": "outcome.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, forge):
    """How the cell ends when nothing happens to it."""
    grid = Grid(tmp_path_factory.mktemp("whole"), forge)
    grid.finish()
    return grid.end(grid.plan()[0])


@pytest.fixture(scope="module")
def other(tmp_path_factory, forge):
    """The same of another cell."""
    return cut(Grid(tmp_path_factory.mktemp("other"), forge, ONE.replace("[3]", "[4]")))


@pytest.fixture(scope="module")
def template(tmp_path_factory, forge):
    return cut(Grid(tmp_path_factory.mktemp("cut"), forge))


@pytest.fixture
def grid(template, tmp_path):
    """A grid of one cell whose first part was cut in the middle."""
    return template.copy(tmp_path)


def cut(grid, number=signal.SIGTERM):
    trainer = grid.train(grid.plan()[0])
    part = grid.part(grid.plan()[0])
    wait_until(lambda: part.step() > 100 and len(part.rolling()) > 1, lambda: trainer.said)
    trainer.send_all(number)
    trainer.wait()
    return grid


def assert_whole(grid, whole):
    found = grid.end(grid.plan()[0])
    same(found[1]["model"], whole[1]["model"])
    same(found[1]["best"], whole[1]["best"])
    assert found[2] == whole[2]
    assert found[0].outcome == "finished"
    assert grid.litter() == []


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def flip_a_digit(content):
    """The damage to an outcome that reads best: one bit of the step."""
    i = content.index(b",", content.index(b'"step": ')) - 1
    return content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :]


def newer(path):
    """What a later version would have written."""
    if path.suffix == ".json":
        return json.dumps(json.loads(path.read_text()) | {"schema_version": 2, "new": 1}).encode()
    if path.suffix == ".pt":
        return state_of(path, format=2)
    return path.read_bytes().replace(b"validation_metric", b"validation_number")


def state_of(path, **fields):
    """The bytes of a checkpoint with other fields."""
    state = checkpoint.load(path) | fields
    target = path.with_name("state")
    torch.save(state, target)
    content = target.read_bytes()
    target.unlink()
    return content


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "damage", ["truncated", "empty", "bit-flipped", "foreign", "future-version"]
)
def test_a_damaged_file_is_named_and_costs_little(grid, other, whole, damage, kind):
    row = FAULTS[f"{damage} {kind}"]
    path = grid.part(grid.plan()[0], 1).folder / NAMES[kind]
    theirs = other.part(other.plan()[0], 1).folder / NAMES[kind]
    content = path.read_bytes()
    content = {
        "truncated": lambda: content[: len(content) // 2],
        "empty": lambda: b"",
        "bit-flipped": lambda: (flip_a_digit if kind == "outcome" else flip)(content),
        "foreign": theirs.read_bytes,
        "future-version": lambda: newer(path),
    }[damage]()
    assert content != path.read_bytes()
    path.write_bytes(content)
    row.assert_seen(grid.status())
    if "rerun=corrupt" in row.then:
        assert grid.plan()[0].next is None
        trainer = grid.train(grid.plan("corrupt")[0])
        assert trainer.wait() == 0, trainer.said
    assert grid.plan()[0].part == 2
    said = grid.finish()
    assert "goes on from" in said or "goes on from" in trainer.said
    assert_whole(grid, whole)


@pytest.fixture
def killed(tmp_path, forge):
    """A grid of one cell whose trainer was killed: two checkpoints, no outcome."""
    grid = cut(Grid(tmp_path, forge), signal.SIGKILL)
    return grid


def add_state(part, content, step=500):
    """A checkpoint that a trainer takes for its newest."""
    name = f"step{step:012d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    (part.live / name).write_bytes(content)
    assert part.newest_state().name == name


@pytest.mark.parametrize("damage", [lambda c: c[:1000], lambda c: b"", flip])
def test_a_damaged_state_is_passed_over(killed, whole, damage):
    newest, older, *_ = killed.part(killed.plan()[0]).rolling()
    newest.write_bytes(damage(newest.read_bytes()))
    said = killed.finish()
    FAULTS["damaged state"].assert_seen(said)
    assert older.name in said
    assert_whole(killed, whole)


def test_another_cells_state_is_passed_over(killed, other, whole):
    part = killed.part(killed.plan()[0])
    newest = part.newest_state()
    add_state(part, other.part(other.plan()[0], 1).newest_state().read_bytes())
    said = killed.finish()
    FAULTS["foreign state"].assert_seen(said)
    assert newest.name in said
    assert_whole(killed, whole)


def test_a_state_of_a_newer_version_stops_the_training_and_stays(killed):
    part = killed.part(killed.plan()[0])
    add_state(part, state_of(part.newest_state(), format=2))
    before = {p.name: p.read_bytes() for p in part.live.glob("step*")}
    for _ in range(4):  # it never counts as a death
        trainer = killed.train(killed.plan()[0])
        assert trainer.wait() == 2
        FAULTS["future-version state"].assert_seen(trainer.said)
        assert "goes on from gru" not in trainer.said
    assert {p.name: p.read_bytes() for p in part.live.glob("step*")} == before


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["zip", "old"])
def test_a_checkpoint_that_would_run_code_does_not(killed, whole, tmp_path, form):
    part = killed.part(killed.plan()[0])
    newest, mark, file = part.newest_state(), tmp_path / "ran", tmp_path / "evil"
    state = checkpoint.load(newest) | {"extra": Evil(mark)}
    torch.save(state, file, _use_new_zipfile_serialization=form == "zip")
    torch.load(file, weights_only=False)
    assert mark.exists()  # it would
    mark.unlink()
    add_state(part, file.read_bytes())
    said = killed.finish()
    FAULTS["pickle with code"].assert_seen(said)
    assert newest.name in said
    assert not mark.exists()
    assert_whole(killed, whole)


def test_a_study_that_would_run_code_does_not(project):
    project.study(ONE + "note: !!python/object/apply:os.system ['touch ran']\n")
    done = project.snakemake()
    assert done.returncode != 0
    FAULTS["YAML with code"].assert_seen(done.text)
    assert not (project.folder / "ran").exists()
