"""Folders of checkpoints, ours and foreign, whole and broken: what is said, and what is not."""

import argparse
import csv
import itertools
import json
import pickle
import re

import numpy as np
import pytest
import torch
from trainers import make_cell

from seqgrid import checkpoint
from seqgrid.inspect import main
from seqgrid.inspection import files, health
from seqgrid.inspection.examine import examine
from seqgrid.inspection.page import page
from seqgrid.inspection.record import ALL
from seqgrid.inspection.steps import saved
from seqgrid.inspection.tensors import PIECE, statistics
from seqgrid.loop import Loop
from seqgrid.store import Part

STEPS = [180, 904, 1083, 1261, 3607, 4503, 5767, 6306, 7566]
PREFIX = "_orig_mod.model.inner."


def hierarchy(puzzles=40, width=8):
    """Weights named as those of the hierarchical reasoning model, small."""
    made = {f"{PREFIX}puzzle_emb.weights": (torch.randn(puzzles, width) / 100).bfloat16()}
    for level in "HL":
        made[f"{PREFIX}{level}_init"] = torch.full((width,), 2.25390625).bfloat16()
        for layer in range(2):
            place = f"{PREFIX}{level}_level.layers.{layer}."
            made[place + "self_attn.qkv_proj.weight"] = torch.randn(3 * width, width)
            made[place + "mlp.down_proj.weight"] = torch.randn(width, 3 * width)
    made[f"{PREFIX}embed_tokens.embedding_weight"] = torch.randn(12, width)
    made[f"{PREFIX}lm_head.weight"] = torch.randn(12, width)
    made[f"{PREFIX}q_head.weight"] = torch.randn(2, width) / 10
    made[f"{PREFIX}q_head.bias"] = torch.full((2,), -5.0)
    return made


def moved(weights, by=0.01):
    """The same after some training: everything but initial states moves."""
    return {
        name: t if name.endswith("_init") else (t.float() + by * torch.randn(t.shape)).to(t.dtype)
        for name, t in weights.items()
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "hrm"
    folder.mkdir()
    torch.manual_seed(0)
    weights, kept = hierarchy(), {}
    for step in STEPS:
        torch.save(weights, folder / f"checkpoints_hrm_v9_optimized_step_{step}")
        kept[step] = weights
        weights = moved(weights)
    return folder, kept


@pytest.fixture(scope="module")
def found(run):
    return examine(run[0])


def plain(name):
    return name.removeprefix("_orig_mod.")


def test_statistics_are_those_of_numpy_over_pieces_and_odd_dtypes():
    torch.manual_seed(1)
    for tensor in (
        torch.randn(PIECE + 7) + 3,
        torch.randn(5, 3).half().t(),
        torch.randn(4, 4).bfloat16(),
        torch.tensor(2.5),
        torch.arange(-3, 4),
        torch.randn(3, dtype=torch.complex64),
    ):
        got = statistics(tensor)
        x = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        x = x.double().numpy()
        expected = [x.mean(), x.std(), abs(x).mean(), np.linalg.norm(x), x.min(), x.max()]
        shown = [got.mean, got.std, got.abs_mean, got.l2, got.minimum, got.maximum]
        np.testing.assert_allclose(shown, expected, rtol=1e-10)
        assert got.zeros == (x == 0).sum()
    odd = statistics(torch.tensor([1.0, float("nan"), -3.0, float("inf"), 0.0]))
    assert (odd.finite, odd.nans, odd.infinities, odd.zeros) == (3, 1, 1, 1)
    assert (odd.minimum, odd.maximum) == (-3.0, 1.0)
    assert statistics(torch.tensor([float("nan")])).mean is None
    assert statistics(torch.zeros(0)).finite == 0


def test_every_tensor_of_every_file_is_measured_under_its_name(run, found):
    assert len(found.tensors) == len(STEPS) * len(run[1][180])
    for row in found.tensors:
        tensor = run[1][row["step"]][f"_orig_mod.{row['tensor']}"].double()
        assert row["minimum"] == float(tensor.min())
        assert row["mean"] == pytest.approx(float(tensor.mean()), abs=1e-12)
        assert row["shape"] == list(tensor.shape)


def test_buffers_are_no_parameters_and_do_not_give_the_extremes(found):
    kinds = {row["tensor"]: (row["kind"], row["because"]) for row in found.tensors}
    assert kinds["model.inner.H_init"] == ("buffer", "named like a buffer: H_init")
    assert {kind for kind, _ in kinds.values()} == {"buffer", "parameter"}
    for row in found.evolution:
        assert row["maximum_tensor"] != "model.inner.H_init"
        assert row["minimum_tensor"] == "model.inner.q_head.bias"
        assert row["minimum"] == pytest.approx(-5, abs=0.2)


def test_components_count_every_number_once(run, found):
    parts = {row["component"]: row for row in found.components}
    assert list(parts)[:2] == ["puzzle_emb", "H_init"]
    assert parts["puzzle_emb"]["parameters"] == 320
    assert parts["H_level"]["parameters"] == 2 * (24 * 8 + 8 * 24)
    assert (parts["H_init"]["parameters"], parts["H_init"]["buffers"]) == (0, 8)
    total = sum(t.numel() for t in run[1][180].values())
    assert sum(row["parameters"] + row["buffers"] for row in parts.values()) == total
    assert sum(row["share"] for row in parts.values()) == pytest.approx(1)


def test_drift_weighs_every_number_the_same(run, found):
    whole = [row for row in found.drift if row["component"] == ALL]
    assert [(r["first_step"], r["second_step"]) for r in whole] == list(itertools.pairwise(STEPS))
    for row in whole:
        a, b = run[1][row["first_step"]], run[1][row["second_step"]]
        names = [name for name in a if not name.endswith("_init")]
        before = torch.cat([a[n].double().flatten() for n in names])
        after = torch.cat([b[n].double().flatten() for n in names])
        relative = float((after - before).norm() / before.norm())
        steps = row["second_step"] - row["first_step"]
        assert row["relative"] == pytest.approx(relative)
        assert row["per_1000_steps"] == pytest.approx(relative * 1000 / steps)
        assert row["cosine"] == pytest.approx(float(before @ after / before.norm() / after.norm()))


def test_the_page_says_what_is_there_and_what_cannot_be_said(found):
    text = page(found)
    flat = " ".join(text.split())
    assert flat.startswith("# Checkpoints in hrm **HEALTHY.** No rule fired; 9 of 9 files")
    assert "Convergence, overfitting and forgetting cannot be told from weights" in flat
    assert "no file here holds one." in flat
    assert "CONVERGED" not in text
    assert "multiples of 180.2: 42 intervals, 9 files; 33 checkpoints in between" in flat
    assert "That they are of one training does not follow" in flat
    assert "missing epoch or step, optimiser, scheduler, RNG, sampler position, history" in flat
    assert "known from the files' names alone" in flat
    assert re.search(r"\| model\.inner\.q_head\.bias +\| float32 \| \[2\] ", text)
    assert "named like a buffer: H_init" in text


def test_csv_and_json_hold_the_same_as_the_page(run, found, tmp_path, capsys):
    assert main([str(run[0]), "--format", "all", "--out", str(tmp_path / "out")]) == 0
    paths = capsys.readouterr().out.split()
    names = {path.rpartition("/")[2] for path in paths}
    assert names == {"inspect.md", "inspect.json", "inventory.csv", "components.csv",
                     "tensors.csv", "evolution.csv", "drift.csv"}  # fmt: skip
    assert (tmp_path / "out/inspect.md").read_text() == page(found)
    content = json.loads((tmp_path / "out/inspect.json").read_text())
    assert content["verdict"] == "HEALTHY"
    for name in ("inventory", "components", "tensors", "evolution", "drift"):
        with (tmp_path / f"out/{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(content[name]) == len(getattr(found, name)) > 0
    assert rows[0]["relative"] == str(found.drift[0]["relative"])


def test_our_own_checkpoints_lack_little_and_say_where_to_look(tmp_path):
    cell = make_cell(steps=12)
    cells = tmp_path / "cells"
    (cells / cell.path).mkdir(parents=True)
    cell.write(cells / cell.path)
    state = None
    for number, until in ((1, 7), (2, 12)):
        part = Part.of(cells, cell.path, "", number)
        loop = Loop(cell, part.live, number, state)
        loop.run(lambda loop, until=until: loop.track.step >= until)
        path = loop.save()
        (part.folder / "checkpoint.pt").write_bytes(path.read_bytes())
        state = checkpoint.load(path)
    found = examine(cells)
    assert [row["step"] for row in found.inventory] == [7, 12]
    assert {row["step_from"] for row in found.inventory} == {"content"}
    held = found.inventory[0]["holds"]
    assert {name for name, where in held.items() if not where} == {
        "git commit", "versions", "job id"
    }  # fmt: skip
    assert held["config"] == "cell.json beside it"
    assert sum(row["parameters"] for row in found.components) == loop.model.num_parameters
    flat = " ".join(page(found).split())
    assert "under `track.rows`: 2 rows, with validation_loss, validation_metric" in flat
    assert f"belong to the cell {cell.path}" in flat
    assert "HEALTHY" in flat


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)
    )


def test_nested_dictionaries_and_batch_norm_and_an_optimiser(tmp_path):
    torch.manual_seed(0)
    model = network()
    optimiser = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 10)
    for epoch in (9, 10):
        model(torch.randn(16, 4)).square().sum().backward()
        optimiser.step()
        schedule.step()
        state = {
            "epoch": epoch,
            "net": {f"module.{key}": value for key, value in model.state_dict().items()},
            "ema": {key: value.clone() for key, value in model.state_dict().items()},
            "optimizer_state_dict": optimiser.state_dict(),
            "lr_scheduler": schedule.state_dict(),
            "val_losses": [1.0, 0.5],
            "hparams": {"lr": 1e-3},
            "best_acc": 0.5,
            "rng_state": torch.get_rng_state(),
        }
        torch.save(state, tmp_path / f"net{epoch}.pth")
    found = examine(tmp_path)
    assert [row["epoch"] for row in found.inventory] == [9, 10]
    kinds = {row["tensor"]: row["kind"] for row in found.tensors}
    assert kinds == {
        "0.weight": "parameter", "0.bias": "parameter", "1.weight": "parameter",
        "1.bias": "parameter", "1.running_mean": "buffer", "1.running_var": "buffer",
        "1.num_batches_tracked": "buffer", "2.weight": "parameter", "2.bias": "parameter",
    }  # fmt: skip
    row = found.inventory[0]
    assert (row["weights"], row["copies"], row["optimiser_tensors"]) == ("net", ["ema"], 6)
    missing = {name for name, where in row["holds"].items() if not where}
    assert missing == {"sampler position", "data hash", "git commit", "versions", "job id"}
    assert row["validation"] == "`val_losses`: 2 rows, with val_losses"
    assert "The optimiser in" not in " ".join(health.notes(found))
    assert found.drift[0]["per_1000_steps"] is None
    assert "2 files have no step" in " ".join(health.notes(found))


def test_what_never_moves_is_a_constant_and_not_part_of_the_drift(tmp_path):
    torch.manual_seed(0)
    a = {"w": torch.randn(4, 4), "frozen": torch.randn(3, 3), "nan": torch.tensor([float("nan")])}
    b = a | {"w": a["w"] + 1}
    torch.save(a, tmp_path / "step_1.pt")
    torch.save(b, tmp_path / "step_2.pt")
    found = examine(tmp_path)
    kinds = {row["tensor"]: row["kind"] for row in found.tensors}
    assert kinds == {"w": "parameter", "frozen": "constant", "nan": "constant"}
    assert found.drift[0]["l2_change"] == pytest.approx(4)
    assert found.drift[0]["relative"] == pytest.approx(4 / float(a["w"].norm()))
    assert {row["component"] for row in found.drift} == {ALL, "w"}
    alone = tmp_path / "alone"
    alone.mkdir()
    torch.save(a, alone / "step_1.pt")
    assert {row["kind"] for row in examine(alone).tensors} == {"parameter"}


def test_a_file_twice_is_noticed_and_has_no_drift(tmp_path):
    torch.save({"a": torch.ones(3, 3), "b": torch.zeros(2)}, tmp_path / "step_100.pt")
    (tmp_path / "step_200.pt").write_bytes((tmp_path / "step_100.pt").read_bytes())
    found = examine(tmp_path)
    said = " ".join(health.notes(found))
    assert "The same bytes under 2 names: step_100.pt, step_200.pt." in said
    assert "No tensor changes between the files" in said
    assert found.evolution == found.drift == []
    assert "No trained tensor." in page(found)


def test_numbers_of_eight_bits_are_measured(tmp_path):
    torch.save({"a": torch.tensor([0.5, -2.0]).to(torch.float8_e4m3fn)}, tmp_path / "a.pt")
    [row] = examine(tmp_path).tensors
    assert (row["minimum"], row["maximum"], row["dtype"]) == (-2.0, 0.5, "float8_e4m3fn")


def test_tied_weights_count_once(tmp_path):
    shared = torch.randn(6, 4)
    torch.save({"embed": shared, "head": shared, "other": torch.randn(2)}, tmp_path / "m.pt")
    found = examine(tmp_path)
    assert sum(row["parameters"] for row in found.components) == 26
    assert found.inventory[0]["tensor_bytes"] == 26 * 4
    assert {r["tensor"]: r["kind"] for r in found.tensors}["head"] == "tied"


class Touch:
    """A pickle that would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_files_that_ask_for_code_are_refused_and_none_of_it_runs(tmp_path):
    weights = {"w": torch.randn(2, 2)}
    torch.save(weights, tmp_path / "good.pt")
    torch.save({"model": weights, "x": Touch(tmp_path / "ran")}, tmp_path / "touch.pt")
    (tmp_path / "raw.bin").write_bytes(pickle.dumps(Touch(tmp_path / "ran"), protocol=4))
    torch.save({"model": weights, "acc": np.float64(3)}, tmp_path / "scalar.pt")
    torch.save({"model": weights, "args": argparse.Namespace(lr=1)}, tmp_path / "args.pth")
    torch.save(network(), tmp_path / "whole.pth")
    found = examine(tmp_path)
    status = {row["file"]: (row["status"], row["reason"]) for row in found.inventory}
    assert not (tmp_path / "ran").exists()
    assert status.pop("good.pt") == ("read", "")
    assert {kind for kind, _ in status.values()} == {"refused"}
    assert "numpy" in status["scalar.pt"][1]
    assert "argparse.Namespace" in status["args.pth"][1]
    assert "Sequential" in status["whole.pth"][1]
    word, why = health.verdict(found, health.verdicts(found))
    assert (word, "1 of 6 files" in why) == ("HEALTHY", True)


def test_broken_files_are_named_and_make_a_folder_unhealthy(tmp_path):
    torch.save({"w": torch.ones(64, 64)}, tmp_path / "step_1.pt")
    whole = (tmp_path / "step_1.pt").read_bytes()
    at = whole.index(np.ones(64, np.float32).tobytes())
    (tmp_path / "flipped.pt").write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "words.bin").write_bytes(b"not a checkpoint at all")
    torch.save({"w": torch.ones(64, 64)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pt").read_bytes()
    (tmp_path / "oldcut.pt").write_bytes(old[: len(old) // 2])
    found = examine(tmp_path)
    status = {row["file"]: row["status"] for row in found.inventory}
    assert status.pop("step_1.pt") == status.pop("old.pt") == "read"
    assert set(status.values()) == {"damaged"}
    assert "checksum" in next(r["reason"] for r in found.inventory if r["file"] == "flipped.pt")
    fired = {e["rule"]: e["evidence"] for e in health.verdicts(found) if e["evidence"]}
    assert list(fired) == ["UNREADABLE"]
    assert len(fired["UNREADABLE"]) == 5
    assert health.verdict(found, health.verdicts(found))[0] == "UNHEALTHY"


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("NOT A NUMBER", lambda w: w["b"].__setitem__(0, float("nan"))),
        ("INFINITE", lambda w: w["b"].__setitem__(0, -float("inf"))),
        ("EXPLODING NORM", lambda w: w["a"].mul_(11)),
        ("EXPLODING NORM", lambda w: w["b"].__setitem__(0, 2e4)),
        ("ALL ZERO", lambda w: w["a"].zero_()),
        ("SHAPE MISMATCH", lambda w: w.__setitem__("a", torch.randn(5, 5))),
        ("SHAPE MISMATCH", lambda w: w.__setitem__("c", torch.randn(5, 5))),
    ],
)
def test_each_rule_fires_on_what_it_is_for_and_names_it(tmp_path, rule, change):
    torch.manual_seed(0)
    weights = {"a": torch.randn(8, 8), "b": torch.randn(4), "mask": torch.tensor([-float("inf")])}
    torch.save(weights, tmp_path / "step_1.pt")
    weights = {name: t + 0.01 * torch.randn(t.shape) for name, t in weights.items()}
    torch.save(weights, tmp_path / "step_2.pt")
    fired = [e["rule"] for e in health.verdicts(examine(tmp_path)) if e["evidence"]]
    assert fired == []  # a mask of -inf is no illness
    change(weights)
    torch.save(weights, tmp_path / "step_2.pt")
    found = examine(tmp_path)
    fired = {e["rule"]: e["evidence"] for e in health.verdicts(found) if e["evidence"]}
    assert rule in fired
    assert "step_2.pt" in " ".join(fired[rule]) or rule == "SHAPE MISMATCH"
    assert "**UNHEALTHY.**" in page(found)


def test_strangers_in_a_folder_are_noticed(tmp_path):
    for step in (1, 2):
        torch.manual_seed(step)
        torch.save({"a": torch.randn(30, 30)}, tmp_path / f"step_{step}.pt")
    assert "perhaps another training" in " ".join(health.notes(examine(tmp_path)))
    torch.save({"a": torch.ones(3, 3)}, tmp_path / "step_3.pt")
    assert "SHAPE MISMATCH" in page(examine(tmp_path))


def test_trainings_in_folders_of_their_own_are_not_compared(tmp_path):
    for name, width in (("wide", 9), ("narrow", 3)):
        for step in (100, 200):
            place = tmp_path / name / f"checkpoint-{step}"
            place.mkdir(parents=True)
            torch.save({"a": torch.randn(width, width)}, place / "pytorch_model.bin")
            torch.save(torch.optim.SGD([torch.zeros(2)], 0.1).state_dict(), place / "optimizer.pt")
    found = examine(tmp_path)
    assert set(found.series) == {"wide", "narrow"}
    assert [row["step"] for row in found.read] == [100, 200, 100, 200]
    assert {row["holds"]["optimiser"] for row in found.read} == {"optimizer.pt beside it"}
    assert len([row for row in found.drift if row["component"] == ALL]) == 2
    assert {e["rule"] for e in health.verdicts(found) if e["evidence"]} == set()


def test_a_buffer_of_several_trainings_is_one_row(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        torch.save({"a": torch.randn(3), "running_mean": torch.ones(3)}, tmp_path / name / "x.pt")
    lines = page(examine(tmp_path)).splitlines()
    [row] = (line for line in lines if "named like a buffer" in line)
    assert row.split("|")[4].strip() == "2 of 2"


@pytest.mark.parametrize(
    ("steps", "gaps"),
    [
        (STEPS, (42, 33)),
        ([100, 200, 300], (3, 0)),
        ([1000, 3000, 4000], (4, 1)),
        ([10, 25, 31], None),
        ([7, 500, 1000, 1500], None),
        ([5, 10], None),
        ([0, 50, 100, 150], (3, 0)),
    ],
)
def test_gaps_in_steps(steps, gaps):
    made = saved(steps)
    assert (made and (made.multiples[-1], made.gaps)) == gaps


def test_steps_and_epochs_in_names():
    assert files.from_name("checkpoints_hrm_v9_optimized_step_180") == (180, None)
    assert files.from_name("run/checkpoint-500/pytorch_model.bin") == (500, None)
    assert files.from_name("model_epoch3_step20.pt") == (20, 3)
    assert files.from_name("ep12.pth") == (None, 12)
    assert files.from_name("best.pt") == (None, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty"], "empty: no checkpoint in it; looked for .pt, "),
        (["empty/file.txt"], "empty/file.txt is not a folder; give the one"),
        (["good", "--format", "csv"], "--format csv writes several files: say where with --out"),
        (["good", "--depth", "0"], "--depth: at least 1 is needed, got 0"),
        (["good", "--out", "empty/file.txt"], "--out: empty/file.txt: "),
    ],
)
def test_wrong_calls_are_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/file.txt").write_text("x")
    (tmp_path / "good").mkdir()
    torch.save({"w": torch.ones(2)}, tmp_path / "good/a.pt")
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(said)
    assert output.err.count("\n") == 1


def part_of(folder, ended, size):
    """A part of ours as its files say it ended; one that is skipped has no weights."""
    for place in (folder, folder / "live/final"):
        place.mkdir(parents=True)
        (place / "checkpoint.pt").write_bytes(b"")
        said = {"outcome": ended, "files": {"checkpoint.pt": {"size": size}}}
        (place / "outcome.json").write_text(json.dumps(said))


def test_a_skipped_cell_has_no_weights_and_is_no_damage(tmp_path, capsys):
    part_of(tmp_path / "gru/seed0/part1", "skipped", 0)
    part_of(tmp_path / "gru/seed1/part1", "skipped", 0)
    assert main([str(tmp_path)]) == 2
    assert "its parts ended without any: 2 skipped" in capsys.readouterr().err
    torch.save(network().state_dict(), tmp_path / "other.pt")
    found = examine(tmp_path)
    assert [row["file"] for row in found.inventory] == ["other.pt"]
    flat = " ".join(page(found).split())
    assert "**HEALTHY.**" in flat
    assert "2 parts ended without weights, as the outcome.json" in flat
    # One that had weights and has lost them is damaged.
    part_of(tmp_path / "gru/seed2/part1", "finished", 4711)
    assert "UNREADABLE" in health.verdict(examine(tmp_path), health.verdicts(examine(tmp_path)))[1]


def test_the_page_of_many_trainings_stays_short_and_says_where_the_rest_is(tmp_path):
    for number in range(50):
        (tmp_path / f"run{number}").mkdir()
        torch.save({"w": torch.randn(2, 2)}, tmp_path / f"run{number}" / "weights.pt")
    text = page(examine(tmp_path))
    assert text.count("the largest first:") == 4
    for words in (
        "10 more files are in inventory.csv", "10 more files are in evolution.csv",
        "46 more trainings are in tensors.csv",
    ):  # fmt: skip
        assert words in text
    assert len(text) < 25_000
