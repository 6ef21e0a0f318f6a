"""What task files say of plateaus that broke, and how it reaches the tables."""

import inspect

import numpy as np
import pytest
from tables_factory import Tables
from trainers import make_cell

from seqgrid import facts, registry
from seqgrid.analysis.summary import build


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


def test_longer_sequences_have_longer_plateaus_of_the_adding_problem():
    known = registry.settings("task", "adding_problem")().known_plateau
    assert (known(200), known(400)) == (375, 1563)


@pytest.mark.parametrize(
    ("steps", "said", "words"),
    [
        (1000, "PLATEAU", "longer than the 1,000 steps"),
        (3000, "NO CLEAR PLATEAU", "of up to 3,000 steps"),
    ],
)
def test_a_plateau_that_broke_in_the_study_itself_is_known(steps, said, words):
    """Another model, at another length, was flat for so long and rose later."""
    made = Tables()
    made.levels("mqar", [64, 128], chance=0.1, ceiling=1.0, solved=0.95)
    flat = np.r_[np.linspace(0.1, 0.5, 10), np.full(30, 0.5)]
    made.cell("gru", "mqar", 64, 0, 0.5, curve=list(flat))
    late = np.where(np.arange(100, 4001, 100) <= steps, 0.3, 0.8)
    made.cell("lstm", "mqar", 128, 0, 0.8, curve=list(late))
    found = build(made.read())["verdicts"].to_pylist()
    own = {v["verdict"]: v["statement"] for v in found if v["model"] == "gru"}
    assert {"PLATEAU", "NO CLEAR PLATEAU"} & own.keys() == {said}
    assert words in own[said]


def test_a_task_file_whose_answer_fails_is_named_and_no_more(monkeypatch, capsys):
    def fails(self, seqlen):
        raise RuntimeError("no idea")

    cell = make_cell()
    assert cell.path  # worked out before the file breaks
    monkeypatch.setattr(registry.settings("task", cell.task), "known_plateau", fails)
    assert facts.known_plateau(cell) is None
    assert "known_plateau fails (RuntimeError: no idea)" in "".join(capsys.readouterr())
