"""Files that are not what they say: one line each in the inventory, and nothing in them runs."""

import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seqgrid.inspect import main
from seqgrid.inspection import health, output
from seqgrid.inspection.examine import examine


def weights():
    return {"a.weight": torch.randn(4, 3), "a.bias": torch.randn(4)}


class Run:
    """A pickle that would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def seen(folder):
    """File -> status and reason, after every page and table has been written."""
    found = examine(folder)
    output.write(found, folder / "made", "all")
    assert len({row["file"] for row in found.inventory}) == len(found.inventory)
    return {row["file"]: (row["status"], row["reason"]) for row in found.inventory}


def zipped(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content)


def safetensors(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.filterwarnings("ignore")  # of torch, about what is old or new in it
def test_code_in_a_pickle_of_any_protocol_and_format_never_runs(tmp_path):
    ran = tmp_path / "ran"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / f"p{protocol}.bin").write_bytes(pickle.dumps(Run(ran), protocol))
    torch.save({"model": weights(), "x": Run(ran)}, tmp_path / "zip.pt")
    torch.save({"model": weights(), "x": Run(ran)}, tmp_path / "old.pt",
               _use_new_zipfile_serialization=False)  # fmt: skip
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    found = seen(tmp_path)
    assert not ran.exists()
    assert {status for status, _ in found.values()} == {"refused"}
    assert len(found) == pickle.HIGHEST_PROTOCOL + 4
    assert found["zip.pt"][1] == found["p2.bin"][1] == "reading it would call posix.system"
    assert "TorchScript" in found["script.pt"][1]


def test_a_file_cut_at_any_place_is_damaged(tmp_path):
    torch.save(weights(), tmp_path / "new.pt")
    torch.save(weights(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(weights(), tmp_path / "safe.safetensors")
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        for size in (0, 1, 4, 7, 8, 9, 60, len(whole) // 2, len(whole) - 1):
            path.with_name(f"{path.stem}_cut{size}{path.suffix}").write_bytes(whole[:size])
    found = seen(tmp_path)
    assert [found.pop(name)[0] for name in ("new.pt", "old.pt", "safe.safetensors")] == ["read"] * 3
    assert len(found) == 27
    assert {status for status, _ in found.values()} == {"damaged"}
    assert all(reason and "\n" not in reason for _, reason in found.values())
    assert found["safe_cut0.safetensors"][1] == found["new_cut0.pt"][1] == "the file is empty"


def test_archives_that_are_no_checkpoints_or_unpack_to_anything(tmp_path):
    zipped(tmp_path / "words.pt", {"hello.txt": "hi"})
    zipped(tmp_path / "out.pt", {"../../data.pk": "hi"})
    torch.save({"w": torch.zeros(1_000_000)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good:
        members = {name: good.read(name) for name in good.namelist()}
    zipped(tmp_path / "packed.pt", members, zipfile.ZIP_DEFLATED)
    assert seen(tmp_path) == {
        "good.pt": ("read", ""),
        "out.pt": ("damaged", "a zip archive without data.pkl: no checkpoint of PyTorch"),
        "packed.pt": ("refused", "a compressed archive, which PyTorch does not write"),
        "words.pt": ("damaged", "a zip archive without data.pkl: no checkpoint of PyTorch"),
    }


def test_safetensors_are_measured_whatever_their_dtype(tmp_path):
    made = {
        "half": torch.tensor([1.0, -3.0]).half(),
        "brain": torch.tensor([1.0, -3.0]).bfloat16(),
        "eight": torch.tensor([1.0, -3.0]).to(torch.float8_e4m3fn),
        "wide": torch.tensor([1.0, -3.0]).to(torch.float8_e5m2),
        "complex": torch.tensor([1.0 - 3.0j]),
        "double": torch.tensor([1.0, -3.0], dtype=torch.float64),
        "none": torch.zeros(0, 4),
    }
    whole = {"count": torch.arange(3), "flag": torch.ones(2, dtype=torch.bool)}
    save_file(made | whole, tmp_path / "step_7.safetensors")
    found = examine(tmp_path)
    assert (found.inventory[0]["status"], found.inventory[0]["step"]) == ("read", 7)
    rows = {row["tensor"]: row for row in found.tensors}
    for name in set(made) - {"none"}:
        assert (rows[name]["minimum"], rows[name]["maximum"]) == (-3.0, 1.0), name
    assert {rows[name]["kind"] for name in whole} == {"buffer"}
    assert health.verdict(found, health.verdicts(found))[0] == "HEALTHY"


def test_wrong_headers_of_safetensors_are_one_line(tmp_path):
    place = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    (tmp_path / "endless.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    safetensors(tmp_path / "words.safetensors", b"{abc}")
    safetensors(tmp_path / "dtype.safetensors", {"w": place | {"dtype": "Q99"}}, bytes(8))
    safetensors(tmp_path / "huge.safetensors", {"w": place | {"shape": [2**40, 2**40]}}, bytes(8))
    overlap = {"v": place, "w": place | {"data_offsets": [4, 12]}}
    safetensors(tmp_path / "overlap.safetensors", overlap, bytes(12))
    safetensors(tmp_path / "nothing.safetensors", {})
    six = {"dtype": "F6_E2M3", "shape": [8], "data_offsets": [0, 6]}
    safetensors(tmp_path / "six.safetensors", {"w": six}, bytes(6))
    torch.save(weights(), tmp_path / "torch.safetensors")
    found = seen(tmp_path)
    assert found.pop("nothing.safetensors")[0] == "no weights"
    assert found.pop("six.safetensors")[0] == "refused"
    assert {status for status, _ in found.values()} == {"damaged"}
    assert len(found) == 6


def sharded(folder, wanted):
    """Two files of weights, and an index that says where each tensor is."""
    folder.mkdir()
    for number, (name, tensor) in enumerate(weights().items(), 1):
        save_file({name: tensor}, folder / f"model-0000{number}-of-00002.safetensors")
    index = {"metadata": {"total_size": 64}, "weight_map": wanted}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_missing_shard_or_tensor_is_named(tmp_path):
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    right = {"a.weight": first, "a.bias": second}
    sharded(tmp_path / "checkpoint-1", right)
    found = examine(tmp_path)
    assert {row["tensor"] for row in found.tensors} == set(right)
    assert health.verdict(found, health.verdicts(found))[0] == "HEALTHY"
    sharded(tmp_path / "checkpoint-2", right)
    (tmp_path / "checkpoint-2" / second).unlink()
    sharded(tmp_path / "checkpoint-3", right | {"b.weight": first, "b.bias": first})
    sharded(tmp_path / "checkpoint-4", right)
    (tmp_path / "checkpoint-4/model.safetensors.index.json").write_text("[1")
    found = examine(tmp_path)
    assert found.absent == [
        f"checkpoint-2/{second} is not there",
        f"checkpoint-3/{first} does not hold b.bias and 1 more, which "
        "model.safetensors.index.json says",
        "checkpoint-4/model.safetensors.index.json says of no tensor which file it is in",
    ]
    word, why = health.verdict(found, health.verdicts(found))
    assert (word, why.startswith("INCOMPLETE;")) == ("UNHEALTHY", True)


def test_links_folders_and_pipes_named_like_checkpoints(tmp_path):
    (tmp_path / "x.pt").mkdir()
    torch.save(weights(), tmp_path / "x.pt/step_1.pt")
    (tmp_path / "x.pt/again").symlink_to("..")
    (tmp_path / "self.pt").symlink_to("self.pt")
    (tmp_path / "nowhere.pt").symlink_to("gone.pt")
    (tmp_path / "zeros.pt").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.pt")
    assert seen(tmp_path) == {"x.pt/step_1.pt": ("read", "")}


def test_names_that_are_not_text_or_hold_huge_numbers(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.pt"))
    torch.save(weights(), tmp_path / f"step_{'9' * 100}.pt")
    torch.save({"model": weights(), "step": 10**400, "epoch": -3}, tmp_path / "content.pt")
    odd.write_bytes((tmp_path / "content.pt").read_bytes())
    found = examine(tmp_path)
    assert {row["step"] for row in found.inventory} == {None}
    assert seen(tmp_path)["bad\\xff.pt"][0] == "refused"


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(3, 3, device="meta"), "without values, on the device `meta`"),
        (torch.zeros(1).expand(2**40), "4 bytes that stand for 4,398,046,511,104"),
        (torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "float4_e2m1fn_x2"),
    ],
)
def test_what_cannot_be_measured_is_said_and_is_not_called_healthy(tmp_path, tensor, said):
    torch.save({"w": tensor}, tmp_path / "m.pt")
    found = examine(tmp_path)
    assert said in found.tensors[0]["unmeasured"]
    assert any("w in m.pt is not measured" in note for note in health.notes(found))
    assert health.verdict(found, health.verdicts(found))[0] == "CANNOT BE TOLD"
    torch.save({"w": tensor, "v": torch.ones(2)}, tmp_path / "m.pt")
    found = examine(tmp_path)
    word, why = health.verdict(found, health.verdicts(found))
    assert (word, "without 1 tensors that cannot be measured" in why) == ("HEALTHY", True)


@pytest.mark.filterwarnings("ignore")  # of torch, about what is old or new in it
def test_numbers_that_no_optimiser_trains_are_not_called_healthy(tmp_path):
    torch.save({"w": torch.arange(5)}, tmp_path / "whole.pt")
    torch.save({"cpu": torch.get_rng_state()}, tmp_path / "rng_state.pth")
    ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.strided)
    torch.save({"w": ragged}, tmp_path / "nested.pt")
    found = examine(tmp_path)
    assert {row["file"]: row["status"] for row in found.inventory} == {
        "whole.pt": "read", "rng_state.pth": "no weights", "nested.pt": "refused",
    }  # fmt: skip
    assert health.verdict(found, health.verdicts(found))[0] == "CANNOT BE TOLD"


def test_complex_and_real_numbers_of_one_shape_are_no_neighbours(tmp_path):
    torch.save({"w": torch.randn(3)}, tmp_path / "step_1.pt")
    torch.save({"w": torch.randn(3, dtype=torch.complex64)}, tmp_path / "step_2.pt")
    assert seen(tmp_path) == {"step_1.pt": ("read", ""), "step_2.pt": ("read", "")}
    assert examine(tmp_path).drift == []


def test_trainers_files_hold_what_they_hold_and_odd_ones_raise_nothing(tmp_path):
    state = {"state": {0: {"exp_avg": torch.zeros(4, 3)}}, "param_groups": [{"params": [0, 1]}]}
    lightning = {
        "epoch": 3, "global_step": 100, "loops": {"fit_loop": {"state_dict": {}}},
        "state_dict": {f"model.{name}": tensor for name, tensor in weights().items()},
        "optimizer_states": [state], "lr_schedulers": [{"last_epoch": 3}],
        "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    torch.save(lightning, tmp_path / "epoch=3-step=100.ckpt")
    for name, groups in (("number", 7), ("params", [{"params": 5}]), ("words", ["x"])):
        optimiser = {"state": {}, "param_groups": groups}
        torch.save({"model": weights(), "optimizer": optimiser}, tmp_path / f"{name}.pt")
    loop: list = []
    loop.append(loop)
    torch.save({"model": weights(), "history": loop, "val_history": {"val": 5}},
               tmp_path / "loop.pt")  # fmt: skip
    itself: dict = {"w": torch.ones(2)}
    itself["self"] = itself
    for name, content in (("list", [torch.ones(2)]), ("none", None), ("itself", itself)):
        torch.save(content, tmp_path / f"{name}.pt")
    found = seen(tmp_path)
    assert [name for name, (status, _) in found.items() if status == "no weights"] == [
        "itself.pt", "list.pt", "none.pt",
    ]  # fmt: skip
    assert sum(status == "read" for status, _ in found.values()) == 5
    row = next(r for r in examine(tmp_path).inventory if r["file"].endswith(".ckpt"))
    assert (row["step"], row["epoch"], row["weights"]) == (100, 3, "state_dict")
    held = {"optimiser", "scheduler", "sampler position", "config", "epoch or step"}
    assert {item for item, where in row["holds"].items() if where} == held


LOOK = """
import os, sys, torch
from pathlib import Path
from seqgrid.inspection.files import closed, find, load
if os.getuid() == 0:
    os.setuid(65534)
here = Path(sys.argv[1])
print([place.name for place in find(here)], closed(here))
try:
    load(here / "shut.pt")
except PermissionError as error:
    print(error.strerror)
"""


def test_files_and_folders_without_permission_are_told_apart():
    """As somebody who is not the superuser, for whom everything is open."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        here.chmod(0o755)
        for name in ("shut", "listed"):
            (here / name).mkdir()
        for name in ("open.pt", "shut.pt", "shut/in.pt", "listed/in.pt"):
            torch.save(weights(), here / name)
        modes = {"shut.pt": 0, "shut": 0, "listed": 0o444}
        for name, mode in modes.items():
            (here / name).chmod(mode)
        call = [sys.executable, "-c", LOOK, folder]
        said = subprocess.run(call, text=True, capture_output=True, timeout=100)
        for name in modes:
            (here / name).chmod(0o755)
    expected = ["['open.pt', 'shut.pt'] ['listed', 'shut']", "Permission denied"]
    assert said.stdout.splitlines() == expected, said.stderr


def test_what_may_not_be_read_is_no_damage(tmp_path, monkeypatch, capsys):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    torch.save(weights(), tmp_path / "a.pt")
    monkeypatch.setattr("seqgrid.inspection.files.closed", lambda folder: ["locked"])
    assert "No permission to look into locked: what is there is not listed." in list(
        health.notes(examine(tmp_path))
    )
    monkeypatch.setattr("seqgrid.inspection.files.digest", refuse)
    assert seen(tmp_path) == {"a.pt": ("refused", "no permission to read it")}
    monkeypatch.setattr("seqgrid.inspection.files.closed", lambda folder: ["."])
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: no permission to look into it\n"
