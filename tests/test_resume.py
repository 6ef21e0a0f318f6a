"""A training cut anywhere, any number of times, ends as one that was never cut, bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from trainers import (
    TIMES,
    Trainer,
    assert_same_end,
    make_cell,
    outcome_and_weights,
    place,
    same,
    wait_for_checkpoint,
)

from seqgrid import checkpoint, registry
from seqgrid.loop import Loop
from seqgrid.store import Part

VARIANTS = {
    **{name: (name, {}) for name in registry.on_backbone()},
    **{name: (name, {}) for name in ("qh_1b", "qh_2c", "qh_2d", "qh_2h", "qh_3a", "qh_4e")},
    "attention-learned": ("attention", {"positions": "learned"}),
}


def cut_at(step):
    return lambda loop: loop.track.step >= step


def run_with_cuts(cell, folder, cuts, new_part):
    folder.mkdir(parents=True, exist_ok=True)
    start, part = None, 1
    for cut in cuts:
        torch.manual_seed(cut)  # a resumed process starts with another random state
        loop = Loop(cell, folder, part, start)
        assert loop.run(cut_at(cut)) is None
        start = checkpoint.load(loop.save())
        part += new_part
    loop = Loop(cell, folder, part, start)
    return loop, loop.run(lambda loop: False)


def rows_without_times(loop):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in loop.track.rows]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("cuts", "new_part"), [([13], True), ([3, 7, 8, 29], False)])
def test_a_cut_training_ends_where_an_unbroken_one_ends(tmp_path, variant, cuts, new_part):
    model, settings = VARIANTS[variant]
    cell = make_cell(model, settings)
    whole, reason = run_with_cuts(cell, tmp_path / "whole", [], new_part)
    cut, reason_of_cut = run_with_cuts(cell, tmp_path / "cut", cuts, new_part)
    assert reason == reason_of_cut
    same(whole.model.state_dict(), cut.model.state_dict())
    same(whole.best, cut.best)
    assert rows_without_times(whole) == rows_without_times(cut)
    assert whole.track.best_step == cut.track.best_step
    assert cut.first_step == (cuts[-1] if new_part else 0)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_cut_inside_the_warm_up_keeps_the_schedule(tmp_path, schedule):
    cell = make_cell(schedule=schedule, warmup_steps=20, examples=None)
    whole, _ = run_with_cuts(cell, tmp_path / "whole", [], True)
    cut, _ = run_with_cuts(cell, tmp_path / "cut", [9, 21], True)
    assert rows_without_times(whole) == rows_without_times(cut)
    assert len({row["learning_rate"] for row in whole.track.rows}) > 1


def test_dropout_is_on_and_its_noise_is_part_of_the_state(tmp_path):
    with_noise, _ = run_with_cuts(make_cell(), tmp_path / "a", [], True)
    without, _ = run_with_cuts(make_cell(settings={"dropout": 0.0}), tmp_path / "b", [], True)
    assert rows_without_times(with_noise) != rows_without_times(without)


def test_early_stopping_stops_a_cut_training_at_the_same_step(tmp_path):
    cell = make_cell(steps=400, learning_rate=0.03)
    whole, reason = run_with_cuts(cell, tmp_path / "whole", [], True)
    assert reason.startswith("plateau")
    stop = whole.track.step
    assert stop < 400
    cut, reason_of_cut = run_with_cuts(cell, tmp_path / "cut", [stop - 1], True)
    assert (reason_of_cut, cut.track.step) == (reason, stop)


def test_the_three_seeds_are_separate(tmp_path):
    base, _ = run_with_cuts(make_cell(), tmp_path / "base", [], True)
    for use in ("data_seed", "init_seed", "order_seed"):
        other, _ = run_with_cuts(make_cell(**{use: 99}), tmp_path / use, [], True)
        assert rows_without_times(other) != rows_without_times(base), use
    loops = [Loop(make_cell(data_seed=s), tmp_path, 1, None) for s in (1, 2)]
    same(loops[0].model.state_dict(), loops[1].model.state_dict())


# -- the same through processes and signals ---------------------------------------------------


@pytest.mark.slow
def test_time_is_up_again_and_again(tmp_path, unbroken):
    cell, end = unbroken
    folder = place(tmp_path, cell, part_seconds=1)
    for number in range(1, 30):
        assert Trainer(folder, part=number).wait() == 0
        outcome = Part.of(tmp_path / "cells", cell.path, "", number).read()
        if outcome.outcome == "finished":
            break
        assert outcome.outcome == "timed_out"
        assert "part_seconds 1 used up" in outcome.reason
    assert number > 1
    assert_same_end(outcome_and_weights(tmp_path / "cells", cell, number), end)


def test_with_restarts_left_a_cut_part_asks_for_the_next_and_goes_on(tmp_path, unbroken):
    cell, end = unbroken
    folder = place(tmp_path, cell, part_seconds=1)
    environment = {"SEQGRID_RETRIES": "1", "SEQGRID_INVOCATION": "abc"}
    process = Trainer(folder, **environment)
    assert process.wait() == 75
    part = Part.of(tmp_path / "cells", cell.path, "", 1)
    assert not (part.folder / "outcome.json").exists()
    reached = part.step()
    assert reached > 0
    # The last restart speaks: it ends in an outcome, whatever it is.
    assert Trainer(folder, **environment).wait() == 0
    assert part.read().progress.step > reached
    limits = {"study": "x", "checkpoint_seconds": 60}
    (folder / "execution.json").write_text(json.dumps(limits))
    number = 1 if part.read().outcome == "finished" else 2
    if number == 2:
        assert Trainer(folder, part=2).wait() == 0
    assert_same_end(outcome_and_weights(tmp_path / "cells", cell, number), end)


@pytest.mark.slow
def test_deleted_outputs_come_back_without_training(tmp_path, unbroken):
    cell, end = unbroken
    folder = place(tmp_path, cell)
    assert Trainer(folder).wait() == 0
    part = Part.of(tmp_path / "cells", cell.path, "", 1)
    for name in ("checkpoint.pt", "history.parquet", "outcome.json"):
        (part.folder / name).unlink()
    process = Trainer(folder)
    assert process.wait() == 0
    assert "published again" in process.said
    assert len(part.attempts()) == 1
    assert_same_end(outcome_and_weights(tmp_path / "cells", cell), end)


def test_a_spoilt_rolling_checkpoint_is_passed_over(tmp_path, unbroken):
    cell, end = unbroken
    folder = place(tmp_path, cell)
    part = Part.of(tmp_path / "cells", cell.path, "", 1)
    process = Trainer(folder)
    wait_for_checkpoint(part, process)
    wait_for_checkpoint(part, process, above=part.step())
    process.kill_everything()
    newest: Path = max(part.live.glob("step*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    process = Trainer(folder)
    assert process.wait() == 0
    assert newest.name not in process.said
    assert_same_end(outcome_and_weights(tmp_path / "cells", cell), end)
