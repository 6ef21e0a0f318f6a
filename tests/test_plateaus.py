"""What task files say of plateaus that broke, and how it reaches the tables."""

import inspect

import pytest
from trainers import make_cell

from seqgrid import facts, registry


@pytest.mark.parametrize("name", registry.names("task"))
def test_a_known_plateau_is_a_number_of_steps_with_its_source(name):
    record = registry.settings("task", name)
    known = record().known_plateau(64)
    if known is None:
        return
    assert isinstance(known, int)
    assert known > 0
    about = inspect.getdoc(record.known_plateau) or ""
    assert about.startswith("As measured here") or "arXiv" in about


def test_it_stands_beside_each_cell():
    assert facts.known_plateau(make_cell()) == 375
    none = make_cell().model_copy(update={"task": "parity", "task_settings": {}})
    assert facts.known_plateau(none) is None


def test_a_task_file_whose_answer_fails_is_named_and_no_more(monkeypatch, capsys):
    def fails(self, seqlen):
        raise RuntimeError("no idea")

    cell = make_cell()
    assert cell.path  # worked out before the file breaks
    monkeypatch.setattr(registry.settings("task", cell.task), "known_plateau", fails)
    assert facts.known_plateau(cell) is None
    assert "known_plateau fails (RuntimeError: no idea)" in "".join(capsys.readouterr())
